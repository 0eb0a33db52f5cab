/** Pictures between visits: in IndexedDB, or only while the page is open where that is not there. */

const NAME = "underdraw";
const STORE = "pictures";
let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "time" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/** One question to the store; undefined where there is none (private windows). */
async function question(mode, act) {
  try {
    const store = (await database()).transaction(STORE, mode).objectStore(STORE);
    return await new Promise((resolve, reject) => {
      const request = act(store);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } catch {
    return undefined;
  }
}

/** {time, blob} of all that is kept, the oldest first. */
export const kept = async () => (await question("readonly", (store) => store.getAll())) ?? [];
export const keep = ({ time, blob }) => question("readwrite", (store) => store.put({ time, blob }));
export const drop = ({ time }) => question("readwrite", (store) => store.delete(time));
