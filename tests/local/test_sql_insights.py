"""Aggregates, their check and the views on a small lake that was made manually, in the real engine."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from include import prices
from include.audit import mix
from include.audit.rectify import Audited, Rectifier, rectifier
from include.costs import month, usage
from include.costs.measure import firehose
from include.coverage import ledger
from include.coverage.judge import Gap, GapState, Measures
from include.coverage.stretch import Stretch
from include.insights import aggregate, page, shifts
from include.insights.aggregate import Refreshed
from include.insights.definition import load as load_dashboards
from include.lake import cards, layout, quality, storage
from include.lake.athena import Athena, AthenaError
from include.lake.schemas import (
    AGGREGATE_KEYS,
    AUDIT_DRAWN,
    AUDIT_JUDGED,
    AUDIT_PREDICTED,
    DRIFT,
    LABELED,
    PREDICTIONS,
    SENTIMENTS,
)
from include.lake.sql import render
from include.lake.verdict import Verdict
from include.lake.views import create_views, queries
from include.provision.lake import ensure_database, ensure_tables, ensure_workgroup
from include.provision.quicksight import ensure
from include.quality.checks import check_opinion
from include.quality.runner import QualityError
from include.settings import Settings, settings
from include.window import Window
from include.x.snowflake import lowest_id
from include.x.topics import load
from tests.credentials import AWS_ENVIRONMENT
from tests.local.support_athena import LocalAthena

pytestmark = pytest.mark.trino

TOPICS = ("ukraine", "russia")
DAY, BEFORE = "2026-11-20", "2026-11-19"
FOR_EVER = 36_500
NINE, TEN, ELEVEN = (Window.parse(f"{DAY}T{hour:02}") for hour in (9, 10, 11))
LATE = Window.parse(f"{BEFORE}T22")

Tweet = dict[str, Any]


def tweet(sentiment: str | None = "Positive", **columns: Any) -> Tweet:
    """A labeled row; ``None`` is one that nobody judged."""
    judged: Tweet = {"sentiment_engine": "ngram-1", "score": 0.7} if sentiment else {"lang": "und"}
    if sentiment:
        judged |= {f"p_{name.lower()}": 0.7 if name == sentiment else 0.0 for name in SENTIMENTS}
    return {
        "lang": "en",
        "sentiment": sentiment,
        "translation_engine": "none",
        "rule_hash": "r1",
        "sample": 100,
        **judged,
        **columns,
    }


class Lake:
    """A bucket, a database, tables and views, as `provision` and `insights` make them."""

    def __init__(self, s3: Any, athena: Athena, settings: Settings) -> None:
        self.s3, self.athena, self.settings = s3, athena, settings

    def put(self, key: str, table: pa.Table) -> None:
        sink = io.BytesIO()
        pq.write_table(table, sink)
        self.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=sink.getvalue())

    def clear(self) -> None:
        for found in storage.list_objects(self.s3, self.settings.bucket, "").objects:
            self.s3.delete_object(Bucket=self.settings.bucket, Key=found.key)

    def label(self, topic: str, hour: Window, tweets: Sequence[Tweet]) -> None:
        """One whole object; the topic decides the ids, so that no two topics share one."""
        first = lowest_id(hour.start) + TOPICS.index(topic) * 1_000_000
        rows = [
            {
                "tweet_id": first + number,
                "ts": hour.start.replace(tzinfo=None) + timedelta(seconds=number % 3600),
                "tag": topic,
                **columns,
            }
            for number, columns in enumerate(tweets)
        ]
        self.put(layout.labeled_key(topic, hour), pa.Table.from_pylist(rows, schema=LABELED))

    def measure(self, stage: str, engine: str, *languages: str) -> None:
        measured = {language: {"macro_f1": 0.7} for language in languages}
        cards.keep(self.s3, self.settings.bucket, stage, engine, {"measured": measured})

    def predict(self, version: int, topic: str, hour: Window, sentiments: Sequence[str]) -> None:
        first = lowest_id(hour.start) + TOPICS.index(topic) * 1_000_000
        rows = [{"tweet_id": first + n, "sentiment": sentiment} for n, sentiment in enumerate(sentiments)]
        key = layout.predictions_key(f"v{version}", topic, hour)
        self.put(key, pa.Table.from_pylist(rows, schema=PREDICTIONS))

    def crown(self, version: int) -> None:
        body = json.dumps({"model": "x_opinion", "version": version, "hours": {}}).encode()
        self.s3.put_object(Bucket=self.settings.bucket, Key=layout.CHAMPION_KEY, Body=body)

    def judge(
        self, topic: str, hour: Window, verdict: Verdict, gaps: Sequence[Gap] = (), recovered: int = 3
    ) -> None:
        ledger.write(
            self.s3,
            self.settings.bucket,
            [
                ledger.CoverageRow(
                    topic=topic,
                    window=hour,
                    measures=Measures(
                        raw_ids=7, labeled_ids=4, missing_ids=2, quarantined=1, recovered=recovered
                    ),
                    alive_s=3000.0,
                    judged_until=hour.end,
                    verdict=verdict,
                    evidence="because",
                    evidence_digest="e",
                    inputs_digest="i",
                    measured_at=hour.end,
                    gaps=tuple(gaps),
                )
            ],
        )

    def changed(self) -> list[str]:
        return aggregate.changed_days(self.s3, self.settings, TOPICS)

    def refresh(self, *days: str) -> list[Refreshed]:
        """Aggregates days, and notes that their check found them good."""
        found = [self.refresh_unchecked(day) for day in days]
        for day in days:
            self.note("opinion", day, state=aggregate.state(self.s3, self.settings.bucket, day))
        return found

    def refresh_unchecked(self, day: str) -> Refreshed:
        return aggregate.refresh(self.athena, self.s3, self.settings, TOPICS, day)

    def note(self, suite: str, period: Window | str, *, blocks: bool = False, state: str = "") -> None:
        quality.keep(self.s3, self.settings.bucket, suite, period, quality.CheckResult(blocks, state), b"{}")

    def refresh_all(self) -> None:
        self.refresh(*self.changed())

    def content(self, day: str = DAY) -> bytes:
        return storage.read(self.s3, self.settings.bucket, layout.aggregate_key(day))

    def aggregate(self, day: str = DAY) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = aggregate.read(self.s3, self.settings.bucket, day).to_pylist()
        return rows

    def view(self, name: str, where: str = f"dt = '{DAY}'") -> list[dict[str, Any]]:
        table = self.athena.table(self.s3, f"SELECT * FROM {name} WHERE {where} ORDER BY 1, 2, 3, 4")
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def check(self) -> Any:
        return check_opinion(self.athena, self.s3, self.settings, TOPICS, [DAY])


@pytest.fixture(scope="module")
def provisioned(athena: LocalAthena) -> Lake:
    lake = Settings(
        bucket="insights-lake",
        database="insights_lake",
        workgroup="insights_lake",
        retention_days=FOR_EVER,
    )
    s3, glue, client = (athena.aws.client(service) for service in ("s3", "glue", "athena"))
    s3.create_bucket(Bucket=lake.bucket)
    ensure_database(glue, lake)
    ensure_workgroup(client, lake)
    database = Athena(client, lake)
    ensure_tables(database, glue, lake, load(lake.topics_file))
    create_views(database)
    return Lake(s3, database, lake)


@pytest.fixture
def lake(provisioned: Lake) -> Lake:
    provisioned.clear()
    provisioned.measure("sentiment", "ngram-1", "en", "de")
    return provisioned


def test_rows_are_counted_by_hour_topic_language_country_and_method(lake: Lake) -> None:
    lake.label(
        "ukraine",
        TEN,
        [
            tweet("Positive", score=0.1),
            tweet("Positive", score=0.2),
            tweet("Negative", country_code="DE"),
            tweet("Neutral", lang="de", sample=50),
            tweet(None),
            tweet("Neutral", lang="xx", sample=None, rule_hash=None),
        ],
    )
    lake.label("russia", TEN, [])
    assert lake.changed() == [DAY]
    assert lake.refresh(DAY) == [Refreshed(DAY, True, 5, 6, 5, 0)]
    rows = {(row["lang"], row["country_code"]): row for row in lake.aggregate()}
    counted = {
        "hour": TEN.start.replace(tzinfo=None),
        "topic": "ukraine",
        "lang": "en",
        "country_code": "--",
        "measured": 1,
        "sample": 100,
        "rule_hash": "r1",
        "engine": "ngram-1",
        "translation_engine": "none",
        "tweets": 2,
        "judged": 2,
        "negative": 0,
        "neutral": 0,
        "positive": 2,
        "score_sum": pytest.approx(0.3),
        "compared": 0,
        "agreed": 0,
        "model": "",
        "p_negative_sum": 0,
        "p_positive_sum": pytest.approx(1.4),
    }
    assert {name: rows["en", "--"][name] for name in counted} == counted
    assert rows["en", "DE"]["negative"] == 1
    assert (rows["de", "--"]["sample"], rows["de", "--"]["measured"]) == (50, 1)
    unjudged = rows["und", "--"]
    assert (unjudged["tweets"], unjudged["judged"], unjudged["engine"], unjudged["score_sum"]) == (
        1,
        0,
        "none",
        0,
    )
    assert (rows["xx", "--"]["sample"], rows["xx", "--"]["rule_hash"], rows["xx", "--"]["measured"]) == (
        100,
        "",
        0,
    )


def test_the_champions_predictions_are_compared_with_the_labels(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet("Positive"), tweet("Negative"), tweet("Neutral"), tweet(None)])
    lake.predict(2, "ukraine", TEN, ["Negative", "Negative", "Negative"])
    lake.predict(3, "ukraine", TEN, ["Positive", "Positive"])
    lake.crown(3)
    (result,) = lake.refresh(DAY)
    assert result.compared == 2
    judged = next(row for row in lake.aggregate() if row["lang"] == "en")
    assert (judged["model"], judged["judged"], judged["compared"], judged["agreed"]) == ("v3", 3, 2, 1)
    lake.crown(2)
    assert lake.changed() == [DAY]
    lake.refresh(DAY)
    judged = next(row for row in lake.aggregate() if row["lang"] == "en")
    assert (judged["model"], judged["compared"], judged["agreed"]) == ("v2", 3, 1)


def test_a_day_that_has_not_changed_is_left_alone_and_made_again_it_has_the_same_bytes(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet(lang=lang, score=0.1 * n) for n, lang in enumerate(("en", "de", "fr"))])
    assert lake.refresh(DAY)[0].written
    first = lake.content()
    assert lake.changed() == []
    assert not lake.refresh(DAY)[0].written
    lake.s3.delete_object(Bucket=lake.settings.bucket, Key=layout.aggregate_key(DAY))
    assert lake.changed() == [DAY]
    assert lake.refresh(DAY)[0].written
    assert lake.content() == first


def test_a_day_is_changed_by_whatever_its_aggregate_is_made_from(lake: Lake) -> None:
    lake.label("ukraine", LATE, [tweet()])
    lake.label("ukraine", TEN, [tweet()])
    assert lake.changed() == [BEFORE, DAY]
    lake.refresh_all()
    lake.label("russia", ELEVEN, [tweet()])
    assert lake.changed() == [DAY]
    lake.refresh_all()
    lake.label("ukraine", LATE, [tweet(), tweet()])
    assert lake.changed() == [BEFORE]
    lake.refresh_all()
    lake.measure("sentiment", "ngram-1", "de")
    assert lake.changed() == [BEFORE, DAY]
    lake.refresh_all()
    assert [row["measured"] for row in lake.aggregate()] == [0, 0]


def test_a_day_that_loses_rows_to_retention_keeps_its_aggregate(lake: Lake) -> None:
    for hour in (NINE, TEN):
        lake.label("ukraine", hour, [tweet()])
    lake.refresh_all()
    kept = lake.content()
    for hour in (NINE, TEN):
        lake.s3.delete_object(Bucket=lake.settings.bucket, Key=layout.labeled_key("ukraine", hour))
        lake.crown(9)
        assert lake.changed() == []
        assert not lake.refresh(DAY)[0].written
    assert lake.content() == kept


def test_a_day_beyond_the_retention_keeps_its_aggregate_whatever_its_hours_hold(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet()])
    lake.refresh_all()
    kept = lake.content()
    lake.label("ukraine", TEN, [])
    old = Lake(lake.s3, lake.athena, lake.settings.model_copy(update={"retention_days": 0}))
    assert old.changed() == []
    assert not old.refresh_unchecked(DAY).written
    assert lake.content() == kept
    assert lake.changed() == [DAY]


def test_a_day_whose_check_blocked_or_never_ended_is_looked_at_again(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet()])
    assert lake.refresh_unchecked(DAY).written
    assert lake.changed() == [DAY]
    lake.note("opinion", DAY, state="of the aggregate before")
    assert lake.changed() == [DAY]
    lake.note("opinion", DAY, blocks=True, state=aggregate.state(lake.s3, lake.settings.bucket, DAY))
    assert lake.changed() == [DAY]
    assert not lake.refresh_unchecked(DAY).written
    lake.check()
    assert lake.changed() == []


def test_an_hour_whose_check_blocks_stays_out_of_the_aggregates(lake: Lake) -> None:
    lake.label("ukraine", NINE, [tweet()])
    lake.refresh_all()
    kept = lake.content()
    lake.label("ukraine", TEN, [tweet()])
    lake.note("labeled", TEN, blocks=True)
    assert lake.changed() == []
    assert not lake.refresh_unchecked(DAY).written
    assert lake.content() == kept
    lake.note("labeled", TEN)
    assert lake.changed() == [DAY]


def test_a_run_that_saw_less_than_a_parallel_one_looks_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.label("ukraine", TEN, [tweet()])
    select, raced = Athena.table, list[bool]()

    def meanwhile(self: Athena, *arguments: Any) -> pa.Table:
        table = select(self, *arguments)
        if not raced:
            raced.append(True)
            lake.label("ukraine", ELEVEN, [tweet(), tweet()])
            lake.refresh(DAY)
        return table

    monkeypatch.setattr(Athena, "table", meanwhile)
    lake.refresh(DAY)
    assert sum(row["tweets"] for row in lake.aggregate()) == 3
    assert lake.changed() == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(TOPICS),
            st.sampled_from((NINE, TEN)),
            st.sampled_from((*SENTIMENTS, None)),
            st.sampled_from(("en", "de", "tr", None, "")),
            st.sampled_from(("US", None, "")),
            st.sampled_from((100, 50, 0, None)),
        ),
        max_size=40,
    )
)
@example(
    [
        ("ukraine", NINE, "Positive", "en", "US", 100),
        ("ukraine", NINE, "Positive", "en", None, 50),
        ("ukraine", TEN, "Negative", None, "", 0),
        ("russia", NINE, None, "", "US", None),
        ("russia", TEN, "Neutral", "tr", None, 100),
    ]
)
@limits(max_examples=2, suppress_health_check=list(HealthCheck))
def test_every_row_is_counted_just_once_whatever_it_holds(lake: Lake, found: list[tuple[Any, ...]]) -> None:
    for topic in TOPICS:
        for hour in (NINE, TEN):
            lake.label(
                topic,
                hour,
                [
                    tweet(sentiment, **{"lang": lang, "country_code": country, "sample": sample})
                    for tag, at, sentiment, lang, country, sample in found
                    if (tag, at) == (topic, hour)
                ],
            )
    lake.refresh_all()
    rows = lake.aggregate()
    assert len({tuple(row[key] for key in AGGREGATE_KEYS) for row in rows}) == len(rows)
    assert sum(row["tweets"] for row in rows) == len(found)
    for name in SENTIMENTS:
        counted = Counter[tuple[str, Any]]()
        for row in rows:
            counted[row["topic"], row["hour"]] += row[name.lower()]
        expected = Counter(
            (topic, hour.start.replace(tzinfo=None))
            for topic, hour, sentiment, *_ in found
            if sentiment == name
        )
        assert +counted == expected
    (result,) = lake.check()
    assert not result.blocking


def test_the_check_stops_aggregates_that_do_not_add_up(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet("Positive"), tweet("Negative")])
    lake.refresh_all()
    (result,) = lake.check()
    assert (result.failed, result.rows) == (0, 1)
    table = aggregate.read(lake.s3, lake.settings.bucket, DAY)
    key = layout.aggregate_key(DAY)
    found = storage.current(lake.s3, lake.settings.bucket, key)
    assert found
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables([table, table]), sink)
    wrong = storage.Content(sink.getvalue(), found.metadata)
    storage.put(lake.s3, lake.settings.bucket, key, wrong)
    with pytest.raises(QualityError) as caught:
        lake.check()
    broken = {(failure.frame, failure.subject) for failure in caught.value.result.blocking}
    assert ("topics", "tweets_lost") in broken
    assert ("rows", "/".join(AGGREGATE_KEYS)) in broken


def test_the_check_lets_pass_what_only_a_later_run_can_know(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet()])
    lake.refresh_all()
    lake.label("ukraine", ELEVEN, [tweet()])
    (result,) = lake.check()
    assert result.failed == 0
    assert lake.changed() == [DAY]


def test_shares_have_the_score_interval_that_newcombe_published(lake: Lake) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), pages 857 to 872, table I, method 3."""
    published = [
        (81, 182, 0.2553, 0.3662),
        (15, 133, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 28, 0.0061, 0.1718),
    ]
    hours = [Window.parse(f"{DAY}T{number:02}") for number in range(len(published))]
    for hour, (positive, others, *_) in zip(hours, published, strict=True):
        lake.label("ukraine", hour, [tweet("Positive")] * positive + [tweet("Neutral")] * others)
    lake.refresh_all()
    found = [
        (row["n"], round(row["positive_low"], 4), round(row["positive_high"], 4))
        for row in lake.view("opinion_by_hour")
    ]
    assert found == [(positive + others, low, high) for positive, others, low, high in published]


