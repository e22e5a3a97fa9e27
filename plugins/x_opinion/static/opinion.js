// The pages Opinion over time and Opinion across the world, drawn from what `data/<page>` describes.
import { readAddress, writeAddress } from "./address.js";
import { airflowLink, clearNotice, notice, openInAirflow, request } from "./airflow.js";
import { FEW, dispose, draw, height, loadWorld, marksAt, named, pointAt, pointsOf, resize, told } from "./charts.js";
import { byId, element, keepingFocus } from "./dom.js";
import { readDrift, warnOfDrift } from "./drift.js";
import { showExamples } from "./examples.js";
import { saveCsv, savePng } from "./files.js";
import { certainty, day as dayOf, dayTime, figure, hourLabel, isoDay, language, MARKS, moment, short, whole } from "./format.js";
import { keepFresh } from "./refresh.js";
import { sortHead } from "./tables.js";

const NAME = document.querySelector("main").dataset.page;
const DAY = 86400e3;
const HEADS = { country_code: "Country", lang: "Language", topic: "Topic", hour: "Hour, UTC", measure: "Measure", model: "Model", verdict: "Verdict" };
const PERIODS = [[1, "Today"], [7, "7 days"], [30, "30 days"], [90, "90 days"]];
/** The period is the last so many days, or from one day to another; none: as the server chooses. */
const filters = { days: null, from: null, to: null, topics: new Set(), languages: new Set(), unmeasured: false, compare: false };
/** The tables' orders that were chosen: a column's name and its direction, by the visual's id. */
const sorts = new Map();
let shown = null;
let running = null;
let drifted = null;
/** What the user may do; asked once. */
const rights = request("data/rights").catch(() => ({ texts: false }));
let readsTexts = false;

/** The filters and orders that an address names. */
function fromAddress() {
  const query = readAddress();
  const days = Number(query.get("days"));
  if (days >= 1) filters.days = days;
  else for (const bound of ["from", "to"]) filters[bound] = query.get(bound);
  filters.topics = new Set(query.getAll("topic"));
  filters.languages = new Set(query.getAll("language"));
  for (const name of ["unmeasured", "compare"]) filters[name] = query.get(name) === "true";
  for (const each of query.getAll("sort")) {
    const [id, column, direction] = each.split(":");
    sorts.set(id, { column, descending: direction === "desc" });
  }
}

/** The filters as the server reads them. */
function asked() {
  const query = new URLSearchParams();
  if (filters.days) {
    const today = new Date();
    filters.to = isoDay(today);
    filters.from = isoDay(new Date(today.getTime() - (filters.days - 1) * DAY));
  }
  if (filters.from) query.set("from", filters.from);
  if (filters.to) query.set("to", filters.to);
  for (const topic of filters.topics) query.append("topic", topic);
  for (const code of filters.languages) query.append("language", code);
  for (const name of ["unmeasured", "compare"]) if (filters[name]) query.set(name, "true");
  return query;
}

function toAddress() {
  const query = asked();
  if (filters.days) {
    // The last days before whoever opens the address, whenever that is.
    query.delete("from");
    query.delete("to");
    query.set("days", filters.days);
  }
  for (const [id, { column, descending }] of sorts) query.append("sort", `${id}:${column}:${descending ? "desc" : "asc"}`);
  writeAddress(query);
}

/** Reads anew what is shown, and draws it where something has changed. */
async function refresh() {
  const signal = running.signal;
  let found, drift;
  try {
    [found, drift] = await Promise.all([request(`data/${NAME}?${asked()}`, { signal }), readDrift({ signal })]);
  } catch (problem) {
    if (problem.name !== "AbortError" && shown && hasTweets()) byId("as-of").textContent = `${upTo()} · could not be refreshed: ${problem.title}`;
    return;
  }
  if (signal.aborted) return;
  const same = (one) => JSON.stringify({ ...one, read_at: null, as_of: null });
  const changed = !shown || same(found) !== same(shown) || JSON.stringify(drift ?? drifted) !== JSON.stringify(drifted);
  shown = found;
  drifted = drift ?? drifted;
  if (changed) await show();
  else if (hasTweets()) byId("as-of").textContent = upTo();
}

