// The page Coverage: hours of a topic as a grid, a day a row; a range of them can be planned and run again.
import { airflowLink, airflowUrl, clearNotice, notice, openInAirflow, request } from "./airflow.js";
import { PLAN, isActive, isOver, isPlan, mayRun, plan, progress, recent, run, runOfPlan, snapshot, standing } from "./backfill.js";
import { byId, element } from "./dom.js";
import { readAddress, writeAddress } from "./address.js";
import { day, dayTime, duration, hourLabel, isoDay, moment, short, whole } from "./format.js";
import { saveTable } from "./files.js";
import { keepFresh } from "./refresh.js";
import { csvButton } from "./tables.js";
import { badge, panel, posts, span, total } from "./panel.js";

const HOUR = 3600e3;
const DAY = 24 * HOUR;
const DAG = "coverage";
const STORED = "x-opinion-backfill";
const FIRST_WAIT = 1e3;
const LONGEST_WAIT = 10e3;
const page = {
  data: null, failed: false, layer: "raw", from: null, days: 7, cursor: null, anchor: null, single: false, dragging: false,
  /** Whether the user may start runs. */
  mayRun: false,
  /** The plan or backfill that is followed: its run's id and its latest snapshot. */
  followed: null, found: null, timer: null, wait: FIRST_WAIT, revision: "",
};

const cells = () => [...document.querySelectorAll("[role=gridcell]")];
const indexOf = (cell) => Number(cell.dataset.hour);

/** What the address names: the first day, the layer, and an hour that is to be looked at. */
function fromAddress() {
  const query = readAddress();
  page.from = query.get("from");
  page.paged = Boolean(page.from);
  page.layer = ["labeled", "predicted"].find((layer) => layer === query.get("layer")) ?? page.layer;
  const hour = query.get("hour");
  const latest = Date.now() - (page.days - 1) * DAY;
  if (hour && moment(hour) < latest) page.from = isoDay(moment(hour));
  return hour && { hour, topic: query.get("topic") };
}

function toAddress() {
  const query = new URLSearchParams();
  if (page.paged) query.set("from", page.from);
  if (page.layer !== "raw") query.set("layer", page.layer);
  writeAddress(query);
}

const cellOf = (topic, index) => cells().find((cell) => cell.dataset.topic === topic && indexOf(cell) === index);

/** Reads anew what is shown; draws it if it has changed, and leaves the focus where it was. */
async function refresh() {
  if (page.failed) return load();
  const query = new URLSearchParams({ days: page.days });
  if (page.paged) query.set("from", page.from);
  if (page.revision) query.set("revision", page.revision);
  const before = page.data;
  let found;
  try {
    found = await request(`data/coverage?${query}`);
  } catch (problem) {
    byId("as-of").textContent = `${measured()} · could not be refreshed: ${problem.title}`;
    return;
  }
  // Meanwhile another period was read, or a selection was begun.
  if (page.data !== before || selected() || page.dragging) return;
  const same = (one) => JSON.stringify({ ...one, as_of: null });
  page.data = found;
  page.from = found.hours[0].slice(0, 10);
  byId("as-of").textContent = measured();
  if (same(found) === same(before)) return;
  drawFilters();
  drawGrids();
}

async function load() {
  const query = new URLSearchParams({ days: page.days });
  byId("as-of").textContent = "Reading …";
  if (page.from) query.set("from", page.from);
  if (page.revision) query.set("revision", page.revision);
  try {
    page.data = await request(`data/coverage?${query}`);
  } catch (problem) {
    page.failed = true;
    byId("as-of").textContent = "";
    byId("grids").replaceChildren();
    const retry = element("button", { type: "button", class: "primary", onclick: load }, "Try again");
    notice(problem.title, problem.message, retry, " ", airflowLink("dags", "The DAGs"));
    return;
  }
  page.failed = false;
  page.from = page.data.hours[0].slice(0, 10);
  if (page.from !== page.drawn) {
    // What was selected is of another period.
    clearSelection();
    page.cursor = page.anchor = null;
    page.drawn = page.from;
  }
  clearNotice();
  if (page.data.empty) {
    notice(
      "Nothing was measured in this period",
      "The DAG coverage measures every topic and hour since the collection began. It runs every quarter of an hour" +
        " once it is unpaused.",
      airflowLink(`dags/${DAG}`, "The DAG coverage"),
    );
  }
  byId("as-of").textContent = measured();
  drawFilters();
  drawGrids();
}

