"""Delivery: Firehose's limits are kept, only what failed is sent again, nothing is lost."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer import delivery as delivery_module
from streamer.delivery import BATCH_BYTES, BATCH_RECORDS, RECORD_BYTES, Delivery
from streamer.spool import Record, Spool, SpoolError

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
    """PutRecordBatch as its reference describes it: limits, and per call the fate that ``fates`` names."""

    def __init__(self, fates: Iterator[Callable[[int], Any]] | None = None) -> None:
        self.fates = fates or iter(())
        self.calls: list[list[bytes]] = []
        self.accepted: Counter[bytes] = Counter()

    def put_record_batch(self, DeliveryStreamName: str, Records: list[dict[str, bytes]]) -> Any:  # noqa: N803
        data = [record["Data"] for record in Records]
        assert DeliveryStreamName == "stream"
        assert 1 <= len(data) <= 500
        assert sum(map(len, data)) <= 4 * 1024 * 1024
        assert max(map(len, data)) <= 1000 * 1024
        self.calls.append(data)
        fate = next(self.fates, lambda _: False)
        failed = [fate(index) for index in range(len(data))]
        self.accepted.update(body for body, refused in zip(data, failed, strict=True) if not refused)
        return {
            "FailedPutCount": sum(failed),
            "RequestResponses": [
                {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
                if refused
                else {"RecordId": str(index)}
                for index, refused in enumerate(failed)
            ],
        }


def never(error: SpoolError) -> None:
    raise error


def delivered(firehose: Any, spool: Spool) -> Delivery:
    spool.flush(20)
    delivery = Delivery(firehose, "stream", spool, never)
    delivery.start()
    assert delivery.drain(time.monotonic() + 30)
    delivery.stop(5)
    return delivery


def test_batches_keep_to_firehoses_limits(spool: Spool) -> None:
    for number in range(1201):
        spool.put(Record(AT, "tweet", b"%d\n" % number))
    for _ in range(6):
        spool.put(Record(AT, "tweet", b"x" * (RECORD_BYTES - 1) + b"\n"))
    firehose = FakeFirehose()
    delivery = delivered(firehose, spool)
    assert [len(call) for call in firehose.calls[:2]] == [BATCH_RECORDS, BATCH_RECORDS]
    assert all(sum(map(len, call)) <= BATCH_BYTES for call in firehose.calls)
    assert delivery.delivered == Counter(tweet=1207)


def test_only_what_failed_is_sent_again_together_with_what_is_new(spool: Spool) -> None:
    for number in range(600):
        spool.put(Record(AT, "tweet", b"%d\n" % number))
    firehose = FakeFirehose(iter([lambda index: index in (3, 499)]))
    delivery = delivered(firehose, spool)
    assert len(firehose.calls) == 2
    assert firehose.calls[1] == [b"3\n", b"499\n"] + [b"%d\n" % number for number in range(500, 600)]
    assert set(firehose.accepted.values()) == {1}
    assert delivery.failures == Counter({"ServiceUnavailableException": 2})


def test_a_batch_ends_with_a_group_and_cuts_only_one_that_is_too_large(spool: Spool) -> None:
    for group in (range(300), range(300, 500), range(500, 501), range(501, 901)):
        for number in group:
            spool.put(Record(AT, "tweet", b"%d\n" % number))
        spool.flush(20)
    firehose = FakeFirehose(iter([lambda index: index == 7]))
    delivered(firehose, spool)
    assert [len(call) for call in firehose.calls] == [500, 402]
    assert set(firehose.accepted.values()) == {1}


def test_the_real_clients_partial_failure_is_understood(spool: Spool) -> None:
    client = boto3.client(
        "firehose", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    for body in (b"a\n", b"b\n"):
        spool.put(Record(AT, "tweet", body))
    with Stubber(client) as stub:
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
        def put_record_batch(self, **request: Any) -> Any:
            if len(self.calls) < 3:
                self.calls.append([])
                raise (
                    EndpointConnectionError(endpoint_url="http://nowhere")
                    if len(self.calls) % 2
                    else ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "PutRecordBatch")
                )
            return super().put_record_batch(**request)

    spool.put(Record(AT, "tweet", b"a\n"))
    firehose = Away()
    delivery = delivered(firehose, spool)
    assert firehose.accepted == Counter([b"a\n"])
    assert delivery.failures == Counter({"EndpointConnectionError": 2, "ResourceNotFoundException": 1})


def test_draining_gives_up_in_time_and_leaves_the_rest_in_the_spool(spool: Spool) -> None:
    def always(_: int) -> bool:
        return True

    firehose = FakeFirehose(iter(lambda: always, None))
    spool.put(Record(AT, "tweet", b"a\n"))
    spool.flush(20)
    delivery = Delivery(firehose, "stream", spool, never)
    delivery.start()
    assert not delivery.drain(time.monotonic() + 0.3)
    delivery.stop(60)
    assert not delivery.alive
    assert spool.pending() == Counter(tweet=1)


@settings(max_examples=15)
@given(
    count=st.integers(1, 1500),
    shares=st.lists(st.floats(0, 1), max_size=8),
    seed=st.integers(),
)
def test_with_any_pattern_of_failures_each_record_is_accepted_just_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, shares: list[float], seed: int
) -> None:
    chance = random.Random(seed)
    fates = iter([lambda _, share=share: chance.random() < share for share in shares])
    firehose = FakeFirehose(fates)
    spool = Spool(tmp_path_factory.mktemp("spool"))
    for number in range(count):
        spool.put(Record(AT, "tweet", b"%d\n" % number))
    delivery = delivered(firehose, spool)
    assert firehose.accepted == Counter(b"%d\n" % number for number in range(count))
    assert delivery.delivered["tweet"] == count
    spool.close()
