// The plan of a backfill, its progress and its result, in words.
import { airflowLink } from "./airflow.js";
import { isActive, isPlan, standing } from "./backfill.js";
import { element } from "./dom.js";
import { day, dayTime, moment, money, time, whole } from "./format.js";

const RUNS = "dags/coverage/runs";
const runLink = (id, ...text) => airflowLink(`${RUNS}/${encodeURIComponent(id)}`, ...text);
const counted = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;
/** A number of posts and what they cost, if that is known. */
export const posts = (count, dollars) => `about ${counted(count, "post")}${dollars === undefined || dollars === null ? "" : `, ${money(dollars)}`}`;

/** The posts and dollars of planned recoveries; null dollars where a plan names none. */
export const total = (recoveries) => [
  recoveries.reduce((sum, one) => sum + one.posts, 0),
  recoveries.every((one) => one.dollars !== undefined) ? recoveries.reduce((sum, one) => sum + one.dollars, 0) : null,
];

/** The range of hours in words, from labels. */
export function span(start, end) {
  const [first, last] = [moment(start), moment(end)];
  return `${dayTime(first)} – ${day(first) === day(last) ? time(last) : dayTime(last)} UTC`;
}

/** A run's state in a colored word. */
export const badge = ({ words, kind }) => element("span", { class: "badge", "data-kind": kind }, words);

/**
 * The panel's content. `titles` are topics' titles by name; `actions` has `run`, `again` and `close`, of which
 * the first two are null for those who may not start runs.
 */
export function panel(found, titles, actions) {
  const { run, proposal } = found;
  const title = (name) => titles[name] ?? name;
  const dry = isPlan(run);
  const nothing = proposal && !proposal.unplanned && !proposal.recoveries.length && !proposal.reruns.some((one) => one.run_id);
  const buttons = [
    dry && run.state === "success" && !nothing && actions.run &&
      element("button", { type: "button", class: "primary", id: "run-it", onclick: actions.run }, "Run it"),
    !isActive(run) && actions.again && (run.state === "failed" || !dry) &&
      element("button", { type: "button", id: "plan-again", onclick: actions.again }, "Plan again"),
    element("button", { type: "button", onclick: actions.close }, "Close"),
  ];
  return [
    element("div", { class: "panel-head" },
      element("h2", { id: "panel-title", tabindex: "-1" }, `${dry ? "Plan for" : "Backfill of"} ${span(run.conf.start, run.conf.end)}`),
      badge(standing(found)), element("span", { class: "buttons" }, buttons)),
    element("p", { class: "muted" }, `${dry ? "Planned" : "Started"}${run.triggering_user_name ? ` by ${run.triggering_user_name}` : ""}, `,
      `${dayTime(new Date(run.queued_at ?? run.run_after))} UTC. `, runLink(run.dag_run_id, "The run in Airflow")),
    found.blocked && element("p", {}, `${found.blocked.text} `, airflowLink(found.blocked.path, found.blocked.name ?? "The DAG coverage")),
    found.questions.map((one) => question(run, one)),
    found.failures.map((one) => failure(run, one)),
    proposal?.unplanned && element("p", { class: "error", role: "alert" }, `Recoveries are not planned: ${proposal.unplanned}`),
    proposal && (dry || !found.outcomes) && proposed(proposal, nothing, title),
    dry && run.state === "success" && !nothing && !actions.run &&
      element("p", {}, "Your role may not start it: someone who may trigger the DAG coverage can, from this page."),
    found.outcomes && !dry && result(found, title),
  ];
}

function question(run, asked) {
  const { task_id: task, map_index: index } = asked.task_instance;
  const place = `${RUNS}/${encodeURIComponent(run.dag_run_id)}/tasks/${task}${index >= 0 ? `/mapped/${index}` : ""}/required_actions`;
  return element("div", { class: "asked" }, element("p", {}, element("b", {}, asked.subject), " ", airflowLink(place, "Answer it in Airflow")),
    asked.body ? element("p", { class: "lines muted" }, asked.body) : null);
}