/** When what is shown was measured: the page may have been read long after. */
function measured() {
  const { oldest, newest } = page.data.measured;
  if (!newest) return `Read ${dayTime(new Date(page.data.as_of))} UTC; nothing was measured in this period`;
  const last = `Last measured ${dayTime(moment(newest))} UTC`;
  return `${last}${oldest === newest ? "" : `, the oldest hour ${dayTime(moment(oldest))}`} · read ${dayTime(new Date(page.data.as_of))}`;
}

function drawFilters() {
  const choices = Object.entries(page.data.layers).map(([layer, title]) =>
    element(
      "label",
      {},
      element("input", {
        type: "radio",
        name: "layer",
        value: layer,
        checked: layer === page.layer,
        onchange: () => {
          page.layer = layer;
          toAddress();
          drawGrids();
        },
      }),
      element("span", {}, title),
    ),
  );
  const first = moment(page.from);
  const last = new Date(first.getTime() + (page.days - 1) * DAY);
  const move = (days) => () => {
    page.from = isoDay(new Date(first.getTime() + days * DAY));
    page.paged = true;
    toAddress();
    load();
  };
  const step = (label, text, days, disabled) =>
    element("button", { type: "button", "aria-label": label, title: label, onclick: move(days), disabled }, text);
  byId("filters").replaceChildren(
    element("fieldset", { class: "segments" }, element("legend", {}, "Layer"), ...choices),
    element(
      "div",
      { class: "stepper", role: "group", "aria-label": "Period" },
      step("Earlier", "←", -page.days),
      element("span", { class: "period" }, `${day(first)} – ${day(last)}`),
      step("Later", "→", page.days, last.getTime() + DAY > Date.now()),
    ),
    legend(),
  );
}

function legend() {
  const shown = new Set(page.data.topics.flatMap((topic) => topic.cells.map((cell) => cell?.states[page.layer])));
  const entries = Object.entries(page.data.states).filter(([state]) => shown.has(state));
  return element(
    "ul",
    { class: "legend", id: "legend", "aria-label": "Letters" },
    entries.map(([state, { letter, meaning }]) =>
      element("li", { title: meaning }, element("span", { class: "key", "data-state": state }, letter), state),
    ),
  );
}

/** Draws the grids; the hour that was focused stays so. */
function drawGrids() {
  const place = document.activeElement?.closest?.("[role=gridcell]");
  byId("legend").replaceWith(legend());
  hideTip();
  byId("grids").replaceChildren(
    ...page.data.topics.map((topic, position) => grid(topic, position)),
    element("p", { class: "muted hint" },
      "A click or Enter opens an hour's runs. To plan a backfill, drag over hours or hold Shift with the arrow keys;",
      " the space bar or a touch marks one hour. All times are UTC."),
  );
  drawSelection();
  drawProgress();
  const focused = place && cellOf(place.dataset.topic, indexOf(place));
  const start = focused ?? cells().findLast((cell) => cell.dataset.state) ?? cells()[0];
  if (start) start.tabIndex = 0;
  focused?.focus({ preventScroll: true });
}

function grid(topic, position) {
  const heading = `topic-${position}`;
  const known = topic.cells.filter(Boolean);
  const good = known.filter((cell) => page.data.states[cell.states[page.layer]].good).length;
  const tweets = known.reduce((sum, cell) => sum + cell[page.layer], 0);
  const head = element(
    "div",
    { role: "row", class: "row head" },
    element("span", { role: "columnheader", class: "corner" }, element("span", { class: "unseen" }, "Day")),
    Array.from({ length: 24 }, (_, hour) =>
      element("span", { role: "columnheader" }, String(hour).padStart(2, "0"))),
  );
  const rows = [];
  for (let first = 0; first < topic.cells.length; first += 24) {
    const date = moment(page.data.hours[first]);
    rows.push(
      element(
        "div",
        { role: "row", class: "row" },
        element("span", { role: "rowheader" }, day(date)),
        topic.cells.slice(first, first + 24).map((cell, hour) => gridCell(topic, cell, first + hour)),
      ),
    );
  }
  return element(
    "section",
    { class: "card" },
    element(
      "div",
      { class: "card-head" },
      element("h2", { id: heading }, topic.title),
      element("p", { class: "muted" },
        known.length
          ? `${good} of ${known.length} hours ${page.layer === "predicted" ? "predicted or quiet" : "complete or quiet"} · ${whole(tweets)} tweets`
          : "not measured in this period"),
    ),
    element("div", { class: "wide", ...(window.matchMedia("(max-width: 900px)").matches && { tabindex: "0", role: "region", "aria-label": `${topic.title}: hours` }) },
      element("div", { role: "grid", class: "grid", "aria-labelledby": heading, "aria-multiselectable": "true" }, head, rows)),
    csvButton(topic.title, () => saveHours(topic)),
  );
}

