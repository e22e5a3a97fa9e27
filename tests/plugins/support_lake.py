"""A lake with known rows in the views, kept in SQLite: what the pages show can be said beforehand."""

from __future__ import annotations

import io
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot
from types_boto3_s3 import S3Client
from x_opinion.inputs import Objects
from x_opinion.lake import Lake, LakeError, NotThereError

from include.audit import records
from include.audit.desk import Desk
from include.audit.wave import Wave
from include.lake import cards
from include.lake.layout import labeled_key
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import LABELED
from include.lake.verdict import Verdict
from include.quality.runner import QualityResult, document
from include.settings import Settings
from include.window import Window
from include.x.snowflake import lowest_id
from tests.unit.support_dashboards import audit_columns, nothing_counted

TOPICS = ("ukraine", "russia")
LANGUAGES = {"en": 1, "de": 1, "uk": 0}
COUNTRIES = ("--", "US", "DE", "PL")
RARE, SEEN = "IS", 1
"""A country of few tweets, in English and one hour alone."""
HOURS = 72
GAPS = {30, 31}
"""Hours ago without any tweet."""
RULES_CHANGED, SAMPLE_CHANGED = 47, 20
"""Hours ago; at any hour of the day the lake has tweets of the day before, too."""
OUTAGE, OPEN, UNLABELED, ALARM, HALF_PREDICTED, SEARCHED = 30, 0, 5, 12, 7, 40
NEVER_MADE, EMPTY, BROKEN = "2011", "2012", "2013"
"""Years of which the lake has no tables, no rows, and no answer."""


NOW = datetime.fromisoformat(
    os.environ.setdefault(
        "TESTS_BEGAN", datetime.now(UTC).replace(minute=0, second=0, microsecond=0).isoformat()
    )
)
"""The end of the latest hour when the tests began, also in the processes that they start."""


def counts(topic: str, language: str, country: str, ago: int) -> tuple[int, int, int]:
    """Negative, neutral and positive tweets of a group, all there is to the lake."""
    if ago in GAPS:
        return 0, 0, 0
    if country == RARE:
        return (1, 1, 2) if (language, ago) == ("en", SEEN) else (0, 0, 0)
    seed = TOPICS.index(topic) * 7 + list(LANGUAGES).index(language) * 5 + COUNTRIES.index(country) * 3 + ago
    return 4 + seed % 5, 3 + seed % 3, (9 if topic == "ukraine" else 3) + seed % 4


def opinion_rows() -> list[dict[str, Any]]:
    """Rows of the view `opinion`."""
    rows = []
    for ago in range(HOURS):
        hour = NOW - timedelta(hours=ago)
        sample = 50 if ago <= SAMPLE_CHANGED else 100
        change = {RULES_CHANGED: "rules", SAMPLE_CHANGED: "sample"}.get(ago, "")
        for topic in TOPICS:
            for language, measured in LANGUAGES.items():
                for country in (*COUNTRIES, RARE) if (language, ago) == ("en", SEEN) else COUNTRIES:
                    negative, neutral, positive = counts(topic, language, country, ago)
                    judged = negative + neutral + positive
                    weight = 100 / sample
                    rows.append(
                        {
                            **nothing_counted(),
                            "hour": f"{hour:%Y-%m-%d %H}:00:00.000",
                            "dt": f"{hour:%Y-%m-%d}",
                            "topic": topic,
                            "lang": language,
                            "country_code": country,
                            "measured": measured,
                            "sample": sample,
                            "engine": "ngram",
                            "model": "v1",
                            "verdict": "outage" if ago == OUTAGE else "complete",
                            "change": change,
                            "gap": int(ago in GAPS),
                            "counted": int(ago not in GAPS and ago != OPEN),
                            "searched": int(ago == SEARCHED),
                            "weight": weight,
                            "tweets": judged,
                            "judged": judged,
                            "compared": judged,
                            "agreed": judged - 2 if judged else 0,
                            "weighted_negative": negative * weight,
                            "weighted_neutral": neutral * weight,
                            "weighted_positive": positive * weight,
                            "weighted_judged": judged * weight,
                            "weight_squares": judged * weight * weight,
                            # Of Ukraine people have judged a sample.
                            **audit_columns(judged * weight * (topic == "ukraine"), 0.3, 0.4, 0.02),
                        }
                    )
    return rows


