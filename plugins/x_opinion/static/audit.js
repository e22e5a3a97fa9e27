// The page Audit: one drawn tweet at a time for people to judge, what is left, and how far the models agree.
import { airflowLink, clearNotice, download, notice, request } from "./airflow.js";
import { byId, element } from "./dom.js";
import { saveTable } from "./files.js";
import { dayTime, figure, language, moment, whole } from "./format.js";
import { csvButton, failed, head, scroll } from "./tables.js";

const CHOICES = [["1", "Negative"], ["2", "Neutral"], ["3", "Positive"], ["0", "Cannot tell"]];
const FEW = 30;
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });
const page = {
  /** What the server says: `judges`, `topics` (titles) and `progress`. */
  data: null,
  /** The tweets that are given, the first of them shown, and what was judged last. */
  tweets: [], last: null,
  results: null, chosen: 0, topic: "", language: "", busy: false, stale: false,
};
const title = (topic) => page.data.topics[topic] ?? topic;

async function load() {
  try {
    page.data = await request("data/audit");
    const [results] = await Promise.all([
      request("data/audit/results").catch((problem) => ({ rows: [], problem })),
      page.data.judges ? give() : null,
    ]);
    page.results = results;
  } catch (problem) {
    notice(problem.title, problem.message, element("button", { type: "button", class: "primary", onclick: load }, "Try again"),
      " ", airflowLink("dags/audit", "The DAG audit"));
    return;
  }
  clearNotice();
  drawFilters();
  byId("content").replaceChildren(...[
    page.data.judges && element("section", { class: "card", id: "desk", "aria-labelledby": "desk-title" }),
    element("section", { class: "card", id: "progress", "aria-labelledby": "progress-title" }),
    element("section", { class: "card", id: "results", "aria-labelledby": "results-title" }),
    page.data.judges && files(),
  ].filter(Boolean));
  drawDesk();
  drawProgress();
  drawResults();
}

/** Asks for the next tweets, those of the chosen topic and language alone. */
async function give() {
  const query = new URLSearchParams();
  if (page.topic) query.set("topic", page.topic);
  if (page.language) query.set("language", page.language);
  const found = await request(`data/audit/tweets?${query}`);
  page.tweets = found.tweets;
  page.last = found.last;
}

/** Reads the progress again; a judgment in the meantime has it read once more. */
async function refresh() {
  if (page.refreshing) {
    page.stale = true;
    return;
  }
  page.refreshing = true;
  try {
    do {
      page.stale = false;
      page.data = await request("data/audit");
      drawProgress();
    } while (page.stale);
  } catch (problem) {
    say(failed(problem), true);
  } finally {
    page.refreshing = false;
  }
}

function drawFilters() {
  if (!page.data.judges || !page.data.progress.length) return;
  const select = (name, all, options) => element("label", { class: "group" }, all[0],
    element("select", { id: `only-${name}`, onchange: (event) => {
      page[name] = event.target.value;
      act(give);
    } }, element("option", { value: "" }, all[1]), options.map(([value, text]) => element("option", { value }, text))));
  const languages = [...new Set(page.data.progress.map((one) => one.lang))].map((code) => [code, language(code)]);
  byId("filters").replaceChildren(
    select("topic", ["Topic", "All"], Object.entries(page.data.topics)),
    select("language", ["Language", "All"], languages.sort((one, other) => one[1].localeCompare(other[1]))));
}

function say(text, isError = false) {
  const place = byId("said");
  if (!place) return;
  place.textContent = text;
  place.classList.toggle("error", isError);
}

/** Does one thing at a time, then shows what has become of it. */
async function act(what) {
  if (page.busy) return;
  page.busy = true;
  byId("desk").setAttribute("aria-busy", "true");
  try {
    await what();
    drawDesk();
  } catch (problem) {
    drawDesk();
    say(failed(problem), true);
  } finally {
    page.busy = false;
    byId("desk").removeAttribute("aria-busy");
  }
}

/** Keeps a judgment; false where X has deleted the tweet since it was given. */
async function send(tweet, judgment) {
  try {
    await request("data/audit/judgments", { method: "POST", body: JSON.stringify({ tweet_id: tweet.tweet_id, judgment }) });
    return true;
  } catch (problem) {
    if (problem.status === 409) return false;
    throw problem;
  }
}

const judge = (judgment) => act(async () => {
  const [tweet] = page.tweets;
  if (!tweet) return;
  if (await send(tweet, judgment)) page.last = { ...tweet, judgment };
  page.tweets.shift();
  refresh();
  if (!page.tweets.length) await give();
});

const undo = () => act(async () => {
  const tweet = page.last;
  if (!tweet) return;
  const there = await send(tweet, null);
  await give();
  if (there) page.tweets = [tweet, ...page.tweets.filter((one) => one.tweet_id !== tweet.tweet_id)];
  refresh();
});