def test_a_sample_weighs_its_rows_and_costs_precision(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet("Positive", sample=100)] * 100 + [tweet("Negative", sample=50)] * 100)
    lake.refresh_all()
    (hour,) = lake.view("opinion_by_hour")
    assert hour["judged"] == 200
    assert hour["n"] == pytest.approx(300**2 / 500)
    assert hour["positive_share"] == pytest.approx(1 / 3)
    assert hour["ratio"] == pytest.approx(0.5)
    # The ratio is the odds of positive, here among all judged: its ends are those of the share.
    for end in ("low", "high"):
        share = hour[f"positive_{end}"]
        assert hour[f"ratio_{end}"] == pytest.approx(share / (1 - share))
    p, q, n = 1 / 3, 2 / 3, 180
    middle = (p * n - q * n) / (n + 2)
    margin = 1.959964 * math.sqrt((((p + q) * n + 2) / (n + 2) - middle**2) / (n + 2))
    assert hour["net"] == pytest.approx(p - q)
    assert hour["net_low"] == pytest.approx(middle - margin)
    assert hour["net_high"] == pytest.approx(middle + margin)


def test_where_there_is_nothing_to_divide_by_there_is_no_ratio(lake: Lake) -> None:
    lake.label("ukraine", NINE, [tweet(None)])
    lake.label("ukraine", TEN, [tweet("Positive")])
    lake.label("ukraine", ELEVEN, [tweet("Neutral")])
    lake.refresh_all()
    nine, ten, eleven = lake.view("opinion_by_hour")
    assert [nine[name] for name in ("tweets", "judged", "n", "positive_share", "net", "ratio")] == [
        1,
        0,
        None,
        None,
        None,
        None,
    ]
    assert (ten["ratio"], ten["ratio_high"], ten["positive_high"]) == (None, None, 1)
    assert ten["ratio_low"] > 0
    assert (eleven["ratio"], eleven["ratio_low"], eleven["ratio_high"]) == (None, None, None)
    assert eleven["net"] == 0


