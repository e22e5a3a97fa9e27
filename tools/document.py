"""Writes the generated documents of ``docs/`` from the code itself: ``python -m tools.document``.

Columns come from ``sql/tables`` and ``sql/views`` (``sql/README.md`` says how they are explained there), DAGs
from Airflow. The sample objects are made by the pipeline's own code: synthetic tweets go through the
streamer's reader, `prepare`, the n-gram model, `publish`, coverage and the aggregates, in a lake of their
own on the local AWS and Trino.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot
import yaml
from sqlglot import exp

from include import prices
from include.audit import mix, records
from include.audit.wave import Wave
from include.compliance.requests import RemovalRequest
from include.costs import measure as measured_costs
from include.costs import usage
from include.coverage import ledger
from include.coverage.measure import measure
from include.insights import aggregate
from include.insights.definition import FILE
from include.labeling import model_io, models, prepare, publish
from include.lake import cards, layout, sql, storage, views
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import PREDICTIONS
from include.lake.verdict import Verdict
from include.provision import lake
from include.settings import Settings
from include.training import hours
from include.window import Window
from include.x.budget import PostsLedger
from include.x.client import PAYLOAD_FIELDS
from include.x.compliance import ComplianceAction
from include.x.matching import Matcher
from include.x.rules import rule_hash
from include.x.snowflake import lowest_id
from include.x.topics import Topics, load
from local.aws.bootstrap import Template
from local.aws.standalone import provision_lake, standalone_athena
from local.removal import remove
from local.x_api.selection import Selection
from local.x_api.synthetic import Synthetic
from streamer import lines as stream
from tools import labeling_modes
from tools.setup import ROOT

DOCS = ROOT / "docs"
HOUR = Window.parse("2026-11-20T05")
"""The hour of the samples."""
_KEY = b"the key of the documentation"
_MODEL = ROOT / "include" / "labeling" / "ngram"
"""What labels the samples: its answers are the same on every processor."""
NOW = HOUR.end + timedelta(minutes=20)
RATE = 400.0
SEED = 1
JSON_LINES = "application/jsonlines"

type ClientOf = Callable[[str], Any]
"""Gives a boto3 client of a service of the local AWS."""


class DocumentError(Exception):
    """Something cannot be documented; the message is one sentence that says why."""


@dataclass(frozen=True)
class Column:
    """One column as a reader sees it."""

    name: str
    type: str
    meaning: str
    origin: str = ""


@dataclass(frozen=True)
class Layer:
    """A table or view: its file's description, its columns, and for a table the prefix of its objects."""

    name: str
    text: str
    columns: tuple[Column, ...]
    partitions: tuple[Column, ...] = ()
    prefix: str = ""
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One row or record, and the key of the object that holds it; no key for a view."""

    value: Mapping[str, Any]
    key: str = ""


_WRITERS = {
    "raw": "the streamer through Firehose; search writes `recovered-….json.gz`",
    "heartbeats": "the streamer through Firehose",
    "quarantine": "the streamer through Firehose, and `transform`",
    "labeled": "`transform`",
    "audit_drawn": "`audit`",
    "audit_predicted": "`train`",
    "audit_judged": "the person who judges, on the page Audit or by `python -m local audit`",
    "coverage": "`coverage`",
    "predictions": "`train`",
    "opinion_hourly": "`insights`",
    "mix": "`drift`",
    "drift": "`drift`",
    "removals": "`compliance`",
    "usage": "`costs`",
}

_X = {
    "tweet_id": "`data.id`",
    "text": "`data.text`",
    "lang": "`data.lang`",
    "ts": "`data.created_at`; of search too",
    "country_code": "`includes.places`",
    "place": "`includes.places`",
    "location": "`includes.users`",
    "author_followers": "`includes.users`",
    "author_id": "`data.author_id`, hashed with the key `pseudonym_secret`",
    "context": "`data.context_annotations`",
    "tag": "`matching_rules`",
}
_ORIGINS: dict[str, dict[str, str]] = {
    "raw": {
        "line": "X; `ingest`, and rules that X has left out: streamer, or search",
    },
    "labeled": {
        **{name: f"X, {origin}" for name, origin in _X.items()},
        **dict.fromkeys(("sentiment", "score", "p_negative", "p_neutral", "p_positive"), "sentiment model"),
        "translated_text": "translator",
        **dict.fromkeys(("rule_hash", "sample", "source", "received_at"), "`ingest` of raw"),
        **dict.fromkeys(("unlabeled_reason", "translation_engine", "sentiment_engine"), "`transform`"),
    },
    "predictions": {"tweet_id": "`labeled`"},
}

_UNITS = (
    (r"^1 if\b", "0 or 1"),
    (r"\b0 to 1\b", "0 to 1"),
    (r"^(?:Offset|Standard error)\b|^score_sum$", "1"),
    (r"^people$", "people"),
    (r"_days$", "days"),
    (r"_s$|\bseconds\b", "s"),
    (r"^net", "-1 to 1"),
    (r"^ratio", "1"),
    (r"^sample$", "%"),
    (r"^p_|^score$|_low$|_high$|^low$|^high$|share|ratio|agreement|0 to 1", "0 to 1"),
    (r"^(ts|hour|.*_at|.*_ts|judged_until)$", "UTC"),
    (r"^usd$|^dollars$", "US dollars"),
    (r"\b[Ff]ollowers\b", "followers"),
    (r"\b[Ll]ines?\b", "lines"),
    (r"\b[Tt]weets?\b|\b[Pp]osts?\b|\b[Rr]ows\b", "tweets"),
)
_COUNTS = re.compile(r"int|double|float|decimal|timestamp", re.IGNORECASE)


def _unit(column: Column, former: str) -> str:
    """The unit of a number or time by its name or meaning; "Those of them" have the previous column's."""
    nested = "<" in column.type or column.type.startswith("array(")
    if nested or not _COUNTS.search(column.type) or column.name in ("tweet_id", "author_id"):
        return ""
    if column.meaning.startswith("Those of them"):
        return former
    for pattern, unit in _UNITS:
        if re.search(pattern, column.name) or (r"\b" in pattern and re.search(pattern, column.meaning)):
            return unit
    return ""


