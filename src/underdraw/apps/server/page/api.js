/** The server's answers: JSON, and streams of events. */

import { tell } from "./bus.js";

const KEPT = "underdraw-token";
const ALIVE = ":"; // a line that says nothing but that somebody is there

/** What the server refused, in its own words. */
class Refused extends Error {
  constructor(status, detail, wait = 0) {
    super(detail);
    Object.assign(this, { status, wait });
  }
}

/** The token stands behind # in the address once, and then in this tab alone. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  keepToken(given);
  history.replaceState(null, "", location.pathname);
}

export const keepToken = (token) => sessionStorage.setItem(KEPT, token);

function headers(body) {
  const token = sessionStorage.getItem(KEPT);
  return {
    ...(body ? { "Content-Type": "application/json" } : {}),
    ...(token ? { Authorization: `Bearer ${token}` } : {}),
  };
}

async function send(path, body, signal) {
  const answer = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers: headers(body),
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  });
  if (answer.ok) return answer;
  if (answer.status === 401) tell("token");
  const said = await answer.json().catch(() => ({}));
  throw new Refused(
    answer.status,
    String(said.detail ?? answer.statusText),
    Number(answer.headers.get("Retry-After") ?? 0),
  );
}

/** The JSON at a path; a body makes it a POST. Throws Refused. */
export async function ask(path, body, signal) {
  return (await send(path, body, signal)).json();
}

/** The events of a request as [name, data], one by one. Leaving the loop closes the connection. Throws Refused. */
export async function* events(path, body, signal) {
  const answer = await send(path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  const lines = block.split("\n").filter((line) => line && !line.startsWith(ALIVE));
  const named = lines.find((line) => line.startsWith("event:"));
  const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
  return named && data.length ? [named.slice(6).trim(), JSON.parse(data.join("\n"))] : null;
}
