// The page Removals: open requests, the form that makes one, and the ledger of what was removed.
import { airflowLink, airflowUrl, clearNotice, notice, request } from "./airflow.js";
import { byId, element } from "./dom.js";
import { saveTable } from "./files.js";
import { dayTime, moment, whole } from "./format.js";
import { csvButton, failed, head, scroll } from "./tables.js";

const DAG = "compliance";
const page = { open: [], asks: false, rows: [], problem: null, said: "", isError: false };
const counted = (count, one) => `${whole(count)} ${one}${count === 1 ? "" : "s"}`;

async function load() {
  try {
    const [waiting, done] = await Promise.all([
      request("data/removals"),
      request("data/removals/done").catch((problem) => ({ rows: [], problem })),
    ]);
    Object.assign(page, {
      open: waiting.open, openReadAt: waiting.read_at, asks: waiting.asks, rows: done.rows, readAt: done.read_at, problem: done.problem ?? null,
    });
  } catch (problem) {
    notice(problem.title, problem.message, element("button", { type: "button", class: "primary", onclick: load }, "Try again"),
      " ", airflowLink(`dags/${DAG}`, "The DAG compliance"));
    return;
  }
  clearNotice();
  draw();
}

function draw() {
  byId("content").replaceChildren(...[
    element("p", { id: "said", role: "status", class: page.isError ? "error" : "" }, page.said),
    section("open", "Open requests", waiting()),
    page.asks && section("ask", "Ask to remove", form()),
    section("done", "What was removed", ledger()),
  ].filter(Boolean));
}

const section = (id, title, ...content) => element("section", { class: "card", id, "aria-labelledby": `${id}-title` },
  element("h2", { id: `${id}-title` }, title), content);

function say(text, isError = false) {
  Object.assign(page, { said: text, isError });
  draw();
}

const table = (label, heads, rows) => scroll(label, element("table", {}, head(heads),
  element("tbody", {}, rows.map((row) => element("tr", {}, row.map((cell) => element("td", {}, cell)))))));

/** A button that saves these columns of rows. */
const saved = (label, name, columns, rows, readAt) => csvButton(label, () => saveTable(`removals-${name}-${readAt.slice(0, 10)}.csv`, columns,
  rows.map((row) => columns.map((column) => (typeof row[column] === "boolean" ? String(row[column]) : row[column]))), readAt));

function waiting() {
  if (!page.open.length) return element("p", { class: "muted" }, "No request is open.");
  return [table("Open requests", ["Asked for (UTC)", "Why", "What", "State", "Actions"], page.open.map((one) => [
    dayTime(moment(one.requested_at)), one.reason, `${counted(one.tweets, "tweet")}, ${counted(one.users, "user")}`,
    one.overdue ? element("b", { class: "error" }, "overdue") : one.confirmed ? "confirmed: the next run carries it out" : "not confirmed",
    page.asks && [
      element("button", { type: "button", onclick: () => start(one, true) }, "Only count"), " ",
      element("button", { type: "button", class: "primary", onclick: () => start(one, false) }, "Remove"), " ",
      !one.confirmed && element("button", { type: "button", onclick: () => takeBack(one) }, "Take back"),
    ],
  ])), saved("Open requests", "open", ["name", "requested_at", "reason", "tweets", "users", "confirmed", "overdue"], page.open, page.openReadAt)];
}

/** Starts a run for a request by Airflow's own API, so that the user's rights decide. */
async function start(one, dry) {
  if (!dry && !window.confirm("Remove it from every layer? Nothing brings it back.")) return;
  try {
    const conf = { request: one.name, dry_run: dry };
    const run = await request(airflowUrl(`api/v2/dags/${DAG}/dagRuns`), { method: "POST", body: JSON.stringify({ logical_date: null, conf }) });
    await load();
    say("");
    byId("said").replaceChildren(dry ? "It is being counted: " : "It is being removed: ",
      airflowLink(`dags/${DAG}/runs/${encodeURIComponent(run.dag_run_id)}/tasks/record`, "the run's task record says what"), ".");
  } catch (problem) {
    say(failed(problem), true);
  }
}

async function takeBack(one) {
  try {
    await request(`data/removals/${one.name}`, { method: "DELETE" });
    await load();
    say("The request was taken back.");
  } catch (problem) {
    say(failed(problem), true);
  }
}

const ids = (text) => text.split(/[\s,;]+/).filter(Boolean);

function form() {
  const area = (name, label) => element("label", { class: "group" }, label, element("textarea", { name, rows: 3, autocomplete: "off" }));
  return element("form", { onsubmit: ask },
    element("p", { class: "muted" }, "A person's request must be carried out within 24 hours. Ids are kept nowhere: the request holds keyed hashes. Write no name into the reason, which the ledger keeps."),
    area("tweets", "Ids of tweets"), area("users", "Ids of users, with all their tweets so far"),
    element("label", { class: "group" }, "Reason", element("input", { name: "reason", required: true, maxlength: 200 })),
    element("button", { type: "submit", class: "primary" }, "Make the request"));
}

async function ask(event) {
  event.preventDefault();
  const given = new FormData(event.target);
  const body = { reason: given.get("reason"), tweets: ids(given.get("tweets")), users: ids(given.get("users")) };
  try {
    await request("data/removals", { method: "POST", body: JSON.stringify(body) });
    await load();
    say("The request is kept. Count what it would remove, then remove it.");
  } catch (problem) {
    byId("said").textContent = failed(problem);
    byId("said").classList.add("error");
  }
}

function ledger() {
  if (page.problem) return element("p", { class: "error" }, failed(page.problem));
  if (!page.rows.length) return element("p", { class: "muted" }, "Nothing was removed yet.");
  return [table("What was removed", ["Asked for (UTC)", "Why", "Layer", "Action", "Removed", "Hours", "Done (UTC)"], page.rows.map((row) => [
    dayTime(moment(row.requested_at)), row.reason, row.layer, row.action, whole(row.removed), whole(row.hours),
    row.done_at ? dayTime(moment(row.done_at)) : "under way",
  ])), saved("What was removed", "done", ["request", "requested_at", "reason", "layer", "action", "removed", "hours", "done_at"], page.rows, page.readAt)];
}

load();
