"""What Firehose could not deliver reaches the lake: no line that was paid for is lost."""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import json
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from types_boto3_s3 import S3Client

from include.compliance import listing, tombstones
from include.compliance.purge import Purge, Purged
from include.coverage import redelivery
from include.coverage.redelivery import Redelivery, redeliver
from include.lake import layout, storage
from include.lake.pseudonyms import Pseudonyms
from include.window import Window
from include.x.compliance import ComplianceAction
from include.x.snowflake import to_milliseconds
from tests.unit.support_hour import BUCKET, KEY, TOPICS, WINDOW, empty, lake, line, tweet, tweet_id

FAILED = f"{layout.DELIVERY_ERRORS_PREFIX}metadata-extraction-failed/x-opinion-1-2026-11-20-05-07-00-a.gz"
FIRST, SECOND = tweet_id(1), tweet_id(2)
HEARTBEAT = {"kind": "heartbeat", "at": "2026-11-20T06:00:01.000Z", "watermark": "2026-11-20T06:00:00.000Z"}
REJECTED = {"kind": "quarantine", "at": "2026-11-20T05:10:00.000Z", "topic": None, "stage": "streamer"}


@pytest.fixture
def s3() -> Iterator[S3Client]:
    with lake() as client:
        yield client


ARRIVED = to_milliseconds(WINDOW.start + timedelta(minutes=7))


def failed(s3: S3Client, *records: bytes, key: str = FAILED, arrived: Any = ARRIVED) -> None:
    """Leaves records as Firehose leaves them."""
    envelopes = [
        {
            "attemptsMade": 1,
            "arrivalTimestamp": arrived,
            "errorCode": "DynamicPartitioning.MetadataExtractionFailed",
            "rawData": base64.b64encode(record).decode(),
        }
        for record in records
    ]
    body = b"".join(json.dumps(envelope).encode() + b"\n" for envelope in envelopes)
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(body))


def quarantined(payload: Any, at: str = "2026-11-20T05:10:00.000Z") -> bytes:
    """A line that the streamer has rejected."""
    return line(REJECTED | {"at": at, "line": line(payload).decode()})


