"""What is gathered before judging: how far, at which sample, and which hours need not be asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from types_boto3_s3 import S3Client

from include.compliance import tombstones
from include.coverage import evidence, ledger
from include.coverage.evidence import (
    TOGETHER_BYTES,
    HourInputs,
    Key,
    judged_until,
    list_inputs,
    measures,
    sample_at,
    signs_of_life,
    together,
    with_removed,
    with_what_was_under_way,
)
from include.coverage.measure import measure, windows
from include.coverage.stretch import Stretch
from include.lake.athena import UnreadDataError
from include.lake.layout import labeled_key, quarantine_key, raw_prefix, recovered_key
from include.lake.pseudonyms import Pseudonyms
from include.lake.storage import Object
from include.lake.verdict import Verdict
from include.settings import Settings
from include.window import Window
from include.x.compliance import ComplianceAction
from include.x.snowflake import lowest_id, to_milliseconds
from include.x.topics import load

SETTINGS = Settings(bucket="lake", delivery_grace_seconds=1800, delivery_margin_seconds=10)
TOPICS = load(SETTINGS.topics_file)
TEN, ELEVEN = Window.parse("2026-11-20T10"), Window.parse("2026-11-20T11")
NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)


def heard(watermark: datetime | None, hour: Window = TEN, sample: int | None = None) -> dict[str, Any]:
    milliseconds = to_milliseconds(watermark) if watermark else None
    return {
        "dt": hour.date,
        "hour": hour.hour,
        "heartbeats": 240,
        "watermark_ms": milliseconds,
        "sample": sample,
    }


@pytest.mark.parametrize(
    ("watermark", "until"),
    [
        (timedelta(minutes=2), timedelta(minutes=2, seconds=10)),
        (timedelta(0), timedelta(seconds=30)),
        (timedelta(hours=2), timedelta(minutes=30)),
        (None, timedelta(minutes=30)),
    ],
    ids=["the watermark less a margin", "what search can find", "the grace time", "no heartbeat at all"],
)
def test_how_far_time_can_be_judged(watermark: timedelta | None, until: timedelta) -> None:
    rows = [heard(None if watermark is None else NOW - watermark)]
    assert NOW - judged_until(rows, NOW, SETTINGS) == until


@pytest.mark.parametrize(
    ("year", "until"), [(-400_000, timedelta(minutes=30)), (400_000, timedelta(seconds=30))]
)
def test_a_watermark_of_an_absurd_year_is_only_very_early_or_very_late(year: int, until: timedelta) -> None:
    rows = [heard(None) | {"watermark_ms": year * 365 * 86_400_000}]
    assert NOW - judged_until(rows, NOW, SETTINGS) == until


def test_the_sample_in_force_is_what_was_last_said_before_or_else_first_after() -> None:
    rows = [heard(None, TEN, 80), heard(None, ELEVEN, 40)]
    twelve = ELEVEN.next
    assert [sample_at(hour, rows) for hour in (Window.parse("2026-11-20T09"), TEN, ELEVEN, twelve)] == [
        80,
        80,
        40,
        40,
    ]
    assert sample_at(TEN, [heard(None)]) is None


def test_heartbeats_are_read_from_an_hour_before_up_to_now() -> None:
    found = signs_of_life([TEN], NOW, SETTINGS)
    assert "IN ('2026-11-20T10')" in measures([TEN])
    assert "IN ('2026-11-20T09', '2026-11-20T10', '2026-11-20T11', '2026-11-20T12')" in found["stretches"]


def put(s3: S3Client, key: str, body: bytes = b"x") -> None:
    s3.put_object(Bucket=SETTINGS.bucket, Key=key, Body=body)


def test_an_hours_inputs_are_its_objects_in_raw_labeled_and_quarantine(s3: S3Client) -> None:
    def digest() -> tuple[str, str]:
        found = list_inputs(s3, SETTINGS.bucket, ["ukraine"], [TEN])["ukraine", TEN]
        return found.digest, found.raw_digest

    seen = [digest()]
    put(s3, labeled_key("ukraine", ELEVEN))
    put(s3, f"{raw_prefix('russia', TEN)}a")
    assert digest() == seen[0]
    for key in (f"{raw_prefix('ukraine', TEN)}a", labeled_key("ukraine", TEN)):
        put(s3, key)
        seen.append(digest())
    put(s3, quarantine_key("ukraine", TEN, "transform"))
    seen.append(digest())
    assert len({whole for whole, _ in seen}) == 4
    assert len({raw for _, raw in seen}) == 2


def test_no_hours_have_no_inputs(s3: S3Client) -> None:
    assert list_inputs(s3, SETTINGS.bucket, ("ukraine",), ()) == {}


def test_what_search_brought_back_is_read_from_the_objects_names(s3: S3Client) -> None:
    stretch = Stretch(TEN.start, TEN.start + timedelta(minutes=5))
    put(s3, recovered_key("ukraine", TEN, stretch.start, stretch.end))
    assert list_inputs(s3, SETTINGS.bucket, ["ukraine"], [TEN])["ukraine", TEN].recovered == (stretch,)


def test_what_was_removed_is_counted_by_topic_and_has_the_hour_measured_again(
    s3: S3Client,
) -> None:
    def inputs() -> Mapping[Key, HourInputs]:
        found = list_inputs(s3, SETTINGS.bucket, ["ukraine", "russia"], [TEN, ELEVEN])
        return with_removed(s3, SETTINGS.bucket, found)

    before = inputs()
    pseudonyms, ids = Pseudonyms(b"key"), [lowest_id(TEN.start) + number for number in range(3)]
    places = {ids[0]: ["ukraine"], ids[1]: ["russia", "ukraine"], ids[2]: ["ukraine"]}
    actions = {ids[0]: ComplianceAction.DELETE, ids[1]: ComplianceAction.DELETE}
    actions[ids[2]] = ComplianceAction.SCRUB_GEO
    for _ in range(2):
        tombstones.bury(s3, SETTINGS.bucket, pseudonyms, TEN, actions, places)
    after = inputs()
    assert {key: found.removed for key, found in after.items()} == {
        ("ukraine", TEN): 2,
        ("russia", TEN): 1,
        ("ukraine", ELEVEN): 0,
        ("russia", ELEVEN): 0,
    }
    assert {key for key in after if after[key].digest != before[key].digest} == {
        ("ukraine", TEN),
        ("russia", TEN),
    }
    # Nothing is transformed again for it.
    assert {key for key in after if after[key].raw_digest != before[key].raw_digest} == set()


class Engine:
    """Answers as the statements would on a lake where the streamer was alive and X silent."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, str]] = []
        self.fails_once: Exception | None = None

    def run_all(self, asked: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
        self.asked.append(asked)
        if failure := self.fails_once:
            self.fails_once = None
            raise failure
        alive = {
            "state": "alive",
            "from_ms": to_milliseconds(TEN.start),
            "to_ms": to_milliseconds(NOW - timedelta(minutes=1)),
        }
        return {
            "measures": [],
            "stretches": [alive],
            "heartbeats": [heard(NOW - timedelta(minutes=1), ELEVEN)],
        }


def test_only_hours_whose_objects_have_changed_are_measured_again(s3: S3Client) -> None:
    engine: Any = Engine()
    hours = [TEN, ELEVEN]

    def look() -> tuple[ledger.CoverageRow, ...]:
        rows = measure(engine, s3, SETTINGS, TOPICS, hours, (), NOW).rows
        ledger.write(s3, SETTINGS.bucket, rows)
        return rows

    first = look()
    assert {row.verdict for row in first} == {Verdict.QUIET}
    assert len(engine.asked) == 1
    assert sorted(row.key for row in look()) == sorted(row.key for row in first)
    assert len(engine.asked) == 1
    put(s3, f"{raw_prefix('ukraine', ELEVEN)}a")
    assert len(look()) == len(first)
    assert len(engine.asked) == 2
    assert "IN ('2026-11-20T11')" in engine.asked[1]["measures"]


def sized(sizes: Mapping[Window, int]) -> dict[Key, HourInputs]:
    """Inputs of hours whose raw has so many bytes, in two topics."""
    found = {}
    for hour, size in sizes.items():
        for topic, part in (("ukraine", size // 2), ("russia", size - size // 2)):
            objects = (Object(f"{raw_prefix(topic, hour)}a.gz", "", part, NOW),)
            found[topic, hour] = HourInputs("", "", None, None, (), objects=objects)
    return found


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([0, 0, 0, 0], [4]),
        ([TOGETHER_BYTES // 2, TOGETHER_BYTES // 2, 1, 0], [2, 2]),
        ([1, TOGETHER_BYTES * 3, 1, TOGETHER_BYTES - 1], [1, 1, 2]),
        ([TOGETHER_BYTES * 2], [1]),
    ],
    ids=["small hours", "as many as fit", "an hour that is too large is alone", "nothing but such an hour"],
)
def test_hours_are_measured_together_as_long_as_they_are_small(sizes: list[int], groups: list[int]) -> None:
    hours = list(Window.between(TEN.start, TEN.start + len(sizes) * timedelta(hours=1)))
    found = together(sized(dict(zip(hours, sizes, strict=True))), hours[::-1])
    assert [hour for group in found for hour in group] == hours
    assert [len(group) for group in found] == groups


def test_large_hours_are_measured_one_statement_after_another_and_the_stream_once(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "TOGETHER_BYTES", 1)
    for hour in (TEN, ELEVEN):
        put(s3, f"{raw_prefix('ukraine', hour)}a.gz", b"xx")
    engine: Any = Engine()
    rows = measure(engine, s3, SETTINGS, TOPICS, [TEN, ELEVEN], (), NOW).rows
    assert len(rows) == 4
    assert [sorted(asked) for asked in engine.asked] == [
        ["heartbeats", "measures", "stretches"],
        ["measures"],
    ]
    assert "IN ('2026-11-20T10')" in engine.asked[0]["measures"]
    assert "IN ('2026-11-20T11')" in engine.asked[1]["measures"]


def test_an_hour_is_as_large_as_all_its_topics_also_where_one_of_them_is_not_asked_for(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement reads them all: their sizes bound its memory, and any of their objects may be damaged."""
    monkeypatch.setattr(evidence, "TOGETHER_BYTES", 10)
    engine: Any = Engine()
    for hour in (TEN, ELEVEN):
        put(s3, f"{raw_prefix('russia', hour)}a.gz", b"x" * 8)
    rows = measure(engine, s3, SETTINGS, TOPICS, [TEN, ELEVEN], (), NOW).rows
    ledger.write(s3, SETTINGS.bucket, rows)
    engine.asked.clear()
    for hour in (TEN, ELEVEN):
        put(s3, f"{raw_prefix('ukraine', hour)}a.gz")
    engine.fails_once = UnreadDataError("statement 'measures' ended as FAILED: HIVE_BAD_DATA (execution 1)")
    measured = measure(engine, s3, SETTINGS, TOPICS, [TEN, ELEVEN], (), NOW)
    assert set(measured.damaged) == {f"{raw_prefix(topic, TEN)}a.gz" for topic in TOPICS.names}
    assert ["IN ('2026-11-20T10')" in asked["measures"] for asked in engine.asked] == [True, True, False]


def test_looking_at_every_hour_that_search_reaches_costs_a_few_requests_and_no_statement(
    s3: S3Client,
) -> None:
    engine: Any = Engine()
    hours = windows(None, None, TEN.end, TEN.start - timedelta(days=30))
    assert len(hours) == 8 * 24 + 1
    for hour in hours[::5]:
        for topic in TOPICS.names:
            put(s3, f"{raw_prefix(topic, hour)}a.gz")
    quiet = [
        replace(row, verdict=Verdict.QUIET, judged_until=row.window.end, gaps=())
        for row in measure(engine, s3, SETTINGS, TOPICS, hours, (), NOW).rows
    ]
    ledger.write(s3, SETTINGS.bucket, quiet)
    asked: list[str] = []
    s3.meta.events.register("request-created.s3", lambda event_name, **_: asked.append(event_name))
    engine.asked.clear()
    assert len(measure(engine, s3, SETTINGS, TOPICS, hours, (), NOW).rows) == len(quiet)
    assert engine.asked == []
    days, listed = 9, 3
    assert len(asked) == days * len(TOPICS.names) * listed + 2 * days + 2, (
        "listings, ledgers, tombstones, damaged"
    )


def test_an_outage_begins_as_long_before_as_tweets_may_have_been_under_way() -> None:
    def stretch(start: int, end: int) -> Stretch:
        return Stretch(TEN.start + timedelta(seconds=start), TEN.start + timedelta(seconds=end))

    found = with_what_was_under_way(
        [stretch(400, 500), stretch(10, 100), stretch(520, 600)], TEN.start, timedelta(seconds=30)
    )
    assert found == [stretch(0, 100), stretch(370, 500), stretch(500, 600)], (
        "not before the collection, and no moment in two outages"
    )
