// Some of the tweets behind a point of a chart, asked for one by one, and kept nowhere.
import { request } from "./airflow.js";
import { element } from "./dom.js";
import { dayTime, language, moment } from "./format.js";

/** Puts tweets of a topic that `query` asks for behind what `place` shows, instead of those that stand there; `figure` names it. */
export async function showExamples(place, query, title, figure) {
  const list = element("div", { class: "examples", role: "region", "aria-label": `Some tweets: ${title}, ${figure}`, "aria-busy": "true" }, "Reading …");
  place.querySelector(".examples")?.remove();
  place.append(list);
  try {
    const { tweets, retention_days: days } = await request(`data/examples?${query}`);
    list.replaceChildren(
      element("p", { class: "muted hint" }, tweets.length
        ? `${title}: drawn at random from the tweets behind this figure. Press again for others. No model's label is shown: who has seen it would judge by it.`
        : `${title}: no tweet behind this figure is left. Tweets expire after ${days} days, and what is deleted is not shown.`),
      ...tweets.map(tweet));
  } catch (problem) {
    list.replaceChildren(element("p", { class: "error", role: "alert" }, `${problem.title}: ${problem.message}`));
  }
  list.removeAttribute("aria-busy");
}

function tweet({ lang, written_at: at, text, translation, embed }) {
  const of = `${language(lang)} · ${dayTime(moment(at))} UTC`;
  if (embed) {
    // X's own page in a frame: it shows what X still has, as its author wants it shown.
    return element("iframe", { src: embed, title: `A post on X, ${of}`, loading: "lazy", referrerpolicy: "no-referrer", sandbox: "allow-scripts allow-same-origin allow-popups" });
  }
  return element("article", {}, element("p", { class: "muted hint" }, of), element("blockquote", { lang, dir: "auto" }, text),
    translation && element("div", { class: "translation" }, element("h3", {}, "Translation, by a model"), element("blockquote", { lang: "en" }, translation)));
}