def remove_before_each_put(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal of the first tweet begins when the tombstones were read, and looks before anything stands."""
    put = storage.put

    def late(client: S3Client, bucket: str, *content: Any) -> str:
        tombstones.bury(s3, BUCKET, Pseudonyms(KEY), WINDOW, {FIRST: ComplianceAction.DELETE})
        return put(client, bucket, *content)

    monkeypatch.setattr(storage, "put", late)


def again(s3: S3Client) -> Redelivery:
    return redeliver(s3, BUCKET, TOPICS, lambda: KEY, WINDOW.end + timedelta(days=3))


def remove_first(s3: S3Client) -> None:
    """Removes the first tweet from all that stands."""
    tombstones.bury(s3, BUCKET, Pseudonyms(KEY), WINDOW, {FIRST: ComplianceAction.DELETE})
    stones = tombstones.read(s3, BUCKET, Pseudonyms(KEY), [WINDOW])
    places = [*listing.raw(s3, BUCKET, [WINDOW])[WINDOW], *listing.beside(s3, BUCKET)]
    Purge(s3, BUCKET, stones).apply(Purged(WINDOW), places)


def held(s3: S3Client, under: str = "") -> dict[str, list[Any]]:
    """The lines of the lake by the folders of their objects."""
    return {
        found.key.rpartition("/")[0] + "/": [
            json.loads(each) for each in storage.read_lines(s3, BUCKET, found.key)
        ]
        for found in storage.list_objects(s3, BUCKET, under).objects
    }


def test_each_line_goes_where_firehose_would_have_put_it(s3: S3Client) -> None:
    record = b"\n".join(map(line, (tweet(FIRST), tweet(SECOND, ("russia",)), HEARTBEAT)))
    failed(s3, record, line(REJECTED))
    assert str(again(s3)).endswith("delivered again: 1 to heartbeats, 1 to quarantine, 2 to raw")
    assert held(s3) == {
        layout.raw_prefix("ukraine", WINDOW): [tweet(FIRST)],
        layout.raw_prefix("russia", WINDOW): [tweet(SECOND, ("russia",))],
        layout.heartbeats_prefix(WINDOW.next): [HEARTBEAT],
        layout.quarantine_prefix(layout.NO_TOPIC, WINDOW): [REJECTED],
    }


@pytest.mark.parametrize("topic", ["poland", "../chess", 5, ["russia"], None])
def test_what_was_rejected_of_no_topic_in_use_keeps_its_row_and_its_hour(s3: S3Client, topic: Any) -> None:
    """As of a topic that has left the topics file: a removal finds a row under its own hour."""
    failed(s3, line(REJECTED | {"topic": topic}), arrived=ARRIVED + 4 * 3_600_000)
    again(s3)
    assert held(s3) == {layout.quarantine_prefix(layout.NO_TOPIC, WINDOW): [REJECTED | {"topic": topic}]}


@pytest.mark.parametrize(
    "record",
    [
        b"no JSON",
        b"[1]",
        b'{"kind": "other", "at": "2026-11-20T05:00:00Z"}',
        b'{"kind": "heartbeat", "at": "soon"}',
        b'{"kind": "heartbeat", "at": "1970-01-01T00:00:00Z"}',
        b'{"kind": "heartbeat", "at": "9999-12-31T23:00:00Z"}',
        line(tweet(FIRST, ("../chess",))),
        line(tweet(FIRST, ())),
    ],
)
def test_a_line_that_nobody_can_place_is_quarantined_with_its_reason(s3: S3Client, record: bytes) -> None:
    failed(s3, record)
    again(s3)
    ((place, (row,)),) = held(s3).items()
    assert place == layout.quarantine_prefix(layout.NO_TOPIC, WINDOW)
    assert (row["stage"], row["reason"], row["line"]) == ("firehose", "undelivered", record.decode())
    assert row["origin"] == "DynamicPartitioning.MetadataExtractionFailed"


@pytest.mark.parametrize("arrived", ["soon", True, -(10**17), 253402300799999])
def test_an_absurd_time_of_arrival_keeps_no_line_back(s3: S3Client, arrived: Any) -> None:
    failed(s3, line(tweet(FIRST)), b"no JSON", arrived=arrived)
    left = storage.current(s3, BUCKET, FAILED)
    assert left
    again(s3)
    found = held(s3)
    assert found.pop(layout.raw_prefix("ukraine", WINDOW)) == [tweet(FIRST)]
    ((place, (row,)),) = found.items()
    assert place == layout.quarantine_prefix(layout.NO_TOPIC, Window.containing(left.last_modified))
    assert (row["origin"], row["line"]) == ("DynamicPartitioning.MetadataExtractionFailed", "no JSON")


@pytest.mark.parametrize("later", [timedelta(), timedelta(days=2)])
def test_a_tweet_that_nobody_can_place_lies_in_its_own_hour_where_a_removal_finds_it(
    s3: S3Client, later: timedelta
) -> None:
    record = line(tweet(FIRST, ("../chess",)))
    failed(s3, record, arrived=to_milliseconds(WINDOW.start + later))
    again(s3)
    assert list(held(s3)) == [layout.quarantine_prefix(layout.NO_TOPIC, WINDOW)]
    tombstones.bury(s3, BUCKET, Pseudonyms(KEY), WINDOW, {FIRST: ComplianceAction.DELETE})
    failed(s3, record, arrived=to_milliseconds(WINDOW.start + later), key=FAILED + "b.gz")
    assert again(s3).counts == {"quarantine": 0}


def test_an_object_that_another_run_or_a_removal_changes_meanwhile_is_left_to_the_next_run(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(s3, line(tweet(FIRST)), line(tweet(SECOND)))
    failed(s3, line(tweet(FIRST)), key=FAILED + "b.gz")
    listed = storage.list_objects(s3, BUCKET, layout.DELIVERY_ERRORS_PREFIX)
    failed(s3, line(tweet(SECOND)))
    storage.delete(s3, BUCKET, FAILED + "b.gz")
    with monkeypatch.context() as stale:
        stale.setattr(storage, "list_objects", lambda *_: listed)
        assert again(s3) == Redelivery({})
    again(s3)
    assert held(s3) == {layout.raw_prefix("ukraine", WINDOW): [tweet(SECOND)]}


def test_an_envelope_of_an_unknown_form_is_quarantined_as_it_is(s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key=FAILED, Body=gzip.compress(b'{"rawData": "%"}\n'))
    again(s3)
    ((_, (row,)),) = held(s3).items()
    assert row["line"] == '{"rawData": "%"}'


def test_a_run_killed_before_it_deleted_the_object_is_repeated_to_the_same_effect(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(s3, line(tweet(FIRST)))
    with monkeypatch.context() as killed:
        killed.setattr(storage, "delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            again(s3)
    again(s3)
    assert held(s3) == {layout.raw_prefix("ukraine", WINDOW): [tweet(FIRST)]}
    assert again(s3) == Redelivery({})


def test_an_object_that_cannot_be_read_stays_and_is_an_alarm_and_keeps_no_other_back(s3: S3Client) -> None:
    failed(s3, line(tweet(FIRST)), key=FAILED + "b.gz")
    s3.put_object(Bucket=BUCKET, Key=FAILED, Body=gzip.compress(b"x" * 1000)[:-9])
    done = again(s3)
    assert done.alarms == [f"{FAILED} cannot be read whole"]
    assert done.counts == {"raw": 1}
    assert storage.current(s3, BUCKET, FAILED)


def test_a_tweet_that_was_removed_meanwhile_does_not_come_back(s3: S3Client) -> None:
    failed(s3, line(tweet(FIRST)) + b"\n" + line(tweet(SECOND)))
    tombstones.bury(s3, BUCKET, Pseudonyms(KEY), WINDOW, {FIRST: ComplianceAction.DELETE})
    assert again(s3).counts == {"raw": 1}
    assert held(s3)[layout.raw_prefix("ukraine", WINDOW)] == [tweet(SECOND)]


@pytest.mark.parametrize("rejected", [False, True])
def test_a_tweet_that_is_removed_while_it_is_delivered_again_does_not_stay(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch, rejected: bool
) -> None:
    """The removal looks before the new object stands; the redelivery looks again after."""
    place = quarantined if rejected else line
    failed(s3, place(tweet(FIRST)) + b"\n" + place(tweet(SECOND)))
    remove_before_each_put(s3, monkeypatch)
    again(s3)
    (found,) = [found for place, found in held(s3).items() if layout.partition(place)]
    assert len(found) == 1
    assert str(SECOND) in json.dumps(found)


def test_what_a_killed_run_has_delivered_goes_too_if_it_was_removed_meanwhile(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(s3, line(tweet(FIRST)))
    with monkeypatch.context() as killed:
        remove_before_each_put(s3, killed)
        killed.setattr(redelivery, "purge_written", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            again(s3)
    again(s3)
    assert held(s3)[layout.raw_prefix("ukraine", WINDOW)] == []


def killed_before(s3: S3Client, monkeypatch: pytest.MonkeyPatch, write: int) -> bool:
    """Delivers again until just before one of its writes, if it comes to so many; whether it does.

    The first tweet is removed before the first new object stands, or else at the end.
    """
    call = type(s3)._make_api_call  # pyrefly: ignore[missing-attribute]
    writes, is_removed = 0, False

    def killed(client: Any, operation: str, arguments: Any) -> Any:
        nonlocal writes, is_removed
        if operation not in ("PutObject", "DeleteObject"):
            return call(client, operation, arguments)
        if writes == write:
            raise KeyboardInterrupt
        if arguments["Key"].startswith("raw/") and not is_removed:
            is_removed = True
            with monkeypatch.context() as beside:
                beside.setattr(type(s3), "_make_api_call", call)
                remove_first(s3)
        writes += 1
        return call(client, operation, arguments)

    with monkeypatch.context() as deadly, contextlib.suppress(KeyboardInterrupt):
        deadly.setattr(type(s3), "_make_api_call", killed)
        again(s3)
    if not is_removed:
        remove_first(s3)
    return writes == write


def test_killed_before_any_write_it_leaves_nothing_that_was_removed_meanwhile(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal takes the line out of the old object too, which is all that named the new one."""
    for write in itertools.count():
        empty(s3)
        failed(s3, line(tweet(FIRST)), line(tweet(SECOND, ("russia",))))
        was_killed = killed_before(s3, monkeypatch, write)
        again(s3)
        found = {place: rows for place, rows in held(s3, "raw/").items() if rows}
        assert found == {layout.raw_prefix("russia", WINDOW): [tweet(SECOND, ("russia",))]}, write
        assert storage.list_objects(s3, BUCKET, layout.REDELIVERIES_PREFIX).objects == (), write
        if not was_killed:
            break
    assert write > 4


def test_a_rejected_line_received_in_the_next_hour_does_not_come_back(s3: S3Client) -> None:
    failed(s3, quarantined(tweet(FIRST), at="2026-11-20T06:00:01.000Z"))
    tombstones.bury(s3, BUCKET, Pseudonyms(KEY), WINDOW, {FIRST: ComplianceAction.DELETE})
    assert again(s3).counts == {"quarantine": 0}


def test_a_large_object_is_delivered_again_in_little_memory(s3: S3Client) -> None:
    text = "x" * 200_000
    failed(s3, *(line(tweet(tweet_id(number), text=text)) for number in range(100)))
    tracemalloc.start()
    try:
        assert again(s3).counts == {"raw": 100}
        assert tracemalloc.get_traced_memory()[1] < 12 * 1024**2
    finally:
        tracemalloc.stop()
    assert len(held(s3)[layout.raw_prefix("ukraine", WINDOW)]) == 100