/** A topic's hours as CSV: every layer's state and count, and what the verdict rests on. */
function saveHours(topic) {
  const layers = Object.keys(page.data.layers);
  const counts = ["raw", "labeled", "quarantined", "missing", "predicted", "recovered", "alive_s", "gap_s"];
  const rows = topic.cells.flatMap((cell, index) => (cell ? [[
    topic.name, page.data.hours[index], ...layers.map((layer) => cell.states[layer]), ...counts.map((name) => cell[name]),
    cell.evidence, cell.alarm, cell.measured_at ?? "",
  ]] : []));
  const heads = ["topic", "hour", ...layers.map((layer) => `${layer}_state`), ...counts, "evidence", "alarm", "measured_at"];
  saveTable(`coverage-${topic.name}-${page.data.hours[0].slice(0, 10)}-${page.data.hours.at(-1).slice(0, 10)}.csv`, heads, rows, page.data.as_of);
}

function gridCell(topic, cell, index) {
  const state = cell?.states[page.layer];
  const label = `${topic.title}, ${dayTime(moment(page.data.hours[index]))}: ${
    cell ? `${state}, ${whole(cell[page.layer])} tweets. ${cell.evidence}` : "not measured"
  }`;
  return element(
    "span",
    {
      role: "gridcell",
      tabindex: "-1",
      "aria-label": label,
      "aria-selected": "false",
      "data-hour": index,
      "data-topic": topic.name,
      "data-state": state,
    },
    element("b", {}, cell ? page.data.states[state].letter : "·"),
    element("small", {}, cell?.[page.layer] ? short(cell[page.layer]) : ""),
    cell?.alarm ? element("i", { class: "alarm", "aria-hidden": "true" }) : null,
  );
}

/** The selected hours as [first, last], both inclusive; null without a selection. */
function selected() {
  if (page.anchor === null || page.cursor === null) return null;
  if (page.anchor === page.cursor && !page.single) return null;
  return [Math.min(page.anchor, page.cursor), Math.max(page.anchor, page.cursor)];
}

function drawSelection(message = null) {
  const range = selected();
  for (const cell of cells()) {
    const index = indexOf(cell);
    cell.setAttribute("aria-selected", String(range !== null && index >= range[0] && index <= range[1]));
  }
  const place = byId("selection");
  place.classList.toggle("shown", range !== null || message !== null);
  if (message) {
    place.replaceChildren(...message);
    return;
  }
  if (!range || page.dragging) {
    if (!range) place.replaceChildren();
    return;
  }
  const start = page.data.hours[range[0]];
  // Of hours that have not begun there is nothing to plan; the open one is the last.
  const open = new Date(Math.floor(Date.parse(page.data.as_of) / HOUR) * HOUR + HOUR);
  const end = hourLabel(new Date(Math.min(moment(page.data.hours[range[1]]).getTime() + HOUR, open.getTime())));
  const hours = (moment(end) - moment(start)) / HOUR;
  const clear = element("button", { type: "button", onclick: clearSelection }, "Clear");
  if (hours <= 0) {
    place.replaceChildren(element("span", {}, "These hours have not begun."), clear);
    return;
  }
  place.replaceChildren(...[
    element("span", {}, element("b", {}, span(start, end)), `, ${hours} ${hours === 1 ? "hour" : "hours"} of every topic`),
    page.mayRun
      ? element("button", { type: "button", class: "primary", onclick: () => begin(() => plan(start, end)) }, "Plan a backfill")
      : element("span", { class: "muted" }, "Your role may not start runs of the DAG coverage; other people's plans are below."),
    range[0] === range[1] ? element("button", { type: "button", onclick: () => openRuns(range[0]) }, "Its runs") : null,
    clear,
  ].filter(Boolean));
}

