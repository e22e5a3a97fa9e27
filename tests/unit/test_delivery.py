from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from include.lake.delivery import (
    GRACE,
    OPEN,
    WATERMARK,
    DeliveryError,
    DeliveryWatch,
    Heartbeat,
    assess,
    heartbeats,
)
from include.lake.layout import heartbeats_prefix
from include.settings import Settings
from include.window import Window

WINDOW = Window.parse("2026-11-20T10")
END = WINDOW.end
BUFFERING = timedelta(seconds=60)
SETTINGS = Settings(
    bucket="lake", lateness_seconds=30, delivery_margin_seconds=10, delivery_grace_seconds=1800
)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_an_open_hour_is_taken_as_it_is() -> None:
    assert assess(WINDOW, END - seconds(1), None, BUFFERING, SETTINGS).reason == OPEN


def test_without_proof_an_hour_waits_until_the_grace_time_is_over() -> None:
    grace = END + seconds(1800)
    assert not assess(WINDOW, grace - seconds(1), None, BUFFERING, SETTINGS).through
    assert assess(WINDOW, grace - seconds(1), None, BUFFERING, SETTINGS).look_again == grace
    assert assess(WINDOW, grace, None, BUFFERING, SETTINGS).reason == GRACE


def test_a_proof_counts_once_its_buffering_interval_and_the_margin_have_passed() -> None:
    proof = Heartbeat(at=END + seconds(45), watermark=END + seconds(30))
    due = proof.at + BUFFERING + seconds(10)
    early = assess(WINDOW, due - seconds(1), proof, BUFFERING, SETTINGS)
    assert not early.through
    assert early.look_again == due
    assert assess(WINDOW, due, proof, BUFFERING, SETTINGS).reason == WATERMARK


@given(elapsed=st.integers(0, 7200), sent=st.none() | st.integers(30, 7200), buffering=st.integers(0, 900))
def test_a_delivered_window_stays_delivered_and_is_looked_at_in_time(
    elapsed: int, sent: int | None, buffering: int
) -> None:
    proof = None if sent is None else Heartbeat(END + seconds(sent), END + seconds(30))
    now = END + seconds(elapsed)
    verdict = assess(WINDOW, now, proof, seconds(buffering), SETTINGS)
    if verdict.through:
        assert assess(WINDOW, now + seconds(1), proof, seconds(buffering), SETTINGS).through
    else:
        assert now < verdict.look_again <= END + seconds(1800)
    assert verdict.through or elapsed < 1800


def test_session_records_and_blank_lines_are_no_heartbeats() -> None:
    lines = [
        {"kind": "session", "at": "2026-11-20T11:00:00.000Z", "event": "start"},
        {"kind": "heartbeat", "at": "2026-11-20T11:00:15.000Z", "watermark": "2026-11-20T11:00:10.000Z"},
    ]
    [beat] = heartbeats(b"\n\n".join(json.dumps(line).encode() for line in lines) + b"\n\n")
    assert beat.at - beat.watermark == seconds(5)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        s3, firehose = boto3.client("s3"), boto3.client("firehose")
        s3.create_bucket(Bucket="lake")
        firehose.create_delivery_stream(
            DeliveryStreamName=SETTINGS.delivery_stream,
            DeliveryStreamType="DirectPut",
            ExtendedS3DestinationConfiguration={
                "RoleARN": "arn:aws:iam::123456789012:role/firehose",
                "BucketARN": "arn:aws:s3:::lake",
                "BufferingHints": {"IntervalInSeconds": 60, "SizeInMBs": 64},
            },
        )
        yield s3, firehose


def watch(aws: tuple[Any, Any], settings: Settings = SETTINGS) -> DeliveryWatch:
    return DeliveryWatch(dict(zip(("s3", "firehose"), aws, strict=True)).__getitem__, settings, WINDOW)