async function load() {
  running?.abort();
  running = new AbortController();
  const query = asked();
  toAddress();
  byId("content").setAttribute("aria-busy", "true");
  for (const point of document.querySelectorAll(".point")) point.replaceChildren();
  byId("as-of").textContent = "Reading …";
  try {
    // Together, so that the warning does not push drawn charts down.
    [shown, drifted] = await Promise.all([
      request(`data/${NAME}?${query}`, { signal: running.signal }), readDrift({ signal: running.signal }),
    ]);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    // The next refresh draws again, also what was shown before.
    shown = null;
    byId("content").removeAttribute("aria-busy");
    clearContent();
    notice(problem.title, problem.message, element("button", { type: "button", class: "primary", onclick: load }, "Try again"),
      " ", airflowLink("dags/insights", "The DAG insights"));
    return;
  }
  await show();
}

async function show() {
  filters.from = shown.from;
  filters.to = shown.to;
  readsTexts = (await rights).texts;
  clearNotice();
  drawFilters();
  warnOfDrift(drifted, titles());
  if (!hasTweets()) {
    byId("content").removeAttribute("aria-busy");
    clearContent();
    notice("No opinion in this period yet",
      "Tweets are labeled an hour after they were written, and the figures are refreshed some minutes later." +
        " Choose another period, or see whether the DAGs transform and insights are running.",
      airflowLink("dags/transform", "The DAG transform"), " ", airflowLink("dags/insights", "The DAG insights"));
    return;
  }
  byId("as-of").textContent = upTo();
  if (shown.visuals.some((visual) => visual.kind === "map")) await loadWorld(new URL("vendor/world.json", import.meta.url));
  drawContent();
}

const hasTweets = () => Object.keys(shown.as_of).length > 0;

/** Up to when there are tweets, of each topic where they differ, who labeled them, and when they were read. */
function upTo() {
  const ends = new Set(Object.values(shown.as_of));
  const words = (end) => `${dayTime(moment(end))} UTC`;
  const each = Object.entries(titles()).filter(([name]) => shown.as_of[name]).map(([name, title]) => `${title} ${words(shown.as_of[name])}`);
  return `Tweets up to ${ends.size > 1 ? each.join(", ") : words([...ends][0])} · labeled by ${shown.engines.join(", ") || "no model"}` +
    ` · read ${dayTime(new Date(shown.read_at))}`;
}

const titles = () => {
  const topics = shown.description.filters.find((filter) => filter.id === "topic");
  return Object.fromEntries((topics?.options ?? []).map((option) => [option.value, option.title]));
};

function drawFilters() {
  const form = byId("filters");
  const open = form.querySelector("details")?.open ?? false;
  const scrolled = form.querySelector("details > div")?.scrollTop ?? 0;
  const has = (id) => shown.description.filters.some((filter) => filter.id === id);
  keepingFocus(() => form.replaceChildren(
    ...[
      has("period") && periodFilter(),
      has("topic") && topicFilter(),
      has("language") && languageFilter(open),
      has("unmeasured") && check("unmeasured", "Include unmeasured languages", "Languages on which the labeling model was never measured"),
      has("period") && check("compare", "Compare with the period before", "The same number of days just before; for today, the same hours"),
    ].filter(Boolean),
  ));
  const list = form.querySelector("details > div");
  if (list) list.scrollTop = scrolled;
}

const check = (name, text, title) => element("label", { class: "check", title },
  element("input", { type: "checkbox", id: name, checked: filters[name], onchange: (event) => {
    filters[name] = event.target.checked;
    load();
  } }), text);

