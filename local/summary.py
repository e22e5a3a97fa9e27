"""What a run has done, read back from the lake by Athena and from the services, and whether it adds up."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import requests
from rich.console import Console
from rich.table import Table

from include import prices
from include.costs import month
from include.insights.quicksight import dashboard_url, data_set_ids
from include.labeling.answers import sent
from include.labeling.models import NO_ENGINE
from include.lake import cards, sql
from include.lake.athena import Athena, AthenaError, ResultRow
from include.lake.cards import Measured
from include.lake.layout import quality_key
from include.lake.verdict import names
from include.settings import Settings
from include.training.errors import StateError
from include.training.hours import find_predicted, read_outcome
from include.window import Window
from include.x.budget import PostsLedger, monthly_posts
from include.x.price import cost
from include.x.topics import load as load_topics
from local.airflow_server import run_seconds
from local.aws.context import ACCOUNT
from local.endpoints import Endpoints

GOOD = frozenset(names(lambda verdict: verdict.whole and not verdict.alarming))
"""The verdicts that a closed hour of a finished run may have."""

PAGES = ("opinion-over-time", "opinion-across-the-world", "coverage", "audit", "removals", "costs")
"""The plugin's pages, by their addresses in Airflow's frame."""

QUERIES = ("raw", "labeled", "engines", "quarantine", "coverage", "opinion")
"""The statements of ``sql/summary/``."""


Tables = dict[str, list[ResultRow]]


class SummaryError(RuntimeError):
    """The summary could not be read back."""


@dataclass
class Summary:
    """The figures of ``summary.json``, what does not add up, and what a reader should know."""

    figures: dict[str, Any]
    problems: list[str]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether every figure adds up."""
        return not self.problems

    def show(self, console: Console, wall: float, peak_memory: int) -> None:
        """Prints the summary as tables."""
        table = Table(title="Hours (UTC)", title_justify="left")
        for column, justify in [("hour", "left"), ("topic", "left")] + [
            (name, "right") for name in ("raw", "recovered", "labeled", "quarantined")
        ]:
            table.add_column(column, justify=justify, no_wrap=True)  # pyrefly: ignore[bad-argument-type]
        table.add_column("verdict", no_wrap=True)
        for row in self.figures["hours"]:
            table.add_row(
                row["hour"],
                row["topic"],
                *(f"{row[name]:,}" for name in ("raw", "recovered", "labeled", "quarantined")),
                row["verdict"],
            )
        console.print(table)
        opinion = Table(title="Sentiment, as the models label (not audited)", title_justify="left")
        for column in ("topic", "negative", "neutral", "positive"):
            opinion.add_column(column, justify="left" if column == "topic" else "right")
        for topic, shares in self.figures["sentiment"].items():
            total = sum(shares.values()) or 1
            opinion.add_row(topic, *(f"{count:,} ({count / total:.0%})" for count in shares.values()))
        console.print(opinion)
        for stage, engines in self.figures["engines"].items():
            console.print(f"  {stage:<11} {', '.join(f'{name} {rows:,}' for name, rows in engines.items())}")
        training = self.figures["training"]
        if training["version"]:
            console.print(
                f"  {'student':<11}version {training['version']} ({training['alias']}), macro-F1"
                f" {training['metrics']['macro_f1']:.3f} against the teacher's labels;"
                f" {self.figures['predictions']:,} predictions"
            )
        for mode, asked in self.figures["models"].items():
            console.print(
                f"  {'models':<11}{asked['tweets']:,} tweets sent in {asked['calls']:,} calls ({mode})"
            )
        for name in ("quarantine", "duplicates", "posts", "streamer", "jobs"):
            value = self.figures[name]
            text = (
                ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else f"{value:,}"
            )
            console.print(f"  {name:<11}{text or 'none'}")
        console.print(f"  {'costs':<11}{told_costs(self.figures['costs'])}")
        checked = sum(suite["checked"] for suite in self.figures["quality"])
        failed = sum(suite["failed"] for suite in self.figures["quality"])
        console.print(f"  {'quality':<11}{checked:,} expectations checked, {failed:,} failed")
        console.print(f"  {'run':<11}{wall:.0f} s, at most {peak_memory / 2**30:.1f} GiB")
        for name, link in self.figures["links"].items():
            console.print(f"  {name:<25} {link}")
        for note in self.notes:
            console.print(f"  [yellow]note[/]       {note}")
        for problem in self.problems:
            console.print(f"  [red]wrong[/]      {problem}")
        console.print("[green]Every figure adds up.[/]" if self.ok else "[red]The figures do not add up.[/]")