def tables(settings: Settings, topics: Topics) -> list[Layer]:
    """The tables of ``sql/tables``; raises `DocumentError` for a column without its comment."""
    found = []
    for name, (statement, _) in sorted(lake.definitions(settings, topics).items()):
        tree = sqlglot.parse_one(statement, read="athena")
        location, partitioned = tree.find(exp.LocationProperty), tree.find(exp.PartitionedByProperty)
        if location is None:
            raise DocumentError(f"sql/tables/{name}.sql names no location")
        writer = _WRITERS.get(name, "")
        origins = _ORIGINS.get(name, {})
        found.append(
            Layer(
                name=name,
                text=_header(f"tables/{name}") + (f" Written by {writer}." if writer else ""),
                columns=tuple(_columns(name, tree.this.expressions, origins)),
                partitions=tuple(_columns(name, partitioned.this.expressions if partitioned else [], {})),
                prefix=location.this.name.removeprefix(settings.s3()),
            )
        )
    return found


def _columns(table: str, nodes: list[exp.ColumnDef], origins: Mapping[str, str]) -> Iterator[Column]:
    for node in nodes:
        comments = [
            constraint.kind.this.name
            for constraint in node.args.get("constraints") or ()
            if isinstance(constraint.kind, exp.CommentColumnConstraint)
        ]
        if not comments:
            raise DocumentError(f"sql/tables/{table}.sql: the column {node.name} needs a COMMENT")
        kind = node.args["kind"].sql("hive").lower()
        yield Column(node.name, kind, comments[0], origins.get(node.name, ""))


def view_layers() -> list[Layer]:
    """The views of ``sql/views``; raises `DocumentError` if comment and SELECT do not fit together."""
    found = []
    names = {name.split("/")[-1] for name in (*sql.names("views"), *sql.names("tables"))}
    for name in sql.names("views"):
        view = name.split("/")[-1]
        columns = tuple(_explained(name))
        query = sqlglot.parse_one(views.query(name), read="athena").assert_is(exp.Query)
        selected = query.named_selects
        if [column.name for column in columns] != selected:
            raise DocumentError(
                f"sql/{name}.sql explains {', '.join(column.name for column in columns)},"
                f" but selects {', '.join(selected)}; sql/README.md says how columns are explained"
            )
        reads = {table.name for table in query.find_all(exp.Table)} & (names - {view})
        found.append(Layer(view, _header(name), columns, reads=tuple(sorted(reads))))
    return found


def _comment(name: str) -> list[str]:
    lines = (sql.STATEMENTS / f"{name}.sql").read_text().splitlines()
    head = lines[: next((number for number, line in enumerate(lines) if not line.startswith("--")), None)]
    return [line.removeprefix("--").removeprefix(" ") for line in head]


def _header(name: str) -> str:
    lines = _comment(name)
    text = lines[: lines.index("Columns:")] if "Columns:" in lines else lines
    paragraphs = " ".join(line or "\n\n" for line in text).strip()
    return re.sub(r"\$\{(\w+)\}", r"`\1`", re.sub(r" *\n\n *", "\n\n", paragraphs))