function drawDesk() {
  const desk = byId("desk");
  if (!desk) return;
  if (!byId("tweet")) {
    desk.append(
      element("div", { class: "card-head" }, element("h2", { id: "desk-title" }, "What is the sentiment of this tweet?"), element("p", { class: "muted", id: "tweet-of" })),
      element("div", { id: "tweet", "aria-live": "polite" }),
      element("div", { class: "judgments", role: "group", "aria-labelledby": "desk-title" },
        CHOICES.map(([key, judgment]) => element("button", { type: "button", "data-judgment": judgment, "aria-keyshortcuts": key, onclick: () => judge(judgment) },
          judgment, element("kbd", { "aria-hidden": "true" }, key)))),
      element("div", { class: "after" },
        element("button", { type: "button", id: "undo", "aria-keyshortcuts": "U", onclick: undo }, "Undo", element("kbd", { "aria-hidden": "true" }, "U")),
        element("p", { id: "said", class: "muted", role: "status" })));
  }
  const [tweet] = page.tweets;
  byId("tweet-of").textContent = tweet ? `${title(tweet.topic)} · ${language(tweet.lang)} · ${dayTime(moment(tweet.written_at))} UTC` : "";
  byId("tweet").replaceChildren(...(tweet ? texts(tweet) : [element("p", { class: "muted" }, nothingLeft())]));
  for (const button of desk.querySelectorAll("[data-judgment]")) button.disabled = !tweet;
  byId("undo").disabled = !page.last;
  say(page.last ? `Last judged: ${page.last.judgment}` : "Every judgment is kept at once.");
}

function texts(tweet) {
  return [
    element("blockquote", { lang: tweet.lang, dir: "auto" }, tweet.text),
    tweet.translation && element("div", { class: "translation" }, element("h3", {}, "Translation, by a model"), element("blockquote", { lang: "en" }, tweet.translation)),
  ].filter(Boolean);
}

function nothingLeft() {
  if (!page.data.progress.length) return "Nothing was drawn yet. The DAG audit draws every Monday, and in manual runs.";
  if (page.topic || page.language) return "No tweets of this topic and language are left for you.";
  return "Nothing is left for you. Thank you.";
}

function drawProgress() {
  const rows = page.data.progress;
  const sum = (name) => rows.reduce((total, one) => total + one[name], 0);
  byId("as-of").textContent = rows.length ? `${whole(sum("judged"))} of ${whole(sum("drawn"))} drawn tweets judged` : "Nothing was drawn yet";
  const columns = [["drawn", "Drawn"], ["judged", "Judged"],
    ...(page.data.judges ? [["open", "Left for you"], ["waiting", "Left for others"]] : [["open", "Left"]]),
    ...(sum("expired") ? [["expired", "Expired"]] : [])];
  byId("progress").replaceChildren(
    element("div", { class: "card-head" }, element("h2", { id: "progress-title" }, "What is left"),
      element("p", { class: "muted" }, "Some tweets are for two people, to measure how far people agree.",
        sum("expired") ? " Expired tweets were not judged in time." : "")),
    rows.length
      ? scroll("What is left", element("table", {},
        head(["Topic", "Language"], columns.map(([, name]) => name)),
        element("tbody", {}, rows.map((row) => element("tr", {}, element("th", { scope: "row" }, title(row.topic)), element("td", {}, language(row.lang)),
          columns.map(([name]) => element("td", { class: "number" }, whole(row[name]))))))))
      : element("p", {}, "Nothing was drawn yet. ", airflowLink("dags/audit", "The DAG audit"), " draws every Monday for the week before, and in manual runs."),
    ...(rows.length ? [csvButton("What is left", () => saveTable(fileName("left", page.data.read_at), ["topic", "lang", ...columns.map(([name]) => name)],
      rows.map((row) => [row.topic, row.lang, ...columns.map(([name]) => row[name])]), page.data.read_at))] : []));
}

const fileName = (name, readAt) => `audit-${name}-${readAt.slice(0, 10)}.csv`;

/** The results as CSV, with the confusion of each: shares of all tweets that both have judged. */
function saveResults() {
  const { rows, read_at: at } = page.results;
  const known = ["dt", "engine", "lang", "measured", "audited", "accuracy", "macro_f1", "judged_twice", "alpha"];
  const shares = Object.keys(rows[0]).filter((name) => name.includes("_as_"));
  const heads = [...known, ...shares].map((name) => (name === "audited" ? "n" : name === "dt" ? "month" : name));
  const method = "against people, weighted by the chance of being drawn; no interval";
  saveTable(fileName("results", at), [...heads, "method"], rows.map((row) => [...known, ...shares].map((name) => row[name]).concat(method)), at);
}