def test_languages_that_were_never_measured_stay_out_of_the_default_ratios_visibly(lake: Lake) -> None:
    lake.label(
        "ukraine", TEN, [tweet("Positive")] * 3 + [tweet("Negative", lang="tr", country_code="TR")] * 5
    )
    lake.refresh_all()
    (hour,) = lake.view("opinion_by_hour")
    assert (hour["tweets"], hour["judged"], hour["left_out"], hour["positive_share"]) == (8, 3, 5, 1)
    by_country = {row["country_code"]: row for row in lake.view("opinion_by_country")}
    assert (by_country["TR"]["left_out"], by_country["TR"]["n"]) == (5, None)
    by_language = {row["lang"]: row for row in lake.view("opinion_by_language")}
    assert (by_language["tr"]["measured"], by_language["tr"]["negative_share"]) == (0, 1)
    assert (by_language["en"]["measured"], by_language["en"]["positive_share"]) == (1, 1)


def test_what_a_model_was_measured_on_holds_for_the_rows_that_it_labeled(lake: Lake) -> None:
    lake.measure("sentiment", "e5-2", "de", "uk")
    engines = ["ngram-1", "e5-2", "unknown-3"]
    for hour, engine in zip((NINE, TEN, ELEVEN), engines, strict=True):
        languages = ("en", "de", "uk")
        lake.label("ukraine", hour, [tweet(lang=lang, sentiment_engine=engine) for lang in languages])
    lake.refresh_all()
    measured = {(row["engine"], row["lang"]) for row in lake.aggregate() if row["measured"]}
    assert measured == {("ngram-1", "en"), ("ngram-1", "de"), ("e5-2", "de"), ("e5-2", "uk")}


