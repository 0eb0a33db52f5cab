/** Text chunks of PNG files: our pictures carry their whole recipe in one. */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const latin = new TextDecoder("latin1");
const utf8 = new TextDecoder();

/** The texts of a PNG by keyword; nothing for a file that is none. `data` is an ArrayBuffer. */
async function texts(data) {
  const bytes = new Uint8Array(data);
  const found = {};
  if (SIGNATURE.some((value, place) => bytes[place] !== value)) return found;
  for (const [kind, body] of chunks(bytes)) {
    const read = { tEXt: plain, zTXt: packed, iTXt: international }[kind];
    if (read) Object.assign(found, await read(body));
  }
  return found;
}

/** The recipe in a file, or null. */
export async function recipeOf(file) {
  const { underdraw } = await texts(await file.arrayBuffer());
  return underdraw ? JSON.parse(underdraw) : null;
}

function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    yield [latin.decode(bytes.subarray(at + 4, at + 8)), bytes.subarray(at + 8, at + 8 + length)];
    at += 12 + length;
  }
}

function plain(body) {
  const end = body.indexOf(0);
  return { [latin.decode(body.subarray(0, end))]: latin.decode(body.subarray(end + 1)) };
}

async function packed(body) {
  const end = body.indexOf(0);
  return { [latin.decode(body.subarray(0, end))]: latin.decode(await inflated(body.subarray(end + 2))) };
}

/** keyword 0 packed? method language 0 translated keyword 0 text (PNG specification, 11.3.4.5) */
async function international(body) {
  const end = body.indexOf(0);
  const language = body.indexOf(0, end + 3);
  const text = body.subarray(body.indexOf(0, language + 1) + 1);
  const whole = body[end + 1] ? await inflated(text) : text;
  return { [latin.decode(body.subarray(0, end))]: utf8.decode(whole) };
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