function periodFilter() {
  const today = new Date();
  const days = (Date.parse(filters.to) - Date.parse(filters.from)) / DAY + 1;
  const choose = (count) => () => {
    filters.days = count;
    load();
  };
  const bound = (name, label) => element("input", {
    type: "date", id: `period-${name}`, "aria-label": label, value: filters[name], max: isoDay(today),
    onchange: (event) => {
      if (!event.target.value) return;
      filters.days = null;
      filters[name] = event.target.value;
      if (filters.from > filters.to) filters[name === "from" ? "to" : "from"] = event.target.value;
      load();
    },
  });
  return element("div", { class: "group" },
    element("fieldset", { class: "segments" }, element("legend", {}, "Period"),
      PERIODS.map(([count, title]) => element("label", {},
        element("input", { type: "radio", name: "period", id: `period-${count}`, checked: count === days && filters.to === isoDay(today), onchange: choose(count) }),
        element("span", {}, title)))),
    bound("from", "First day, UTC"), "–", bound("to", "Last day, UTC"));
}

function toggled(set, value) {
  return (event) => {
    if (event.target.checked) set.add(value);
    else set.delete(value);
    load();
  };
}

function topicFilter() {
  return element("fieldset", { class: "chips" }, element("legend", {}, "Topics"),
    Object.entries(titles()).map(([name, title]) => element("label", {},
      element("input", { type: "checkbox", id: `topic-${name}`, checked: filters.topics.has(name), onchange: toggled(filters.topics, name) }),
      element("span", {}, title))));
}

function languageFilter(open) {
  const chosen = filters.languages.size;
  const offered = shown.languages.filter((one) => one.measured || filters.unmeasured || filters.languages.has(one.value));
  // At the window's right edge the list opens to the left: it is never cut.
  const place = (event) => {
    const list = event.target.querySelector("div");
    list.style.left = "0";
    const over = list.getBoundingClientRect().right + 12 - document.documentElement.clientWidth;
    if (over > 0) list.style.left = `${-over}px`;
  };
  return element("details", { class: "menu", open, ontoggle: place },
    element("summary", {}, chosen ? `Languages: ${chosen}` : "All languages"),
    element("div", {},
      element("button", { type: "button", disabled: !chosen, onclick: () => { filters.languages.clear(); load(); } }, "All languages"),
      offered.map((one) => element("label", {},
        element("input", { type: "checkbox", id: `language-${one.value}`, checked: filters.languages.has(one.value), onchange: toggled(filters.languages, one.value) }),
        element("span", {}, language(one.value)), element("small", {}, `${short(one.tweets)}${one.measured ? "" : " · unmeasured"}`)))));
}

function clearContent() {
  for (const chart of document.querySelectorAll(".chart")) dispose(chart);
  byId("content").replaceChildren();
  byId("as-of").textContent = "";
}

function drawContent() {
  const content = byId("content");
  const descriptions = Object.fromEntries(shown.description.tiles.map((tile) => [tile.id, tile]));
  const tiles = element("div", { class: "tiles" }, shown.tiles.map((tile) => drawTile(tile, descriptions[tile.id])));
  const ids = shown.visuals.map((visual) => visual.id).join();
  if (content.dataset.ids !== ids || !content.firstChild) {
    clearContent();
    byId("as-of").textContent = upTo();
    content.dataset.ids = ids;
    content.append(tiles, comparison(), trust(), key(), eventList(), element("div", { class: "visuals" }, shown.visuals.map(card)));
  } else {
    content.firstChild.replaceWith(tiles);
    byId("compared").replaceWith(comparison());
    byId("trust").replaceWith(trust());
    byId("events").replaceWith(eventList());
  }
  content.removeAttribute("aria-busy");
  for (const visual of shown.visuals) keepingFocus(() => drawVisual(visual));
}

function drawTile(tile, described) {
  const interval = tile.low === null ? null : `${certainty(tile.audit)}: ${figure(tile.low, tile.format)} to ${tile.high === null ? "∞" : figure(tile.high, tile.format)}`;
  return element("section", { class: "tile", "data-id": tile.id, title: described?.description },
    element("h2", {}, tile.title),
    element("p", { class: "value", "data-value": tile.value }, figure(tile.value, tile.format)),
    element("p", { class: "muted interval" }, interval ?? " "),
    element("p", { class: "muted n" }, tile.n === null ? " " : `n = ${whole(tile.n)}`),
    shown.before && element("p", { class: "before" }, changed(shown.before.tiles[tile.id])));
}