def audit_rows() -> list[dict[str, Any]]:
    """Rows of the view `audit_quality`: many tweets in English, few in German."""
    months = [f"{NOW:%Y-%m}-01", f"{NOW.replace(day=1) - timedelta(days=1):%Y-%m}-01"]
    return [
        {
            "dt": month,
            "engine": engine,
            "lang": lang,
            "measured": LANGUAGES[lang],
            "audited": audited,
            "accuracy": 0.7,
            "macro_f1": 0.65,
            "negative_as_negative": 0.3,
            "negative_as_neutral": 0.1,
            "negative_as_positive": 0.05,
            "neutral_as_negative": 0.05,
            "neutral_as_neutral": 0.2,
            "neutral_as_positive": 0.03,
            "positive_as_negative": 0.02,
            "positive_as_neutral": 0.05,
            "positive_as_positive": 0.2,
            "judged_twice": 30 if lang == "en" else 0,
            "alpha": 0.62 if lang == "en" else None,
        }
        for month in months
        for engine in ("<b>ngram</b>",)
        for lang, audited in {"en": 140, "de": 12, "uk": 40}.items()
    ]


def removal_rows() -> list[dict[str, Any]]:
    """Rows of the table `removals`: one request that is done."""
    return [
        {
            "request": "x-yesterday",
            "reason": "X <b>reports</b> it",
            "hour": f"{NOW - timedelta(hours=30):%Y-%m-%dT%H}" if layer == "raw" else None,
            "topic": "ukraine",
            "layer": layer,
            "action": "delete",
            "removed": removed,
            "requested_at": f"{NOW - timedelta(hours=9):%Y-%m-%d %H}:00:00.000",
            "done_at": f"{NOW - timedelta(hours=2):%Y-%m-%d %H}:00:00.000",
            "dt": f"{NOW - timedelta(hours=9):%Y-%m-%d}",
        }
        for layer, removed in (("raw", 12), ("delta", 11))
    ]


def objects(s3: S3Client, bucket: str) -> Objects:
    """The lake's objects, and what hashes ids there."""
    return Objects(s3, bucket, Pseudonyms(b"a key"))


def cost_rows() -> list[dict[str, Any]]:
    """Rows of the view `costs`: one day's posts, labeling, and what has no price."""
    known = {"price_date": "2026-11-01", "confirmed": 1}
    day = f"{NOW:%Y-%m-%d}"
    return [
        {"dt": day, "origin": "<b>known</b>", "basis": "measured", **known, **row}
        for row in (
            {"stage": "collect", "service": "x", "item": "post", "unit": "post", "quantity": 1_000.0}
            | {"usd": 0.005, "dollars": 5.0},
            {"stage": "recover", "service": "x", "item": "post", "unit": "post", "quantity": 200.0}
            | {"usd": 0.005, "dollars": 1.0},
            {"stage": "sentiment", "service": "sagemaker", "item": "batch ml.c6i.xlarge", "unit": "hour"}
            | {"quantity": 2.0, "usd": 0.204, "dollars": 0.408, "confirmed": 0},
            {"stage": "train", "service": "ec2", "item": "m9.huge", "unit": "hour", "quantity": 0.5}
            | {"usd": None, "dollars": None, "price_date": None, "confirmed": None, "basis": "modeled"},
        )
    ]


DRAWN = 40
"""So many tweets of each topic are drawn for people to judge."""
AUTHOR = 7_000
"""The pseudonym of the first tweet's author; each tweet has its own."""
AUDIT_TEXTS = {
    "en": "<img src=x onerror=\"document.title='owned'\"> 100 % good &amp; <b>bold</b>\nhttps://t.co/x",
    "de": "Sehr " * 50 + "schön!",
    "uk": "Добре",
}