def _explained(name: str) -> Iterator[Column]:
    lines = _comment(name)
    entries: list[str] = []
    for line in lines[lines.index("Columns:") + 1 :] if "Columns:" in lines else []:
        if line.startswith("    ") and entries:
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    for entry in entries:
        found = re.fullmatch(r"(\w+) ([^:]+): (.+)", entry)
        if not found:
            raise DocumentError(f"sql/{name}.sql: {entry!r} is not 'name type: meaning'")
        yield Column(*found.groups())


def _inference() -> Any:
    """The n-grams' handler, as its container imports it: by its bare name."""
    code = _MODEL / "code"
    sys.path.insert(0, str(code))
    try:
        return importlib.import_module("inference")
    finally:
        sys.path.remove(str(code))


def _raw(topics: Topics, identity: stream.Identity) -> dict[tuple[str, str], list[bytes]]:
    """What one session of the streamer sends of the hour, by layer and topic."""
    corpus = Synthetic(topics.topics, RATE, SEED, clock=NOW.timestamp)
    selection = Selection.read(PAYLOAD_FIELDS)
    matcher = Matcher(topics)
    reader = stream.Reader(stream.RuleSet(identity, topics))
    found: dict[tuple[str, str], list[bytes]] = {}
    for post in corpus.posts(lowest_id(HOUR.start), lowest_id(HOUR.end)):
        payload: dict[str, Any] = {"data": selection.data(post), "includes": selection.includes([post])}
        topic = matcher.topic(payload)
        if topic is None:
            continue
        payload["matching_rules"] = [{"id": "1990000000000000001", "tag": topic}]
        at = datetime.fromtimestamp(post.milliseconds / 1000, UTC) + timedelta(seconds=2)
        read = reader.read([orjson.dumps(payload)], at)
        if read.rejected:
            raise DocumentError(f"the streamer rejects a synthetic tweet: {read.rejected}")
        found.setdefault(("raw", topic), []).append(read.packs[0].lines)
    cut = reader.read([b'{"data":{"id":"19900'], HOUR.start)
    if not cut.rejected:
        raise DocumentError("the streamer takes a cut line for a tweet")
    found["quarantine", layout.NO_TOPIC] = [cut.packs[0].lines]
    return found


def _heartbeats(identity: stream.Identity, window: Window, until: datetime) -> list[bytes]:
    found = []
    at = window.start
    while at < until:
        content = {"watermark": at, "connected": True, "last_byte_at": at, "last_tweet_at": at}
        counts = dict.fromkeys(("received", "spooled", "delivered"), 120) | {"pending": 0}
        found.append(stream.control("heartbeat", identity, at, {**content, **counts}).lines)
        at += timedelta(seconds=15)
    return found


def fill(client: ClientOf, settings: Settings, topics: Topics) -> dict[str, Sample]:
    """Fills the lake of ``settings`` with one hour; returns a sample of every view by its name.

    Everything is written by the production code, except the student's predictions: they are the n-grams'
    probabilities, since Spark is not available here.
    """
    s3 = client("s3")
    s3.create_bucket(Bucket=settings.bucket)
    identity = stream.Identity("20261120T050000Z-a1b2c3", rule_hash(topics), topics.collection.sample)

    def put(key: str, lines: list[bytes]) -> None:
        s3.put_object(Bucket=settings.bucket, Key=key, Body=gzip.compress(b"".join(lines), mtime=0))

    for (name, topic), lines in _raw(topics, identity).items():
        prefix = layout.raw_prefix if name == "raw" else layout.quarantine_prefix
        put(f"{prefix(topic, HOUR)}{settings.delivery_stream}-1.gz", lines)
    for window, until in ((HOUR, HOUR.end), (Window(HOUR.end), NOW)):
        beats = _heartbeats(identity, window, until)
        put(f"{layout.heartbeats_prefix(window)}{settings.delivery_stream}-1.gz", beats)
    prepared = prepare.prepare(s3, settings, topics.names, HOUR, _KEY)
    answered = _answer(s3, settings, model_io.compose_sentiment_input(s3, settings, prepared, None))
    sentiment = models.resolve(settings, s3).sentiment
    engine = sentiment.engine
    card = json.loads((_MODEL / "card.json").read_text(encoding="utf-8"))
    cards.keep(s3, settings.bucket, sentiment.stage, engine, card)
    published = publish.publish(s3, settings, prepared, _KEY, answered, engine, None, models.NO_ENGINE)
    _predict(s3, settings, published.keys)
    posts = sum(published.rows.values())
    PostsLedger(s3, settings.bucket).record("2026-11", "stream-0123456789abcdef", posts)

    database = provision_lake(client, settings, topics)
    measured = measure(database, s3, settings, topics, [HOUR], (), NOW)
    ledger.write(s3, settings.bucket, measured.rows)
    _audit(s3, settings, topics)
    records.predict(s3, settings, "v1", NOW.date())
    aggregate.refresh(database, s3, settings, topics.names, HOUR.date)
    mix.refresh(database, s3, settings, topics.names, HOUR.date)
    mix.measure(s3, settings, topics.names, HOUR.start.date())
    _use(s3, settings, posts)
    samples = {}
    for layer in view_layers():
        # Monthly records have the month's first day.
        days = sql.literal([HOUR.date, f"{HOUR.date[:7]}-01"])
        wanted = f"SELECT * FROM {layer.name} WHERE dt IN ({days})"  # noqa: S608 - our names
        # By every column that has an order, so that no two rows tie.
        ranks = [str(rank) for rank, column in enumerate(layer.columns, 1) if "map(" not in column.type]
        row = database.run(f"{wanted} ORDER BY {', '.join(ranks)} LIMIT 1")
        if not row:
            raise DocumentError(f"the view {layer.name} has no row of the sample's day")
        samples[layer.name] = Sample(row[0])
    _remove(client, settings, topics)
    return samples


