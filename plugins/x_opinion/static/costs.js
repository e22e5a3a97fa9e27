// The page Costs: a month's usage at list prices, beside two endpoints that are always up, and the price list.
import { readAddress, writeAddress } from "./address.js";
import { airflowLink, clearNotice, notice, request } from "./airflow.js";
import { byId, element } from "./dom.js";
import { saveTable } from "./files.js";
import { money, whole } from "./format.js";
import { keepFresh } from "./refresh.js";
import { csvButton, head, scroll, sortHead } from "./tables.js";

const MONTH = new Intl.DateTimeFormat("en", { month: "long", year: "numeric", timeZone: "UTC" });
const QUANTITY = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 4 });
const PRICE = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", maximumSignificantDigits: 4 });
const page = { month: readAddress().get("month"), figures: null, sorts: { usage: { column: 7, descending: true }, prices: { column: 0, descending: false } } };
const dollars = (value) => (value === null ? "–" : money(value));

async function load() {
  try {
    page.figures = await request(`data/costs${page.month ? `?month=${page.month}` : ""}`);
  } catch (problem) {
    byId("content").replaceChildren();
    notice(problem.title, problem.message, element("button", { type: "button", class: "primary", onclick: load }, "Try again"),
      " ", airflowLink("dags/costs", "The DAG costs"));
    return;
  }
  clearNotice();
  draw();
}

function draw() {
  const { figures } = page;
  filters(figures);
  byId("as-of").textContent = figures.days ? `${figures.days} ${figures.days === 1 ? "day" : "days"} measured, up to ${figures.last} (UTC)` : "";
  byId("content").replaceChildren(...[
    element("p", { id: "modeled" }, "Every amount is modeled: usage times list price. It is not a bill: discounts, free tiers and taxes are not in it, nor are Airflow itself, the streamer's machine, network and logs."),
    figures.unpriced.length > 0 && element("p", { class: "error", id: "unpriced" }, `The price list has no price of ${figures.unpriced.join(", ")}: these count as nothing here.`),
    figures.limit !== null && figures.projected > figures.limit && element("p", { class: "error", id: "over-limit" }, `The month is projected above the limit of ${money(figures.limit)}.`),
    figures.rows.length ? [tiles(figures), comparison(figures), card("usage", "By stage and item", table("usage", "By stage and item", USAGE, figures.rows))]
      : element("p", { class: "muted", id: "nothing" }, "Nothing was measured in this month. ", airflowLink("dags/costs", "The DAG costs"), " measures every morning."),
    card("prices", "The price list", table("prices", "The price list", PRICES, figures.prices)),
  ].flat().filter(Boolean));
}

function filters(figures) {
  const month = figures.first.slice(0, 7);
  const shift = (by) => {
    const date = new Date(`${figures.first}T00:00:00Z`);
    date.setUTCMonth(date.getUTCMonth() + by);
    return date.toISOString().slice(0, 7);
  };
  const today = new Date().toISOString().slice(0, 7);
  const step = (by, label) => element("button", { type: "button", id: by < 0 ? "earlier" : "later", disabled: by > 0 && month >= today, onclick: () => show(shift(by)) }, label);
  byId("filters").replaceChildren(step(-1, "Month before"), element("strong", { id: "month" }, MONTH.format(new Date(`${figures.first}T00:00:00Z`))), step(1, "Month after"));
}

async function show(month) {
  page.month = month;
  writeAddress(new URLSearchParams({ month }));
  await load();
}

function tiles(figures) {
  const tile = (id, title, value, small) => element("section", { class: "tile", id, "aria-labelledby": `${id}-title` },
    element("h2", { id: `${id}-title` }, title), element("div", { class: "value" }, value), element("div", { class: "n muted" }, small));
  return element("div", { class: "tiles" },
    tile("so-far", "So far, modeled", dollars(figures.dollars), `${whole(figures.tweets)} tweets labeled`),
    tile("projected", "Whole month, projected", dollars(figures.projected), "as its measured days on average"),
    tile("per-million", "A million tweets, modeled", dollars(figures.per_million), "everything, for tweets labeled"),
    tile("labeling", "Labeling alone, modeled", dollars(figures.labeling), "SageMaker's part of it"));
}

