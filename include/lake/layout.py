"""Every key and prefix in the lake's bucket."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from include.window import Window, WindowError

ALL_TOPICS = "_all"
"""The topic partition of records that concern every topic (heartbeats)."""

NO_TOPIC = "_none"
"""The topic partition of quarantined lines that name no known topic."""

RAW_PREFIX = "raw/"
"""The layer raw, as X delivered it."""

LABELED_PREFIX = "labeled/"
"""The labeled table."""

QUARANTINE_PREFIX = "quarantine/"
"""The layer quarantine: rejected lines."""

PREDICTIONS_PREFIX = "predictions/"
"""The predictions of the students, by version."""

DELTA_LABELED = "delta/labeled"
"""The labeled rows for training: a Delta table."""

SYNCED_KEY = "training/synced.json"
"""Which labeled objects the Delta table contains; written after it."""

CHAMPION_KEY = "training/champion.json"
"""The champion and the hours that it has predicted; written after its predictions."""

_RECOVERED = re.compile(r"/recovered-(\d{8}T\d{9}Z)-(\d{8}T\d{9}Z)\.json\.gz$")
_QUALITY = re.compile(
    r"quality/suite=(?P<suite>[a-z_]+)/dt=[0-9-]{10}/(?P<period>[0-9-]{10}(T[0-9]{2})?)\.json"
)
_TOMBSTONES = re.compile(r"tombstones/dt=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)\.json")
_LABELED = re.compile(
    r"labeled/topic=(?P<topic>[^/]+)/dt=(?P<date>\d{4}-\d\d-\d\d)/tweets-(?P<hour>\d\d)\.parquet"
)


def _partition(layer: str, topic: str, window: Window) -> str:
    return f"{layer}/topic={topic}/dt={window.date}/hour={window.hour}/"


def _compact(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}Z"


def raw_prefix(topic: str, window: Window) -> str:
    """Raw payloads of one topic and hour: gzipped NDJSON."""
    return _partition("raw", topic, window)


def recovered_key(topic: str, window: Window, start: datetime, end: datetime) -> str:
    """The posts that search recovered for the outage ``[start, end)`` inside ``window``."""
    return f"{raw_prefix(topic, window)}recovered-{_compact(start)}-{_compact(end)}.json.gz"


def recovered_stretch(key: str) -> tuple[datetime, datetime] | None:
    """The outage ``(start, end)`` that a key of `recovered_key` names; None for any other key."""
    found = _RECOVERED.search(key)
    if not found:
        return None
    # strptime reads a fraction of any length, so the last three digits are its milliseconds.
    start, end = (datetime.strptime(text, "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC) for text in found.groups())
    return start, end


def heartbeats_prefix(window: Window) -> str:
    """Heartbeats and session records of one hour: gzipped NDJSON."""
    return _partition("heartbeats", ALL_TOPICS, window)


def quarantine_prefix(topic: str, window: Window) -> str:
    """Rejected lines of one topic (or `NO_TOPIC`) and hour."""
    return _partition("quarantine", topic, window)


def quarantine_key(topic: str, window: Window, stage: str) -> str:
    """The lines that one stage rejected, in one object that a rerun replaces."""
    return f"{quarantine_prefix(topic, window)}{stage}.json.gz"


def edits_prefix(date: str) -> str:
    """The versions of a day's posts that were edited later, by hour: an edit may change the topic."""
    return f"edits/dt={date}/"


def edits_key(window: Window, seen: Window) -> str:
    """The posts of ``window`` that were edited later, as found by the transformation of the hour ``seen``."""
    return f"{edits_prefix(window.date)}hour={window.hour}/{seen.label}.json"


def labeled_prefix(topic: str, date: str) -> str:
    """The labeled table's objects of a topic and day (``2026-11-20``)."""
    return f"{LABELED_PREFIX}topic={topic}/dt={date}/"


def labeled_key(topic: str, window: Window) -> str:
    """The labeled table's only object of a topic and hour."""
    return f"{labeled_prefix(topic, window.date)}tweets-{window.hour}.parquet"


REDELIVERIES_PREFIX = "work/redelivery/"
"""Which objects a redelivery in progress writes, one note for each object of `DELIVERY_ERRORS_PREFIX`."""