def _use(s3: Any, settings: Settings, posts: int) -> None:
    """Keeps that the day's posts were bought."""
    bought = usage.Usage("collect", "x", "post", "post", posts, usage.MEASURED, "posts ledger")
    listed = prices.load(settings.prices_file)
    usage.write(s3, settings.bucket, HOUR.start.date(), "x", [bought], listed)


def _remove(client: ClientOf, settings: Settings, topics: Topics) -> None:
    """Removes the last tweet of the hour, which is no sample, as X would ask for it."""
    rows = pq.read_table(
        io.BytesIO(storage.read(client("s3"), settings.bucket, layout.labeled_key(topics.names[0], HOUR)))
    )
    last = {max(rows["tweet_id"].to_pylist()): ComplianceAction.DELETE}
    request = RemovalRequest.of(Pseudonyms(_KEY), "x-2026-11-20", "X reports it", NOW, last, {})
    remove(client("s3"), client("athena"), settings, _KEY, request, lambda: NOW, dry_run=False)


def _answer(s3: Any, settings: Settings, prefix: str) -> str:
    """Writes what SageMaker would write for a job with this input; returns the output's key prefix."""
    handler = _inference()
    model = handler.model_fn(str(_MODEL))
    for found in storage.list_objects(s3, settings.bucket, prefix).objects:
        body = storage.read(s3, settings.bucket, found.key)
        predictions = handler.predict_fn(handler.input_fn(body, JSON_LINES), model)
        answer = handler.output_fn(predictions, JSON_LINES)
        key = f"{prefix}output/{Path(found.key).name}.out"
        s3.put_object(Bucket=settings.bucket, Key=key, Body=answer.encode())
    return f"{prefix}output/"


def _predict(s3: Any, settings: Settings, labeled: Mapping[str, str]) -> None:
    rows = {}
    for topic, key in labeled.items():
        table = pq.read_table(io.BytesIO(storage.read(s3, settings.bucket, key)))
        judged = table.filter(table["sentiment"].is_valid()).select(PREDICTIONS.names).sort_by("tweet_id")
        sink = io.BytesIO()
        pq.write_table(judged.cast(PREDICTIONS), sink, compression="zstd")
        s3.put_object(
            Bucket=settings.bucket, Key=layout.predictions_key("v1", topic, HOUR), Body=sink.getvalue()
        )
        rows[hours.name(topic, HOUR)] = judged.num_rows
    there = hours.labeled(s3, settings.bucket)
    hours.write_predicted(s3, settings.bucket, hours.Predicted("x_opinion_student", 1, there, rows))


def _audit(s3: Any, settings: Settings, topics: Topics) -> None:
    """Draws the sample's wave; a person who knows no more than the model judges some of it."""
    wave = Wave.of(HOUR.start.date())
    key = b"the key of the documentation"
    records.draw(s3, settings, topics.names, wave, key, NOW)
    drawn = records.read_drawn(s3, settings.bucket, wave).to_pylist()
    given = {row["tweet_id"]: row["sentiment"] for row in drawn}
    records.judge(s3, settings.bucket, records.pseudonym(key, "a person"), given, NOW)


def _first(s3: Any, bucket: str, prefix: str) -> Sample | None:
    """The first row of the first object under a prefix that has one."""
    for found in storage.list_objects(s3, bucket, prefix).objects:
        body = storage.read(s3, bucket, found.key)
        if found.key.endswith(".parquet"):
            records = pq.ParquetFile(pa.BufferReader(body)).read().slice(0, 1).to_pylist()
        elif found.key.endswith(".gz"):
            records = [orjson.loads(line) for line in gzip.decompress(body).splitlines()[:1]]
        else:
            records = [orjson.loads(body)]
        if records:
            return Sample(records[0], found.key)
    return None


