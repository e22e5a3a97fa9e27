// The page Coverage: hours of a topic as a grid, a day a row; a range of them can be planned anew.
import { airflowLink, airflowUrl, clearNotice, notice, openInAirflow, request } from "./airflow.js";
import { byId, element } from "./dom.js";
import { day, dayTime, duration, hourLabel, isoDay, moment, short, time, whole } from "./format.js";

const HOUR = 3600e3;
const DAY = 24 * HOUR;
const DAG = "coverage";
const page = { data: null, layer: "raw", from: null, days: 7, cursor: null, anchor: null, dragging: false };

const cells = () => [...document.querySelectorAll("[role=gridcell]")];
const indexOf = (cell) => Number(cell.dataset.hour);

async function load() {
  const query = new URLSearchParams({ days: page.days });
  if (page.from) query.set("from", page.from);
  try {
    page.data = await request(`data/coverage?${query}`);
  } catch (problem) {
    byId("content").replaceChildren();
    const retry = element("button", { type: "button", class: "primary", onclick: load }, "Try again");
    notice(problem.title, problem.message, retry, " ", airflowLink("dags", "The DAGs"));
    return;
  }
  page.from ??= page.data.hours[0].slice(0, 10);
  page.cursor = page.anchor = null;
  clearNotice();
  if (page.data.empty) {
    notice(
      "Nothing was measured in this period",
      "The DAG coverage measures every topic and hour since the collection began. It runs every quarter of an hour" +
        " once it is unpaused.",
      airflowLink(`dags/${DAG}`, "The DAG coverage"),
    );
  }
  byId("as-of").textContent = `As of ${dayTime(new Date(page.data.as_of))} UTC`;
  drawFilters();
  drawGrids();
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

function drawGrids() {
  byId("legend").replaceWith(legend());
  hideTip();
  byId("content").replaceChildren(
    ...page.data.topics.map((topic, position) => grid(topic, position)),
    element("p", { class: "muted hint" },
      "A click or Enter opens an hour's runs. Drag over hours, or hold Shift with the arrow keys, to plan a backfill. All times are UTC."),
    element("div", { id: "selection", role: "region", "aria-label": "Selected hours", "aria-live": "polite" }),
  );
  drawSelection();
  const start = cells().findLast((cell) => cell.dataset.state) ?? cells()[0];
  if (start) start.tabIndex = 0;
}

function grid(topic, position) {
  const heading = `topic-${position}`;
  const known = topic.cells.filter(Boolean);
  const good = known.filter((cell) => ["complete", "quiet", "predicted"].includes(cell.states[page.layer])).length;
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
    element("div", { role: "grid", class: "grid", "aria-labelledby": heading, "aria-multiselectable": "true" }, head, rows),
  );
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
  if (page.anchor === null || page.cursor === null || page.anchor === page.cursor) return null;
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
  const start = moment(page.data.hours[range[0]]);
  const end = new Date(moment(page.data.hours[range[1]]).getTime() + HOUR);
  const hours = range[1] - range[0] + 1;
  place.replaceChildren(
    element("span", {}, element("b", {}, `${dayTime(start)} – ${day(start) === day(end) ? time(end) : dayTime(end)}`),
      ` UTC, ${hours} hours of every topic`),
    element("button", { type: "button", class: "primary", onclick: () => plan(start, end) }, "Plan a backfill (dry run)"),
    element("button", { type: "button", onclick: clearSelection }, "Clear"),
  );
}

function clearSelection() {
  page.anchor = page.cursor;
  drawSelection();
}

/** Starts the DAG coverage through Airflow's own API: the user's rights decide. */
async function plan(start, end) {
  drawSelection([element("span", {}, "Starting …")]);
  const close = element("button", { type: "button", onclick: clearSelection }, "Close");
  try {
    const run = await request(airflowUrl(`api/v2/dags/${DAG}/dagRuns`), {
      method: "POST",
      body: JSON.stringify({
        logical_date: null,
        conf: { start: hourLabel(start), end: hourLabel(end), dry_run: true },
      }),
    });
    const link = airflowLink(`dags/${DAG}/runs/${encodeURIComponent(run.dag_run_id)}`, "its run");
    drawSelection([element("span", {}, "The backfill is being planned; nothing is changed. See ", link, "."), close]);
  } catch (problem) {
    const text = problem.status === 403
      ? "Your role may not start runs: nothing was started."
      : `${problem.title}: ${problem.message}`;
    drawSelection([element("span", { class: "error", role: "alert" }, text), close]);
  }
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
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    openRuns(at, event.ctrlKey || event.metaKey);
  } else if (event.key === "Escape") {
    hideTip();
    clearSelection();
  }
}

function onPointer(event) {
  const cell = event.target.closest?.("[role=gridcell]");
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
          hour.gap_s ? [element("dt", {}, "Gap"), element("dd", {}, duration(hour.gap_s))] : []),
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

document.body.append(element("div", { id: "tip", role: "tooltip", hidden: true }));
const content = byId("content");
content.addEventListener("keydown", onKey);
content.addEventListener("pointerdown", onPointer);
content.addEventListener("pointerover", onPointer);
content.addEventListener("pointerleave", hideTip);
content.addEventListener("focusin", (event) => {
  const cell = event.target.closest("[role=gridcell]");
  if (cell) showTip(cell);
  else hideTip();
});
content.addEventListener("focusout", hideTip);
window.addEventListener("pointerup", onPointer);
window.addEventListener("scroll", hideTip, { passive: true });
load();
