"""Removal: what X reports as gone, or a person asks for, leaves every layer and stays gone."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from types_boto3_s3 import S3Client

from include.audit.wave import Wave
from include.compliance import lines, listing, removal, tombstones
from include.compliance.purge import Purge, Purged
from include.compliance.removal import (
    Removal,
    RemovalIncompleteError,
    RemovalReport,
    VersionedBucketError,
)
from include.compliance.requests import RemovalRequest
from include.compliance.tombstones import Tombstones
from include.coverage import damage
from include.labeling import prepare as preparing
from include.labeling.model_io import compose_sentiment_input
from include.labeling.prepared import Prepared
from include.labeling.publish import Published, publish
from include.lake import layout, storage
from include.lake.athena import Athena, UnreadDataError
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import AUDIT_DRAWN, AUDIT_JUDGED, PREDICTIONS
from include.quality import frames
from include.training import hours
from include.training.second_look import look_again
from include.window import Window
from include.x import snowflake
from include.x.compliance import ComplianceAction
from local.removal import remove
from tests.unit import support_hour as hour
from tests.unit.support_hour import BUCKET, KEY, SETTINGS, TOPICS, WINDOW, line, tweet, tweet_id

DELETE, SCRUB = ComplianceAction.DELETE, ComplianceAction.SCRUB_GEO
PSEUDONYMS = Pseudonyms(KEY)
NOW = WINDOW.end + timedelta(hours=20)
GONE, STAYS, MOVED = tweet_id(10), tweet_id(20), tweet_id(30)
RETIRED = "poland"
"""A topic that was taken out of the topics file: the lake has what was collected of it."""
DATED = {"created_at": f"{WINDOW.start:%Y-%m-%dT%H}:00:01.000Z"}
"""A payload that says of itself that it is of the hour, whatever its id tells."""
PLACE: dict[str, Any] = {
    "geo": {"place_id": "p"},
    "includes": {"places": [{"id": "p", "country_code": "UA", "full_name": "Kyiv"}]},
}


class FakeAthena:
    """Answers every statement with ``tweets``."""

    def __init__(self, *tweets: int) -> None:
        self.tweets = tweets
        self.statements: list[str] = []

    def start_query_execution(self, QueryString: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self.statements.append(QueryString)
        return {"QueryExecutionId": "e1"}

    def get_query_execution(self, **_: Any) -> dict[str, Any]:
        return {"QueryExecution": {"Status": {"State": "SUCCEEDED"}}}

    def get_paginator(self, _: str) -> FakeAthena:
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        rows = [{"Data": [{"VarCharValue": text}]} for text in ("tweet_id", *map(str, self.tweets))]
        columns = [{"Name": "tweet_id", "Type": "bigint"}]
        yield {"ResultSet": {"ResultSetMetadata": {"ColumnInfo": columns}, "Rows": rows}}


def text_of(identifier: int) -> str:
    return f"text of {identifier}"


def collected(s3: S3Client) -> None:
    """Three tweets in raw, one of them twice, and lines that cannot be used."""
    geo: dict[str, Any] = {**PLACE, "includes": {**tweet(MOVED)["includes"], **PLACE["includes"]}}
    hour.put_raw(
        s3,
        "ukraine",
        [
            line(tweet(GONE, lang="uk")),
            line(tweet(STAYS)),
            line(tweet(MOVED, **geo)),
            line(tweet(GONE, lang="uk"))[:-30],
        ],
    )
    hour.put_raw(
        s3, "ukraine", [line(tweet(GONE, lang="uk")), line(tweet(STAYS, lang="de"))], name="stream-1.gz"
    )


def answered(s3: S3Client, prepared: Prepared) -> tuple[str, str]:
    translated = hour.answer(
        s3,
        prepared.translation_input,
        f"{prepared.model_prefix}translation/output",
        lambda entry: {"id": entry["id"], "translated_text": f"English {entry['text']}"},
    )
    composed = compose_sentiment_input(s3, SETTINGS, prepared, translated)
    output = hour.answer(
        s3,
        composed,
        f"{prepared.model_prefix}sentiment/output",
        lambda entry: {"id": entry["id"], "p_negative": 0.1, "p_neutral": 0.2, "p_positive": 0.7},
    )
    return translated, output


def published(s3: S3Client, prepared: Prepared, answers: tuple[str, str]) -> Published:
    translated, output = answers
    return publish(s3, SETTINGS, prepared, KEY, output, "ngram-1", translated, "opus-1")


def labeled_hour(s3: S3Client) -> Prepared:
    """The hour as `transform` leaves it."""
    collected(s3)
    prepared = hour.prepare(s3)
    published(s3, prepared, answered(s3, prepared))
    return prepared


def everywhere_else(s3: S3Client) -> None:
    """The tweet in the layers that `transform` does not write."""
    predicted(s3, GONE, STAYS)
    wave = Wave.of_tweet(GONE).label
    put_table(s3, layout.audit_drawn_key(wave), [{"tweet_id": own} for own in (GONE, STAYS)], AUDIT_DRAWN)
    put_table(s3, layout.audit_judged_key(wave, "p"), [{"tweet_id": GONE}], AUDIT_JUDGED)
    s3.put_object(
        Bucket=BUCKET, Key=layout.edits_key(WINDOW, WINDOW.next), Body=json.dumps([str(GONE)]).encode()
    )
    page = {
        "query": 0,
        "request": {"until_id": "1"},
        "again": False,
        "answer": {
            "data": [tweet(own)["data"] for own in (GONE, STAYS)],
            "includes": tweet(GONE)["includes"],
            "meta": {"result_count": 2},
        },
    }
    key = f"{layout.recovery_prefix('ukraine', 'd')}page-000000.json.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(json.dumps(page).encode()))
    records = b"".join(line(tweet(own)) + b"\n" for own in (GONE, STAYS))
    envelope = {"errorCode": "x", "rawData": base64.b64encode(records).decode()}
    s3.put_object(
        Bucket=BUCKET,
        Key=f"{layout.DELIVERY_ERRORS_PREFIX}e/1.gz",
        Body=gzip.compress(line(envelope) + b"\n"),
    )
    rejected = {"stage": "streamer", "reason": "overlap", "tweet_id": str(GONE), "line": "cut"}
    key = f"{layout.quarantine_prefix(layout.NO_TOPIC, WINDOW.next)}a.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(line(rejected) + b"\n"))
    s3.put_object(
        Bucket=BUCKET, Key=layout.ATHENA_RESULTS_PREFIX + "q.csv", Body=f'"tweet_id"\n"{GONE}"\n'.encode()
    )
    original = layout.DAMAGED_PREFIX + layout.raw_prefix("ukraine", WINDOW) + "d.gz"
    s3.put_object(Bucket=BUCKET, Key=original, Body=gzip.compress(line(tweet(GONE)))[:-5])


def predicted(s3: S3Client, *tweets: int) -> str:
    """The student's predictions as `train` leaves them; their key."""
    student = {"sentiment": "Positive", "p_negative": 0.0, "p_neutral": 0.0, "p_positive": 1.0}
    key = layout.predictions_key("v3", "ukraine", WINDOW)
    put_table(s3, key, [{"tweet_id": own, **student} for own in tweets], PREDICTIONS)
    return key


