"""Delivery: limits are kept, a record holds what the stream takes, only what failed is sent again."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer import delivery as delivery_module
from streamer.database import SpoolError
from streamer.delivery import BATCH_BYTES, BATCH_RECORDS, Delivery
from streamer.packs import RECORD_BYTES, RECORD_LINES, Pack
from streamer.spool import Spool
from tests.streamer.support_firehose import DEAGGREGATING, ONE_BY_ONE

if TYPE_CHECKING:
    from types_boto3_firehose import FirehoseClient

AT = 1_795_000_000_000


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "_FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr(delivery_module, "_LONGEST_DELAY_SECONDS", 0.02)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path)
    yield opened
    opened.close()


class FakeFirehose:
    """PutRecordBatch as its reference describes it: limits, and per call the fate that ``fates`` names.

    A stream that does not de-aggregate records, unless ``description`` says otherwise.
    """

    def __init__(
        self, fates: Iterator[Callable[[int], Any]] | None = None, description: Any = ONE_BY_ONE
    ) -> None:
        self.fates = fates or iter(())
        self.description = description
        self.calls: list[list[bytes]] = []
        self.accepted: Counter[bytes] = Counter()

    def describe_delivery_stream(self, **request: Any) -> Any:
        assert request["DeliveryStreamName"] == "stream"
        return {"DeliveryStreamDescription": self.description}

    def put_record_batch(self, DeliveryStreamName: str, Records: list[dict[str, bytes]]) -> Any:  # noqa: N803
        data = [record["Data"] for record in Records]
        assert DeliveryStreamName == "stream"
        assert 1 <= len(data) <= 500
        assert sum(map(len, data)) <= 4 * 1024 * 1024
        assert max(map(len, data)) <= 1000 * 1024
        most_lines = 500 if self.description is DEAGGREGATING else 1
        assert all(1 <= record.count(b"\n") <= most_lines for record in data)
        self.calls.append(data)
        fate = next(self.fates, lambda _: False)
        failed = [fate(index) for index in range(len(data))]
        for record, rejected in zip(data, failed, strict=True):
            if not rejected:
                self.accepted.update(record.splitlines(keepends=True))
        return {
            "FailedPutCount": sum(failed),
            "RequestResponses": [
                {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
                if rejected
                else {"RecordId": str(index)}
                for index, rejected in enumerate(failed)
            ],
        }


def never(error: SpoolError) -> None:
    raise error


def delivered(firehose: Any, spool: Spool) -> Delivery:
    spool.flush(20)
    delivery = Delivery(cast("FirehoseClient", firehose), "stream", spool, never)
    delivery.start()
    assert delivery.drain(time.monotonic() + 30)
    delivery.stop(5)
    return delivery


def tweet(line: bytes) -> Pack:
    return Pack(AT, "t", line, 1)


STREAMS = pytest.mark.parametrize("description", [ONE_BY_ONE, DEAGGREGATING], ids=["one", "many"])


@STREAMS
def test_batches_keep_to_firehoses_limits(spool: Spool, description: Any) -> None:
    for number in range(1201):
        spool.put(tweet(b"%d\n" % number))
    for _ in range(6):
        spool.put(tweet(b"x" * (RECORD_BYTES - 1) + b"\n"))
    firehose = FakeFirehose(description=description)
    delivery = delivered(firehose, spool)
    assert all(sum(map(len, call)) <= BATCH_BYTES for call in firehose.calls)
    assert delivery.delivered == Counter(tweet=1207)
    if description is ONE_BY_ONE:
        assert [len(call) for call in firehose.calls[:2]] == [BATCH_RECORDS, BATCH_RECORDS]
    else:
        assert [record.count(b"\n") for record in firehose.calls[0][:2]] == [RECORD_LINES, RECORD_LINES]


def test_a_stream_that_de_aggregates_gets_a_group_a_record(spool: Spool) -> None:
    for lines in (b"1\n2\n", b"3\n"):
        spool.put(Pack(AT, "t" * lines.count(b"\n"), lines))
        spool.flush(20)
    firehose = FakeFirehose(description=DEAGGREGATING)
    delivered(firehose, spool)
    assert firehose.calls == [[b"1\n2\n", b"3\n"]]


@STREAMS
def test_only_what_failed_is_sent_again_together_with_what_is_new(spool: Spool, description: Any) -> None:
    for group in range(3):
        spool.put(Pack(AT, "t" * 300, b"".join(b"%d %d\n" % (group, number) for number in range(300))))
        spool.flush(20)
    firehose = FakeFirehose(iter([lambda index: index == 1]), description)
    delivery = delivered(firehose, spool)
    assert set(firehose.accepted.values()) == {1}
    assert firehose.accepted.total() == 900
    assert delivery.failures == Counter({"ServiceUnavailableException": 1})
    first, again = firehose.calls
    assert again[0] == first[1]


def test_a_request_waits_a_moment_for_more_groups_and_not_where_it_is_full(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "LINGER_SECONDS", 600.0)
    firehose = FakeFirehose(description=DEAGGREGATING)
    delivery = Delivery(firehose, "stream", spool, never)  # pyrefly: ignore[bad-argument-type]
    spool.put(tweet(b"first\n"))
    spool.flush(20)
    delivery.start()
    assert delivery.drain(time.monotonic() + 30), "after a pause nothing is waited for"
    fitting = BATCH_BYTES // RECORD_BYTES
    for _ in range(fitting):
        spool.put(tweet(b"x" * (RECORD_BYTES - 1_001) + b"\n"))
        spool.flush(20)
    assert not delivery.drain(time.monotonic() + 0.3)
    spool.put(tweet(b"y" * 200_000 + b"\n"))
    while len(firehose.calls) < 2:
        time.sleep(0.01)
    delivery.stop(0.1)
    assert [len(call) for call in firehose.calls[:2]] == [1, fitting]


def test_lines_of_a_group_wait_in_memory_for_the_group_and_all_of_it_comes_again_after_a_crash(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path)
    spool.put(Pack(AT, "ttt", b"1\n2\n3\n", 3))
    spool.flush(20)
    firehose = FakeFirehose(iter(lambda: lambda index: index == 0, None))
    delivery = Delivery(firehose, "stream", spool, never)  # pyrefly: ignore[bad-argument-type]
    delivery.start()
    while len(firehose.calls) < 3:
        time.sleep(0.01)
    delivery.stop(20)
    assert firehose.calls[1:3] == [[b"1\n"], [b"1\n"]]
    assert (spool.pending(), delivery.delivered) == (Counter(tweet=3), Counter())
    spool.close()
    spool = Spool(tmp_path)
    again = FakeFirehose()
    delivered(again, spool)
    assert again.calls == [[b"1\n", b"2\n", b"3\n"]]
    assert spool.pending().total() == 0
    spool.close()


def test_a_stream_that_stops_de_aggregating_gets_a_line_a_record_also_of_what_waits(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "ASK_SECONDS", 0.0)
    spool.put(Pack(AT, "ttt", b"1\n2\n3\n"))

    class Switched(FakeFirehose):
        def put_record_batch(self, DeliveryStreamName: str, Records: list[dict[str, bytes]]) -> Any:  # noqa: N803
            answer = super().put_record_batch(DeliveryStreamName, Records)
            self.description = ONE_BY_ONE
            return answer

    firehose = Switched(iter([lambda _: True]), DEAGGREGATING)
    delivered(firehose, spool)
    assert firehose.calls == [[b"1\n2\n3\n"], [b"1\n", b"2\n", b"3\n"]]


def test_a_stream_that_does_not_say_what_it_does_gets_a_line_a_record(spool: Spool) -> None:
    class Silent(FakeFirehose):
        def describe_delivery_stream(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeDeliveryStream")

    spool.put(Pack(AT, "tt", b"1\n2\n"))
    firehose = Silent()
    delivery = delivered(firehose, spool)
    assert firehose.calls == [[b"1\n", b"2\n"]]
    assert delivery.failures == Counter()


OLD_SCHEMA = """
CREATE TABLE record_group (last INTEGER PRIMARY KEY, oldest_ms INTEGER NOT NULL, size INTEGER NOT NULL,
    kinds TEXT NOT NULL, lines BLOB NOT NULL);