const card = (id, title, ...content) => element("section", { class: "card", id, "aria-labelledby": `${id}-title` },
  element("h2", { id: `${id}-title` }, title), content);

function comparison(figures) {
  if (figures.always_on === null) return null;
  const row = (name, total, million) => element("tr", {}, element("th", { scope: "row" }, name),
    element("td", { class: "number" }, dollars(total)), element("td", { class: "number" }, dollars(million)));
  return card("comparison", "Labeling, beside two endpoints that are always up",
    element("p", { class: "muted" }, "Modeled for the same tweets and days, one instance each."),
    scroll("Labeling, beside two endpoints that are always up", element("table", {}, head(["Design"], ["These days", "A million tweets"]),
      element("tbody", {}, row("This pipeline", figures.labeling, figures.labeling_per_million), row("Two endpoints, always on", figures.always_on, figures.always_on_per_million)))));
}

const knownPrice = (row) => (row.usd === null ? "no price" : `${row.price_date}${row.confirmed ? "" : ", not confirmed"}`);
const USAGE = [
  { title: "Service", value: (row) => row.service },
  { title: "Item", value: (row) => row.item },
  { title: "For", value: (row) => row.stage },
  { title: "Used", value: (row) => row.quantity, shown: (row) => QUANTITY.format(row.quantity), number: true },
  { title: "Unit", value: (row) => row.unit },
  { title: "Quantity is", value: (row) => (row.modeled ? "modeled" : "measured") },
  { title: "Price", value: (row) => row.usd, shown: (row) => (row.usd === null ? "–" : PRICE.format(row.usd)), number: true },
  { title: "Dollars, modeled", value: (row) => row.dollars, shown: (row) => dollars(row.dollars), number: true },
  { title: "Price of", value: knownPrice },
  { title: "How it is known", value: (row) => row.origin },
];
const PRICES = [
  { title: "Service", value: (line) => line.service },
  { title: "Item", value: (line) => line.item },
  { title: "Price", value: (line) => line.usd, shown: (line) => PRICE.format(line.usd), number: true },
  { title: "Unit", value: (line) => line.unit },
  { title: "Region", value: (line) => line.region },
  { title: "Date", value: (line) => line.date },
  { title: "Source", value: (line) => line.source, shown: (line) => element("a", { href: line.source, rel: "noreferrer", target: "_blank" }, new URL(line.source).hostname) },
  { title: "Confirmed by", value: (line) => line.confirmed || "nothing" },
  { title: "Note", value: (line) => line.note },
];

/** Rows as a table that a column's head sorts, what has no value last; and a button that saves it. */
function table(id, title, columns, rows) {
  const { column, descending } = page.sorts[id];
  const { value } = columns[column];
  const compare = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
  const sorted = rows.toSorted((a, b) => {
    const [one, other] = [value(a), value(b)];
    if (one === null || other === null) return (one === null) - (other === null);
    return descending ? compare(other, one) : compare(one, other);
  });
  const sortBy = (index) => {
    page.sorts[id] = { column: index, descending: index === column ? !descending : Boolean(columns[index].number) };
    draw();
    byId(`sort-${id}-${index}`).focus();
  };
  const direction = (index) => (index === column ? (descending ? "descending" : "ascending") : "none");
  return [
    scroll(title, element("table", {},
      element("thead", {}, element("tr", {}, columns.map((one, index) => sortHead(`sort-${id}-${index}`, one.title, direction(index), () => sortBy(index), { class: one.number && "number" })))),
      element("tbody", {}, sorted.map((row) => element("tr", {}, columns.map((one, index) => element(index ? "td" : "th", index ? { class: one.number && "number" } : { scope: "row" }, (one.shown ?? one.value)(row)))))))),
    csvButton(title, () => saveTable(`costs-${id}-${page.figures.first.slice(0, 7)}.csv`, columns.map((one) => one.title),
      sorted.map((row) => columns.map((one) => one.value(row))), page.figures.read_at)),
  ];
}

load();
keepFresh(load, () => !document.activeElement?.closest("table"));