function failure(run, { task, reason }) {
  const index = task.map_index >= 0 ? `/mapped/${task.map_index}` : "";
  const again = task.state === "up_for_retry" ? ` Try ${task.try_number} failed; it is tried again.` : "";
  return element("p", { class: "error lines", role: "alert" },
    airflowLink(`${RUNS}/${encodeURIComponent(run.dag_run_id)}/tasks/${task.task_id}${index}`,
      `Task ${task.task_id}${task.rendered_map_index ? ` (${task.rendered_map_index})` : ""}`),
    ` failed: ${reason}.${again}`);
}

function proposed(proposal, nothing, title) {
  const asked = proposal.recoveries.filter((one) => one.approval);
  const reruns = proposal.reruns.filter((one) => one.run_id);
  if (nothing) {
    return element("p", {}, `Nothing to do in ${counted(proposal.hours.length, "hour")}: no gap that search reaches, and no tweets without labels.`,
      proposal.reruns.length ? ` ${proposal.reruns.map((one) => `${one.hour}: ${one.way}`).join("; ")}.` : null);
  }
  return [
    element("dl", { class: "facts" },
      [["Hours looked at", whole(proposal.hours.length)], ["Stretches to recover", whole(proposal.recoveries.length)],
        ["Posts to buy", `about ${whole(proposal.posts)}`],
        proposal.dollars === undefined || proposal.dollars === null ? null : ["Cost", `about ${money(proposal.dollars)}`],
        ["Hours to transform again", whole(reruns.length)],
        ["Approval", asked.length ? `needed for ${counted(asked.length, "stretch", "stretches")}` : "not needed"]]
        .filter(Boolean).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
    asked.length ? element("p", {}, `The run will ask a person to approve ${posts(...total(asked))}: `,
    `anyone who may edit runs of the DAG coverage. Why: ${[...new Set(asked.map((one) => one.approval))].join("; ")}. `,
    "The other stretches do not wait for it.") : null,
    element("details", {}, element("summary", {}, "Stretches and hours"),
      proposal.recoveries.length ? element("ul", {}, proposal.recoveries.map((one) => element("li", {},
        `${title(one.topic)}, ${one.hour}, ${one.stretch}: ${posts(one.posts, one.dollars)}${one.approval ? "; needs approval" : ""}`))) : null,
      proposal.reruns.length ? element("ul", {}, proposal.reruns.map((one) => element("li", {}, `${one.hour}: ${one.way}`))) : null),
  ];
}

function result(found, title) {
  const { recovered, reruns } = found.outcomes;
  const filled = recovered.filter((one) => one.state === "filled");
  const sum = (name) => recovered.reduce((total, one) => total + (one[name] ?? 0), 0);
  const tried = new Set(recovered.map((one) => `${one.topic} ${one.hour} ${one.stretch}`));
  const left = (found.proposal?.recoveries ?? []).filter((one) => !tried.has(`${one.topic} ${one.hour} ${one.stretch}`));
  const states = [...found.transforms.values()];
  const lines = [
    ...recovered.filter((one) => one.state !== "filled" || one.reason)
      .map((one) => `${title(one.topic)}, ${one.hour}, ${one.stretch}: ${one.state}${one.reason ? `: ${one.reason}` : ""}`),
    ...left.map((one) => `${title(one.topic)}, ${one.hour}, ${one.stretch}: not recovered${one.approval ? (isActive(found.run) ? " yet: it needs approval" : ", as nobody approved it") : ""}`),
    ...reruns.filter((one) => !one.run_id).map((one) => `${one.hour}: ${one.way}`),
  ];
  return [
    element("dl", { class: "facts" },
      [["Stretches filled", `${whole(filled.length)} of ${whole(recovered.length + left.length)}`], ["Posts bought", whole(sum("bought"))],
        sum("dollars") ? ["Cost", money(sum("dollars"))] : null,
        ["Tweets kept", whole(sum("kept"))],
        ["Hours transformed again", `${whole(states.filter((state) => state === "success").length)} of ${whole(reruns.filter((one) => one.run_id).length)}`]]
        .filter(Boolean).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
    lines.length ? element("ul", {}, lines.map((line) => element("li", {}, line))) : null,
    found.approved.length ? element("p", {}, "The hours of approved stretches are transformed again by the next run of coverage, within a quarter of an hour.") : null,
  ];
}
