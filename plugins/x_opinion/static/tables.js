// What the pages' tables have in common, and how a failure is told.
import { element } from "./dom.js";

/** A problem in a sentence. */
export const failed = (problem) => `${problem.title}: ${problem.message}`;

/** A table's head: names of columns, those of numbers last. */
export const head = (names, numbers = []) => element("thead", {}, element("tr", {},
  names.map((name) => element("th", { scope: "col" }, name)), numbers.map((name) => element("th", { scope: "col", class: "number" }, name))));

/** A column's head that sorts by it; `direction` is "ascending", "descending", or "none" for any other column. */
export const sortHead = (id, title, direction, onclick, options = {}) => element("th", { scope: "col", ...options, "aria-sort": direction },
  element("button", { type: "button", class: "sort", id, onclick }, title,
    element("span", { "aria-hidden": "true" }, { ascending: " ▲", descending: " ▼", none: "" }[direction])));

/** A place that scrolls, by keyboard too. */
export const scroll = (label, ...content) => element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${label}: table` }, ...content);

/** A button that saves a table as CSV. */
export const csvButton = (title, onclick) => element("p", { class: "files" }, element("button", { type: "button", "aria-label": `${title} as CSV`, onclick }, "CSV"));
