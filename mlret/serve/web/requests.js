// Requests to the server, and its errors: problem documents (RFC 9457).

import { token } from "./session.js";

/** An error of the server, with its problem document. */
export class ServerProblem extends Error {
  constructor(document, retryAfter = null) {
    super(document.detail);
    this.document = document;
    this.status = document.status;
    this.retryAfter = retryAfter;
  }
}

/** Send a request with the token of this tab, and return the JSON of the answer. */
export async function call(method, path, { body, query, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const asked = new URLSearchParams(Object.entries(query ?? {}).filter(([, value]) => value !== null && value !== ""));
  const address = asked.size ? `${path}?${asked}` : path;
  let answer;
  try {
    answer = await fetch(address, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerProblem({
      title: "The server cannot be reached",
      status: 0,
      detail: "no answer came to the last request",
      fix: "See whether mlret serve is still running, then try again.",
    });
  }
  if (answer.status === 204) return null;
  const text = await answer.text();
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    content = null;
  }
  if (answer.ok && content !== null) return content;
  const problem = new ServerProblem(
    content?.title ? content : { title: "The answer cannot be read", status: answer.status, detail: answer.statusText },
    answer.headers.get("Retry-After"),
  );
  // A token can end while the page is open; the frame then asks for another one.
  if (answer.status === 401 && path !== "/v1/token") dispatchEvent(new CustomEvent("mlret:unauthorized", { detail: problem }));
  throw problem;
}

/** Return a function that runs a task after a pause in its calls; an outdated run is aborted by its signal. */
export function latest(task, pause) {
  let timer = 0;
  let running = new AbortController();
  let over = false; // The view that asks is no longer shown.
  const start = async () => {
    if (over) return;
    running.abort();
    running = new AbortController();
    const { signal } = running;
    try {
      await task(signal);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  };
  return {
    soon() {
      clearTimeout(timer);
      timer = setTimeout(start, pause);
    },
    now() {
      clearTimeout(timer);
      return start();
    },
    stop() {
      over = true;
      clearTimeout(timer);
      running.abort();
    },
  };
}