DAMAGED_PREFIX = "damaged/"
"""Originals of objects that could not be unpacked, each under its former key; see `coverage.damage`."""

_HOUR = re.compile(
    r"^(?P<layer>\w+)/topic=(?P<topic>[^/]+)/dt=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)/"
)


def partition(key: str) -> tuple[str, str, Window] | None:
    """Layer, topic and hour of an object of raw, heartbeats or quarantine; None for any other key."""
    found = _HOUR.match(key)
    if not found:
        return None
    try:
        return found["layer"], found["topic"], Window.parse(f"{found['date']}T{found['hour']}")
    except WindowError:
        return None


def day_prefix(prefix: str) -> str:
    """The prefix of a whole day, from that of one of its hours."""
    return prefix.rpartition("hour=")[0]


def work_prefix(window: Window) -> str:
    """Inputs and outputs of one hour's SageMaker jobs; they expire."""
    return f"work/transform/{window.label}/"


def answers_prefix(window: Window) -> str:
    """The answers that models have given about one hour's tweets, by model; they expire."""
    return f"{work_prefix(window)}answers/"


def recovery_prefix(topic: str, digest: str) -> str:
    """Pages bought by search that are not in raw yet, by a digest of the request; they expire."""
    return f"{recoveries_prefix(topic)}{digest}/"


RECOVERIES_PREFIX = "work/recovery/"
"""The part of `recovery_prefix` that is common to all topics."""


def recoveries_prefix(topic: str) -> str:
    """The part of `recovery_prefix` that is common to a topic."""
    return f"{RECOVERIES_PREFIX}{topic}/"


def approvals_key() -> str:
    """The recoveries that await approval, and those that were rejected."""
    return "work/approvals.json"


def recovery_stage(start: datetime, end: datetime) -> str:
    """The name of the quarantine object (see `quarantine_key`) for unusable posts from search."""
    return f"recovered-{_compact(start)}-{_compact(end)}"


def notified_key(key: str) -> str:
    """The marker of a notification that is sent once; it expires."""
    return f"work/notified/{key}"


COVERAGE_PREFIX = "coverage/"
"""The gap ledger: one object per day."""


def coverage_key(date: str) -> str:
    """The gap ledger of one day (``2026-11-20``)."""
    return f"{COVERAGE_PREFIX}dt={date}/ledger.parquet"


AGGREGATES_PREFIX = "aggregates/opinion/"
"""The table `opinion_hourly`: one object per day."""


def aggregate_key(date: str) -> str:
    """The hourly aggregates of one day (``2026-11-20``)."""
    return f"{AGGREGATES_PREFIX}dt={date}/opinion.parquet"


MIX_PREFIX = "aggregates/mix/"
"""The table `mix`: one object per day."""

DRIFT_PREFIX = "aggregates/drift/"
"""The table `drift`: one object per day up to which it was measured."""


def mix_key(date: str) -> str:
    """What the tweets of one day (``2026-11-20``) are made of."""
    return f"{MIX_PREFIX}dt={date}/mix.parquet"


def drift_key(date: str) -> str:
    """The drift of the recent days up to one day."""
    return f"{DRIFT_PREFIX}dt={date}/drift.parquet"


def posts_prefix(month: str) -> str:
    """The ledger of posts bought in one calendar month (``2026-11``): one object per writer."""
    return f"posts/month={month}/"


def model_key(stage: str, digest: str) -> str:
    """A packed model: ``sentiment`` or ``translation``, named by its content's digest."""
    return f"models/{stage}/{digest}.tar.gz"


MODEL_CARDS_PREFIX = "models/cards/"
"""The cards of the models in use so far: one object per engine."""


def model_card_key(stage: str, engine: str) -> str:
    """The card of one engine, by its name in the labeled table (``e5-0123456789ab``)."""
    return f"{MODEL_CARDS_PREFIX}{stage}/{engine}.json"


QUALITY_PREFIX = "quality/"
"""The results of the quality suites: one object per suite and period."""


def quality_key(suite: str, period: Window | str) -> str:
    """A suite's result for an hour (``raw``, ``labeled``) or a day (``opinion``, ``drift``); counts only."""
    label = str(period)
    return f"{QUALITY_PREFIX}suite={suite}/dt={label[:10]}/{label}.json"