/** A model, a month and a language on each line; the confusion of the chosen one. */
function drawResults() {
  const { rows, problem, read_at: at } = page.results;
  const place = byId("results");
  const top = element("div", { class: "card-head" }, element("h2", { id: "results-title" }, "How far the models agree with people"),
    element("p", { class: "muted" }, at ? `Read ${dayTime(moment(at))} UTC` : ""));
  if (problem) {
    place.replaceChildren(top, element("p", { class: problem.status === 404 ? "muted" : "error" }, failed(problem)));
    return;
  }
  if (!rows.length) {
    place.replaceChildren(top, element("p", {}, "Nobody has judged a tweet yet: how far the labels can be trusted is not known, and all intervals are of the sampling error only."));
    return;
  }
  const line = (row, index) => element("tr", { "aria-current": index === page.chosen ? "true" : null },
    element("th", { scope: "row" }, element("button", { type: "button", class: "link", onclick: () => { page.chosen = index; drawResults(); byId("results").querySelectorAll("button.link")[index].focus(); } },
      MONTH.format(moment(row.dt)))),
    element("td", {}, row.engine), element("td", {}, `${language(row.lang)}${row.measured ? "" : " (not measured)"}`),
    element("td", { class: "number" }, whole(row.audited)),
    [row.accuracy, row.macro_f1].map((value) => element("td", { class: row.audited < FEW ? "number muted" : "number" }, `${figure(value, "percent")}${row.audited < FEW ? " *" : ""}`)),
    element("td", { class: "number" }, whole(row.judged_twice)),
    element("td", { class: "number" }, figure(row.alpha, "ratio")));
  place.replaceChildren(top,
    scroll("How far the models agree with people", element("table", {},
      head(["Month", "Model", "Language"], ["Judged", "Accuracy", "Macro-F1", "Judged twice", "Agreement, α"]),
      element("tbody", {}, rows.map(line)))),
    element("p", { class: "muted hint" }, `* of fewer than ${FEW} tweets: it may be chance. `,
      "Tweets count by the inverse of their chance of being drawn. α is Krippendorff's, ordinal, between people: 1 is perfect, 0 what chance gives."),
    confusion(rows[page.chosen]), csvButton("How far the models agree with people", saveResults));
}

function confusion(row) {
  const names = ["negative", "neutral", "positive"];
  return element("div", { class: "confusion" },
    element("h3", { id: "confusion-title" }, `${MONTH.format(moment(row.dt))}, ${row.engine}, ${language(row.lang)}: what people and the model say, of all tweets`),
    scroll("What people and the model say", element("table", { "aria-labelledby": "confusion-title" },
      head(["People"], names.map((name) => `Model: ${name}`)),
      element("tbody", {}, names.map((people) => element("tr", {}, element("th", { scope: "row" }, people),
        names.map((model) => element("td", { class: people === model ? "number agrees" : "number" }, figure(row[`${people}_as_${model}`], "percent")))))))));
}

function files() {
  return element("section", { class: "card", id: "files", "aria-labelledby": "files-title" },
    element("div", { class: "card-head" }, element("h2", { id: "files-title" }, "With a labeling tool of your own"),
      element("p", { class: "muted" }, "Columns tweet_id (as text: spreadsheets round it) and judgment; a file with a bad row changes nothing.")),
    element("div", { class: "group" },
      element("button", { type: "button", onclick: () => download("x-opinion/data/audit/tweets.csv", `audit-${new Date().toISOString().slice(0, 10)}.csv`) }, "Download your tweets (CSV)"),
      element("label", { class: "group" }, "Upload judgments",
        element("input", { type: "file", id: "csv", accept: ".csv,text/csv", onchange: (event) => take(event.target) }))),
    element("p", { id: "taken", class: "lines", role: "status" }));
}

async function take(input) {
  const [file] = input.files;
  const place = byId("taken");
  if (!file) return;
  place.classList.remove("error");
  place.textContent = `Taking ${file.name} …`;
  try {
    const { taken } = await request("data/audit/tweets.csv", { method: "POST", body: file, headers: { Accept: "application/json", "Content-Type": "text/csv" } });
    const total = Object.values(taken).reduce((sum, count) => sum + count, 0);
    place.textContent = `${whole(total)} judgments taken${total ? `: ${Object.entries(taken).map(([name, count]) => `${whole(count)} ${name}`).join(", ")}` : ""}.`;
    refresh();
    await act(give);
  } catch (problem) {
    place.classList.add("error");
    place.textContent = `No judgment of ${file.name} was taken:\n${problem.message}`;
  } finally {
    input.value = "";
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.closest("input, select, textarea")) return;
  const choice = CHOICES.find(([key]) => key === event.key);
  if (choice && byId("desk")) judge(choice[1]);
  else if (event.key.toLowerCase() === "u" && byId("desk")) undo();
});
byId("filters").addEventListener("submit", (event) => event.preventDefault());
load();
