// A visual as a file that can stand alone: with n, interval, method, and when it was read.
import { save } from "./airflow.js";
import { chartOf } from "./charts.js";
import { certainty, dayTime, whole } from "./format.js";

const CAUTION = "Sentiment of tweets that name a topic is not support for it.";
const BELOW = 18;

function keep(content, name) {
  const address = URL.createObjectURL(content);
  save(address, name);
  // The download has begun before; a browser needs the address no longer.
  setTimeout(() => URL.revokeObjectURL(address), 60e3);
}

const named = (visual, shown, ending) => `${visual.id}-${shown.from}-${shown.to}.${ending}`;

/** A cell in quotes where it needs them; a text that a spreadsheet would compute is kept from it. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows as CSV, each with when they were read and what there is to know of the source. */
export function saveTable(file, heads, rows, readAt) {
  const source = document.getElementById("source")?.textContent ?? "";
  const lines = [[...heads, "read_at", "source"], ...rows.map((row) => [...row, readAt, source])];
  const text = lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
  keep(new Blob([text], { type: "text/csv;charset=utf-8" }), file);
}

/** A visual's rows as CSV: figures as they were computed, and for each interval what it knows. */
export function saveCsv(visual, shown) {
  const { columns } = visual;
  const heads = columns.map(({ name, role }) => (role === "audit" ? name.replace(/audit$/, "interval") : name));
  const method = (row, at) => {
    const low = columns.slice(0, at).findLastIndex((column) => column.role === "low");
    return low < 0 || row[low] === null ? "" : certainty(row[at]);
  };
  const rows = visual.rows.map((row) => [
    ...row.map((value, at) => (columns[at].role === "audit" ? method(row, at) : value)), shown.from, shown.to, shown.engines.join(" "),
  ]);
  saveTable(named(visual, shown, "csv"), [...heads, "period_from", "period_to", "labeled_by"], rows, shown.read_at);
}

/** What a picture has to say below itself. */
export function caption(visual, shown, titles) {
  const at = (role) => visual.columns.findIndex((column) => column.role === role);
  const [n, audit, low, series] = ["n", "audit", "low", "series"].map(at);
  const counts = new Map();
  const methods = new Set();
  for (const row of visual.rows) {
    const name = series < 0 ? "" : `${titles[row[series]] ?? row[series]} `;
    if (n >= 0 && row[n] !== null) counts.set(name, (counts.get(name) ?? 0) + row[n]);
    if (low >= 0 && row[low] !== null) methods.add(certainty(row[audit] ?? null));
  }
  return [
    `${shown.from} to ${shown.to}, UTC · read ${dayTime(new Date(shown.read_at))} UTC · labeled by ${shown.engines.join(", ") || "no model"}`,
    counts.size ? `n: ${[...counts].map(([name, count]) => name + whole(count)).join(", ")}` : null,
    methods.size ? `Intervals, corrected for the sample in force: ${[...methods].join("; ")}` : null,
    CAUTION,
    document.getElementById("source")?.textContent,
  ].filter(Boolean);
}

/** A drawn chart as PNG with its title, and what it has to say below. */
export async function savePng(visual, place, shown, titles) {
  const chart = chartOf(place);
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const picture = new Image();
  picture.src = chart.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: color("--panel") });
  await picture.decode();
  const sheet = document.createElement("canvas");
  const pen = sheet.getContext("2d");
  const font = getComputedStyle(document.body).fontFamily;
  const width = chart.getWidth() + 32;
  pen.font = `12px ${font}`;
  const lines = caption(visual, shown, titles).flatMap((line) => wrapped(pen, line, width - 32));
  sheet.width = width * 2;
  sheet.height = (52 + chart.getHeight() + 14 + BELOW * lines.length + 8) * 2;
  pen.scale(2, 2);
  pen.fillStyle = color("--panel");
  pen.fillRect(0, 0, width, sheet.height);
  pen.fillStyle = color("--fg");
  pen.font = `600 16px ${font}`;
  pen.fillText(visual.title, 16, 30);
  pen.drawImage(picture, 16, 44, chart.getWidth(), chart.getHeight());
  pen.font = `12px ${font}`;
  pen.fillStyle = color("--fg-muted");
  lines.forEach((line, index) => pen.fillText(line, 16, 52 + chart.getHeight() + 14 + BELOW * index));
  const content = await new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
  keep(content, named(visual, shown, "png"));
}

function wrapped(pen, text, width) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (pen.measureText(longer).width > width && lines.at(-1)) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}