def test_a_translated_tweet_is_measured_where_both_of_its_models_were(lake: Lake) -> None:
    """The translator on the tweet's language, the sentiment model on the English that it was given."""
    lake.measure("sentiment", "roberta-1", "en")
    lake.measure("sentiment", "german-1", "de")
    lake.measure("translation", "opus-mt-1", "uk", "de")
    rows = [
        tweet(lang=lang, sentiment_engine=engine, translation_engine="opus-mt-1")
        for engine in ("roberta-1", "german-1")
        for lang in ("uk", "de", "ru")
    ]
    untranslated = [tweet(lang=lang, sentiment_engine="roberta-1") for lang in ("en", "tr")]
    lake.label("ukraine", TEN, rows + untranslated)
    lake.refresh_all()
    measured = {(row["engine"], row["lang"]) for row in lake.aggregate() if row["measured"]}
    assert measured == {("roberta-1", "uk"), ("roberta-1", "de"), ("roberta-1", "en")}


def test_hours_are_marked_with_what_coverage_says_also_those_without_tweets(lake: Lake) -> None:
    for hour in (NINE, TEN):
        lake.label("ukraine", hour, [tweet()])
    lake.judge("ukraine", NINE, Verdict.COMPLETE)
    lake.judge("ukraine", TEN, Verdict.OUTAGE)
    lake.judge("ukraine", ELEVEN, Verdict.NEVER_COLLECTED)
    lake.judge("russia", TEN, Verdict.QUIET)
    lake.label("russia", NINE, [tweet()])  # nobody has judged it
    lake.refresh_all()
    found = {
        (row["topic"], row["hour"].hour): (row["gap"], row["verdict"], row["tweets"])
        for row in lake.view("opinion_by_hour")
    }
    assert found == {
        ("ukraine", 9): (0, "complete", 1),
        ("ukraine", 10): (1, "outage", 1),
        ("ukraine", 11): (1, "never collected", 0),
        ("russia", 9): (1, "", 1),
        ("russia", 10): (0, "quiet", 0),
    }
    (row,) = lake.view("opinion", f"dt = '{DAY}' AND hour = TIMESTAMP '{DAY} 11:00:00'")
    assert (row["measured"], row["weighted_judged"], row["lang"]) == (1, 0, "")


def test_labels_of_all_that_a_verdict_knew_outdate_it(lake: Lake) -> None:
    """The ledger knows of 7 tweets, one of them quarantined: 6 are due."""
    lake.label("ukraine", NINE, [tweet()] * 6)
    lake.label("ukraine", TEN, [tweet()] * 5)
    lake.label("ukraine", ELEVEN, [tweet()] * 6)
    lake.label("russia", NINE, [tweet()] * 6)
    open_hour = Window.containing(datetime.now(UTC))
    lake.label("russia", open_hour, [tweet()] * 6)
    lake.judge("ukraine", NINE, Verdict.UNLABELED)
    lake.judge("ukraine", TEN, Verdict.LATE)
    lake.judge("ukraine", ELEVEN, Verdict.OUTAGE)
    lake.judge("russia", NINE, Verdict.IN_PROGRESS)
    lake.judge("russia", TEN, Verdict.IN_PROGRESS)
    lake.judge("russia", open_hour, Verdict.IN_PROGRESS)
    lake.judge("russia", ELEVEN, Verdict.QUIET)
    lake.refresh_all()
    days = f"dt IN ('{DAY}', '{open_hour.start:%Y-%m-%d}')"
    found = {(row["topic"], row["hour"]): (row["gap"], row["counted"]) for row in lake.view("opinion", days)}
    assert found == {
        (topic, hour.start.replace(tzinfo=None)): expected
        for topic, hour, expected in (
            ("ukraine", NINE, (0, 1)),
            ("ukraine", TEN, (1, 0)),
            ("ukraine", ELEVEN, (1, 1)),
            ("russia", NINE, (0, 1)),
            ("russia", TEN, (1, 0)),
            ("russia", ELEVEN, (0, 1)),
            ("russia", open_hour, (1, 0)),
        )
    }


def test_an_hour_that_search_alone_brought_is_marked(lake: Lake) -> None:
    for hour, recovered in ((NINE, 3), (TEN, 7)):
        lake.label("ukraine", hour, [tweet()])
        lake.judge("ukraine", hour, Verdict.COMPLETE, recovered=recovered)
    lake.refresh_all()
    assert [row["searched"] for row in lake.view("opinion")] == [0, 1]


def changes(lake: Lake) -> dict[int, str]:
    lake.refresh_all()
    days = f"dt IN ('{BEFORE}', '{DAY}')"
    return {row["hour"].hour: row["change"] for row in lake.view("opinion_by_hour", days) if row["change"]}


def test_the_hours_are_marked_in_which_something_new_was_in_force(lake: Lake) -> None:
    lake.measure("sentiment", "ngram-2", "en", "de")
    lake.label("ukraine", LATE, [tweet()])
    lake.label("ukraine", NINE, [tweet(rule_hash="r2", sample=50)])  # after midnight and a gap
    lake.label("ukraine", TEN, [tweet(rule_hash="r2", sample=50)])
    lake.label("ukraine", ELEVEN, [tweet(rule_hash="r2", sample=50, sentiment_engine="ngram-2")])
    assert changes(lake) == {9: "rules,sample", 11: "models"}
    (day,) = (row for row in lake.view("opinion_by_language") if row["lang"] == "en")
    assert day["change"] == "models,rules,sample"


