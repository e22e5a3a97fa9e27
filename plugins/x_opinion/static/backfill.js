// A backfill: planned by a dry run of the DAG coverage, started as it was planned, and followed to its end.
//
// All of it goes through Airflow's own API, so that the user's rights decide. Its POST takes JSON alone, which
// no form of another site can send, and no script of one without Airflow's leave (CORS); the login's cookie is
// SameSite besides.
import { airflowUrl, request } from "./airflow.js";

const DAG = "coverage";
const TRANSFORM = "transform";
const PAGE = 100;
const AT_A_TIME = 20;
const REASONS = 3;
const APPROVED = "recover_approved";
const ACTIVE = ["queued", "running"];
export const PLAN = "plan__";
const RUN = "run__";

const api = (path) => airflowUrl(`api/v2/dags/${path}`);
const runPath = (id) => `${DAG}/dagRuns/${encodeURIComponent(id)}`;
export const isActive = (run) => ACTIVE.includes(run.state);
/** Whether a run only plans: a manual run does unless `dry_run` is switched off. */
export const isPlan = (run) => run.conf?.dry_run !== false;

/** The JSON at a path of the API; null where there is none. */
async function find(path) {
  try {
    return await request(api(path));
  } catch (problem) {
    if (problem.status === 404) return null;
    throw problem;
  }
}

/** Starts a run under an id; one that is there already is taken as it is, so that two people start it once. */
async function startOnce(id, conf) {
  try {
    await request(api(`${DAG}/dagRuns`), {
      method: "POST",
      body: JSON.stringify({ dag_run_id: id, logical_date: null, conf }),
    });
  } catch (problem) {
    if (problem.status !== 409) throw problem;
  }
  return id;
}

/** Starts the plan of the hours from `start` up to `end` (labels); returns its run's id. */
export function plan(start, end) {
  const moment = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
  return startOnce(`${PLAN}${start}__${end}__${moment}`, { start, end, dry_run: true });
}

/** The id of the run that a plan leads to, however often it is started. */
export const runOfPlan = (id) => RUN + id.slice(PLAN.length);

/** Starts for real what a plan was made for. Raises `Problem` like the other calls. */
export function run(planned) {
  const { start, end } = planned.run.conf;
  return startOnce(runOfPlan(planned.run.dag_run_id), { start, end, dry_run: false });
}

/** The latest plans and backfills of a range, the newest first. */
export async function recent() {
  const query = new URLSearchParams({ run_type: "manual", order_by: "-run_after", limit: 20 });
  const found = await find(`${DAG}/dagRuns?${query}`);
  return (found?.dag_runs ?? []).filter((one) => one.conf?.start && one.conf?.end);
}

/** Whether the page's user may start runs of the DAG. */
export const mayRun = async () => (await request("data/rights")).backfill;

async function tasksOf(id) {
  const found = [];
  for (;;) {
    const page = await request(api(`${runPath(id)}/taskInstances?limit=${PAGE}&offset=${found.length}`));
    found.push(...page.task_instances);
    if (!page.task_instances.length || found.length >= page.total_entries) return found;
  }
}

async function xcom(id, task, key, index = -1) {
  const query = new URLSearchParams({ deserialize: "true", map_index: index });
  const found = await find(`${runPath(id)}/taskInstances/${task}/xcomEntries/${key}?${query}`);
  return found && typeof found.value === "string" ? JSON.parse(found.value) : found?.value;
}

/** Why a task failed: the last error of its log, in a line. */
async function reason(id, task) {
  const query = new URLSearchParams({ map_index: task.map_index, full_content: "true" });
  const log = await find(`${runPath(id)}/taskInstances/${task.task_id}/logs/${task.try_number}?${query}`);
  const lines = (Array.isArray(log?.content) ? log.content : []).filter((line) => typeof line === "object").reverse();
  const raised = lines.find((line) => line.error_detail?.length)?.error_detail.at(-1);
  if (raised) return `${raised.exc_type}: ${raised.exc_value}`;
  return lines.find((line) => ["error", "critical"].includes(line.level))?.event ?? "its log holds no error";
}

/** What keeps a queued run from starting. */
async function obstacle() {
  const dag = await find(DAG);
  if (dag?.is_paused) return { text: "The DAG coverage is paused: unpause it, and this run starts.", path: `dags/${DAG}` };
  const others = await find(`${DAG}/dagRuns?state=running&limit=1`);
  const other = others?.dag_runs[0]?.dag_run_id;
  return other
    ? { text: "As many runs of coverage are active as may be at a time; this one waits, for instance, for", path: `dags/${DAG}/runs/${encodeURIComponent(other)}`, name: other }
    : { text: "It waits for the scheduler.", path: `dags/${DAG}` };
}

/** The runs of transform that a backfill has asked for, by id: their states. */
async function transforms(outcomes) {
  const ids = outcomes.reruns.map((one) => one.run_id).filter(Boolean);
  const states = new Map();
  for (let at = 0; at < ids.length; at += AT_A_TIME) {
    const query = new URLSearchParams({ run_id_pattern: ids.slice(at, at + AT_A_TIME).join("|"), limit: PAGE });
    const found = await find(`${TRANSFORM}/dagRuns?${query}`);
    for (const one of found?.dag_runs ?? []) if (ids.includes(one.dag_run_id)) states.set(one.dag_run_id, one.state);
  }
  return states;
}