def land(s3: Any, at: datetime, watermark: datetime) -> None:
    record = {"kind": "heartbeat", "at": at.isoformat(), "watermark": watermark.isoformat()}
    key = f"{heartbeats_prefix(Window.containing(at))}stream-1-{at:%Y-%m-%d-%H-%M-%S}-x.gz"
    s3.put_object(Bucket="lake", Key=key, Body=gzip.compress(json.dumps(record).encode() + b"\n"))


def test_only_a_watermark_past_the_end_and_its_lateness_proves_a_window(aws: tuple[Any, Any]) -> None:
    s3, _ = aws
    delivery = watch(aws)
    now = END + seconds(600)
    land(s3, END + seconds(60), END - seconds(1))  # sent after the end, but lines of the window are pending
    land(s3, END + seconds(75), END + seconds(29))  # may still miss late ones
    assert not delivery.look(now).through
    land(s3, END + seconds(90), END + seconds(30))
    assert delivery.look(now).reason == WATERMARK
    # Sent after 90 seconds; a batch may take 1.5 times the hint of 60 seconds; the margin is 10.
    assert delivery.look(END + seconds(189)).look_again == END + seconds(190)


def test_a_heartbeat_of_any_later_hour_proves_an_hour_that_was_never_collected(aws: tuple[Any, Any]) -> None:
    s3, _ = aws
    later = END + timedelta(days=2, hours=3)
    land(s3, WINDOW.start + seconds(5), WINDOW.start + seconds(5))
    land(s3, later, later)
    patient = SETTINGS.model_copy(update={"delivery_grace_seconds": 10**9})
    verdict = watch(aws, patient).look(later + seconds(100))
    assert verdict.reason == WATERMARK
    assert verdict.proof == Heartbeat(later, later)


def test_without_any_heartbeat_the_grace_time_ends_the_wait(aws: tuple[Any, Any]) -> None:
    assert watch(aws).look(END + seconds(1800)).reason == GRACE


def test_unreadable_heartbeats_prove_nothing_and_hide_no_later_ones(aws: tuple[Any, Any]) -> None:
    s3, _ = aws
    s3.put_object(Bucket="lake", Key=f"{heartbeats_prefix(WINDOW.next)}a.gz", Body=b"no gzip")
    delivery = watch(aws)
    assert not delivery.look(END + seconds(600)).through
    land(s3, END + seconds(90), END + seconds(30))
    assert delivery.look(END + seconds(600)).reason == WATERMARK


def test_looking_again_reads_only_what_is_new(aws: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    s3, _ = aws
    land(s3, END + seconds(60), END)
    delivery = watch(aws)
    delivery.look(END + seconds(61))
    monkeypatch.setattr(s3, "get_object", lambda **_: pytest.fail("read again"))
    assert not delivery.look(END + seconds(76)).through


def test_a_stream_that_is_missing_is_no_proof(aws: tuple[Any, Any]) -> None:
    s3, firehose = aws
    land(s3, END + seconds(90), END + seconds(30))
    elsewhere = SETTINGS.model_copy(update={"delivery_stream": "another"})
    with pytest.raises(firehose.exceptions.ResourceNotFoundException):
        watch(aws, elsewhere).look(END + seconds(600))


def test_a_stream_without_buffering_hints_is_rejected(
    aws: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3, firehose = aws
    land(s3, END + seconds(90), END + seconds(30))
    answer: dict[str, Any] = {
        "DeliveryStreamDescription": {"Destinations": [{"RedshiftDestinationDescription": {}}]}
    }
    monkeypatch.setattr(firehose, "describe_delivery_stream", lambda **_: answer)
    with pytest.raises(DeliveryError, match="buffering"):
        watch(aws).look(END + seconds(600))


def test_moments_are_utc() -> None:
    [beat] = heartbeats(
        b'{"kind":"heartbeat","at":"2026-11-20T12:00:00+01:00","watermark":"2026-11-20T11:00:00Z"}'
    )
    assert beat.at == datetime(2026, 11, 20, 11, tzinfo=UTC) == beat.watermark
