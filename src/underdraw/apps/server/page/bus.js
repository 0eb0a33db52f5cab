/** Who wants to hear of what: the parts of the page do not know each other. */

const listeners = new Map();

/** Call `act` whenever one of the topics (parted by spaces) is told. */
export function on(topics, act) {
  for (const topic of topics.split(" ")) {
    if (!listeners.has(topic)) listeners.set(topic, new Set());
    listeners.get(topic).add(act);
  }
}

/** Tell everybody who listens. */
export function tell(topic, news) {
  for (const act of listeners.get(topic) ?? []) act(news);
}