/** What a tile's figure has changed by since the period before. */
function changed(before) {
  if (!before || before.change === null) return "nothing to compare with";
  const change = (value) => figure(value, before.format === "percent" ? "points" : before.format === "ratio" ? "times" : "signed");
  const known = before.change_low !== null || before.change_high !== null;
  return [element("b", {}, change(before.change)), known &&
    ` (${certainty(before.audit)}: ${before.change_low === null ? "no bound" : change(before.change_low)} to ${before.change_high === null ? "no bound" : change(before.change_high)})`,
  element("span", { class: "muted" }, ` from ${figure(before.value, before.format)}`)];
}

const DIFFERENCES = { models: "other models labeled", sample: "X delivered another sample", rules: "the rules changed", search: "search alone brought hours of one of them" };

/** With what the tiles are compared, and what else than opinion may have changed. */
function comparison() {
  const { before } = shown;
  if (!before) return element("p", { id: "compared", hidden: true });
  const end = before.to.length > 10 ? `${dayTime(moment(before.to))} UTC` : dayOf(moment(before.to));
  const none = Object.keys(before.tiles).length ? "" : "That period has no tweets. ";
  return element("p", { id: "compared", class: "hint" }, element("span", { class: "muted" }, `Compared with ${dayOf(moment(before.from))} to ${end}. ${none}`),
    before.differs.length > 0 && element("strong", { class: "error" },
      `The periods were not measured alike: ${before.differs.map((kind) => DIFFERENCES[kind]).join("; ")}. A change may be one of method.`));
}

/** Where nobody has judged, what the models scored on public tweets, of the languages shown: all that is known of their labels. */
function trust() {
  if (!shown.tiles.some((tile) => tile.audit === 0)) return element("p", { id: "trust", hidden: true });
  const spoken = shown.languages.map((one) => one.value).filter((code) => !filters.languages.size || filters.languages.has(code));
  const models = Object.entries(shown.scores).map(([engine, scores]) => [engine, spoken.filter((code) => code in scores)
    .map((code) => `${language(code)} ${figure(scores[code], "percent0")}`).join(", ")]).filter(([, told]) => told);
  return element("p", { id: "trust", class: "hint" }, element("strong", {}, "Sampling error only: "),
    "no audit tells how far the labels of these tweets can be trusted. ",
    models.length ? `On public tweets the macro-F1 was, with 100 % for a perfect model: ${models.map(([engine, told]) => `${models.length > 1 ? `${engine}: ` : ""}${told}`).join("; ")}.`
      : "What the model scored on public tweets is not known either.", " ",
    airflowLink("plugin/audit", "The page Audit"));
}