_OTHERS = {
    "training/champion.json": "The champion and the hours that it has predicted, in the state in which they"
    " were read; written after its predictions (`train`).",
    "posts/": "The ledger of posts bought in a month: one object a writer (the streamer, and each search).",
}


_ABOUT = f"""\
Generated by `make docs` from `sql/tables`, `sql/views` and the pipeline's own code; a test fails when it is
stale.

The samples are of one synthetic hour, {HOUR} (UTC), with the labels of the n-gram model; in `predictions`
its probabilities stand in for the student's. Times are UTC, in milliseconds, without a zone. Ids are X's;
beyond raw `author_id` is a keyed pseudonym."""


_VERDICTS = """\
What coverage says of an hour of a topic. If several apply, the one whose action comes first is shown. An hour
without a verdict is not whole: it is unknown what is missing."""


def verdict_table() -> str:
    """Every verdict with its letter on the page Coverage, what it rests on, and what follows."""
    rows = ["| Verdict | Letter | Evidence | Action | Whole | Stands |", "|---|---|---|---|---|---|"]
    for verdict in Verdict:
        whole = "yes" if verdict.whole else "in raw" if verdict.collected else "no"
        stands = "until its objects change" if verdict.settled else "until it is measured again"
        cells = (verdict.value, verdict.letter, verdict.evidence, verdict.action, whole, stands)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


_MEASURES = """\
What the dashboards show, in QuickSight and on the pages in Airflow, computed from columns of the views above.
`include/insights/dashboards.yaml`, from which this table is made, defines the terms and functions. A measure
with an interval comes with its ends and its n."""


def measure_table() -> str:
    """Every measure of the dashboards with its formula."""
    rows = ["| Measure | Title | Meaning | Computed as | Interval |", "|---|---|---|---|---|"]
    for name, data_set in yaml.safe_load(FILE.read_text(encoding="utf-8"))["data_sets"].items():
        for shown, given in data_set["measures"].items():
            interval = "95 %" if "low" in given else ""
            value = f"`{' '.join(given['value'].split())}`"
            cells = (f"`{name}.{shown}`", given["title"], given.get("description", ""), value, interval)
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def dictionary(client: ClientOf, settings: Settings, topics: Topics) -> str:
    """The text of the data dictionary; fills the lake of ``settings`` for its samples."""
    samples = fill(client, settings, topics)
    s3 = client("s3")
    parts = ["# Data dictionary", _ABOUT, "## Tables"]
    for layer in tables(settings, topics):
        sample = _first(s3, settings.bucket, layer.prefix)
        if sample is None:
            raise DocumentError(f"there is no object under {layer.prefix}: have `fill` write one")
        parts += _layer(layer, sample)
    parts.append("## Views")
    parts.append("Created by `provision`, and again by `insights`; they hold no data of their own.")
    for layer in view_layers():
        parts += _layer(layer, samples[layer.name])
    parts += ["## Measures", _MEASURES, measure_table()]
    parts += ["## Verdicts", _VERDICTS, verdict_table()]
    parts.append("## Other objects")
    for prefix, text in _OTHERS.items():
        sample = _first(s3, settings.bucket, prefix)
        if sample is None:
            raise DocumentError(f"there is no object under {prefix}: have `fill` write one")
        parts += [f"### `{prefix}`", text, *_shown(sample)]
    return "\n\n".join(parts) + "\n"