def put_table(s3: S3Client, key: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    s3.put_object(Bucket=BUCKET, Key=key, Body=sink.getvalue())


def content(s3: S3Client, key: str) -> str:
    """All that an object says: unpacked, a Parquet row a line, Firehose's records decoded."""
    body = storage.read(s3, BUCKET, key)
    if body and key.endswith(".gz"):
        body = zlib.decompressobj(wbits=47).decompress(body)  # cut ones too
    if key.endswith(".parquet"):
        return "\n".join(map(str, pq.read_table(io.BytesIO(body)).to_pylist()))
    text = body.decode()
    if "rawData" in text:
        text = "".join(base64.b64decode(json.loads(each)["rawData"]).decode() for each in text.splitlines())
    return text


def holding(s3: S3Client, *words: str) -> list[str]:
    """The keys of all objects that say one of the words: a scan of everything."""
    return [
        found.key
        for found in storage.list_objects(s3, BUCKET, "").objects
        if any(word in content(s3, found.key) for word in words)
    ]


def holding_but(s3: S3Client, broken: str, *words: str) -> list[str]:
    """As `holding`, without one object that cannot be read."""
    body = storage.read(s3, BUCKET, broken)
    s3.delete_object(Bucket=BUCKET, Key=broken)
    found = holding(s3, *words)
    s3.put_object(Bucket=BUCKET, Key=broken, Body=body)
    return found


def run(
    s3: S3Client,
    tweets: Mapping[int, ComplianceAction] | None = None,
    users: tuple[str, ...] = (),
    athena: FakeAthena | None = None,
    name: str = "r1",
    *,
    dry_run: bool = False,
) -> RemovalReport:
    gone = dict.fromkeys(users, DELETE)
    request = RemovalRequest.of(PSEUDONYMS, name, "X reports it", NOW, tweets or {}, gone)
    now = datetime.now(UTC) + timedelta(hours=2)  # the objects were written just now
    found: Any = athena or FakeAthena()
    return remove(s3, found, SETTINGS, KEY, request, lambda: now, dry_run=dry_run)


def snapshot(s3: S3Client) -> dict[str, str]:
    return {found.key: found.etag for found in storage.list_objects(s3, BUCKET, "").objects}


def labeled(s3: S3Client, topic: str = "ukraine") -> dict[int, dict[str, Any]]:
    table = hour.parquet(s3, layout.labeled_key(topic, WINDOW))
    return {row["tweet_id"]: row for row in table.to_pylist()}


# Everywhere


def test_a_deleted_tweet_is_in_no_object_of_the_lake_any_more(s3: S3Client) -> None:
    labeled_hour(s3)
    everywhere_else(s3)
    layers = {key.split("/")[0] for key in holding(s3, str(GONE))}
    assert layers == {
        *("athena-results", "audit", "damaged", "delivery-errors", "edits", "labeled"),
        *("predictions", "quarantine", "raw", "work"),
    }
    report = run(s3, {GONE: DELETE})
    assert holding(s3, str(GONE), text_of(GONE)) == []
    assert (
        storage.read(s3, BUCKET, f"{layout.DAMAGED_PREFIX}{layout.raw_prefix('ukraine', WINDOW)}d.gz") == b""
    )
    assert {each.layer for each in report.counts if each.removed} == layers - {"damaged"}
    assert {each.removed for each in report.counts if each.layer == "raw"} == {3}


def test_a_topic_that_was_taken_out_of_the_topics_file_is_removed_from_too(s3: S3Client) -> None:
    hour.put_raw(s3, RETIRED, [line(tweet(GONE, (RETIRED,), lang="uk")), line(tweet(STAYS, (RETIRED,)))])
    prepared = hour.prepare(s3, (RETIRED,))
    published(s3, prepared, answered(s3, prepared))
    rejected = gzip.compress(line({"stage": "search", "tweet_id": str(GONE), "line": ""}) + b"\n")
    for key in (
        f"{layout.quarantine_prefix(RETIRED, WINDOW.next)}a.gz",
        f"{layout.recovery_prefix(RETIRED, 'd')}page-000000.json.gz",
        f"{layout.DAMAGED_PREFIX}{layout.raw_prefix(RETIRED, WINDOW)}d.gz",
    ):
        s3.put_object(Bucket=BUCKET, Key=key, Body=rejected)
    run(s3, {GONE: DELETE})
    assert holding(s3, str(GONE), text_of(GONE)) == []
    assert list(labeled(s3, RETIRED)) == [STAYS]
    # Firehose may still bring some; the hour is prepared for the present topics.
    hour.put_raw(s3, RETIRED, [line(tweet(GONE, (RETIRED,)))], name="late.gz")
    hour.prepare(s3)
    assert holding(s3, str(GONE), text_of(GONE)) == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_line_under_another_hour_than_its_ids_is_removed_from_too(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    """Which these are is a query's answer (tests/local/test_sql_compliance.py)."""
    there = WINDOW.next.next
    rows = [{"tweet_id": GONE, "label": there.label}, {"tweet_id": STAYS, "label": there.label}]
    monkeypatch.setattr(Athena, "run", lambda *_: rows)
    rejected = {"stage": "streamer", "reason": "missing_created_at", "tweet_id": str(GONE), "line": "{"}
    key = f"{layout.quarantine_prefix(layout.NO_TOPIC, there)}a.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(line(rejected) + b"\n"))
    report = run(s3, {GONE: DELETE}, dry_run=dry_run)
    assert [(each.hour, each.removed) for each in report.counts if each.layer == "quarantine"] == [
        (there.label, 1)
    ]
    assert bool(holding(s3, str(GONE))) is dry_run
    # What is written there later reads the hour's tombstones.
    stones = tombstones.read_for(s3, BUCKET, PSEUDONYMS, key)
    assert (stones.of(GONE, None), stones.of(STAYS, None)) == (None if dry_run else DELETE, None)


def test_a_tweet_that_its_payload_dates_into_the_next_hour_is_removed_from_there_too(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`transform` has rejected it there; a rerun would bring it back from raw."""
    early = tweet_id(-600)
    hour.put_raw(s3, "ukraine", [line(tweet(early, **DATED)), line(tweet(STAYS))])
    prepared = hour.prepare(s3)
    published(s3, prepared, answered(s3, prepared))
    monkeypatch.setattr(Athena, "run", lambda *_: [{"tweet_id": early, "label": WINDOW.label}])
    run(s3, {early: DELETE})
    assert holding(s3, str(early), text_of(early)) == []
    prepared = hour.prepare(s3)
    published(s3, prepared, answered(s3, prepared))
    assert holding(s3, str(early), text_of(early)) == []
    assert set(labeled(s3)) == {STAYS}


@pytest.mark.parametrize("layer", ["raw", "quarantine"])
@pytest.mark.parametrize(
    "hour_named",
    [
        *("dt=9999-12-31/hour=23", "dt=0001-01-01/hour=00", "dt=2026-13-39/hour=29"),
        pytest.param("", id="none"),
    ],
)
@pytest.mark.parametrize("by", ["tweet", "user"])
def test_what_lies_under_an_hour_that_cannot_be_is_removed_and_keeps_no_other_from_it(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch, layer: str, hour_named: str, by: str
) -> None:
    """As of a line whose time was taken as it is, or of an object that somebody has put there."""
    stored = line(tweet(GONE, author_id="77"))
    if layer == "quarantine":
        stored = line({"stage": "streamer", "tweet_id": str(GONE), "line": stored.decode()})
    folders = ("topic=ukraine", hour_named or "dt=by-hand") if layer == "raw" or hour_named else ()
    key = "/".join((layer, *folders, "a.gz"))
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(stored + b"\n"))
    monkeypatch.setattr(Athena, "run", lambda *_: [])
    asked: dict[str, Any] = {"tweets": {GONE: DELETE}} if by == "tweet" else {"users": ("77",)}
    reports = [run(s3, **asked, dry_run=dry_run) for dry_run in (True, False)]
    counts = [
        [each.removed for each in report.counts if each.layer == layer and each.hour != WINDOW.label]
        for report in reports
    ]
    assert counts == [[1], [1]]
    assert key not in holding(s3, str(GONE), text_of(GONE))
    hour.put_raw(s3, "ukraine", [line(tweet(STAYS))])
    assert run(s3, {STAYS: DELETE}, ("78",), name="r2").hours
    assert holding(s3, str(STAYS)) == []


@pytest.mark.parametrize("rejected", ["before", "while it goes", "after"])
def test_a_misplaced_line_goes_whenever_transform_rejects_it(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch, rejected: str
) -> None:
    """Until then it lies in raw alone, which no query reads: the next removal finds it."""
    far = tweet_id(-5 * 3600)
    hour.put_raw(s3, "ukraine", [line(tweet(far, **DATED)), line(tweet(STAYS))])
    quarantined = layout.quarantine_key("ukraine", WINDOW, "transform")

    def rows(*_: Any) -> list[dict[str, Any]]:
        return [{"tweet_id": far, "label": WINDOW.label}] if quarantined in snapshot(s3) else []

    def reject(prepared: Prepared) -> None:
        published(s3, prepared, answered(s3, prepared))

    monkeypatch.setattr(Athena, "run", rows)
    prepared = hour.prepare(s3) if rejected != "after" else None
    if prepared and rejected == "before":
        reject(prepared)
    run(s3, {far: DELETE})
    if rejected != "before":
        reject(prepared or hour.prepare(s3))
        assert quarantined in holding(s3, text_of(far))
        run(s3, {}, name="the next day")
    assert holding(s3, str(far), text_of(far)) == []
    hour.put_raw(s3, "ukraine", [line(tweet(far, **DATED))], name="late.gz")
    reject(hour.prepare(s3))
    assert holding(s3, str(far), text_of(far)) == []
    # Coverage counts what is gone from raw of an hour by that hour's tombstones.
    counts = [
        tombstones.removed_by_topic(s3, BUCKET, layout.tombstones_key(each))
        for each in (WINDOW, Window.containing(snowflake.moment(far)))
    ]
    assert counts == [{"ukraine": 1}, {}]
    # Tombstones are not written anew: two days after the last of it no removal looks there.
    before = snapshot(s3)
    run(s3, {}, name="another day")
    assert {key: snapshot(s3)[key] for key in before} == before


def test_the_tombstones_stand_though_the_query_fails(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise UnreadDataError("HIVE_CURSOR_ERROR")

    monkeypatch.setattr(Athena, "run", fails)
    with pytest.raises(UnreadDataError):
        run(s3, {GONE: DELETE})
    assert tombstones.read(s3, BUCKET, PSEUDONYMS, [WINDOW]).of(GONE, None) is DELETE


def test_all_else_stays_as_it_was(s3: S3Client) -> None:
    labeled_hour(s3)
    everywhere_else(s3)
    kept = labeled(s3)[STAYS]
    others = holding(s3, str(STAYS))
    untouched = {key: etag for key, etag in snapshot(s3).items() if key not in holding(s3, str(GONE))}
    run(s3, {GONE: DELETE})
    assert holding(s3, str(STAYS)) == others
    assert labeled(s3)[STAYS] == kept
    after = snapshot(s3)
    assert {key: after[key] for key in untouched if not key.startswith(layout.DAMAGED_PREFIX)} == {
        key: etag for key, etag in untouched.items() if not key.startswith(layout.DAMAGED_PREFIX)
    }


def test_a_second_time_changes_nothing(s3: S3Client) -> None:
    labeled_hour(s3)
    everywhere_else(s3)
    run(s3, {GONE: DELETE, MOVED: SCRUB})
    before = snapshot(s3)
    report = run(s3, {GONE: DELETE, MOVED: SCRUB}, name="r2")
    assert sum(each.removed for each in report.counts) == 0
    after = snapshot(s3)
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == {
        layout.removals_key(f"{NOW:%Y-%m-%d}", "r2")
    }


def test_a_dry_run_says_what_would_go_and_writes_nothing(s3: S3Client) -> None:
    labeled_hour(s3)
    everywhere_else(s3)
    before = snapshot(s3)
    plan = run(s3, {GONE: DELETE, MOVED: SCRUB}, dry_run=True)
    assert snapshot(s3) == before
    done = run(s3, {GONE: DELETE, MOVED: SCRUB})
    assert set(plan.counts) == {each for each in done.counts if each.layer not in ("audit", "athena-results")}


def test_a_dry_run_counts_a_line_once_that_may_be_of_two_of_its_hours(s3: S3Client) -> None:
    later = snowflake.lowest_id(WINDOW.end)
    rejected = {"stage": "streamer", "reason": "overlap", "tweet_id": str(later), "line": "{"}
    key = f"{layout.quarantine_prefix('ukraine', WINDOW.next)}a.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(line(rejected) + b"\n"))
    reports = [run(s3, {GONE: DELETE, later: DELETE}, dry_run=dry_run) for dry_run in (True, False)]
    counts = [[each.removed for each in report.counts if each.layer == "quarantine"] for report in reports]
    assert counts == [[1], [1]]


def test_only_hours_that_hold_one_are_read(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    labeled_hour(s3)
    other = hour.put_raw(s3, "ukraine", [line(tweet(GONE))], window=WINDOW.next.next)
    read: list[str] = []
    reading = storage.download

    def noted(s3: S3Client, bucket: str, key: str, *rest: Any) -> storage.ObjectVersion:
        read.append(key)
        return reading(s3, bucket, key, *rest)

    monkeypatch.setattr(storage, "download", noted)
    assert run(s3, {GONE: DELETE}).hours == 1
    assert read
    assert other not in read


def test_the_hours_of_a_day_are_listed_together_and_nothing_is_asked_for_twice(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = [Window(WINDOW.start + timedelta(hours=number)) for number in range(6)]
    gone = [snowflake.lowest_id(window.start) for window in windows]
    for window, own in zip(windows, gone, strict=True):
        hour.put_raw(s3, "ukraine", [line(tweet(own))], window=window)
    asked: Counter[str] = Counter()
    call = type(s3)._make_api_call  # pyrefly: ignore[missing-attribute]

    def counted(self: S3Client, operation: str, arguments: dict[str, Any]) -> Any:
        asked[operation] += 1
        return call(self, operation, arguments)

    monkeypatch.setattr(type(s3), "_make_api_call", counted)
    request = RemovalRequest.of(PSEUDONYMS, "r1", "X reports it", NOW, dict.fromkeys(gone, DELETE), {})
    carried = Removal(s3, SETTINGS, KEY, request, dry_run=False)
    nobody: Any = FakeAthena()
    hours = carried.hours(nobody)
    # Tombstones of each hour; which lines are misplaced.
    assert (asked["GetObject"], asked["PutObject"], asked["ListObjectsV2"]) == (6, 6, 0)
    assert len(nobody.statements) == 1
    asked.clear()
    assert carried.from_hours(hours).objects == 6
    # Of each hour: tombstones and its raw object; then tombstones again,
    # with the topic. Once: the tombstones of users and the ledger.
    assert asked["GetObject"] == 6 * (1 + 1 + 1) + 2
    assert asked["PutObject"] == 6 * (1 + 1) + 1
    # The topics of raw, quarantine and labeled; the only one of raw; predictions, edits, work and damaged.
    assert asked["ListObjectsV2"] == 3 + 1 + 4
    assert asked["HeadObject"] == 0
    asked.clear()
    carried.from_rest(hours, NOW)
    # Pages of searches, Firehose's errors, quarantine, the topics of raw, the days of its only one, damaged;
    # the audit and results of queries.
    assert asked["ListObjectsV2"] == 6 + 2
    assert asked["GetObject"] == 1


def test_the_place_goes_and_the_tweet_stays(s3: S3Client) -> None:
    labeled_hour(s3)
    assert labeled(s3)[MOVED]["country_code"] == "UA"
    report = run(s3, {MOVED: SCRUB})
    row = labeled(s3)[MOVED]
    assert (row["text"], row["country_code"], row["location"], row["place"]) == (
        text_of(MOVED),
        None,
        None,
        None,
    )
    raw = content(s3, f"{layout.raw_prefix('ukraine', WINDOW)}stream-0.gz").splitlines()
    kept = [json.loads(each) for each in raw if text_of(MOVED) in each]
    assert kept
    assert all("geo" not in each["data"] and "places" not in each["includes"] for each in kept)
    assert all("location" not in user for each in kept for user in each["includes"]["users"])
    assert {(each.layer, each.action) for each in report.counts if each.removed} >= {
        ("raw", SCRUB),
        ("labeled", SCRUB),
    }
    assert not any(each.action is DELETE and each.removed for each in report.counts if each.hour)


def test_the_place_goes_out_of_the_audit_and_the_tweet_stays_there(s3: S3Client) -> None:
    wave = Wave.of_tweet(MOVED).label
    drawn = [{"tweet_id": own, "country_code": "UA", "topic": "ukraine"} for own in (STAYS, MOVED)]
    put_table(s3, layout.audit_drawn_key(wave), drawn, AUDIT_DRAWN)
    put_table(s3, layout.audit_judged_key(wave, "p"), [{"tweet_id": MOVED}], AUDIT_JUDGED)
    report = run(s3, {MOVED: SCRUB})
    rows = hour.parquet(s3, layout.audit_drawn_key(wave)).to_pylist()
    assert {row["tweet_id"]: row["country_code"] for row in rows} == {STAYS: "UA", MOVED: "--"}
    assert hour.parquet(s3, layout.audit_judged_key(wave, "p"))["tweet_id"].to_pylist() == [MOVED]
    counts = {each.action: each.removed for each in report.counts if each.layer == "audit"}
    assert counts == {DELETE: 0, SCRUB: 1}
    again = run(s3, {MOVED: SCRUB}, name="r2")
    assert not any(each.removed for each in again.counts)


def test_a_users_request_finds_all_tweets_until_then(s3: S3Client) -> None:
    mine, theirs, later = tweet_id(1), tweet_id(2), snowflake.lowest_id(NOW) + 5
    hour.put_raw(s3, "ukraine", [line(tweet(mine, author_id="77")), line(tweet(theirs))])
    prepared = hour.prepare(s3)
    published(s3, prepared, answered(s3, prepared))
    # Not labeled yet: another hour, and one that is only in quarantine.
    waiting, broken = snowflake.lowest_id(WINDOW.end), snowflake.lowest_id(WINDOW.end) + 1
    hour.put_raw(s3, RETIRED, [line(tweet(waiting, (RETIRED,), author_id="77"))], window=WINDOW.next)
    row = {"stage": "transform", "reason": "edited", "tweet_id": str(broken)}
    row["line"] = line(tweet(broken, author_id="77")).decode()
    key = layout.quarantine_key("ukraine", WINDOW.next, "transform")
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(line(row) + b"\n"))
    new = hour.put_raw(s3, "ukraine", [line(tweet(later, author_id="77"))], window=Window.containing(NOW))
    athena = FakeAthena(mine)
    monday = Window.containing(NOW)
    request = RemovalRequest.of(PSEUDONYMS, "r1", "a person asks", NOW, {}, {"77": DELETE})
    found: Any = athena
    remove(s3, found, SETTINGS, KEY, request, lambda: monday.end, dry_run=False)
    assert "77" not in athena.statements[0].replace(str(PSEUDONYMS.of("77")), "")
    assert holding(s3, '"77"', str(PSEUDONYMS.of("77"))) == [new, layout.TOMBSTONES_OF_USERS_KEY]
    assert holding(s3, str(mine), str(waiting), str(broken)) == []
    assert [row["tweet_id"] for row in labeled(s3).values()] == [theirs]


def test_a_users_tweet_is_found_by_its_id_after_a_run_that_was_killed(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tweet_id(1)
    hour.put_raw(s3, "ukraine", [line(tweet(mine, author_id="77"))])
    predictions = predicted(s3, mine)
    with monkeypatch.context() as killed:
        # All that says whose the tweet is has gone.
        killed.setattr(listing, "made", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(s3, users=("77",))
    assert holding(s3, "829647236", text_of(mine)) == []
    assert holding(s3, str(mine)) == [predictions]
    run(s3, {}, name="r2")
    assert holding(s3, str(mine)) == []


def test_a_cut_line_that_names_the_user_alone_is_found(s3: S3Client) -> None:
    cut = '{"data":{"author_id":"77","text":"a secret'
    rejected = {"stage": "streamer", "reason": "malformed_json", "tweet_id": None, "line": cut}
    for window in (WINDOW, WINDOW.next):
        key = f"{layout.quarantine_prefix(layout.NO_TOPIC, window)}a.gz"
        s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(line(rejected) + b"\n"))
    run(s3, users=("77",))
    assert holding(s3, "a secret") == []


@pytest.mark.parametrize("hidden_by", ["publishing", "preparing"])
def test_a_users_tweets_are_found_though_labeled_is_made_without_them_meanwhile(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch, hidden_by: str
) -> None:
    """The user's tombstone stands before labeled is asked for the hours, and raw is older than labeled."""
    stones = {PSEUDONYMS.of("77"): {DELETE: NOW_ID}}
    key = hour.put_raw(s3, "ukraine", [line(tweet(STAYS))])
    others = [line(tweet(tweet_id(1), author_id="77")), line(tweet(STAYS))]
    if hidden_by == "publishing":
        hour.put_raw(s3, "ukraine", others)
    else:
        tombstones.bury_users(s3, BUCKET, stones)
        listed = preparing._listings

        def late(*arguments: Any) -> Any:
            hour.put_raw(s3, "ukraine", others)
            return listed(*arguments)

        monkeypatch.setattr(preparing, "_listings", late)
    prepared = hour.prepare(s3)
    answers = answered(s3, prepared)
    tombstones.bury_users(s3, BUCKET, stones)
    published(s3, prepared, answers)
    assert set(labeled(s3)) == {STAYS}
    assert key in holding(s3, '"77"')
    monkeypatch.setattr(removal, "_hours_of_users", lambda *_: set())
    run(s3, users=("77",))
    assert holding(s3, '"77"', str(PSEUDONYMS.of("77"))) == [layout.TOMBSTONES_OF_USERS_KEY]


def test_a_users_tweets_stay_if_only_their_places_must_go(s3: S3Client) -> None:
    mine, other = tweet_id(1), tweet_id(2)
    placed = [tweet(mine, author_id="77", **PLACE), tweet(other, **PLACE)]
    hour.put_raw(s3, "ukraine", [line(each) for each in placed])
    prepared = hour.prepare(s3)
    published(s3, prepared, answered(s3, prepared))
    request = RemovalRequest.of(PSEUDONYMS, "r1", "X reports it", NOW, {}, {"77": SCRUB})
    athena: Any = FakeAthena(mine)
    remove(s3, athena, SETTINGS, KEY, request, lambda: NOW, dry_run=False)
    places = {own: row["country_code"] for own, row in labeled(s3).items()}
    assert places == {mine: None, other: "UA"}
    # What arrives later of them has no place either.
    stones = tombstones.read(s3, BUCKET, PSEUDONYMS, [WINDOW])
    assert stones.of(tweet_id(3), PSEUDONYMS.of("77")) is SCRUB
    assert stones.of(snowflake.lowest_id(NOW), PSEUDONYMS.of("77")) is None


def test_a_bucket_with_old_versions_is_rejected(s3: S3Client) -> None:
    s3.create_bucket(Bucket="versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    settings = SETTINGS.model_copy(update={"bucket": "versioned"})
    nobody: Any = FakeAthena()
    with pytest.raises(VersionedBucketError, match="never versioned"):
        remove(s3, nobody, settings, KEY, RemovalRequest("r", "", NOW), lambda: NOW, dry_run=False)


def test_an_object_that_cannot_be_read_keeps_the_tweet_in_no_other(s3: S3Client) -> None:
    labeled_hour(s3)
    later = snowflake.lowest_id(WINDOW.end)
    hour.put_raw(s3, "ukraine", [line(tweet(later))], window=WINDOW.next)
    broken = layout.labeled_key("ukraine", WINDOW)
    s3.put_object(Bucket=BUCKET, Key=broken, Body=b"no Parquet")
    with pytest.raises(RemovalIncompleteError, match=f"1 objects cannot be read.*: {broken}"):
        run(s3, {GONE: DELETE, later: DELETE})
    assert holding_but(s3, broken, str(GONE), str(later)) == []
    key = layout.removals_key(f"{NOW:%Y-%m-%d}", "r1")
    assert {row["done_at"] for row in hour.parquet(s3, key).to_pylist()} == {None}
    s3.delete_object(Bucket=BUCKET, Key=broken)
    run(s3, {GONE: DELETE, later: DELETE})
    assert holding(s3, str(GONE), str(later)) == []
    assert None not in {row["done_at"] for row in hour.parquet(s3, key).to_pylist()}


def test_a_damaged_raw_object_leaves_what_can_be_read_and_a_mark(s3: S3Client) -> None:
    stays = [line(tweet(tweet_id(100 + number), text=f"{number} {'x' * 90}")) for number in range(200)]
    key = hour.put_raw(s3, "ukraine", [line(tweet(GONE)), *stays])
    whole = storage.read(s3, BUCKET, key)
    s3.put_object(Bucket=BUCKET, Key=key, Body=whole[: len(whole) // 2])
    run(s3, {GONE: DELETE})
    assert 0 < len(list(storage.read_lines(s3, BUCKET, key))) < 200
    assert storage.read(s3, BUCKET, layout.DAMAGED_PREFIX + key) == b""
    assert holding(s3, str(GONE)) == []


def test_an_original_of_quarantine_is_emptied_whatever_hour_it_lay_under(s3: S3Client) -> None:
    """What was rejected may be of any hour; what raw lost an hour by is kept for who may repair it."""
    far = Window(WINDOW.start - timedelta(days=3))
    rejected, raw = (
        f"{layout.DAMAGED_PREFIX}{each('ukraine', far)}a.gz"
        for each in (layout.quarantine_prefix, layout.raw_prefix)
    )
    for key in (rejected, raw):
        s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(line(tweet(GONE)))[:-5])
    run(s3, {GONE: DELETE}, dry_run=True)
    assert rejected in holding(s3, str(GONE))
    run(s3, {GONE: DELETE})
    assert (storage.read(s3, BUCKET, rejected), holding(s3, str(GONE))) == (b"", [raw])


def test_a_damaged_object_that_is_set_aside_meanwhile_leaves_no_original(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = hour.put_raw(s3, "ukraine", [line(tweet(GONE))])
    s3.put_object(Bucket=BUCKET, Key=key, Body=storage.read(s3, BUCKET, key)[:-5])
    reading = storage.download

    def meanwhile(*arguments: Any) -> storage.ObjectVersion:
        if arguments[2] == key:
            damage.set_aside(s3, BUCKET, [key])
        return reading(*arguments)

    monkeypatch.setattr(storage, "download", meanwhile)
    run(s3, {GONE: DELETE})
    assert storage.read(s3, BUCKET, layout.DAMAGED_PREFIX + key) == b""
    assert holding(s3, str(GONE)) == []


# It stays gone


def test_a_late_object_does_not_bring_it_back(s3: S3Client) -> None:
    labeled_hour(s3)
    run(s3, {GONE: DELETE})
    late, new = tweet_id(40), hour.put_raw
    new(s3, "ukraine", [line(tweet(GONE, lang="uk")), line(tweet(late))], name="late.gz")
    prepared = hour.prepare(s3)
    published(s3, prepared, answered(s3, prepared))
    assert set(labeled(s3)) == {STAYS, MOVED, late}
    assert holding(s3, str(GONE), text_of(GONE)) == []
    assert tombstones.removed_by_topic(s3, BUCKET, layout.tombstones_key(WINDOW)) == {"ukraine": 1}


def test_a_late_object_of_quarantine_does_not_bring_it_back(s3: S3Client) -> None:
    """As from a spool that was kept for longer than a removal is repeated."""
    labeled_hour(s3)
    run(s3, {GONE: DELETE})
    rejected = {"stage": "streamer", "reason": "overlap", "tweet_id": str(GONE), "line": text_of(GONE)}
    key = f"{layout.quarantine_prefix('ukraine', WINDOW.next)}late.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(line(rejected) + b"\n"))
    hour.prepare(s3)
    assert holding(s3, str(GONE), text_of(GONE)) == []


@pytest.mark.parametrize("when", ["after", "before the object", "between object and look"])
def test_no_other_hour_names_it_as_an_earlier_version(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A post is edited in the next hour, whose run tells its own hour so; X reports both versions."""
    later = snowflake.lowest_id(WINDOW.end)
    history = [str(GONE), str(later)]
    hour.put_raw(s3, "ukraine", [line(tweet(GONE))])
    hour.put_raw(s3, "ukraine", [line(tweet(later, edit_history_tweet_ids=history))], window=WINDOW.next)
    prepared = preparing.prepare(s3, SETTINGS, TOPICS, WINDOW.next, KEY)
    answers = answered(s3, prepared)
    both = {GONE: DELETE, later: DELETE}
    if when == "before the object":
        run(s3, both)
    if when == "between object and look":
        swap = storage.compare_and_swap

        def interrupted(*arguments: Any, **named: Any) -> storage.Swap:
            if arguments[2] == layout.edits_key(WINDOW, WINDOW.next):
                monkeypatch.undo()
                run(s3, both)
            return swap(*arguments, **named)

        monkeypatch.setattr(storage, "compare_and_swap", interrupted)
    published(s3, prepared, answers)
    if when == "after":
        assert layout.edits_key(WINDOW, WINDOW.next) in holding(s3, str(GONE))
        run(s3, both)
    assert holding(s3, str(GONE)) == []


def test_what_a_recovery_brings_into_another_topic_is_removed_and_counted_there(s3: S3Client) -> None:
    labeled_hour(s3)
    run(s3, {GONE: DELETE})
    hour.put_raw(s3, "russia", [line(tweet(GONE, ("russia",)))], name="recovered.json.gz")
    prepared = hour.prepare(s3)
    published(s3, prepared, answered(s3, prepared))
    assert holding(s3, str(GONE), text_of(GONE)) == []
    counts = tombstones.removed_by_topic(s3, BUCKET, layout.tombstones_key(WINDOW))
    assert counts == {"russia": 1, "ukraine": 1}


def test_a_run_in_flight_cannot_put_it_back(s3: S3Client) -> None:
    collected(s3)
    in_flight = hour.prepare(s3)
    answers = answered(s3, in_flight)
    run(s3, {GONE: DELETE})
    result = published(s3, in_flight, answers)
    assert set(labeled(s3)) == {STAYS, MOVED}
    assert result.rows["ukraine"] == 2
    assert holding(s3, str(GONE), text_of(GONE)) == []


def test_what_was_buried_before_publishing_is_never_published(s3: S3Client) -> None:
    collected(s3)
    prepared = hour.prepare(s3)
    answers = answered(s3, prepared)
    # Its first step alone: the work files still hold the tweet.
    tombstones.bury(s3, BUCKET, PSEUDONYMS, WINDOW, {GONE: DELETE})
    assert published(s3, prepared, answers).rows["ukraine"] == 2
    assert set(labeled(s3)) == {STAYS, MOVED}


@pytest.mark.parametrize("when", ["before the first object", "between the objects", "after the last object"])
def test_no_order_of_publishing_and_removing_leaves_it(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    collected(s3)
    prepared = hour.prepare(s3)
    answers = answered(s3, prepared)
    swap, swaps = storage.compare_and_swap, [0]
    moments = {
        "before the first object": 0,
        "between the objects": 1,
        "after the last object": 2 * len(TOPICS),
    }

    def interrupted(*arguments: Any, **named: Any) -> storage.Swap:
        if swaps[0] == moments[when]:
            monkeypatch.setattr(storage, "compare_and_swap", swap)
            # Only its first step: whoever removes may be as slow as can be.
            tombstones.bury(s3, BUCKET, PSEUDONYMS, WINDOW, {GONE: DELETE})
        swaps[0] += 1
        return swap(*arguments, **named)

    monkeypatch.setattr(storage, "compare_and_swap", interrupted)
    published(s3, prepared, answers)
    stones = tombstones.read(s3, BUCKET, PSEUDONYMS, [WINDOW])
    assert stones
    if when != "after the last object":
        assert set(labeled(s3)) == {STAYS, MOVED}
    run(s3, {}, name="the rest")
    assert holding(s3, str(GONE), text_of(GONE)) == []


@pytest.mark.parametrize("when", ["before they stand", "before the look", "within the look", "after it"])
def test_no_order_of_predicting_and_removing_leaves_it(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The student has read the tweets before they were removed."""
    labeled_hour(s3)
    synced = hours.labeled(s3, BUCKET)
    if when in ("before they stand", "within the look"):
        run(s3, {GONE: DELETE})
    predictions = predicted(s3, GONE, STAYS, MOVED)
    if when == "before the look":
        run(s3, {GONE: DELETE})
    with monkeypatch.context() as meanwhile:
        if when == "within the look":
            replace = storage.replace

            def late(*arguments: Any) -> str | None:
                meanwhile.undo()
                run(s3, {STAYS: DELETE}, name="r2")
                return replace(*arguments)

            meanwhile.setattr(storage, "replace", late)
        counts = look_again(s3, BUCKET, "v3", synced, list(synced))
    if when == "after it":
        assert counts == {}
        run(s3, {GONE: DELETE})
    left = [MOVED] if when == "within the look" else [STAYS, MOVED]
    assert hour.parquet(s3, predictions)["tweet_id"].to_pylist() == left
    assert counts in ({}, {f"ukraine/{WINDOW.label}": [0, 0, len(left)]})
    assert holding(s3, str(GONE), text_of(GONE)) == []


def test_predictions_of_an_hour_that_was_deleted_meanwhile_are_withdrawn(s3: S3Client) -> None:
    """As a removal asks people to do where the labels cannot be read."""
    labeled_hour(s3)
    synced = hours.labeled(s3, BUCKET)
    predictions = predicted(s3, GONE)
    s3.delete_object(Bucket=BUCKET, Key=layout.labeled_key("ukraine", WINDOW))
    assert look_again(s3, BUCKET, "v3", synced, list(synced)) == {f"ukraine/{WINDOW.label}": [0, 0, 0]}
    assert hour.parquet(s3, predictions).num_rows == 0


def test_an_object_that_is_replaced_meanwhile_is_looked_at_again(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected(s3)
    stones = Tombstones(PSEUDONYMS, {PSEUDONYMS.marker(GONE): DELETE})
    key = f"{layout.raw_prefix('ukraine', WINDOW)}stream-0.gz"
    reading, others = storage.download, [2]

    def slow(*arguments: Any) -> storage.ObjectVersion:
        found = reading(*arguments)
        if arguments[2] == key and others[0]:
            others[0] -= 1
            added = line(tweet(tweet_id(50 + others[0])))
            hour.put_raw(s3, "ukraine", [line(tweet(GONE)), added])
        return found

    monkeypatch.setattr(storage, "download", slow)
    places = listing.raw(s3, BUCKET, [WINDOW])[WINDOW]
    Purge(s3, BUCKET, stones).apply(Purged(WINDOW), places)
    assert [each["data"]["id"] for each in hour.json_lines(s3, key)] == [str(tweet_id(50))]


def test_work_files_of_a_run_that_read_it_before_are_removed_by_the_next_removal(s3: S3Client) -> None:
    collected(s3)
    prepared = hour.prepare(s3)
    run(s3, {GONE: DELETE})
    late_answer = f"{prepared.model_prefix}translation/output/000.jsonl.out"
    s3.put_object(
        Bucket=BUCKET, Key=late_answer, Body=line({"id": str(GONE), "translated_text": "English"}) + b"\n"
    )
    assert holding(s3, str(GONE)) == [late_answer]
    run(s3, {}, name="the next day")
    assert holding(s3, str(GONE)) == []


# What counts it


def test_checks_know_what_was_removed_since_the_hour_was_prepared(s3: S3Client) -> None:
    collected(s3)
    prepared = hour.prepare(s3)
    answers = answered(s3, prepared)

    def lost() -> set[int]:
        found = [frames.raw_frames(s3, SETTINGS, prepared, TOPICS)]
        if storage.current(s3, BUCKET, layout.labeled_key("ukraine", WINDOW)):
            found.append(frames.labeled_frames(s3, SETTINGS, prepared, TOPICS))
        return {number for frame in found for number in frame["topics"]["lost"].tolist()}

    run(s3, {GONE: DELETE})
    assert lost() == {0}
    published(s3, prepared, answers)
    assert lost() == {0}
    run(s3, {STAYS: DELETE}, name="r2")
    assert lost() == {0}
    published(s3, prepared, answers)
    assert lost() == {0}
    # What is lost otherwise still shows.
    put_table(
        s3,
        layout.labeled_key("ukraine", WINDOW),
        [],
        hour.parquet(s3, layout.labeled_key("russia", WINDOW)).schema,
    )
    assert lost() == {0}  # another manifest: none


def test_the_ledger_has_counts_and_times_and_no_id(s3: S3Client) -> None:
    labeled_hour(s3)
    report = run(s3, {GONE: DELETE})
    key = layout.removals_key(f"{NOW:%Y-%m-%d}", "r1")
    rows = hour.parquet(s3, key).to_pylist()
    assert sum(row["removed"] for row in rows) == sum(each.removed for each in report.counts)
    assert {row["requested_at"] for row in rows} == {NOW.replace(tzinfo=None)}
    assert all(row["done_at"] for row in rows)
    assert {row["hour"] for row in rows} == {WINDOW.label, None}
    # Carried out again, as by a retry: the counts stand.
    run(s3, {GONE: DELETE})
    again = hour.parquet(s3, key).to_pylist()
    assert [row["removed"] for row in again] == [row["removed"] for row in rows]


def test_a_killed_run_is_continued(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    labeled_hour(s3)
    everywhere_else(s3)
    whole = {(each.layer, each.topic): each.removed for each in run(s3, {GONE: DELETE}, dry_run=True).counts}
    with monkeypatch.context() as killed:
        killed.setattr(listing, "beside", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(s3, {GONE: DELETE})
    run(s3, {GONE: DELETE})
    assert holding(s3, str(GONE), text_of(GONE)) == []
    rows = hour.parquet(s3, layout.removals_key(f"{NOW:%Y-%m-%d}", "r1")).to_pylist()
    recorded = {(row["layer"], row["topic"]): row["removed"] for row in rows}
    assert {place: recorded[place] for place in whole} == whole


# Tombstones and lines


def test_tombstones_hold_hashes_alone_and_a_deletion_outweighs(s3: S3Client) -> None:
    for action in (SCRUB, DELETE, SCRUB):
        tombstones.bury(s3, BUCKET, PSEUDONYMS, WINDOW, {GONE: action})
    author = PSEUDONYMS.of("829647236")
    tombstones.bury_users(s3, BUCKET, {author: {DELETE: GONE}})
    tombstones.bury_users(s3, BUCKET, {author: {DELETE: GONE - 5}})
    assert holding(s3, str(GONE), '"829647236"') == [
        layout.TOMBSTONES_OF_USERS_KEY
    ]  # the bound is the moment's
    stones = tombstones.read(s3, BUCKET, PSEUDONYMS, [WINDOW])
    assert (stones.of(GONE, None), stones.of(STAYS, None)) == (DELETE, None)
    assert (stones.of(GONE - 1, author), stones.of(GONE + 1, author)) == (DELETE, None)
    assert "829647236" not in repr(stones)
    assert tombstones.read(s3, BUCKET, PSEUDONYMS, [Window.containing(NOW)]).users == {}


@pytest.mark.parametrize(
    "stored",
    [
        line(tweet(GONE)),
        line({"id": str(GONE), "text": "t", "lang": "en"}),
        line({"id": GONE, "translated_text": "t"}),
        line({"stage": "s", "line": line(tweet(GONE)).decode(), "tweet_id": None}),
        line({"stage": "s", "line": line(tweet(GONE)).decode()[:60], "tweet_id": None}),
        line({"stage": "s", "line": "", "tweet_id": str(GONE)}),
        line(tweet(GONE))[:40],
        b"[%d]" % GONE,
        b'"%d"' % GONE,
        line({"rawData": base64.b64encode(line(tweet(GONE))).decode()}),
        line({"rawData": f"no base64 {GONE}"}),
    ],
)
def test_every_form_of_a_line_is_known(stored: bytes) -> None:
    told: list[tuple[int, ComplianceAction]] = []
    stones = Tombstones(PSEUDONYMS, {PSEUDONYMS.marker(GONE): DELETE})
    assert lines.left(stored, stones, lambda own, action: told.append((own, action))) is None
    assert told == [(GONE, DELETE)]
    others = Tombstones(PSEUDONYMS, {PSEUDONYMS.marker(STAYS): DELETE})
    assert lines.left(stored, others, lambda own, action: told.append((own, action))) == stored
    assert len(told) == 1


@pytest.mark.parametrize(
    "stored", [b"", b"{}", b"null", b'{"data":null}', b'{"data":{"id":true}}', b"\xff\xfe", b'{"rawData":5}']
)
def test_a_line_that_names_nothing_stays(stored: bytes) -> None:
    stones = Tombstones(PSEUDONYMS, {PSEUDONYMS.marker(GONE): DELETE}, {PSEUDONYMS.of("77"): {DELETE: GONE}})
    assert lines.left(stored, stones, lambda *_: None) == stored


def test_a_cut_line_of_a_user_goes(s3: S3Client) -> None:
    stones = Tombstones(PSEUDONYMS, {}, {PSEUDONYMS.of("829647236"): {DELETE: NOW_ID}})
    assert lines.left(line(tweet(GONE))[:-20], stones, lambda *_: None) is None


NOW_ID = snowflake.lowest_id(NOW)