function card(visual) {
  const description = shown.description.visuals.find((found) => found.id === visual.id);
  const text = description?.measures.length === 1 ? description.measures[0].description : "";
  return element("section", { class: `card visual ${visual.kind}`, id: `visual-${visual.id}` },
    element("div", { class: "card-head" }, element("h2", { id: `title-${visual.id}` }, visual.title), element("p", { class: "muted" }, text)),
    visual.kind === "table"
      ? element("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": `title-${visual.id}` })
      : [element("div", { class: "chart", role: "img", "aria-labelledby": `title-${visual.id}` }),
        leads(visual) && steps(visual),
        element("div", { class: "point", role: "status" }),
        element("details", { class: "figures", ontoggle: (event) => { if (event.target.open) fillFigures(visual.id); } },
          element("summary", {}, "Figures"), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${visual.title}: figures` }))],
    files(visual));
}

/** Whether a chart's points lead anywhere: those over time to their hours, the others to tweets alone. */
const leads = (visual) => visual.kind === "line" || readsTexts;

const visualOf = (id) => shown.visuals.find((found) => found.id === id);

/** A point in words. */
const worded = (visual, point) => (visual.kind === "line" ? `${dayTime(new Date(point))} UTC` : named(visual.columns[0].name, point, titles()));

/** What leads from point to point of a chart by keyboard, gaps included; it is seen when it has the focus. */
function steps(visual) {
  const what = visual.kind === "line" ? "point in time" : HEADS[visual.columns[0].name].toLowerCase();
  return element("input", { type: "range", class: "steps", id: `steps-${visual.id}`, min: 0, "aria-label": `${visual.title}: ${what}`,
    oninput: ({ target }) => choosePoint(visual.id, pointsOf(visualOf(visual.id))[target.value]) });
}

function choosePoint(id, point) {
  const visual = visualOf(id);
  const slider = byId(`steps-${id}`);
  slider.value = pointsOf(visual).indexOf(point);
  slider.dataset.at = point;
  slider.setAttribute("aria-valuetext", worded(visual, point));
  pointAt(byId(`visual-${id}`).querySelector(".chart"), visual, point);
  showPoint(visual, point);
}

/** As many steps as there are points; the chosen one stays chosen; before, the latest hour or the first of the others is. */
function stepsOf(visual) {
  const slider = byId(`steps-${visual.id}`);
  const points = pointsOf(visual);
  const chosen = points.findIndex((point) => `${point}` === slider.dataset.at);
  slider.max = Math.max(0, points.length - 1);
  slider.value = chosen >= 0 ? chosen : visual.kind === "line" ? slider.max : 0;
  slider.disabled = !points.length;
  if (points.length) slider.setAttribute("aria-valuetext", worded(visual, points[slider.value]));
}

/** A link to an hour on Coverage, which leads to its runs. */
function hourLink(at, topic, ...words) {
  const query = new URLSearchParams({ hour: hourLabel(at), ...(topic && { topic }) });
  return airflowLink(`plugin/coverage?${query}`, ...words);
}

/** Below a chart what concerns the point that was chosen, with the way to its hour and to its tweets. */
function showPoint(visual, point) {
  const place = byId(`visual-${visual.id}`).querySelector(".point");
  const marks = marksAt(visual, point);
  place.replaceChildren(
    element("b", {}, worded(visual, point)), " ",
    ...(visual.kind === "line" ? ["· ", hourLink(new Date(point), marks[0]?.topic, "its coverage and runs"),
      element("ul", {}, marks.map((mark) => element("li", {}, told(mark, titles()))))] : []),
    element("span", { class: "group" }, readsTexts && topicsAt(visual, point).map((topic) => exampleButton(place, visual, point, topic))));
}

/** The topics whose tweets are behind a point; a measure of two topics rests on both. */
function topicsAt(visual, point) {
  const value = visual.columns.findIndex((one) => one.role === "value");
  const topic = visual.columns.findIndex((one) => one.name === "topic");
  const rows = visual.rows.filter((row) => (visual.kind === "line" ? moment(row[0]).getTime() : row[0]) === point && row[value] !== null);
  const isBehind = (name) => (topic >= 0 ? rows.some((row) => row[topic] === name)
    : rows.length && (visual.topic ? visual.topic === name : !filters.topics.size || filters.topics.has(name)));
  return Object.keys(titles()).filter(isBehind);
}

/** A button that asks for some of a topic's tweets behind a point: no text is on the page before. */
function exampleButton(place, visual, point, topic) {
  const query = asked();
  for (const name of ["from", "to", "topic", "compare"]) query.delete(name);
  query.set("topic", topic);
  if (visual.kind === "line") {
    query.set("hour", hourLabel(new Date(point)));
    query.set("hours", visual.hours);
  } else {
    query.set("hour", `${shown.from}T00`);
    query.set("hours", 24 * ((Date.parse(shown.to) - Date.parse(shown.from)) / DAY + 1));
    query.set(visual.columns[0].name === "lang" ? "language" : "country", point);
  }
  const title = titles()[topic] ?? topic;
  return element("button", { type: "button", onclick: () => showExamples(place, query, title, `${visual.title}, ${worded(visual, point)}`) },
    `Some tweets: ${title}`);
}

/** Buttons that save a visual; what is shown when one is pressed is saved. */
function files(visual) {
  const current = () => visualOf(visual.id);
  const chart = () => byId(`visual-${visual.id}`).querySelector(".chart");
  const button = (title, save) => element("button", { type: "button", "aria-label": `${visual.title} as ${title}`, onclick: save }, title);
  return element("p", { class: "files" },
    button("CSV", () => saveCsv(current(), shown)),
    visual.kind === "table" ? null : button("PNG", () => savePng(current(), chart(), shown, titles())));
}

/** The period's events, which the charts over time show as lines. */
function eventList() {
  if (shown.events_problem) return element("p", { class: "hint error", id: "events", role: "alert" }, shown.events_problem);
  const over = shown.visuals.some((visual) => visual.kind === "line");
  if (!shown.events.length || !over) return element("p", { id: "events", hidden: true });
  return element("p", { class: "muted hint", id: "events" }, "Events: ", shown.events.map(({ day, title, link }, index) => [
    index ? " · " : "", `${dayOf(moment(day))} `,
    link ? element("a", { href: link, rel: "noreferrer", onclick: (event) => { event.preventDefault(); openInAirflow(link, true); } }, title) : title,
  ]));
}

function drawVisual(visual) {
  const place = byId(`visual-${visual.id}`);
  const empty = visual.rows.length === 0;
  place.classList.toggle("empty", empty);
  if (visual.kind === "table") {
    place.querySelector(".scroll").replaceChildren(table(visual));
    return;
  }
  const chart = place.querySelector(".chart");
  const tall = height(visual);
  if (tall !== null) chart.style.height = `${tall}px`;
  draw(chart, visual, titles(), shown.events, leads(visual) && ((point) => choosePoint(visual.id, point)));
  if (leads(visual)) stepsOf(visual);
  if (place.querySelector("details").open) fillFigures(visual.id);
}

function fillFigures(id) {
  const visual = visualOf(id);
  byId(`visual-${id}`).querySelector("details .scroll").replaceChildren(table(visual));
}

/** By which column a visual's table is sorted: as chosen, else by n; a table over time stays in its order. */
function sorting(visual, measures) {
  const chosen = sorts.get(visual.id);
  const column = visual.columns.findIndex((one) => one.name === chosen?.column);
  if (column >= 0) return { column, descending: chosen.descending };
  const n = measures.find((measure) => measure.n !== undefined)?.n;
  return n === undefined || visual.columns[0].name === "hour" ? null : { column: n, descending: true };
}

/** Sorts a visual's table by a column; by the same one again the other way around. */
function sortBy(visual, column, measures) {
  const standing = sorting(visual, measures);
  const texts = ["dimension", "series"].includes(visual.columns[column].role);
  sorts.set(visual.id, { column: visual.columns[column].name, descending: standing?.column === column ? !standing.descending : !texts });
  toAddress();
  if (visual.kind === "table") drawVisual(visual);
  else fillFigures(visual.id);
  byId(`sort-${visual.id}-${column}`).focus();
}

/** Rows by a column, those without a value last; equal ones keep their order. */
function sorted({ rows, columns }, { column, descending }) {
  const words = (value) => String(named(columns[column].name, value, titles()));
  const compare = (a, b) => (typeof a === "number" ? a - b : columns[column].name === "hour" ? a.localeCompare(b) : words(a).localeCompare(words(b)));
  return rows.toSorted((a, b) => {
    if (a[column] === null || b[column] === null) return (a[column] === null) - (b[column] === null);
    return descending ? compare(b[column], a[column]) : compare(a[column], b[column]);
  });
}

/** A visual's rows as a table: one column a dimension, and a measure with its interval and n. */
function table(visual) {
  const columns = visual.columns.map((column, index) => ({ ...column, index }));
  const dimensions = columns.filter((column) => ["dimension", "series"].includes(column.role));
  const measures = columns.filter((column) => column.role === "value").map((value) => {
    const after = columns.slice(value.index + 1);
    const end = after.findIndex((column) => column.role === "value");
    const own = end < 0 ? after : after.slice(0, end);
    return { ...value, ...Object.fromEntries(own.map((column) => [column.role, column.index])) };
  });
  if (!visual.rows.length) return element("p", { class: "muted" }, "Nothing in this period.");
  const sort = sorting(visual, measures);
  const rows = sort ? sorted(visual, sort) : visual.rows;
  const n = measures.find((measure) => measure.n !== undefined)?.n;
  const direction = (index) => (sort?.column === index ? (sort.descending ? "descending" : "ascending") : "none");
  const head = (index, title, options) => sortHead(`sort-${visual.id}-${index}`, title, direction(index), () => sortBy(visual, index, measures), options);
  return element("table", {},
    element("thead", {}, element("tr", {},
      dimensions.map((column) => head(column.index, HEADS[column.name] ?? column.name)),
      measures.map((measure) => [
        head(measure.index, measure.title ?? visual.title, { class: "number" }),
        measure.low !== undefined && element("th", { scope: "col", class: "number" }, measure.audit === undefined ? "95 %" : "Interval"),
        measure.n !== undefined && head(measure.n, "n", { class: "number" }),
      ]).flat())),
    element("tbody", {}, rows.map((row) => element("tr", n !== undefined && row[n] !== null && row[n] < FEW ? { class: "few", title: `fewer than ${FEW} tweets` } : {},
      dimensions.map((column, place) => element(place ? "td" : "th", place ? {} : { scope: "row" },
        column.name === "hour" ? hourLink(moment(row[column.index]), null, named("hour", row[column.index])) : named(column.name, row[column.index], titles()))),
      measures.map((measure) => [
        element("td", { class: "number" }, figure(row[measure.index], measure.format)),
        measure.low !== undefined && element("td", { class: "number muted", title: row[measure.low] === null ? "" : certainty(row[measure.audit]) }, row[measure.low] === null ? "–"
          : `${figure(row[measure.low], measure.format)} – ${row[measure.high] === null ? "∞" : figure(row[measure.high], measure.format)}${MARKS[row[measure.audit]] ?? ""}`),
        measure.n !== undefined && element("td", { class: "number muted" }, row[measure.n] === null ? "–" : whole(row[measure.n])),
      ]).flat()))));
}

/** What the figures are not, and what the marks in the charts mean: it stands by them. */
function key() {
  const marks = {
    line: [element("span", { class: "key-gap", "aria-hidden": "true" }), " hours with a gap · ",
      element("span", { class: "key-search", "aria-hidden": "true" }), " hours that search alone brought · ",
      element("span", { class: "key-change", "aria-hidden": "true" }), " rules, sample or models changed · "],
    map: [element("span", { class: "key-few", "aria-hidden": "true" }), ` fewer than ${FEW} tweets · `],
  };
  const kinds = new Set(shown.visuals.map((visual) => visual.kind));
  return element("p", { class: "muted hint key-line", id: "key" },
    element("strong", {}, "Sentiment of tweets that name a topic is not support for it. "),
    Object.entries(marks).filter(([kind]) => kinds.has(kind)).map(([, parts]) => parts), "bands and whiskers are intervals, corrected for the sample in force: of 95 % where people have judged a random sample of the tweets; ",
    `${MARKS[0].trim()} knows the sampling error only, not the model's; ${MARKS[2].trim()} rests on the judgments of the topic's other tweets, as too few of these were judged`);
}

const charts = () => document.querySelectorAll(".chart");
new ResizeObserver(() => charts().forEach(resize)).observe(byId("content"));
window.addEventListener("themechange", () => {
  // What failed to be read, or is about to be drawn, has no place yet.
  shown?.visuals.filter((visual) => visual.kind !== "table" && byId(`visual-${visual.id}`)).forEach(drawVisual);
});
byId("filters").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("click", (event) => {
  const menu = document.querySelector("details.menu[open]");
  if (menu && !menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = document.querySelector("details.menu[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
fromAddress();
load();
// Not under a reader's pointer, nor while a day is being chosen.
keepFresh(refresh, () => !document.querySelector("#content[aria-busy], .chart:hover, #filters input[type=date]:focus"));
