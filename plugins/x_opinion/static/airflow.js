// Airflow around the page: its addresses, its API with the user's own rights, its notices.
import { byId, element } from "./dom.js";

export class Problem extends Error {
  /** `status` is HTTP's, 0 where there was no answer. */
  constructor(status, title, detail) {
    super(detail);
    this.status = status;
    this.title = title;
  }
}

/** An address below Airflow's own, such as `dags/transform`; the pages lie one level below it. */
export const airflowUrl = (path) => new URL(`../${path}`, window.location.href).href;

/** Opens one of Airflow's pages in its own window: this page's frame may not navigate it by a link. */
export function openInAirflow(url, newTab = false) {
  const outer = window.parent.document;
  const link = outer.createElement("a");
  link.href = url;
  if (newTab) link.target = "_blank";
  outer.body.append(link);
  link.click();
  link.remove();
}

/** Downloads a file below Airflow's address. */
export const download = (path, name) => save(airflowUrl(path), name);

/** Saves what is at an address, through Airflow's window: the frame's sandbox allows no downloads. */
export function save(address, name) {
  const outer = window.parent.document;
  const link = outer.createElement("a");
  link.href = address;
  link.download = name;
  outer.body.append(link);
  link.click();
  link.remove();
}

/** A link to one of Airflow's pages. */
export function airflowLink(path, ...children) {
  const url = airflowUrl(path);
  const onclick = (event) => {
    event.preventDefault();
    openInAirflow(url, event.ctrlKey || event.metaKey);
  };
  return element("a", { href: url, onclick }, ...children);
}

/** Longer than the server lets a query take. */
const LONGEST_WAIT = 90e3;

/** The JSON at an address; raises `Problem` with what can be done about it. */
export async function request(url, options = {}) {
  let response;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(LONGEST_WAIT)].filter(Boolean));
  try {
    response = await fetch(url, { headers: { Accept: "application/json", "Content-Type": "application/json" }, ...options, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error.name === "TimeoutError") throw new Problem(0, "This takes too long", "No answer came in 90 seconds. Choose a shorter period, or try again.");
    throw new Problem(0, "Airflow cannot be reached", "Check the connection, then try again.");
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  if (response.status === 401) throw new Problem(401, "Your login has ended", "Reload Airflow to log in again.");
  const detail = typeof body?.detail === "string" ? body.detail : JSON.stringify(body?.detail ?? response.statusText);
  if (response.status === 403) throw new Problem(403, "Your role does not allow this", detail);
  throw new Problem(response.status, body?.title ?? `Airflow answered ${response.status}`, detail);
}

/** Shows a notice in the page's place for it, instead of what the page would show. */
export function notice(title, detail, ...children) {
  const place = byId("notice");
  place.replaceChildren(element("h2", {}, title), element("p", {}, detail), ...children);
  place.hidden = false;
}

/** Takes the notice away. */
export function clearNotice() {
  byId("notice").hidden = true;
}