CREATE INDEX record_group_oldest ON record_group (oldest_ms);
CREATE TABLE bought (month TEXT PRIMARY KEY, posts INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE connect (at_ms INTEGER NOT NULL);
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@STREAMS
def test_a_spool_of_an_earlier_version_is_drained_as_it_is(tmp_path: Path, description: Any) -> None:
    half_acknowledged = (503, "t.q.h", b"a\n\nb\n\nc\n")
    larger_than_a_record = (503 + 3, "ttt", (b"y" * 349_524 + b"\n") * 3)
    alone = (503 + 4, "s", b"d\n")
    with closing(sqlite3.connect(tmp_path / "spool.sqlite3")) as old, old:
        old.executescript(OLD_SCHEMA)
        for last, marks, lines in (half_acknowledged, larger_than_a_record, alone):
            size = sum(len(line) for line in lines.splitlines(keepends=True) if line != b"\n")
            old.execute("INSERT INTO record_group VALUES (?, ?, ?, ?, ?)", (last, AT, size, marks, lines))
    assert len(larger_than_a_record[2]) > RECORD_BYTES
    spool = Spool(tmp_path)
    assert spool.pending() == Counter(tweet=4, quarantine=1, heartbeat=1, session=1)
    spool.put(tweet(b"new\n"))
    firehose = FakeFirehose(description=description)
    delivery = delivered(firehose, spool)
    sent = [line for call in firehose.calls for record in call for line in record.splitlines()]
    assert sent == [b"a", b"b", b"c", *[b"y" * 349_524] * 3, b"d", b"new"]
    assert delivery.delivered == Counter(tweet=5, quarantine=1, heartbeat=1, session=1)
    assert (spool.pending().total(), spool.pending_bytes()) == (0, 0)
    assert spool.watermark(AT + 1) == AT + 1
    spool.close()


def test_the_real_clients_partial_failure_is_understood(spool: Spool) -> None:
    client = boto3.client(
        "firehose", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    spool.put(Pack(AT, "tt", b"a\nb\n"))
    with Stubber(client) as stub:
        stub.add_client_error("describe_delivery_stream", "AccessDeniedException", http_status_code=400)
        throttled = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
        stub.add_client_error("put_record_batch", "ServiceUnavailableException", http_status_code=503)
        stub.add_response(
            "put_record_batch",
            {"FailedPutCount": 1, "RequestResponses": [throttled, {"RecordId": "1"}]},
            {"DeliveryStreamName": "stream", "Records": [{"Data": b"a\n"}, {"Data": b"b\n"}]},
        )
        stub.add_response(
            "put_record_batch",
            {"FailedPutCount": 0, "RequestResponses": [{"RecordId": "2"}]},
            {"DeliveryStreamName": "stream", "Records": [{"Data": b"a\n"}]},
        )
        delivery = delivered(client, spool)
        stub.assert_no_pending_responses()
    assert delivery.failures == Counter({"ServiceUnavailableException": 3})


def test_a_firehose_that_is_away_costs_time_and_no_record(spool: Spool) -> None:
    class Away(FakeFirehose):
        def put_record_batch(self, **request: Any) -> Any:  # pyrefly: ignore[bad-override]
            if len(self.calls) < 3:
                self.calls.append([])
                raise (
                    EndpointConnectionError(endpoint_url="http://nowhere")
                    if len(self.calls) % 2
                    else ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "PutRecordBatch")
                )
            return super().put_record_batch(**request)

    spool.put(tweet(b"a\n"))
    firehose = Away()
    delivery = delivered(firehose, spool)
    assert firehose.accepted == Counter([b"a\n"])
    assert delivery.failures == Counter({"EndpointConnectionError": 2, "ResourceNotFoundException": 1})


def test_draining_gives_up_in_time_and_leaves_the_rest_in_the_spool(spool: Spool) -> None:
    def always(_: int) -> bool:
        return True

    firehose = FakeFirehose(iter(lambda: always, None))
    spool.put(tweet(b"a\n"))
    spool.flush(20)
    delivery = Delivery(cast("FirehoseClient", firehose), "stream", spool, never)
    delivery.start()
    assert not delivery.drain(time.monotonic() + 0.3)
    delivery.stop(60)
    assert not delivery.alive
    assert spool.pending() == Counter(tweet=1)


@settings(max_examples=15)
@given(
    count=st.integers(1, 1500),
    description=st.sampled_from([ONE_BY_ONE, DEAGGREGATING]),
    shares=st.lists(st.floats(0, 1), max_size=8),
    seed=st.integers(),
)
def test_with_any_pattern_of_failures_each_record_is_accepted_just_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, description: Any, shares: list[float], seed: int
) -> None:
    chance = random.Random(seed)
    fates = iter([lambda _, share=share: chance.random() < share for share in shares])
    firehose = FakeFirehose(fates, description)
    spool = Spool(tmp_path_factory.mktemp("spool"))
    for number in range(count):
        spool.put(tweet(b"%d\n" % number))
    delivery = delivered(firehose, spool)
    assert firehose.accepted == Counter(b"%d\n" % number for number in range(count))
    assert delivery.delivered["tweet"] == count
    spool.close()