def test_a_change_within_an_hour_is_marked_there_and_not_again(lake: Lake) -> None:
    lake.label("ukraine", NINE, [tweet()])
    lake.label("ukraine", TEN, [tweet(), tweet(sample=50)])
    lake.label("ukraine", ELEVEN, [tweet(sample=50)])
    assert changes(lake) == {10: "sample"}


def test_a_translator_is_a_model_and_single_tweets_without_translation_are_no_change(lake: Lake) -> None:
    german, translated = tweet(lang="de"), tweet(lang="de", translation_engine="opus-1")
    lake.label("ukraine", LATE, [tweet(), translated])
    lake.label("ukraine", NINE, [tweet()])  # nothing to translate
    lake.label("ukraine", TEN, [tweet(), translated, german])
    assert changes(lake) == {}
    lake.label("ukraine", ELEVEN, [tweet(), german])
    assert changes(lake) == {11: "models"}


def test_the_teacher_and_the_student_are_compared_by_language(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet("Positive")] * 81 + [tweet("Neutral")] * 182 + [tweet(lang="tr")])
    lake.predict(3, "ukraine", TEN, ["Positive"] * 263 + ["Negative"])
    lake.crown(3)
    lake.refresh_all()
    english, turkish = lake.view("teacher_student")
    assert {**english, "agreement_low": 0, "agreement_high": 0} == {
        "dt": DAY,
        "topic": "ukraine",
        "lang": "en",
        "measured": 1,
        "model": "v3",
        "compared": 263,
        "agreed": 81,
        "n": 263,
        "agreement": pytest.approx(81 / 263),
        "agreement_low": 0,
        "agreement_high": 0,
    }
    assert (round(english["agreement_low"], 4), round(english["agreement_high"], 4)) == (0.2553, 0.3662)
    assert (turkish["measured"], turkish["agreement"], turkish["agreement_low"]) == (0, 0, 0)


def audit(lake: Lake, topic: str, tweets: Sequence[Tweet]) -> None:
    """Drawn tweets and what people say of them: a judgment of each person under ``people``."""
    first = lowest_id(TEN.start) + TOPICS.index(topic) * 1_000_000
    rows, said = [], defaultdict(list)
    for number, found in enumerate(tweets):
        columns = {name: value for name, value in found.items() if name != "people"}
        rows.append(
            {
                "tweet_id": first + number,
                "dt": f"{DAY[:8]}01",
                "topic": topic,
                "lang": "en",
                "country_code": "--",
                "measured": 1,
                "stratum": columns.get("lang", "en"),
                "chance": 0.1,
                "people": 1,
                "sample": 100,
                "engine": "ngram-1",
                **columns,
            }
        )
        for person, judgment in enumerate(found["people"]):
            said[f"p{person}"].append(
                {"tweet_id": first + number, "judgment": judgment, "person": f"p{person}"}
            )
    lake.put(layout.audit_drawn_key(f"{DAY[:8]}16"), pa.Table.from_pylist(rows, schema=AUDIT_DRAWN))
    for who, judged in said.items():
        key = layout.audit_judged_key(f"{DAY[:8]}16", who)
        lake.put(key, pa.Table.from_pylist(judged, schema=AUDIT_JUDGED))


def drawn(choose: random.Random, **columns: Any) -> Tweet:
    """A drawn tweet that people judge after its probabilities, more or less; some nobody, some two."""
    odds = [choose.expovariate(1) for _ in SENTIMENTS]
    negative, neutral, positive = (odd / sum(odds) for odd in odds)
    kinds = (*SENTIMENTS, "Cannot tell")
    people = choose.choices(kinds, (negative, neutral, positive, 0.1), k=choose.choice((0, 1, 1, 1, 2)))
    found = {"p_negative": negative, "p_neutral": neutral, "p_positive": positive, "people": people}
    return {**found, "sample": choose.choice((50, 100)), "chance": choose.choice((0.1, 0.2)), **columns}


def taught(tweets: Sequence[Tweet], sentiment: str) -> Rectifier:
    """What the audit teaches of a class, by the formulas in Python."""
    rows = []
    for found in tweets:
        said = [judgment for judgment in found["people"] if judgment in SENTIMENTS]
        y = sum(judgment == sentiment for judgment in said) / len(said) if said else None
        weight = 100 / found["sample"] / found["chance"]
        rows.append(
            Audited(found.get("lang", "en"), weight, found["chance"], found[f"p_{sentiment.lower()}"], y)
        )
    result = rectifier(rows)
    assert result
    return result


def test_the_view_gives_the_figures_of_prediction_powered_inference(lake: Lake) -> None:
    choose = random.Random(7)
    tweets = [
        *(drawn(choose) for _ in range(90)),
        *(drawn(choose, lang="de", country_code="DE") for _ in range(50)),
        drawn(choose, lang="fr", people=["Positive"]),
        *(drawn(choose, lang="xx", measured=0) for _ in range(40)),
    ]
    audit(lake, "ukraine", tweets)
    rows = {
        (row["scope"], row["member"]): row for row in lake.view("audit_rectifiers", f"dt = '{DAY[:8]}01'")
    }
    assert set(rows) == {
        ("topic", ""),
        *(("language", name) for name in ("en", "de", "fr", "xx")),
        *(("country", name) for name in ("--", "DE")),
    }
    for scope, of_scope in {
        ("topic", ""): [found for found in tweets if found.get("measured", 1)],
        ("language", "de"): [found for found in tweets if found.get("lang") == "de"],
        ("language", "xx"): [found for found in tweets if found.get("lang") == "xx"],
        ("country", "DE"): [found for found in tweets if found.get("country_code") == "DE"],
    }.items():
        row = rows[scope]
        assert row["drawn"] == len(of_scope)
        for sentiment in ("Negative", "Positive"):
            expected = taught(of_scope, sentiment)
            name = sentiment.lower()
            assert row["audited"] == expected.audited
            assert row[f"{name}_slope"] == pytest.approx(expected.slope, rel=1e-9)
            assert row[f"{name}_offset"] == pytest.approx(expected.offset, rel=1e-9)
            assert row[f"{name}_error"] == pytest.approx(expected.safe_error, rel=1e-9)
            assert row[f"people_{name}"] == pytest.approx(expected.share, rel=1e-9)