/** What came of the recoveries that a person approved: the run decides on its other hours without them. */
async function approved(id, tasks) {
  const done = tasks.filter((task) => task.task_id === APPROVED && task.map_index >= 0 && task.state === "success");
  const found = [];
  for (let at = 0; at < done.length; at += AT_A_TIME) {
    const some = done.slice(at, at + AT_A_TIME);
    found.push(...await Promise.all(some.map((task) => xcom(id, APPROVED, "return_value", task.map_index))));
  }
  return found.filter(Boolean);
}

/** All that the page tells about a run; `before` is the snapshot of the same run before, if any. */
export async function snapshot(id, before = null) {
  const found = await request(api(runPath(id)));
  const tasks = await tasksOf(id);
  const done = (task) => tasks.some((one) => one.task_id === task && one.state === "success");
  const broken = tasks.filter((one) => ["failed", "up_for_retry"].includes(one.state));
  const waiting = tasks.some((one) => ["awaiting_input", "deferred"].includes(one.state));
  const [proposal, decided, approvals, questions, failures, blocked] = await Promise.all([
    before?.proposal ?? (done("plan") ? xcom(id, "plan", "proposal") : null),
    before?.decided ?? (done("decide") ? xcom(id, "decide", "outcomes") : null),
    approved(id, tasks),
    waiting ? find(`${runPath(id)}/hitlDetails`) : null,
    Promise.all(broken.slice(0, REASONS).map(async (task) => ({ task, reason: await reason(id, task) }))),
    found.state === "queued" ? obstacle() : null,
  ]);
  const outcomes = decided ? { ...decided, recovered: [...decided.recovered, ...approvals] } : null;
  return {
    run: found,
    tasks,
    proposal: proposal ?? null,
    decided: decided ?? null,
    approved: approvals,
    outcomes,
    questions: (questions?.hitl_details ?? []).filter((one) => !one.response_received),
    failures,
    blocked,
    transforms: outcomes ? await transforms(outcomes) : new Map(),
  };
}

const recoveries = (found) => found.tasks.filter((task) => task.task_id.startsWith("recover") && task.map_index >= 0);
const FINISHED = ["success", "failed", "skipped", "upstream_failed", "removed"];

/** Whether nothing more will change: the run is over, and so are those of transform that it asked for. */
export const isOver = (found) => !isActive(found.run) && ![...found.transforms.values()].some((state) => ACTIVE.includes(state));

/** Where a run stands: a few words and `good`, `bad`, `waits` or `active`. */
export function standing(found) {
  const { run: own, questions, tasks } = found;
  const dry = isPlan(own);
  if (own.state === "failed") return { words: dry ? "Planning failed" : "Failed", kind: "bad" };
  if (own.state === "queued") return { words: "Queued", kind: "waits" };
  if (questions.length) return { words: "Waits for approval", kind: "waits" };
  if (own.state === "success") {
    const states = [...found.transforms.values()];
    const left = states.filter((state) => ACTIVE.includes(state)).length;
    if (left) return { words: `Transforming again: ${states.length - left} of ${states.length} hours`, kind: "active" };
    if (states.includes("failed")) return { words: "Transforming again failed", kind: "bad" };
    return { words: dry ? "Planned; nothing was changed" : "Done", kind: "good" };
  }
  if (!tasks.some((task) => task.task_id === "plan" && FINISHED.includes(task.state))) return { words: "Measuring and planning", kind: "active" };
  const mapped = recoveries(found);
  const settled = mapped.filter((task) => FINISHED.includes(task.state)).length;
  if (settled < mapped.length) return { words: `Recovering: ${settled} of ${mapped.length} stretches`, kind: "active" };
  return { words: dry ? "Ending" : "Deciding what to transform again", kind: "active" };
}

/** What is in progress in each topic and hour: `planned`, `active`, `done` or `failed`, by `topic hour` and by hour. */
export function progress(found) {
  const marks = new Map();
  const add = (key, state) => {
    // What is worse, or less far, is what an hour shows that several stretches lie in.
    const order = ["done", "planned", "active", "failed"];
    if (!marks.has(key) || order.indexOf(state) > order.indexOf(marks.get(key))) marks.set(key, state);
  };
  for (const one of found.proposal?.recoveries ?? []) marks.set(`${one.topic} ${one.hour}`, "planned");
  for (const one of found.proposal?.reruns ?? []) marks.set(one.hour, "planned");
  if (isPlan(found.run)) return marks;
  const started = recoveries(found).filter((task) => task.rendered_map_index);
  for (const task of started) marks.delete(task.rendered_map_index);
  for (const task of started) {
    add(task.rendered_map_index, task.state === "success" ? "done" : FINISHED.includes(task.state) ? "failed" : "active");
  }
  for (const one of found.outcomes?.recovered ?? []) if (one.state !== "filled") marks.set(`${one.topic} ${one.hour}`, "failed");
  for (const one of found.outcomes?.reruns ?? []) {
    const state = found.transforms.get(one.run_id);
    marks.set(one.hour, state === "success" ? "done" : state === "failed" ? "failed" : state ? "active" : "planned");
  }
  return marks;
}