def collect(
    *,
    settings: Settings,
    endpoints: Endpoints,
    topics: Sequence[str],
    windows: Sequence[Window],
    begun: datetime,
    dag_runs: Sequence[dict[str, Any]],
) -> Summary:
    """Reads every figure back and judges them.

    ``windows`` are the summary's hours, the last one open; ``dag_runs`` are those since ``begun``.
    """
    aws = _clients(endpoints)
    athena, s3 = aws("athena"), aws("s3")
    tables = _read(athena, settings, windows)
    hours = _hours(tables, topics, windows)
    ledger = PostsLedger(s3, settings.bucket).by_source(f"{datetime.now(UTC):%Y-%m}")
    archive = _archive(endpoints)
    streamer = requests.get(f"{endpoints.url('streamer')}/status", timeout=10).json()
    predicted = find_predicted(s3, settings.bucket)
    training = _training(s3, settings.bucket)
    engines = _engines(tables["engines"])
    figures: dict[str, Any] = {
        "hours": hours,
        "quarantine": _quarantine(tables["quarantine"]),
        "duplicates": sum(int(row["lines"]) - int(row["ids"]) for row in tables["raw"]),
        "posts": {
            "streamed": ledger.get("stream", 0),
            "searched": ledger.get("search", 0),
            "dollars": cost(sum(ledger.values())),
            "budget": monthly_posts(settings, load_topics(settings.topics_file)),
        },
        "sentiment": _sentiment(tables["labeled"], topics),
        "engines": engines,
        "unmeasured": _unmeasured(cards.measured(s3, settings.bucket), engines),
        "models": {mode: asdict(each) for mode, each in sent(s3, settings.bucket, windows).items()},
        "quality": _quality(s3, settings, windows),
        "jobs": {
            "sagemaker": _count_jobs(aws("sagemaker"), begun),
            "athena": _count_queries(athena, settings.workgroup, begun),
            "databricks": _count_databricks_runs(endpoints, begun),
            "quicksight": _count_ingestions(aws("quicksight"), settings, begun),
        },
        "training": training,
        "predictions": sum(map(sum, predicted.counts.values())) if predicted else 0,
        "streamer": {name: streamer[name] for name in ("received", "delivered", "pending", "connects")},
        "dag_runs": [_dag_run(run) for run in dag_runs],
        "costs": _costs(athena, s3, settings),
        "links": _links(endpoints, settings),
    }
    return Summary(figures, list(problems(figures, tables, windows)), list(notes(figures, archive)))


def told_costs(costs: dict[str, Any]) -> str:
    """What the month's usage would cost on AWS, for a million tweets too, in a line."""
    if costs["per_million"] is None:
        return "none of this month: nothing is labeled"
    labeling, always_on = costs["labeling_per_million"], costs["always_on_per_million"]
    compared = "" if always_on is None else f"; two endpoints, always on: ${always_on:,.2f}"
    return (
        f"${costs['dollars']:,.2f} this month as it would be on AWS, modeled from list prices:"
        f" ${costs['per_million']:,.2f} a million tweets (labeling ${labeling:,.2f}{compared})"
    )


def _clients(endpoints: Endpoints) -> Callable[[str], Any]:
    environment = endpoints.aws_environment()
    session: Any = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )
    return lambda service: session.client(service, endpoint_url=environment["AWS_ENDPOINT_URL"])


def _read(athena: Any, settings: Settings, windows: Sequence[Window]) -> Tables:
    """The rows of all `QUERIES`; runs one again where an object that it reads is replaced."""
    days, labels = sorted({window.date for window in windows}), [window.label for window in windows]
    statements = {name: sql.render(f"summary/{name}", days=days, windows=labels) for name in QUERIES}
    try:
        return Athena(athena, settings).run_all(statements)
    except AthenaError as error:
        raise SummaryError(f"Athena could not read the lake back: {error}") from error


def _hours(tables: Tables, topics: Sequence[str], windows: Sequence[Window]) -> list[dict[str, Any]]:
    by_hour = {name: {(row["topic"], row["window"]): row for row in rows} for name, rows in tables.items()}
    quarantined: Counter[tuple[str, str]] = Counter()
    for row in tables["quarantine"]:
        quarantined[row["topic"], row["window"]] += int(row["ids"])
    hours = []
    for key in [(topic, window.label) for window in windows for topic in topics]:
        raw, labeled, coverage = (by_hour[name].get(key, {}) for name in ("raw", "labeled", "coverage"))
        hours.append(
            {
                "topic": key[0],
                "hour": key[1],
                "raw": int(raw.get("ids", 0)),
                "labeled": int(labeled.get("ids", 0)),
                "quarantined": quarantined[key],
                "verdict": coverage.get("verdict", "not measured"),
                "recovered": int(raw.get("recovered", 0)),
                "gaps": coverage.get("gap_states") or "",
            }
        )
    return hours