def test_a_days_mix_is_what_its_judged_tweets_are_made_of(lake: Lake) -> None:
    english, ukrainian = (
        tweet("Negative", source="stream"),
        tweet("Positive", lang="uk", source="search", sample=50),
    )
    lake.label("ukraine", TEN, [english, english, ukrainian, tweet(None)])
    lake.label("ukraine", LATE, [english])
    lake.crown(1)
    lake.predict(1, "ukraine", TEN, ["Negative", "Positive", "Positive"])
    aggregate.refresh(lake.athena, lake.s3, lake.settings, TOPICS, DAY)
    assert mix.refresh(lake.athena, lake.s3, lake.settings, TOPICS, DAY) == 3
    found = {
        (row.dimension, row.bin): (row.tweets, row.posts)
        for row in mix.read(lake.s3, lake.settings.bucket, DAY)
    }
    assert found == {
        ("language", "en"): (2, 2.0),
        ("language", "uk"): (1, 2.0),
        ("country", "--"): (3, 4.0),
        ("source", "stream"): (2, 2.0),
        ("source", "search"): (1, 2.0),
        ("negative", "7"): (2, 2.0),
        ("negative", "0"): (1, 2.0),
        ("positive", "0"): (2, 2.0),
        ("positive", "7"): (1, 2.0),
        ("agreement", "agreed"): (2, 3.0),
        ("agreement", "disagreed"): (1, 1.0),
    }
    kept = lake.s3.get_object(Bucket=lake.settings.bucket, Key=layout.mix_key(DAY))["Body"].read()
    lake.s3.delete_object(Bucket=lake.settings.bucket, Key=layout.mix_key(DAY))
    mix.refresh(lake.athena, lake.s3, lake.settings, TOPICS, DAY)
    assert lake.s3.get_object(Bucket=lake.settings.bucket, Key=layout.mix_key(DAY))["Body"].read() == kept


def test_the_table_of_drift_is_read_by_day(lake: Lake) -> None:
    row = {
        "topic": "ukraine",
        "dimension": "language",
        "stability_index": 0.3,
        "drifted": 1,
        "audited_days": 7,
    }
    lake.put(layout.drift_key(DAY), pa.Table.from_pylist([row], schema=DRIFT))
    lake.put(layout.drift_key(BEFORE), DRIFT.empty_table())
    found = lake.athena.run("SELECT dt, topic, dimension, drifted, audited_days FROM drift")
    assert found == [
        {"dt": DAY, "topic": "ukraine", "dimension": "language", "drifted": 1, "audited_days": 7}
    ]


def test_an_audit_rectifies_the_month_of_its_topic_and_model_alone(lake: Lake) -> None:
    """120 tweets that the model calls Positive by 0.7, of which people find every second Negative."""
    counted = [tweet("Positive") for _ in range(600)]
    lake.label("ukraine", TEN, [*counted, tweet("Positive", sentiment_engine="xlm-2")])
    lake.label("russia", TEN, [tweet("Positive")])
    lake.refresh_all()
    judged = [("Negative",), ("Positive",)] * 60
    audit(
        lake,
        "ukraine",
        [{"p_negative": 0.0, "p_neutral": 0.0, "p_positive": 0.7, "people": list(each)} for each in judged],
    )
    rows = {(row["topic"], row["engine"]): row for row in lake.view("opinion")}
    assert rows["russia", "ngram-1"]["audited"] == rows["ukraine", "xlm-2"]["audited"] == 0
    ours = rows["ukraine", "ngram-1"]
    assert ours["audited"] == ours["language_audited"] == ours["weighted_judged"] == 600
    assert ours["rectified_negative"] == pytest.approx(300)
    assert ours["rectified_positive"] == pytest.approx(300)
    assert ours["error_positive"] / 600 == pytest.approx((0.9 * 0.25 / 119) ** 0.5, rel=1e-6)
    assert ours["error_net"] / 600 == pytest.approx((0.9 / 119) ** 0.5, rel=1e-6)
    assert (ours["language_borrowed"], ours["country_borrowed"]) == (0, 0)


def test_a_language_with_few_audited_tweets_borrows_the_topics_audit(lake: Lake) -> None:
    lake.label(
        "ukraine", TEN, [tweet("Positive"), tweet("Positive", lang="de"), tweet("Positive", lang="xx")]
    )
    lake.refresh_all()
    choose = random.Random(1)
    tweets = [drawn(choose, people=["Negative"]) for _ in range(60)]
    audit(lake, "ukraine", [*tweets, *(drawn(choose, lang="de", people=["Positive"]) for _ in range(29))])
    rows = {row["lang"]: row for row in lake.view("opinion")}
    assert (rows["en"]["language_borrowed"], rows["de"]["language_borrowed"]) == (0, 1)
    assert rows["de"]["language_rectified_negative"] == rows["de"]["rectified_negative"]
    assert rows["en"]["language_rectified_negative"] != rows["en"]["rectified_negative"]
    # Its model was never measured on it, and nobody has judged it.
    assert (rows["xx"]["audited"], rows["xx"]["language_audited"]) == (0, 0)


def test_shifts_are_looked_for_in_the_figures_that_the_dashboards_show(lake: Lake) -> None:
    choose = random.Random(9)
    audit(lake, "ukraine", [drawn(choose) for _ in range(60)])
    for hour in (NINE, TEN):
        sentiments = [tweet(choose.choice(SENTIMENTS), sample=choose.choice((50, 100))) for _ in range(80)]
        lake.label("ukraine", hour, [*sentiments, tweet(lang="uk")])
        lake.judge("ukraine", hour, Verdict.COMPLETE)
    lake.label("russia", TEN, [tweet()] * 40)
    lake.judge("russia", TEN, Verdict.COMPLETE)
    lake.refresh_all()
    topics = load(lake.settings.topics_file)
    data_set = load_dashboards(topics).data_sets["opinion"]
    query = shifts.statement(data_set, date.fromisoformat(BEFORE), date.fromisoformat(DAY))
    rows = {row["topic"]: row for row in lake.athena.table(lake.s3, query).to_pylist()}
    assert {topic: (row["dt"], row["hours"], row["engines"]) for topic, row in rows.items()} == {
        "ukraine": (DAY, 2, "ngram-1"),
        "russia": (DAY, 1, "ngram-1"),
    }
    assert (rows["ukraine"]["audit_part"], rows["russia"]["audit_part"]) == (pytest.approx(1), 0)
    dashboard = load_dashboards(topics).dashboards["opinion-over-time"]
    columns = page.table(data_set, lake.athena.table(lake.s3, data_set.statement()))
    tiles = page.evaluate(dashboard, {"opinion": columns})["tiles"]
    (found,) = (tile for tile in tiles if tile["id"] == "net_sentiment-ukraine")
    row = rows["ukraine"]
    assert row["net"] == pytest.approx(found["value"])
    error = math.hypot(row["sampling_error"], row["audit_error"])
    assert found["high"] - found["low"] == pytest.approx(2 * 1.959963984540054 * error)
    assert shifts.find(lake.athena, lake.s3, lake.settings, topics, date.fromisoformat(DAY)) == []


