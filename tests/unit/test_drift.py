"""Drift: whether the recent tweets are still those that people audited."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from types_boto3_s3 import S3Client

from include.audit import mix, records
from include.audit.drift import DIMENSIONS, Drift, MixRow, compare
from include.audit.wave import Wave
from include.lake import layout
from include.lake.schemas import LABELED, MIX
from include.quality import frames, suites
from include.quality.checks import check_drift
from include.settings import Settings
from include.window import Window
from include.x.snowflake import lowest_id

TOPICS = ("ukraine", "russia")
SETTINGS = Settings(bucket="lake")
AUDITED = Wave.of(date(2026, 11, 20))
LAST = date(2026, 11, 29)
NOW = datetime(2026, 11, 24, 5, tzinfo=UTC)


def rows(
    counts: Mapping[str, int],
    dimension: str = "language",
    engine: str = "e5",
    topic: str = "ukraine",
    **_: Any,
) -> list[MixRow]:
    return [MixRow(topic, engine, dimension, name, count, float(count)) for name, count in counts.items()]


def one(audited: Mapping[str, int], recent: Mapping[str, int], dimension: str = "language") -> Drift:
    (found,) = compare("ukraine", rows(audited, dimension), rows(recent, dimension))
    return found


def test_the_index_is_the_one_of_the_textbook() -> None:
    found = one({"en": 600, "uk": 400}, {"en": 400, "uk": 600})
    assert found.stability_index == pytest.approx(2 * 0.2 * math.log(1.5), rel=0.01)
    assert (found.audited_tweets, found.recent_tweets) == (1_000, 1_000)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 500), min_size=1))
def test_the_same_mix_has_not_drifted_however_many_tweets_there_are(counts: dict[str, int]) -> None:
    found = one(counts, {name: count * 7 for name, count in counts.items()})
    assert not found.exceeds(0.25)


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 500), min_size=1),
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 500), min_size=1),
)
def test_the_index_is_a_distance_that_both_sides_see_alike(then: dict[str, int], now: dict[str, int]) -> None:
    there, back = one(then, now).stability_index, one(now, then).stability_index
    assert there >= 0
    assert there == pytest.approx(back, abs=1e-9)


def test_chance_alone_is_no_drift_also_with_few_tweets() -> None:
    """Of a thousand checks without a change about one may warn; so few tweets often exceed 0.25."""
    chosen = random.Random(1)
    shares = dict(zip("abcdefghij", (0.3, 0.2, 0.1, 0.1, 0.08, 0.06, 0.05, 0.05, 0.03, 0.03), strict=True))

    def draw(count: int) -> dict[str, int]:
        found = chosen.choices(list(shares), list(shares.values()), k=count)
        return {name: found.count(name) for name in shares if name in found}

    checks = [one(draw(60), draw(60)) for _ in range(500)]
    assert sum(check.stability_index > 0.25 for check in checks) > 50
    assert sum(check.exceeds(0.25) for check in checks) <= 5


def test_a_language_that_takes_over_is_drift() -> None:
    assert one({"en": 900, "uk": 100}, {"en": 500, "uk": 500}).exceeds(0.25)


def test_many_rare_languages_that_come_and_go_are_no_drift() -> None:
    then = {"en": 10_000, **{f"a{number}": 5 for number in range(40)}}
    now = {"en": 10_000, **{f"b{number}": 5 for number in range(40)}}
    assert one(then, now).stability_index < 0.001


def test_a_tweet_counts_as_many_posts_as_it_stands_for() -> None:
    then = [
        MixRow("ukraine", "e5", "language", "en", 500, 500.0),
        MixRow("ukraine", "e5", "language", "uk", 500, 500.0),
    ]
    now = [
        MixRow("ukraine", "e5", "language", "en", 50, 500.0),
        MixRow("ukraine", "e5", "language", "uk", 500, 500.0),
    ]
    (found,) = compare("ukraine", then, now)
    assert found.stability_index == pytest.approx(0.0, abs=1e-6)


def test_another_model_is_drift_and_its_probabilities_are_not_compared_with_the_formers() -> None:
    then = [*rows({"stream": 500}, "source", "e5"), *rows({"9": 500}, "negative", "e5")]
    now = [*rows({"stream": 500}, "source", "roberta"), *rows({"0": 500}, "negative", "roberta")]
    found = {drift.dimension: drift for drift in compare("ukraine", then, now)}
    assert set(found) == {"engine", "source"}
    assert found["engine"].exceeds(0.25)
    assert not found["source"].exceeds(0.25)


def test_topics_are_apart_and_what_one_period_lacks_is_not_compared() -> None:
    other = rows({"en": 10}, topic="russia")
    assert compare("ukraine", rows({"en": 10}), other) == []
    assert compare("ukraine", rows({"agreed": 9}, "agreement"), rows({"en": 10})) == []


def put_mix(s3: S3Client, day: date, languages: Mapping[str, int]) -> None:
    found = [
        vars(row)
        for topic in TOPICS
        for row in (
            *rows(languages, topic=topic),
            *rows({"stream": sum(languages.values())}, "source", topic=topic),
        )
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(found, schema=MIX), sink)
    s3.put_object(Bucket="lake", Key=layout.mix_key(day.isoformat()), Body=sink.getvalue())


def label(s3: S3Client, day: date, tweets: int = 40) -> None:
    hour = Window.parse(f"{day}T05")
    for number, topic in enumerate(TOPICS):
        found = [
            {
                "tweet_id": lowest_id(hour.start) + number * 1_000 + each,
                "lang": "en",
                "sentiment": "Negative",
                "sentiment_engine": "e5",
                "sample": 100,
                **dict.fromkeys(("p_negative", "p_neutral", "p_positive"), 1 / 3),
            }
            for each in range(tweets)
        ]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(found, schema=LABELED), sink)
        s3.put_object(Bucket="lake", Key=layout.labeled_key(topic, hour), Body=sink.getvalue())


def audited(s3: S3Client, topic: str | None = "ukraine") -> None:
    """Draws a wave, and has people judge the tweets of one topic."""
    label(s3, AUDITED.days[0])
    records.draw(s3, SETTINGS, TOPICS, AUDITED, b"a key", NOW)
    drawn = records.read_drawn(s3, "lake", AUDITED).to_pylist()
    ids = [row["tweet_id"] for row in drawn if row["topic"] == topic]
    if ids:
        records.judge(s3, "lake", "anna", dict.fromkeys(ids, "Negative"), NOW)


def test_the_audited_days_are_those_of_the_newest_month_that_people_have_judged(s3: S3Client) -> None:
    audited(s3)
    assert mix.audits(s3, "lake", TOPICS, LAST) == {
        "ukraine": mix.Audit("2026-11-01", tuple(day.isoformat() for day in AUDITED.days))
    }
    assert mix.audits(s3, "lake", TOPICS, AUDITED.first - timedelta(days=1)) == {}


def test_audits_of_older_months_are_not_read(s3: S3Client) -> None:
    """They are kept for good, so that reading all of them would take longer every week."""
    for topic in TOPICS:
        audited(s3, topic)
    for key in (layout.audit_drawn_key("2026-10-26"), layout.audit_judged_key("2026-10-26", "anna")):
        s3.put_object(Bucket="lake", Key=key, Body=b"whoever reads this fails")
    assert set(mix.audits(s3, "lake", TOPICS, LAST)) == set(TOPICS)
    with pytest.raises(pa.ArrowInvalid):
        mix.audits(s3, "lake", (*TOPICS, "poland"), LAST)


def test_tweets_that_were_drawn_and_judged_by_nobody_are_no_audit(s3: S3Client) -> None:
    audited(s3, None)
    assert mix.audits(s3, "lake", TOPICS, LAST) == {}


def test_a_change_of_languages_is_written_down_and_warns(s3: S3Client) -> None:
    audited(s3)
    for day in AUDITED.days:
        put_mix(s3, day, {"en": 900, "uk": 100})
    for recent in mix.recent_days(SETTINGS, LAST):
        put_mix(s3, date.fromisoformat(recent), {"en": 100, "uk": 900})
    found = mix.measure(s3, SETTINGS, TOPICS, LAST)
    assert {(row["topic"], row["dimension"]): row["drifted"] for row in found} == {
        ("ukraine", "engine"): 0,
        ("ukraine", "language"): 1,
        ("ukraine", "source"): 0,
    }
    assert mix.read_drift(s3, "lake", "2026-11-29").to_pylist() == found
    (row,) = [row for row in found if row["drifted"]]
    assert (row["topic"], row["dimension"], row["audit_month"]) == ("ukraine", "language", "2026-11-01")
    assert (row["audited_days"], row["recent_days"]) == (len(AUDITED.days), 7)
    result = check_drift(s3, SETTINGS, "2026-11-29")
    assert [str(failure.subject) for failure in result.failures] == ["beyond_noise"]
    assert not result.blocking


def test_measured_twice_the_object_is_the_same_byte_for_byte(s3: S3Client) -> None:
    audited(s3)
    put_mix(s3, AUDITED.days[0], {"en": 900, "uk": 100})
    put_mix(s3, LAST, {"en": 900, "uk": 100})
    bodies = []
    for _ in range(2):
        mix.measure(s3, SETTINGS, TOPICS, LAST)
        bodies.append(s3.get_object(Bucket="lake", Key=layout.drift_key("2026-11-29"))["Body"].read())
    assert bodies[0] == bodies[1]


def test_without_an_audit_nothing_has_drifted_and_the_check_passes(s3: S3Client) -> None:
    put_mix(s3, LAST, {"en": 900})
    assert mix.measure(s3, SETTINGS, TOPICS, LAST) == []
    result = check_drift(s3, SETTINGS, "2026-11-29")
    assert (result.failed, result.rows) == (0, 0)


def test_chance_alone_does_not_fail_the_check(s3: S3Client) -> None:
    """The suite asks for what is beyond chance: five tweets can have any index."""
    audited(s3)
    put_mix(s3, AUDITED.days[0], {"en": 3, "uk": 2})
    put_mix(s3, LAST, {"uk": 5})
    found = {row["dimension"]: row for row in mix.measure(s3, SETTINGS, TOPICS, LAST)}
    assert found["language"]["stability_index"] > 0.25
    frame = frames.drift_frames(s3, SETTINGS, "2026-11-29")["rows"]
    assert frame["beyond_noise"].max() == 0
    assert check_drift(s3, SETTINGS, "2026-11-29").failed == 0


class Answers:
    """An Athena that answers every statement with one row, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    def table(self, _s3: S3Client, _statement: str) -> pa.Table:
        self.asked += 1
        return pa.Table.from_pylist([vars(row) for row in rows({"stream": 40}, "source")], schema=MIX)