def _quarantine(rows: list[ResultRow]) -> dict[str, int]:
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons[row["reason"]] += int(row["lines"])
    return dict(sorted(reasons.items()))


def _sentiment(rows: list[ResultRow], topics: Sequence[str]) -> dict[str, dict[str, int]]:
    names = ("negative", "neutral", "positive")
    return {
        topic: {name: sum(int(row[name]) for row in rows if row["topic"] == topic) for name in names}
        for topic in topics
    }


def _engines(rows: list[ResultRow]) -> dict[str, dict[str, int]]:
    """The rows that each model has labeled or translated, by stage; ``none`` counts those of no model."""
    engines: dict[str, Counter[str]] = {"sentiment": Counter(), "translation": Counter()}
    for row in rows:
        for stage, counts in engines.items():
            counts[row[stage]] += int(row["ids"])
    return {stage: dict(sorted(counts.items())) for stage, counts in engines.items()}


def _unmeasured(measured: Measured, engines: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Those of `_engines` whose cards name no language that they were measured on."""
    known = {each.partition(" ")[0] for each in (*measured.sentiment, *measured.translation)}
    return {
        stage: {name: count for name, count in counts.items() if name not in {NO_ENGINE, *known}}
        for stage, counts in engines.items()
    }


def _quality(s3: Any, settings: Settings, windows: Sequence[Window]) -> list[dict[str, Any]]:
    suites = []
    for suite in ("raw", "labeled"):
        totals: Counter[str] = Counter()
        for window in windows:
            try:
                answer = s3.get_object(Bucket=settings.bucket, Key=quality_key(suite, window))
            except s3.exceptions.NoSuchKey:
                continue
            result = json.loads(answer["Body"].read())
            totals.update({name: result[name] for name in ("checked", "failed", "blocking")})
        suites.append({"suite": suite, **{name: totals[name] for name in ("checked", "failed", "blocking")}})
    return suites


def _training(s3: Any, bucket: str) -> dict[str, Any]:
    """What the last training came to: the candidate's alias and scores, or why there is none."""
    nothing: dict[str, Any] = {"version": None, "alias": None, "metrics": {}}
    try:
        trained = read_outcome(s3, bucket, "train")
        if trained.get("rejected"):
            return {**nothing, "rejected": trained["rejected"]}
        gated = read_outcome(s3, bucket, "gate")
    except StateError:
        return {**nothing, "rejected": "the DAG train has never got so far"}
    return {name: gated[name] for name in ("version", "alias", "metrics", "reason")}


def _costs(athena: Any, s3: Any, settings: Settings) -> dict[str, Any]:
    """The month's costs by list prices, as they would be on AWS."""
    listed = prices.load(settings.prices_file)
    try:
        return month.read(Athena(athena, settings), s3, settings, listed, datetime.now(UTC).date()).to_json()
    except AthenaError as error:
        raise SummaryError(f"Athena could not read the costs back: {error}") from error


def _links(endpoints: Endpoints, settings: Settings) -> dict[str, str]:
    airflow = endpoints.url("airflow")
    return {
        "airflow": airflow,
        **{page: f"{airflow}/plugin/{page}" for page in PAGES},
        "mlflow": endpoints.url("mlflow"),
        "databricks": endpoints.url("databricks"),
        "quicksight": dashboard_url(settings, data_set_ids(settings)[0]),
    }


def _archive(endpoints: Endpoints) -> dict[str, Any]:
    answer = requests.get(
        f"{endpoints.url('x_api')}/_local/status",
        headers={"Authorization": f"Bearer {endpoints.credentials.control_token}"},
        timeout=10,
    )
    answer.raise_for_status()
    return answer.json().get("archive") or {}


def _count_databricks_runs(endpoints: Endpoints, begun: datetime) -> int:
    answer = requests.get(
        f"{endpoints.url('databricks')}/api/2.2/jobs/runs/list",
        params={"start_time_from": int(begun.timestamp() * 1000), "limit": 25},
        headers={"Authorization": f"Bearer {endpoints.credentials.databricks_token}"},
        timeout=10,
    )
    answer.raise_for_status()
    return len(answer.json().get("runs", []))


def _count_ingestions(quicksight: Any, settings: Settings, begun: datetime) -> int:
    count = 0
    for identity in data_set_ids(settings):
        pages = quicksight.get_paginator("list_ingestions").paginate(AwsAccountId=ACCOUNT, DataSetId=identity)
        for page in pages:
            count += sum(each["CreatedTime"] >= begun for each in page["Ingestions"])
    return count


def _count_jobs(sagemaker: Any, begun: datetime) -> int:
    pages = sagemaker.get_paginator("list_transform_jobs").paginate(CreationTimeAfter=begun)
    return sum(len(page["TransformJobSummaries"]) for page in pages)


def _count_queries(athena: Any, workgroup: str, begun: datetime) -> int:
    count = 0
    for page in athena.get_paginator("list_query_executions").paginate(WorkGroup=workgroup):
        ids = page["QueryExecutionIds"]
        for start in range(0, len(ids), 50):
            answer = athena.batch_get_query_execution(QueryExecutionIds=ids[start : start + 50])
            executions = answer["QueryExecutions"]
            count += sum(execution["Status"]["SubmissionDateTime"] >= begun for execution in executions)
    return count


def _dag_run(run: dict[str, Any]) -> dict[str, Any]:
    took = run_seconds(run)
    return {
        "dag_id": run["dag_id"],
        "run_id": run["dag_run_id"],
        "state": run["state"],
        "s": None if took is None else round(took, 1),
    }


def problems(figures: dict[str, Any], tables: Tables, windows: Sequence[Window]) -> Iterator[str]:
    """What does not add up, a sentence each; the last window is open and so not judged."""
    closed = {window.label for window in windows[:-1]}
    counted: defaultdict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in figures["hours"]:
        if row["hour"] not in closed:
            continue
        name = f"{row['hour']} {row['topic']}"
        if row["raw"] != row["labeled"] + row["quarantined"]:
            parts = f"{row['labeled']} labeled + {row['quarantined']} quarantined"
            yield f"{name}: {row['raw']} raw ids are not {parts}"
        if row["verdict"] not in GOOD:
            yield f"{name}: the verdict is {row['verdict']}"
    for labeled in tables["labeled"]:
        name = f"{labeled['window']} {labeled['topic']}"
        if labeled["lines"] != labeled["ids"]:
            yield f"{name}: {labeled['lines']} labeled rows hold only {labeled['ids']} tweets"
        kinds = ("negative", "neutral", "positive", "unlabeled")
        if int(labeled["lines"]) != sum(int(labeled[kind]) for kind in kinds):
            yield f"{name}: the sentiments and the unlabeled are not the {labeled['lines']} rows"
    for row in tables["opinion"]:
        counted[row["topic"], row["window"]] = (int(row["judged"]), int(row["predicted"]))
    for labeled in tables["labeled"]:
        name = f"{labeled['window']} {labeled['topic']}"
        expected = sum(int(labeled[kind]) for kind in ("negative", "neutral", "positive"))
        judged, predicted = counted[labeled["topic"], labeled["window"]]
        if labeled["window"] in closed and judged != expected:
            yield f"{name}: the dashboards count {judged} tweets with a sentiment, the lake {expected}"
        if labeled["window"] in closed and figures["predictions"] and predicted != judged:
            yield f"{name}: {predicted} of {judged} tweets with a sentiment are predicted"
    posts, streamer = figures["posts"], figures["streamer"]
    if (bought := posts["streamed"] + posts["searched"]) > posts["budget"]:
        yield f"{bought} posts were bought, over the month's {posts['budget']}"
    # The spool may hold more than this session has received: what an earlier one had left.
    if streamer["received"] > streamer["delivered"] + streamer["pending"]:
        yield f"the streamer does not account for all that it received: {streamer}"
    for suite in figures["quality"]:
        if suite["blocking"]:
            yield f"suite {suite['suite']}: {suite['blocking']} blocking expectations failed"
    for run in figures["dag_runs"]:
        if run["state"] == "failed":
            yield f"{run['dag_id']} {run['run_id']} failed"


def notes(figures: dict[str, Any], archive: dict[str, Any]) -> Iterator[str]:
    """What a reader should know though nothing is wrong."""
    if rejected := figures["training"].get("rejected"):
        yield f"no student was trained: {rejected}"
    for stage, done in (("sentiment", "labeled"), ("translation", "translated")):
        for engine, tweets in figures["unmeasured"][stage].items():
            yield (
                f"{tweets:,} tweets that {engine} has {done} count in no default ratio: no card names a"
                " language that it was measured on (docs/models.md)"
            )
    for reason, count in (archive.get("reasons") or {}).items():
        yield f"{count:,} of the archive were skipped: {reason}"
    for name, reason in (archive.get("damaged") or {}).items():
        yield f"{name} in the archive is damaged ({reason}): what came before was read"
    for topic in figures["sentiment"]:
        if not any(row["raw"] for row in figures["hours"] if row["topic"] == topic):
            yield f"no tweet matched {topic} in these hours"