def test_the_models_quality_is_what_people_say_of_its_labels(lake: Lake) -> None:
    """Figures of krippendorff 0.9.0 (ordinal), and of scikit-learn's accuracy and macro-F1 by weights."""
    choose = random.Random(5)
    tweets = []
    for number in range(40):
        model = choose.randrange(3)
        true = model if choose.random() < 0.6 else choose.randrange(3)
        people = [SENTIMENTS[true]]
        if number % 2:
            people.append(SENTIMENTS[true if choose.random() < 0.7 else choose.randrange(3)])
        tweets.append({"sentiment": SENTIMENTS[model], "people": people})
    audit(lake, "ukraine", tweets)
    (row,) = lake.view("audit_quality", f"dt = '{DAY[:8]}01'")
    assert (row["engine"], row["lang"], row["audited"], row["judged_twice"]) == ("ngram-1", "en", 40, 20)
    assert row["alpha"] == pytest.approx(0.85)
    assert row["accuracy"] == pytest.approx(0.7)
    assert row["macro_f1"] == pytest.approx(0.7016454380494336)
    cells = [f"{one.lower()}_as_{other.lower()}" for one in SENTIMENTS for other in SENTIMENTS]
    assert sum(row[cell] for cell in cells) == pytest.approx(1)


def test_the_student_is_judged_by_the_same_people_as_its_teacher(lake: Lake) -> None:
    people = ("Negative", "Positive")
    audit(lake, "ukraine", [{"sentiment": "Negative", "people": [judgment]} for judgment in people])
    row = {"tweet_id": lowest_id(TEN.start) + 1, "model": "v3", "sentiment": "Positive"}
    lake.put(layout.audit_predicted_key(f"{DAY[:8]}16"), pa.Table.from_pylist([row], schema=AUDIT_PREDICTED))
    found = {row["engine"]: row for row in lake.view("audit_quality", f"dt = '{DAY[:8]}01'")}
    assert {engine: (row["audited"], row["accuracy"]) for engine, row in found.items()} == {
        "ngram-1": (2, 0.5),
        "student v3": (1, 1.0),
    }


def test_fewer_than_thirty_audited_tweets_rectify_nothing(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet("Positive")])
    lake.refresh_all()
    choose = random.Random(1)
    audit(lake, "ukraine", [drawn(choose, people=["Negative"]) for _ in range(29)])
    (row,) = lake.view("opinion")
    assert (row["audited"], row["rectified_negative"], row["error_net"]) == (0, 0, 0)


def test_coverage_is_told_by_hour_with_what_is_predicted_and_what_is_missing(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet()] * 4)
    lake.predict(3, "ukraine", TEN, ["Positive"] * 3)
    lake.crown(3)
    lake.refresh_all()
    start, end = TEN.start, TEN.end
    lake.judge(
        "ukraine",
        TEN,
        Verdict.OUTAGE,
        [
            Gap(Stretch(start, start + timedelta(seconds=90)), GapState.OPEN, end),
            Gap(Stretch(end - timedelta(seconds=100), end), GapState.FILLED, end),
        ],
    )
    lake.judge("russia", TEN, Verdict.QUIET)
    quiet, outage = lake.view("coverage_by_hour")
    assert outage == {
        "dt": DAY,
        "hour": start.replace(tzinfo=None),
        "topic": "ukraine",
        "verdict": "outage",
        "evidence": "because",
        "raw": 7,
        "labeled": 4,
        "quarantined": 1,
        "missing": 2,
        "judged": 4,
        "predicted": 3,
        "removed": 0,
        "recovered": 3,
        "alive_s": 3000.0,
        "gap_s": 90.0,
        "alarm": None,
        "measured_at": end.replace(tzinfo=None),
    }
    assert (quiet["topic"], quiet["judged"], quiet["predicted"], quiet["gap_s"]) == ("russia", None, 0, 0)


def test_examples_are_drawn_as_the_figures_weigh_them(lake: Lake) -> None:
    lake.label("ukraine", NINE, [tweet()] * 4)
    rare = [tweet(sample=1, author_id=7)] * 20
    lake.label("ukraine", TEN, [*rare, *[tweet(sample=100)] * 200, tweet(None), tweet(lang="uk")])
    lake.label("russia", TEN, [tweet()] * 10)
    lake.label("ukraine", NINE.previous, [tweet(country_code="DE"), tweet(country_code="PL"), tweet()])
    asked: dict[str, Any] = {
        "topic": "ukraine",
        "first_day": DAY,
        "last_day": DAY,
        "start": TEN.start,
        "end": TEN.end,
        "every_language": 1,
        "languages": ["none"],
        "every_country": 1,
        "country": "",
        "unmeasured": 0,
        "measured": ["ngram-1 en"],
        "measured_translations": ["none"],
    }

    def drawn(count: int, **changes: Any) -> list[dict[str, Any]]:
        query = render("pages/examples", **asked | changes, count=count)
        rows: list[dict[str, Any]] = lake.athena.table(lake.s3, query).to_pylist()
        return rows

    first = lowest_id(TEN.start)
    everything = drawn(500)
    assert sorted(row["tweet_id"] for row in everything) == [first + number for number in range(220)]
    assert len(drawn(500, unmeasured=1)) == 221
    assert [row["lang"] for row in drawn(500, unmeasured=1, every_language=0, languages=["uk"])] == ["uk"]
    of_germany = drawn(500, start=NINE.previous.start, every_country=0, country="DE")
    assert [row["tweet_id"] for row in of_germany] == [lowest_id(NINE.previous.start)]
    # Twenty tweets that stand for a hundred each, among two hundred that stand for themselves: about
    # 2000 / 2200 of the first ones.
    firsts = [drawn(1)[0]["author_id"] == 7 for _ in range(15)]
    assert sum(firsts) >= 9
    assert drawn(25) != drawn(25)


@pytest.mark.usefixtures("read_once")
def test_a_query_for_a_day_reads_only_that_day_and_the_one_before(lake: Lake) -> None:
    lake.label("ukraine", TEN, [tweet()])
    lake.predict(3, "ukraine", TEN, ["Positive"])
    lake.crown(3)
    lake.judge("ukraine", TEN, Verdict.COMPLETE)
    lake.refresh_all()

    def arrived(hour: Window) -> list[str]:
        """What comes from outside, a line an object."""
        topic = (layout.raw_prefix("ukraine", hour), layout.quarantine_prefix("ukraine", hour))
        return [f"{prefix}a.json.gz" for prefix in (*topic, layout.heartbeats_prefix(hour))]

    for key in arrived(TEN):
        lake.s3.put_object(Bucket=lake.settings.bucket, Key=key, Body=gzip.compress(b"{}\n"))
    for day in ("2026-11-18", "2026-11-21"):
        read = arrived(Window.parse(f"{day}T10"))
        for key in (layout.aggregate_key(day), layout.coverage_key(day), *read):
            lake.s3.put_object(Bucket=lake.settings.bucket, Key=key, Body=b"whoever reads this fails")
    listed = prices.load(lake.settings.prices_file)
    used = usage.Usage("collect", "x", "post", "post", 1, usage.MEASURED, "posts ledger")
    usage.write(lake.s3, lake.settings.bucket, date.fromisoformat(DAY), "x", [used], listed)
    for day in ("2026-11-18", "2026-11-21"):
        key = layout.usage_key(day, "x")
        lake.s3.put_object(Bucket=lake.settings.bucket, Key=key, Body=b"whoever reads this fails")
    for view in set(queries()) - {"audit_rectifiers", "audit_quality"}:
        assert len(lake.view(view)) == 1
    with pytest.raises(AthenaError):
        lake.view("opinion", "dt BETWEEN '2026-11-18' AND '2026-11-21'")