def _layer(layer: Layer, sample: Sample) -> list[str]:
    rows = ["| Column | Type | Unit | Meaning | Origin |", "|---|---|---|---|---|"]
    unit = ""
    computed = f"computed from {', '.join(f'`{name}`' for name in layer.reads)}" if layer.reads else ""
    for column in layer.columns:
        unit = _unit(column, unit)
        origin = column.origin or computed or f"{_WRITERS.get(layer.name, '')}".partition(" through")[0]
        rows.append(f"| `{column.name}` | `{column.type}` | {unit} | {_cell(column.meaning)} | {origin} |")
    rows += [
        f"| `{column.name}` (partition) | `{column.type}` | | {_cell(column.meaning)} | the object's key |"
        for column in layer.partitions
    ]
    return [f"### `{layer.name}`", layer.text, "\n".join(rows), *_shown(sample)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _shown(sample: Sample) -> list[str]:
    text = json.dumps(_short(sample.value), indent=2, ensure_ascii=False, default=str)
    return [f"In `{sample.key}`:" if sample.key else "A row:", f"```json\n{text}\n```"]


def _short(value: Any) -> Any:
    """The value with its fractions to nine digits: an engine's sums differ in the last digits."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, Mapping):
        return {key: _short(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_short(each) for each in value]
    return value


_DESCRIBE = """
import json
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.configuration import conf
folder = conf.get("core", "dags_folder")
bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags")
if bag.import_errors:
    raise SystemExit(json.dumps({str(path): str(error) for path, error in bag.import_errors.items()}))

def assets(condition):
    if hasattr(condition, "objects"):
        sign = " | " if type(condition).__name__ == "AssetAny" else " & "
        return sign.join(assets(each) for each in condition.objects)
    return condition.name

def schedule(dag):
    condition = getattr(dag.timetable, "asset_condition", None)
    if condition is not None and (getattr(condition, "objects", None) or hasattr(condition, "name")):
        return "when " + assets(condition) + " changes"
    expression = getattr(dag.timetable, "expression", None) or getattr(dag.timetable, "_expression", None)
    return f"{type(dag.timetable).__name__} {expression}" if expression else "none (manual)"

print("dags: " + json.dumps([
    {
        "dag_id": dag.dag_id, "description": dag.description, "doc": dag.doc_md, "tags": sorted(dag.tags),
        "schedule": schedule(dag), "catchup": dag.catchup, "max_active_runs": dag.max_active_runs,
        "params": {
            name: {
                "default": param.value,
                "title": param.schema.get("title"),
                "description": param.description,
            }
            for name, param in ((name, dag.params.get_param(name)) for name in dag.params)
        },
        "tasks": [
            {
                "task_id": task.task_id, "operator": task.operator_name or task.task_type,
                "mapped": bool(getattr(task, "is_mapped", False)), "pool": task.pool, "retries": task.retries,
                "trigger_rule": str(getattr(task.trigger_rule, "value", task.trigger_rule)),
                "downstream": sorted(task.downstream_task_ids),
                "outlets": [outlet.name for outlet in task.outlets],
            } for task in dag.topological_sort()
        ],
    } for _, dag in sorted(bag.dags.items())
]))
"""


def describe_dags() -> list[dict[str, Any]]:
    """Airflow's description of every DAG, from a separate Airflow home; raises `DocumentError`."""
    with tempfile.TemporaryDirectory() as home:
        ours = ("AIRFLOW", "OPINION_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": home,
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", _DESCRIBE], env=env, cwd=ROOT, capture_output=True, text=True, check=False
        )
    answer = next((line for line in done.stdout.splitlines() if line.startswith("dags: ")), None)
    if answer is None:
        raise DocumentError(f"the DAGs cannot be read: {done.stderr.strip().splitlines()[-1:]}")
    result: list[dict[str, Any]] = json.loads(answer.removeprefix("dags: "))
    return result


def dags() -> str:
    """The text of ``docs/dags.md``."""
    parts = [
        "# DAGs",
        "Generated by `make docs` from `dags/`; a test fails when it is stale.",
    ]
    for dag in describe_dags():
        facts = [
            ("Schedule", f"{dag['schedule']}{', catching up' if dag['catchup'] else ''}"),
            ("Runs at a time", str(dag["max_active_runs"])),
            ("Tags", ", ".join(dag["tags"])),
        ]
        parts += [
            f"## `{dag['dag_id']}`",
            dag["description"],
            "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts)]),
            re.sub(r"^### ", "### ", dag["doc"].strip()),
            *_params(dag["params"]),
            *_tasks(dag["tasks"]),
        ]
    return "\n\n".join(parts) + "\n"


def _params(params: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not params:
        return []
    rows = ["| Parameter | Default | Meaning |", "|---|---|---|"]
    for name, param in params.items():
        meaning = ". ".join(param[key].rstrip(".") for key in ("title", "description") if param.get(key))
        rows.append(f"| `{name}` | `{json.dumps(param['default'])}` | {_cell(meaning)} |")
    return ["\n".join(rows)]


def _tasks(tasks: list[Mapping[str, Any]]) -> list[str]:
    numbers = {task["task_id"]: f"t{number}" for number, task in enumerate(tasks)}
    graph = ["```mermaid", "flowchart LR"]
    graph += [f'  {numbers[task["task_id"]]}["{task["task_id"]}"]' for task in tasks]
    for task in tasks:
        number = numbers[task["task_id"]]
        graph += [f"  {number} --> {numbers[name]}" for name in task["downstream"]]
        graph += [f"  {number} -.-> asset_{name}([{name}])" for name in task["outlets"]]
    rows = ["| Task | Operator | Pool | Retries | Runs when | Makes |", "|---|---|---|---|---|---|"]
    for task in tasks:
        operator = f"{task['operator']}{', mapped' if task['mapped'] else ''}"
        made = ", ".join(f"asset `{name}`" for name in task["outlets"])
        rows.append(
            f"| `{task['task_id']}` | {operator} | {task['pool']} | {task['retries']} |"
            f" `{task['trigger_rule']}` | {made} |"
        )
    return ["\n".join([*graph, "```"]), "\n".join(rows)]


_X_CONTENT = {
    "raw/": "payloads of X",
    "quarantine/": "lines that could not be used",
    "damaged/": "originals of objects that could not be unpacked, until a removal empties them",
    "delivery-errors/": "records that Firehose could not deliver, until `coverage` delivers them again",
    "edits/": "ids of posts that were edited later",
    "labeled/": "the labeled table",
    "predictions/": "the student's predictions, by tweet id",
    "delta/": "the labeled rows as the training reads them",
    "audit/": "ids of the tweets that people judge, and their judgments",
    "work/": "inputs and outputs of jobs, kept answers, pages of searches",
    "athena-results/": "results of queries",
}
"""What the lake holds of X, by prefix: what goes when access to X is lost."""

_OWN_CONTENT = {
    "heartbeats/": "what the streamer reports of itself",
    "aggregates/": "hourly counts, no user's data",
    "coverage/": "the gap ledger",
    "quality/": "what the checks found, counts only",
    "posts/": "the ledger of posts bought",
    "models/": "packed models and their cards",
    "training/": "which hours are in Delta and predicted",
    "tombstones/": "keyed hashes of what was removed",
    "removals/": "counts and times of removals",
    "usage/": "what was used of what costs money",
    "requests/": "keyed hashes of what is to be removed",
}
"""What it holds beside that."""

_DELETED_OTHERWISE = {
    "delta/": "{retention} days (`OPINION_RETENTION_DAYS`), by `train`; old files 6 hours later",
    "audit/": "until X or a person has it removed",
}
"""How long a prefix without a lifecycle rule is kept, where that is not for good."""


def retention() -> str:
    """The whole of ``docs/retention.md``: from the rules of infra/lake.yaml, the settings and the above."""
    template = Template.load(ROOT / "infra" / "lake.yaml")
    rules = template.resources["Lake"]["Properties"]["LifecycleConfiguration"]["Rules"]
    kept = {
        prefix: text.format(retention=Settings.model_fields["retention_days"].default)
        for prefix, text in _DELETED_OTHERWISE.items()
    }
    for rule in rules:
        if "ExpirationInDays" in rule:
            parameter = str(rule["ExpirationInDays"].value)
            days = template.parameters[parameter]["Default"]
            kept[rule["Prefix"]] = f"{days} days (`{parameter}` in `infra/lake.yaml`)"
    holds = _X_CONTENT | _OWN_CONTENT
    if unknown := sorted(kept.keys() - holds.keys()):
        raise DocumentError(f"infra/lake.yaml expires {', '.join(unknown)}: say here what it holds")
    rows = []
    for prefix, text in holds.items():
        of_x = "yes" if prefix in _X_CONTENT else "no"
        rows.append(f"| `{prefix}` | {text} | {of_x} | {kept.get(prefix, 'for good')} |")
    prefixes = " ".join(prefix.removesuffix("/") for prefix in _X_CONTENT)
    return _RETENTION.format(rows="\n".join(rows), prefixes=prefixes)


_RETENTION = """\
# What is kept, and for how long

Generated by `make docs` from `infra/lake.yaml` and `include/settings.py`; a test fails if it is stale.

| Prefix in the bucket | Content | Content of X | Kept |
|---|---|---|---|
{rows}

Outside the bucket: the streamer's spool keeps a line until Firehose has acknowledged it. Airflow's database
and logs, MLflow and QuickSight hold counts, scores and aggregates.

## If you lose access to X

X requires the deletion of its content within 10 business days. Stop the streamer and pause all DAGs. Then
delete the streamer's spool, and every prefix that holds content of X:

```bash
for prefix in {prefixes}; do
  aws s3 rm --recursive "s3://$OPINION_BUCKET/$prefix/"
done
```
"""


def costs() -> str:
    """The text of ``docs/costs.md``: from the price list and the model of `tools/labeling_modes.py`."""
    settings = Settings()
    listed = prices.load(settings.prices_file)
    instance = settings.sagemaker_instance_type
    rows = [
        "| Way to label | Tweets a month | Instance hours | $ a month | $ a million tweets |",
        "|---|--:|--:|--:|--:|",
    ]
    for tweets in labeling_modes.VOLUMES:
        for mode in labeling_modes.modes(tweets):
            dollars = mode.hours * listed.of("sagemaker", f"{mode.kind} {instance}").usd
            cells = (
                mode.name,
                f"{tweets:,}",
                f"{mode.hours:,.0f}",
                f"{dollars:,.2f}",
                f"{dollars / tweets * 1e6:,.2f}",
            )
            rows.append(f"| {' | '.join(cells)} |")
    rest = [
        "| Tweets a month | Posts of X | Firehose, at most | Sum, batch only | Sum, real-time |",
        "|--:|--:|--:|--:|--:|",
    ]
    for tweets in labeling_modes.VOLUMES:
        posts = tweets * listed.of("x", "post").usd
        gigabytes = tweets * measured_costs.BILLED_RECORD_BYTES / usage.GB
        firehose = gigabytes * sum(
            listed.of("firehose", item).usd for item in ("ingestion", "dynamic partitioning")
        )
        labeling = {
            mode.name: mode.hours * listed.of("sagemaker", f"{mode.kind} {instance}").usd
            for mode in labeling_modes.modes(tweets)
        }
        sums = (posts + firehose + labeling[name] for name in ("batch only", "real-time"))
        rest.append(
            f"| {tweets:,} | {posts:,.2f} | {' | '.join(f'{each:,.2f}' for each in (firehose, *sums))} |"
        )
    meanings = "\n".join(
        f"- **{mode.name}**: {mode.meaning}." for mode in labeling_modes.modes(labeling_modes.VOLUMES[0])
    )
    lines = [
        "| Service | Item | $ | Unit | Region | Date | Confirmed by | Note |",
        "|---|---|--:|---|---|---|---|---|",
    ]
    for price in listed.prices:
        source = f"[{price.service}]({price.source})"
        lines.append(
            f"| {source} | {price.item} | {price.usd:g} | {price.unit} | {price.region} | {price.date} |"
            f" {_cell(price.confirmed) or '**nothing**'} | {_cell(price.note)} |"
        )
    dbus = "\n".join(
        f"An hour of `{each.item}` counts {each.dbus:g} DBU ({each.date}, [source]({each.source}))."
        f" {each.confirmed or each.note}"
        for each in listed.dbus_per_hour
    )
    return _COSTS.format(
        meanings=meanings,
        rows="\n".join(rows),
        rest="\n".join(rest),
        lines="\n".join(lines),
        dbus=dbus,
        instance=instance,
        seconds=labeling_modes.SECONDS_PER_TWEET,
        job=labeling_modes.JOB_SECONDS,
        waking=labeling_modes.WAKING_SECONDS,
        idle=labeling_modes.IDLE_SECONDS,
        hours=labeling_modes.MONTH_HOURS,
    )


_COSTS = """\
# What it costs

Generated by `make docs` from `include/prices.yaml` and `tools/labeling_modes.py`;
a test fails if it is stale.
Every amount is in US dollars, modeled from list prices, and not a bill: discounts, free tiers and taxes are
not in it. What your pipeline uses is measured every day by the DAG `costs`; the page **Costs**, the table
`usage` and the view `costs` show it at the same prices.

## Ways to label

{meanings}

*Real-time* with one tweet a call costs the same: endpoints cost the same however many tweets a call has, as
long as one instance keeps up.

{rows}

Modeled for a translator and a classifier on `{instance}`, of {hours} hours a month. A tweet takes each model
{seconds:g} s on one core (a translator of `opus-mt`'s size: 500 tweets in some 25 s; the classifier is
faster, and counts as much). Assumed, not measured on AWS: a job is billed {job} s beside its work; an
asynchronous endpoint {waking} s to come up, and {idle} s before it goes down. Without a translator all of it
halves.

## With what is bought before

{rest}

Firehose counts each record as a multiple of 5 KB; here each tweet is a record. Not in it: S3, Athena,
Databricks and QuickSight, which the page **Costs** counts; and Airflow itself, the streamer's machine,
network, logs and keys, which nothing here counts.

## The price list

{lines}

{dbus}

Another region or your own contract: copy `include/prices.yaml`, and name the copy in `OPINION_PRICES_FILE`. A
line without its date or source, or an item that is listed twice, is rejected.
"""


def sample_settings(suffix: str = "") -> Settings:
    """The settings of the samples: a bucket, database and workgroup of their own."""
    name = f"documentation{suffix}"
    return Settings(
        bucket=name,
        database=name,
        workgroup=name,
        collection_start=HOUR.start,
        sentiment_artifact=str(_MODEL),
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.document", description="Writes docs/.")
    parser.parse_args(arguments)
    settings = sample_settings()
    try:
        with standalone_athena() as client:
            texts = {"data-dictionary.md": dictionary(client, settings, load(settings.topics_file))}
        texts["dags.md"] = dags()
        texts["retention.md"] = retention()
        texts["costs.md"] = costs()
    except DocumentError as error:
        print(f"make docs stopped: {error}", file=sys.stderr)
        return 1
    DOCS.mkdir(exist_ok=True)
    for name, text in texts.items():
        (DOCS / name).write_text(text)
        print(DOCS / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
