// Says above the charts what has changed since the audit that corrects the ratios.
import { airflowLink, request } from "./airflow.js";
import { byId, element } from "./dom.js";

const monthOf = (day) => new Date(`${day}T00:00:00Z`).toLocaleDateString("en", { month: "long", year: "numeric", timeZone: "UTC" });

/** What has drifted; null where it cannot be read, which keeps no chart from a reader. */
export const readDrift = (options) => request("data/drift", options).catch(() => null);

/** Draws the warning of `rows`, or removes it; `titles` are the topics' by name. */
export function warnOfDrift(rows, titles) {
  if (rows === null) return;
  byId("drift")?.remove();
  if (!rows.length) return;
  const lines = rows.map((row) => element("li", {},
    `${titles[row.topic] ?? row.topic}: ${row.changed} has changed since the audit of ${monthOf(row.audit_month)} `,
    element("span", { class: "muted" }, `(population stability index ${row.stability_index.toFixed(2)}, tolerated ${row.tolerated})`)));
  byId("content").before(element("aside", { id: "drift", "aria-labelledby": "drift-title" },
    element("strong", { id: "drift-title" }, "The audit no longer describes these tweets: audit again."),
    element("ul", {}, lines),
    element("p", {}, "The rectified ratios assume tweets like those that people judged. ", airflowLink("dags/audit", "The DAG audit"), " draws new ones.")));
}