LABELED_HOUR = Window.containing(NOW - timedelta(hours=2))
"""The hour of which there are tweets."""


def labeled_rows(topic: str) -> list[dict[str, Any]]:
    """A topic's tweets of `LABELED_HOUR`."""
    languages = list(LANGUAGES)
    return [
        {
            "ts": LABELED_HOUR.start.replace(tzinfo=None),
            "tweet_id": lowest_id(LABELED_HOUR.start) + TOPICS.index(topic) * 1_000 + each,
            "author_id": AUTHOR + each,
            # No two texts are the same: the tests tell by it that another tweet is shown.
            "text": f"{topic} {each}: {AUDIT_TEXTS[languages[each % 3]]}",
            "translated_text": f"{each}: Good <i>translated</i>" if languages[each % 3] != "en" else None,
            "lang": languages[each % 3],
            "country_code": (None, *COUNTRIES[1:])[each % 4],
            "sentiment": "Negative",
            "sentiment_engine": "secret-model",
            "p_negative": 0.7,
            "p_neutral": 0.2,
            "p_positive": 0.1,
            "sample": 100,
        }
        for each in range(DRAWN)
    ]


def desk(s3: S3Client, bucket: str) -> Desk:
    """A desk over tweets that were drawn in an otherwise empty bucket."""
    languages: dict[str, Any] = {name: {} for name, measured in LANGUAGES.items() if measured}
    cards.keep(s3, bucket, "sentiment", "secret-model", {"measured": languages})
    for topic in TOPICS:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(labeled_rows(topic), schema=LABELED), sink)
        s3.put_object(Bucket=bucket, Key=labeled_key(topic, LABELED_HOUR), Body=sink.getvalue())
    wave = Wave.of(LABELED_HOUR.start.date())
    records.draw(s3, Settings(bucket=bucket), TOPICS, wave, b"a key", NOW, DRAWN)
    return Desk(s3, bucket, b"a key", 30)


def coverage_rows() -> list[dict[str, Any]]:
    """Rows of the view `coverage_by_hour`; the oldest hours show every verdict there is."""
    verdicts = dict(enumerate(reversed(Verdict), HOURS - len(Verdict)))
    verdicts |= {OPEN: Verdict.IN_PROGRESS, UNLABELED: Verdict.UNLABELED, OUTAGE: Verdict.OUTAGE}
    return [
        {
            "hour": f"{NOW - timedelta(hours=ago):%Y-%m-%d %H}:00:00.000",
            "dt": f"{NOW - timedelta(hours=ago):%Y-%m-%d}",
            "topic": topic,
            "verdict": verdicts.get(ago, Verdict.COMPLETE).value,
            "evidence": f"alive {3600 if ago != OUTAGE else 3300} s by <b>heartbeats</b>",
            "raw": 100 + ago,
            "labeled": 0 if ago == UNLABELED else 98 + ago,
            "quarantined": 2,
            "missing": 98 + ago if ago == UNLABELED else 0,
            "judged": 90 + ago,
            "predicted": 90 + ago - (ago == HALF_PREDICTED) if ago > UNLABELED else 0,
            "recovered": 7 if ago == OUTAGE else 0,
            "alive_s": 3300.0 if ago == OUTAGE else 3600.0,
            "gap_s": 300.0 if ago == OUTAGE else 0.0,
            "alarm": "the same tweets are still missing" if ago == ALARM else None,
            "measured_at": f"{NOW - timedelta(hours=max(ago - 1, 0)):%Y-%m-%d %H}:07:00.000",
        }
        for ago in range(HOURS)
        for topic in TOPICS
    ]


def _selectable(topic: str) -> list[dict[str, Any]]:
    """The labeled rows with what Athena adds to them, and without their texts, which no statement reads."""
    hidden = ("text", "translated_text")
    return [
        {
            **{name: value for name, value in row.items() if name not in hidden},
            "ts": f"{row['ts']:%Y-%m-%d %H:%M:%S}.000",
            "dt": LABELED_HOUR.date,
            "topic": topic,
            "translation_engine": None,
        }
        for row in labeled_rows(topic)
    ]


