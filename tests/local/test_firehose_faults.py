"""Firehose when it fails on request: what a client sees, what is delivered all the same, and that it ends."""

from __future__ import annotations

import base64
import gzip
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError, ReadTimeoutError

from include.settings import Settings
from local.aws import firehose_faults
from local.aws.bootstrap import TEMPLATE, Template
from local.aws.firehose_faults import (
    BYTES_PER_SECOND,
    REQUESTS_PER_SECOND,
    Rejection,
    Throughput,
    UnavailableError,
    decide,
)
from tests.credentials import CONTROL
from tests.local.support_aws import LocalAws


class Stream:
    """A delivery stream like the template's on a server of its own."""

    def __init__(self, aws: LocalAws, buffering_seconds: int = 1) -> None:
        self.aws = aws
        self.name = f"s-{uuid.uuid4().hex}"
        values = {
            "Bucket": Settings().bucket,
            "BufferingSeconds": buffering_seconds,
            "EncryptionKeyArn": "arn:aws:kms:us-east-1:123456789012:key/local",
        }
        attributes = {"Role.Arn": "arn:aws:iam::123456789012:role/x", "LogGroup": "g", "LogStream": "s"}
        properties = Template.load(TEMPLATE).resolve("DeliveryStream", values, attributes)
        configuration = properties["ExtendedS3DestinationConfiguration"]
        aws.client("s3").create_bucket(Bucket=self.name)
        aws.client("firehose").create_delivery_stream(
            DeliveryStreamName=self.name,
            DeliveryStreamType="DirectPut",
            ExtendedS3DestinationConfiguration={**configuration, "BucketARN": f"arn:aws:s3:::{self.name}"},
        )

    def put(self, *numbers: int, **config: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.aws.client("firehose", **config).put_record_batch(
            DeliveryStreamName=self.name, Records=[{"Data": line(number)} for number in numbers]
        )
        return answer

    def objects(self) -> dict[str, bytes]:
        s3 = self.aws.client("s3")
        listed = s3.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {
            item["Key"]: gzip.decompress(s3.get_object(Bucket=self.name, Key=item["Key"])["Body"].read())
            for item in listed
        }

    def delivered(self, count: int, prefix: str = "raw/") -> Counter[int]:
        """The delivered posts' ids, once there are so many, or after a minute."""
        deadline = time.monotonic() + 60
        while True:
            lines = [
                line
                for key, data in self.objects().items()
                if key.startswith(prefix)
                for line in data.splitlines()
            ]
            if len(lines) >= count or time.monotonic() > deadline:
                return Counter(int(json.loads(line)["data"]["id"]) for line in lines)
            time.sleep(0.1)

    def fault(self, **wanted: Any) -> dict[str, Any]:
        answer = requests.post(
            f"{self.aws.endpoint}/_local/firehose/faults", json=wanted, headers=CONTROL, timeout=5
        )
        assert answer.status_code == 201, answer.text
        added: dict[str, Any] = answer.json()["data"][0]
        return added

    def no_faults(self) -> None:
        requests.delete(f"{self.aws.endpoint}/_local/firehose/faults", headers=CONTROL, timeout=5)


def line(number: int) -> bytes:
    record = {
        "data": {"id": str(number), "created_at": "2026-11-22T05:00:00.000Z"},
        "matching_rules": [{"tag": "ukraine"}],
    }
    return json.dumps(record).encode() + b"\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    started = LocalAws(tmp_path_factory.mktemp("aws")).start()
    yield started
    started.stop()


@pytest.fixture
def stream(server: LocalAws) -> Iterator[Stream]:
    made = Stream(server)
    yield made
    made.no_faults()


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("throttle", "ServiceUnavailableException", "Slow down."),
        ("internal-failure", "InternalFailure", "Internal service failure."),
    ],
)
def test_a_rejected_request_takes_nothing_and_the_next_one_after_the_fault_all(
    stream: Stream, kind: str, code: str, message: str
) -> None:
    stream.fault(kind=kind, times=2)
    for _ in range(2):
        with pytest.raises(ClientError) as rejected:
            stream.put(1, 2)
        assert rejected.value.response["Error"] == {"Code": code, "Message": message}
        assert rejected.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert stream.put(3)["FailedPutCount"] == 0
    assert stream.delivered(1) == {3: 1}