def quality_result(key: str) -> tuple[str, str] | None:
    """The suite and the period of a key of `quality_key`; None for any other key."""
    found = _QUALITY.fullmatch(key)
    return (found["suite"], found["period"]) if found else None


def labeled_hour(key: str) -> tuple[str, Window] | None:
    """The topic and hour of a key of `labeled_key`; None for any other key."""
    found = _LABELED.fullmatch(key)
    return (found["topic"], Window.parse(f"{found['date']}T{found['hour']}")) if found else None


def outcome_key(step: str) -> str:
    """The last result of one step of the training: counts and scores only."""
    return f"training/outcome-{step}.json"


def predictions_key(version: str, topic: str, window: Window) -> str:
    """The predictions of the student's ``version`` (``v3``) for one topic and hour."""
    return f"{PREDICTIONS_PREFIX}model={version}/topic={topic}/dt={window.date}/tweets-{window.hour}.parquet"


TOMBSTONES_PREFIX = "tombstones/"
"""What was removed and must not come back, by keyed hashes: one object an hour, and one of users."""


def tombstones_prefix(date: str) -> str:
    """The tombstones of the tweets of a day (``2026-11-20``)."""
    return f"{TOMBSTONES_PREFIX}dt={date}/"


def tombstones_key(window: Window) -> str:
    """The tombstones of the tweets of one hour."""
    return f"{tombstones_prefix(window.date)}hour={window.hour}.json"


TOMBSTONES_OF_USERS_KEY = f"{TOMBSTONES_PREFIX}users.json"
"""The tombstones of users: all their tweets up to a request."""


def tombstones_hour(key: str) -> Window | None:
    """The hour of a key of `tombstones_key`; None for any other key."""
    found = _TOMBSTONES.fullmatch(key)
    return Window.parse(f"{found['date']}T{found['hour']}") if found else None


REMOVALS_PREFIX = "removals/"
"""The table `removals`: one object a request."""


def removals_key(date: str, request: str) -> str:
    """What was removed for one request that was made on a day (``2026-11-20``)."""
    return f"{REMOVALS_PREFIX}dt={date}/{request}.parquet"


def usage_key(date: str, service: str) -> str:
    """The table `usage`: what a service was used for on a day (``2026-11-20``)."""
    return f"usage/dt={date}/{service}.parquet"


REQUESTS_PREFIX = "requests/"
"""What is to be removed and is not yet, by keyed hashes: one object a request, gone when it is done."""


def request_key(name: str) -> str:
    """An open request to remove something."""
    return f"{REQUESTS_PREFIX}{name}.json"


def compliance_key(kind: str, shard: int, shards: int) -> str:
    """When X answered last about one shard of all collected tweets or users; a work file, so it expires."""
    return f"work/compliance/{kind}-{shard}-of-{shards}.json"


ATHENA_RESULTS_PREFIX = "athena-results/"
"""Where Athena's workgroup puts results; they expire (a lifecycle rule of the bucket)."""

DELIVERY_ERRORS_PREFIX = "delivery-errors/"
"""What Firehose could not deliver, in its own envelope, until coverage delivers it again; expires."""

AUDIT_PREFIX = "audit/"
"""The tweets drawn for people to judge, and their judgments."""

AUDIT_DRAWN_PREFIX = "audit/drawn/"
"""The table `audit_drawn`: one object per wave."""

AUDIT_PREDICTED_PREFIX = "audit/predicted/"
"""The table `audit_predicted`: one object per wave."""

AUDIT_JUDGED_PREFIX = "audit/judged/"
"""The table `audit_judged`: one object per wave and person."""


def audit_drawn_key(wave: str) -> str:
    """The tweets drawn for the audit of a wave, named by its first day (``2026-11-16``)."""
    return f"{AUDIT_DRAWN_PREFIX}year={wave[:4]}/{wave}.parquet"


def audit_predicted_key(wave: str) -> str:
    """The champion's labels of the tweets drawn for the audit of a wave."""
    return f"{AUDIT_PREDICTED_PREFIX}year={wave[:4]}/{wave}.parquet"


def audit_judged_key(wave: str, person: str) -> str:
    """The judgments of a person (a pseudonym) in a wave."""
    return f"{AUDIT_JUDGED_PREFIX}year={wave[:4]}/{wave}-{person}.parquet"