@cache
def _views() -> sqlite3.Connection:
    """What every recorded lake begins with, filled once: hundreds of tests have a lake of their own."""
    views = sqlite3.connect(":memory:", check_same_thread=False)
    for view, rows in (
        ("opinion", opinion_rows()),
        ("coverage_by_hour", coverage_rows()),
        ("audit_quality", audit_rows()),
        ("removals", removal_rows()),
        ("labeled", [row for topic in TOPICS for row in _selectable(topic)]),
        ("costs", cost_rows()),
        ("opinion_hourly", [{"dt": f"{NOW:%Y-%m-%d}", "tweets": 2_000}]),
    ):
        columns = ", ".join(rows[0])
        views.execute(f"CREATE TABLE {view} ({columns})")
        places = ", ".join(f":{name}" for name in rows[0])
        views.executemany(f"INSERT INTO {view} VALUES ({places})", rows)
    views.commit()
    return views


@cache
def _in_sqlite(statement: str) -> str:
    """The statement in SQLite's dialect; tests ask the same ones again and again."""
    return sqlglot.transpile(statement, read="athena", write="sqlite")[0]


class RecordedLake(Lake):
    """Answers the pages' own statements; counts how often it was asked; takes ``seconds`` for an answer."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.aggregate = "first"
        self.asked = 0
        self.forgot = 0
        self._lock = threading.Lock()
        self._views = sqlite3.connect(":memory:", check_same_thread=False)
        # Trino's random is of [0, 1).
        self._views.create_function("RANDOM", 0, random.random)
        _views().backup(self._views)

    def relabel(self, language: str, topic: str, engine: str) -> None:
        """Has an engine that was never measured label a topic's posts in a language."""
        self._views.execute(
            "UPDATE opinion SET engine = ?, measured = 0 WHERE lang = ? AND topic = ?",
            (engine, language, topic),
        )

    def quality(self, suite: str, label: str) -> bytes:
        if (suite, label) != ("raw", "2026-11-20T05"):
            raise NotThereError(f"There is no result of the suite {suite} for {label}.")
        result = QualityResult(suite=suite, rows=12, outcomes=())
        return document(result, label)

    def revision(self, day: date) -> str:
        return self.aggregate

    def scores(self, engines: Iterable[str]) -> dict[str, dict[str, float]]:
        return {engine: {"de": 0.7022, "en": 0.6788, "fr": 0.633} for engine in engines}

    def drift(self, today: date) -> list[dict[str, Any]]:
        return [
            {
                "last_day": today.isoformat(),
                "topic": "ukraine",
                "dimension": "language",
                "stability_index": 0.412,
                "noise": 0.01,
                "tolerated": 0.25,
                "drifted": 1,
                "audit_month": f"{NOW:%Y-%m}-01",
                "audited_days": 7,
                "audited_tweets": 9_000,
                "recent_days": 7,
                "recent_tweets": 8_000,
            }
        ]

    def quality_results(self) -> dict[str, list[str]]:
        return {"raw": ["2026-11-19T23", "2026-11-20T05", "2026-11-20T08"], "opinion": ["2026-11-19"]}

    def select(self, statements: Mapping[str, str], *, forget: bool = False) -> dict[str, pa.Table]:
        with self._lock:
            self.asked += 1
            self.forgot += forget
            time.sleep(self.seconds)
            return {name: self._table(statement) for name, statement in statements.items()}

    def _table(self, statement: str) -> pa.Table:
        if f"'{NEVER_MADE}-" in statement:
            raise NotThereError("The lake's tables and views do not exist yet. Run the DAGs.")
        if f"'{BROKEN}-" in statement:
            raise LakeError("The query failed. <script>alert(1)</script>")
        found = self._views.execute(_in_sqlite(statement))
        rows = found.fetchall()
        return pa.table(
            {column[0]: [row[place] for row in rows] for place, column in enumerate(found.description)}
        )