function clearSelection() {
  page.anchor = page.cursor;
  page.single = false;
  drawSelection();
}

/** Starts a plan or its backfill and follows it; the user's rights decide. */
async function begin(start) {
  const close = element("button", { type: "button", onclick: clearSelection }, "Close");
  drawSelection([element("span", {}, "Starting …")]);
  try {
    const id = await start();
    clearSelection();
    await follow(id, true);
  } catch (problem) {
    const text = problem.status === 403
      ? "Your role may not start runs: nothing was started."
      : `${problem.title}: ${problem.message}`;
    drawSelection([element("span", { class: "error", role: "alert" }, text), close]);
  }
}

/** Shows a plan or backfill and keeps it up to date. Its id is kept in the address and for a reload. */
async function follow(id, focus = false) {
  clearTimeout(page.timer);
  page.followed = id;
  page.found = null;
  page.wait = FIRST_WAIT;
  if (id) window.sessionStorage.setItem(STORED, id);
  else window.sessionStorage.removeItem(STORED);
  history.replaceState(null, "", `${window.location.pathname}${window.location.search}${id ? `#${encodeURIComponent(id)}` : ""}`);
  if (id) await watch(id);
  else {
    drawPanel();
    drawProgress();
  }
  if (focus) byId("panel-title")?.focus();
}

async function watch(id) {
  const before = page.found;
  try {
    const found = await snapshot(id, before);
    if (page.followed !== id) return;
    page.found = found;
    page.trouble = null;
  } catch (problem) {
    if (page.followed !== id) return;
    if (problem.status === 404) {
      // Someone has deleted the run.
      await follow(null);
      return;
    }
    page.trouble = problem;
  }
  drawPanel();
  drawProgress();
  const over = page.found && isOver(page.found);
  if (!over) {
    page.timer = setTimeout(watch, page.wait, id);
    page.wait = Math.min(page.wait * 1.3, LONGEST_WAIT);
  }
  const step = page.found && !isPlan(page.found.run) && `${id}-${over ? "over" : page.found.run.state}`;
  if (step && before && step !== page.revision && !isActive(page.found.run)) {
    // The ledger has changed: the grid is read again, past what the server has kept.
    page.revision = step;
    await load();
    drawHistory();
  }
}

function drawPanel() {
  const place = byId("backfill");
  const titles = Object.fromEntries((page.data?.topics ?? []).map((topic) => [topic.name, topic.title]));
  const { found, trouble } = page;
  place.hidden = !page.followed || (!found && !trouble);
  if (place.hidden) {
    place.replaceChildren();
    return;
  }
  const focused = place.contains(document.activeElement) ? document.activeElement.id || "panel-title" : null;
  const opened = place.querySelector("details")?.open ?? false;
  const close = async () => {
    await follow(null);
    cells().find((cell) => cell.tabIndex === 0)?.focus();
  };
  const rows = found
    ? panel(found, titles, {
      run: page.mayRun ? () => begin(() => run(found)) : null,
      again: page.mayRun ? () => begin(() => plan(found.run.conf.start, found.run.conf.end)) : null,
      close,
    })
    : [element("button", { type: "button", onclick: close }, "Close")];
  if (trouble) rows.push(element("p", { class: "error", role: "alert" }, `${trouble.title}: ${trouble.message} Trying again.`));
  place.replaceChildren(element("div", {}, rows));
  const details = place.querySelector("details");
  if (details) details.open = opened;
  if (focused) (byId(focused) ?? byId("panel-title"))?.focus();
  const words = found ? standing(found).words : "";
  if (byId("progress").textContent !== words) byId("progress").textContent = words;
}

const MARKS = { planned: "in the plan", active: "running", done: "done", failed: "failed" };

/** Marks on the grid what the followed run does to each hour. */
function drawProgress() {
  const marks = page.found ? progress(page.found) : new Map();
  for (const cell of cells()) {
    const hour = page.data.hours[indexOf(cell)];
    const mark = marks.get(`${cell.dataset.topic} ${hour}`) ?? marks.get(hour);
    const label = cell.getAttribute("aria-label").split(" · backfill: ")[0];
    if (mark) {
      cell.dataset.progress = mark;
      cell.setAttribute("aria-label", `${label} · backfill: ${MARKS[mark]}`);
    } else {
      delete cell.dataset.progress;
      cell.setAttribute("aria-label", label);
    }
  }
}

/** The latest plans and backfills, whoever started them; the one that is active is followed if none is. */
async function drawHistory() {
  const runs = await recent();
  byId("history").replaceChildren(...(runs.length
    ? [element("h2", {}, "Plans and backfills"), element("ul", { class: "runs" }, runs.slice(0, 8).map((one) => {
      const state = one.state === "success" ? { words: "done", kind: "good" } : one.state === "failed" ? { words: "failed", kind: "bad" }
        : { words: one.state, kind: "active" };
      return element("li", {},
        element("button", { type: "button", class: "link", onclick: () => follow(one.dag_run_id, true) },
          `${isPlan(one) ? "Plan for" : "Backfill of"} ${span(one.conf.start, one.conf.end)}`),
        badge(state), element("span", { class: "muted" }, `${one.triggering_user_name ?? ""} ${dayTime(new Date(one.run_after))}`));
    }))]
    : []));
  return runs;
}

/** What the page was left with, the address names, or somebody runs just now. */
async function resume() {
  let runs = [];
  try {
    page.mayRun = await mayRun();
    runs = await drawHistory();
  } catch (problem) {
    // Without a right to see the DAG's runs there is the grid alone.
    if (problem.status !== 403) byId("history").replaceChildren(element("p", { class: "error" }, `${problem.title}: ${problem.message}`));
  }
  drawSelection();
  const named = decodeURIComponent(window.location.hash.slice(1));
  let id = named || window.sessionStorage.getItem(STORED) || runs.find(isActive)?.dag_run_id;
  if (!id) return;
  // A plan that somebody has started meanwhile is followed as what it has become.
  if (id.startsWith(PLAN) && runs.some((one) => one.dag_run_id === runOfPlan(id))) id = runOfPlan(id);
  await follow(id);
}

function openRuns(index, newTab) {
  const pattern = new URLSearchParams({ run_id_pattern: page.data.runs[index] });
  openInAirflow(airflowUrl(`dags/transform/runs?${pattern}`), newTab);
}

function moveTo(cell, extend) {
  for (const other of cells()) other.tabIndex = -1;
  cell.tabIndex = 0;
  cell.focus({ preventScroll: false });
  page.cursor = indexOf(cell);
  page.single = false;
  if (!extend) page.anchor = page.cursor;
  drawSelection();
}

function onKey(event) {
  const cell = event.target.closest("[role=gridcell]");
  if (!cell) return;
  const own = [...cell.closest("[role=grid]").querySelectorAll("[role=gridcell]")];
  const at = indexOf(cell);
  const row = at - (at % 24);
  const moves = {
    ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - 24, ArrowDown: at + 24,
    Home: event.ctrlKey ? 0 : row, End: event.ctrlKey ? own.length - 1 : row + 23,
  };
  if (event.key in moves) {
    event.preventDefault();
    const target = own[moves[event.key]];
    if (event.shiftKey && page.anchor === null) page.anchor = at;
    if (target) moveTo(target, event.shiftKey);
  } else if (event.key === "Enter") {
    event.preventDefault();
    openRuns(at, event.ctrlKey || event.metaKey);
  } else if (event.key === " ") {
    event.preventDefault();
    moveTo(cell, false);
    page.single = true;
    drawSelection();
  } else if (event.key === "Escape") {
    hideTip();
    clearSelection();
  }
}

/** By touch a tap marks an hour and the next one extends the range to it: dragging scrolls. */
function onTap(event) {
  const cell = event.target.closest("[role=gridcell]");
  if (!cell || event.pointerType !== "touch") return;
  const extend = page.single && page.anchor !== indexOf(cell) && page.cursor === page.anchor;
  const anchor = page.anchor;
  moveTo(cell, extend);
  page.anchor = extend ? anchor : indexOf(cell);
  page.single = !extend;
  drawSelection();
}

function onPointer(event) {
  const cell = event.target.closest?.("[role=gridcell]");
  if (event.pointerType === "touch") return;
  if (event.type === "pointerdown" && cell && event.button === 0) {
    event.preventDefault();
    page.dragging = true;
    page.moved = false;
    moveTo(cell, event.shiftKey);
  } else if (event.type === "pointerover" && cell) {
    showTip(cell);
    if (page.dragging && indexOf(cell) !== page.cursor) {
      page.moved = true;
      page.cursor = indexOf(cell);
      drawSelection();
    }
  } else if (event.type === "pointerup" && page.dragging) {
    page.dragging = false;
    if (!page.moved && cell && !event.shiftKey) openRuns(indexOf(cell), event.ctrlKey || event.metaKey);
    else drawSelection();
  }
}

function showTip(cell) {
  const index = indexOf(cell);
  const found = page.data.topics.find((topic) => topic.name === cell.dataset.topic);
  const hour = found.cells[index];
  const tip = byId("tip");
  const label = hourLabel(moment(page.data.hours[index]));
  const planned = (page.found?.proposal?.recoveries ?? []).filter((one) => one.topic === found.name && one.hour === label);
  const lines = hour
    ? [
        element("p", {}, element("span", { class: "key", "data-state": hour.states[page.layer] },
          page.data.states[hour.states[page.layer]].letter), ` ${hour.states[page.layer]}`),
        hour.evidence ? element("p", {}, hour.evidence) : null,
        hour.alarm ? element("p", { class: "error" }, hour.alarm) : null,
        element("dl", {}, [["Raw", hour.raw], ["Labeled", hour.labeled], ["Quarantined", hour.quarantined],
          ["Missing", hour.missing], ["Recovered", hour.recovered], ["Predicted", hour.predicted]]
          .map(([name, count]) => [element("dt", {}, name), element("dd", {}, whole(count))]),
          element("dt", {}, "Stream alive"), element("dd", {}, duration(hour.alive_s)),
          hour.gap_s ? [element("dt", {}, "Gap"), element("dd", {}, duration(hour.gap_s))] : [],
          planned.length ? [element("dt", {}, "To recover"), element("dd", {}, posts(...total(planned)))] : [],
          hour.measured_at ? [element("dt", {}, "Measured"), element("dd", {}, `${dayTime(moment(hour.measured_at))} UTC`)] : []),
      ]
    : [element("p", {}, "Not measured: before the collection began, or not yet.")];
  tip.replaceChildren(element("h3", {}, `${found.title}, ${dayTime(moment(page.data.hours[index]))} UTC`),
    ...lines.filter(Boolean));
  tip.hidden = false;
  const box = cell.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  const below = box.bottom + 8 + height < window.innerHeight;
  tip.style.left = `${Math.max(8, Math.min(box.left + box.width / 2 - width / 2, window.innerWidth - width - 8))}px`;
  tip.style.top = `${Math.max(8, below ? box.bottom + 8 : box.top - height - 8)}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}

byId("page").append(element("div", { id: "tip", role: "tooltip", hidden: true }));
const content = byId("content");
content.addEventListener("keydown", onKey);
content.addEventListener("pointerdown", onPointer);
content.addEventListener("click", onTap);
content.addEventListener("pointerover", onPointer);
content.addEventListener("pointerleave", hideTip);
content.addEventListener("focusin", (event) => {
  const cell = event.target.closest("[role=gridcell]");
  if (cell) showTip(cell);
  else hideTip();
});
content.addEventListener("focusout", hideTip);
window.addEventListener("pointerup", onPointer);
window.addEventListener("scroll", hideTip, { passive: true, capture: true });
content.append(
  element("div", { id: "backfill", class: "card", role: "region", "aria-labelledby": "panel-title", hidden: true }),
  element("p", { id: "progress", class: "unseen", role: "status" }),
  element("div", { id: "grids" }),
  element("div", { id: "selection", role: "region", "aria-label": "Selected hours", "aria-live": "polite" }),
  element("div", { id: "history" }),
);
// Everything appears at once, the panel of a run above the grid included, so that nothing moves under the pointer.
const named = fromAddress();
const late = [byId("grids"), byId("history")];
for (const part of late) part.hidden = true;
Promise.all([load(), resume()]).finally(() => {
  for (const part of late) part.hidden = false;
  // A plan that came before the topics' titles.
  drawPanel();
  const cell = named && page.data && cellOf(named.topic ?? page.data.topics[0].name, page.data.hours.indexOf(named.hour));
  if (cell) {
    moveTo(cell, false);
    page.single = true;
    drawSelection();
  }
  keepFresh(refresh, () => (page.data || page.failed) && !page.dragging && !selected() && byId("tip").hidden);
});