def test_a_days_mix_is_selected_once_until_its_objects_change(s3: S3Client) -> None:
    athena, day = Answers(), LAST
    label(s3, day)

    def refresh() -> int:
        return mix.refresh(athena, s3, SETTINGS, TOPICS, day.isoformat())  # pyrefly: ignore[bad-argument-type]

    assert mix.outdated_days(s3, SETTINGS, TOPICS, LAST) == [day.isoformat()]
    assert [refresh(), refresh()] == [40, 40]
    assert athena.asked == 1
    assert mix.outdated_days(s3, SETTINGS, TOPICS, LAST) == []
    label(s3, day, tweets=41)
    assert mix.outdated_days(s3, SETTINGS, TOPICS, LAST) == [day.isoformat()]
    refresh()
    assert athena.asked == 2


def test_a_mix_outlasts_the_tweets_that_it_was_made_from(s3: S3Client) -> None:
    athena, day = Answers(), LAST
    label(s3, day)
    mix.refresh(athena, s3, SETTINGS, TOPICS, day.isoformat())  # pyrefly: ignore[bad-argument-type]
    s3.delete_object(Bucket="lake", Key=layout.labeled_key("russia", Window.parse(f"{day}T05")))
    assert mix.outdated_days(s3, SETTINGS, TOPICS, LAST) == []
    assert mix.refresh(athena, s3, SETTINGS, TOPICS, day.isoformat()) == 40  # pyrefly: ignore[bad-argument-type]
    assert athena.asked == 1


def test_every_dimension_has_a_name_for_readers_and_the_suite_knows_its_frame() -> None:
    assert list(DIMENSIONS) == [
        "engine",
        "language",
        "country",
        "source",
        "negative",
        "positive",
        "agreement",
    ]
    assert set(suites.drift(0.25).expectations) == {"rows"}