@pytest.fixture
def environment(athena: LocalAthena, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    principal = "arn:aws:quicksight:us-east-1:123456789012:user/default/insights-reader"
    for name, value in {
        "AWS_ENDPOINT_URL": athena.aws.endpoint,
        **AWS_ENVIRONMENT,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({"conn_type": "aws"}),
        "OPINION_BUCKET": lake.settings.bucket,
        "OPINION_DATABASE": lake.settings.database,
        "OPINION_WORKGROUP": lake.settings.workgroup,
        "OPINION_QUICKSIGHT_PRINCIPALS": json.dumps([principal]),
    }.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_athena_that_throttles_is_asked_again(athena: LocalAthena, lake: Lake, environment: None) -> None:
    from include.operators import insights as tasks

    operations = ("StartQueryExecution", "GetQueryExecution", "GetQueryResults")
    faults = [
        athena.aws.reject("athena", f"{operation}$", "TooManyRequestsException", times=2)
        for operation in operations
    ]
    try:
        assert set(tasks.views.function(ti=Mock())) == set(queries())
        assert [athena.aws.struck(fault) for fault in faults] == [2, 2, 2]
    finally:
        athena.aws.mend()


def test_the_tasks_lead_from_the_lake_to_quicksight_and_cleared_they_change_and_pay_nothing(
    athena: LocalAthena, lake: Lake, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.operators import insights as tasks

    # An operator that defers is another test's subject.
    monkeypatch.setattr(tasks, "_PATIENCE", 120)

    quicksight = athena.aws.client("quicksight")
    quicksight.register_user(
        AwsAccountId="123456789012",
        Namespace="default",
        IdentityType="QUICKSIGHT",
        UserName="insights-reader",
        UserRole="READER",
        Email="insights-reader@example.org",
    )
    ensure(quicksight, load_dashboards(load(settings().topics_file)), settings(), "123456789012")
    lake.label("ukraine", TEN, [tweet("Positive"), tweet("Negative")])
    lake.label("russia", TEN, [tweet("Neutral")])

    ti = Mock()

    def run() -> tuple[list[Any], list[Any]]:
        assert set(tasks.views.function(ti=ti)) == set(queries())
        found = tasks.days.function()
        aggregated = [tasks.aggregate.function(day, ti=ti) for day in found]
        if aggregated:
            (checked,) = tasks.check.function(aggregated, ti=ti)
            assert f"opinion/{DAY}" in [pushed.args[1] for pushed in ti.xcom_push.call_args_list]
            assert checked["blocking"] == 0
        read = [
            tasks.IngestDataSetOperator(task_id="ingest", data_set=name).execute({"ti": ti})
            for name in tasks.data_sets.function()
        ]
        return aggregated, read

    aggregated, read = run()
    assert [(each["day"], each["written"], each["tweets"]) for each in aggregated] == [(DAY, True, 3)]
    opinion, *_ = read
    assert (opinion["rows"], opinion["reused"]) == (2, False)
    aggregated, again = run()
    assert aggregated == []
    assert again == [{**each, "reused": True} for each in read]


def test_what_firehose_has_delivered_is_told_from_what_others_wrote(lake: Lake) -> None:
    def put(key: str, *lines: bytes) -> None:
        body = gzip.compress(b"".join(line + b"\n" for line in lines))
        lake.s3.put_object(Bucket=lake.settings.bucket, Key=key, Body=body)

    put(f"{layout.raw_prefix('ukraine', TEN)}x-opinion-1-2026-11-20-10-00-00-a.gz", b"a" * 99, b"b" * 5_120)
    put(f"{layout.heartbeats_prefix(TEN)}x-opinion-1-2026-11-20-10-00-00-b.gz", b"c" * 199)
    put(layout.recovered_key("ukraine", TEN, TEN.start, TEN.end), b"d" * 500)
    put(layout.quarantine_key("ukraine", TEN, "transform"), b"e" * 500)
    put(f"{layout.raw_prefix('ukraine', LATE)}x-opinion-1-2026-11-19-22-00-00-c.gz", b"f" * 500)
    asked: Any = Mock(statements=lake.athena, settings=lake.settings)
    day = TEN.start.date()
    found = {each.item: each.quantity for each in firehose(asked, day)[day]}
    assert found == {
        "ingestion": 4 * 5_120 / 1e9,
        "dynamic partitioning": (100 + 5_121 + 200) / 1e9,
        "partitioned objects": 2 / 1000,
    }
    lake.clear()
    assert firehose(asked, day) == {day: []}


def test_costs_are_usage_times_list_price_and_a_month_is_read_back(lake: Lake) -> None:
    listed = prices.load(lake.settings.prices_file)
    for day, posts in ((BEFORE, 3_000), (DAY, 1_000)):
        used = [
            usage.Usage("collect", "x", "post", "post", posts, usage.MEASURED, "posts ledger"),
            usage.Usage("recover", "x", "post", "post", 100, usage.MEASURED, "posts ledger"),
        ]
        usage.write(lake.s3, lake.settings.bucket, date.fromisoformat(day), "x", used, listed)
    odd = usage.Usage("sentiment", "sagemaker", "batch ml.huge", "hour", 1.5, usage.MODELED, "a guess")
    usage.write(lake.s3, lake.settings.bucket, date.fromisoformat(DAY), "sagemaker", [odd], listed)
    lake.label("ukraine", TEN, [tweet(), tweet()])
    lake.refresh_all()
    rows = {(row["service"], row["stage"]): row for row in lake.view("costs")}
    assert rows["x", "collect"]["dollars"] == 5.0
    assert rows["x", "collect"]["confirmed"] == 1
    assert rows["sagemaker", "sentiment"]["dollars"] is None
    found = month.read(lake.athena, lake.s3, lake.settings, listed, date.fromisoformat(DAY))
    assert (found.dollars, found.days, found.tweets) == (21.0, 2, 2)
    assert found.unpriced == ["sagemaker batch ml.huge"]
    assert found.per_million(found.dollars) == pytest.approx(10_500_000)
    modeled = {(row["service"], row["stage"]): row["modeled"] for row in found.rows}
    assert modeled == {("x", "collect"): 0, ("x", "recover"): 0, ("sagemaker", "sentiment"): 1}