def test_a_partial_failure_names_each_rejected_record_and_takes_the_others(stream: Stream) -> None:
    stream.fault(kind="partial", share=0.5, code="InternalFailure")
    answer = stream.put(*range(100))
    failed = {number for number, entry in enumerate(answer["RequestResponses"]) if "ErrorCode" in entry}
    assert answer["FailedPutCount"] == len(failed)
    assert 10 < len(failed) < 90
    assert {answer["RequestResponses"][number]["ErrorCode"] for number in failed} == {"InternalFailure"}
    assert stream.put(*failed)["FailedPutCount"] == 0
    assert stream.delivered(100) == dict.fromkeys(range(100), 1)


def test_a_time_out_after_accepting_makes_a_retry_deliver_twice(stream: Stream) -> None:
    stream.fault(kind="time-out", hold=3)
    with pytest.raises(ReadTimeoutError):
        stream.put(1, 2, read_timeout=0.5)
    assert stream.put(1, 2)["FailedPutCount"] == 0
    assert stream.delivered(4) == {1: 2, 2: 2}


def test_while_s3_is_down_buffers_wait_and_lose_nothing(stream: Stream) -> None:
    stream.fault(kind="s3-down", seconds=300)
    for number in range(3):
        stream.put(number)
        time.sleep(0.6)
    assert stream.objects() == {}
    stream.no_faults()
    assert stream.delivered(3) == {0: 1, 1: 1, 2: 1}


def test_a_record_that_jq_fails_on_goes_to_the_error_prefix(stream: Stream) -> None:
    stream.fault(kind="jq-failure", times=2)
    stream.put(1, 2, 3)
    assert stream.delivered(1) == {3: 1}
    (errors,) = [data for key, data in stream.objects().items() if key.startswith("delivery-errors/")]
    entries = [json.loads(entry) for entry in errors.splitlines()]
    assert [base64.b64decode(entry["rawData"]) for entry in entries] == [line(1).rstrip(), line(2).rstrip()]
    assert entries[0]["errorCode"] == "DynamicPartitioning.MetadataExtractionFailed"


def test_more_bytes_a_second_than_the_quota_are_rejected_record_by_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firehose_faults, "THROUGHPUT", Throughput(lambda: 10.0))
    batch = [b"x" * 1_000_000] * 4
    assert decide("a", batch) == [None] * 4
    slower = Rejection("ServiceUnavailableException", "Slow down.")
    assert decide("a", batch) == [None, slower, slower, slower]


def test_the_quotas_hold_for_each_second_and_stream() -> None:
    now = [10.0]
    throughput = Throughput(lambda: now[0])
    half = b"x" * (BYTES_PER_SECOND // 2)
    assert throughput.take("a", [half, half, b"x"]) == 2
    assert throughput.take("b", [half]) == 1
    for _ in range(REQUESTS_PER_SECOND - 1):
        assert throughput.take("a", [b"x"]) == 0
    with pytest.raises(UnavailableError):
        throughput.take("a", [b"x"])
    now[0] += 1
    assert throughput.take("a", [half]) == 1


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"kind": "flood"}, "there is no fault 'flood'"),
        ({"kind": "partial", "share": 2}, "share is a number above 0, at most 1, not 2"),
        ({"kind": "partial", "code": "Nope"}, "code is one of ServiceUnavailableException, InternalFailure"),
        ({"kind": "s3-down", "times": 2}, "it lasts for seconds"),
        ({"kind": "throttle", "times": 0}, "times is a whole number from 1 on"),
        ({"kind": "throttle", "seconds": "x"}, "seconds is a number of seconds from 0 on"),
        ({"kind": "throttle", "share": 1}, "'share' is not among after, every, seconds, times"),
        ("throttle", "a fault is an object with a kind"),
    ],
)
def test_a_fault_that_makes_no_sense_is_rejected(stream: Stream, wanted: object, complaint: str) -> None:
    answer = requests.post(
        f"{stream.aws.endpoint}/_local/firehose/faults", json=wanted, headers=CONTROL, timeout=5
    )
    assert answer.status_code == 400
    assert complaint in answer.json()["detail"]


def test_a_fault_is_listed_and_can_be_ended_before_its_time(stream: Stream) -> None:
    address = f"{stream.aws.endpoint}/_local/firehose/faults"
    fault = stream.fault(kind="throttle", seconds=60, after=0)
    with pytest.raises(ClientError):
        stream.put(1)
    (listed,) = [
        entry
        for entry in requests.get(address, headers=CONTROL, timeout=5).json()["data"]
        if entry["id"] == fault["id"]
    ]
    assert (listed["state"], listed["struck"]) == ("active", 1)
    assert requests.delete(f"{address}/{fault['id']}", headers=CONTROL, timeout=5).json() == {"ended": 1}
    assert requests.delete(f"{address}/{fault['id']}", headers=CONTROL, timeout=5).status_code == 404
    assert stream.put(1)["FailedPutCount"] == 0
