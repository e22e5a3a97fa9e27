"""The client of Firehose: what it writes and reads is what boto3's own would, at less cost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from streamer.firehose import firehose_client, lines_per_record
from tests.streamer.support_firehose import DEAGGREGATING, ONE_BY_ONE, PROCESSORS, described

RECORDS = [{"Data": b'{"text":"caf\xc3\xa9"}\n'}, {"Data": bytes(range(256))}, {"Data": b"x" * 5000}]


class Firehose:
    """Gives the answers that it is told to, and keeps the requests."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: dict[str, Any] = {}
        self.requests: list[tuple[str, Any]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.requests.append((self.headers["X-Amz-Target"], json.loads(body)))
                assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256")
                answer = json.dumps(told.answer).encode()
                self.send_response(told.status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def firehose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Firehose]:
    there = Firehose()
    monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", f"http://127.0.0.1:{there.server.server_address[1]}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield there
    there.server.shutdown()
    there.server.server_close()


def put(client: Any) -> Any:
    return client.put_record_batch(DeliveryStreamName='a"stream', Records=[dict(one) for one in RECORDS])


def test_the_request_is_the_one_that_boto3_itself_makes(firehose: Firehose) -> None:
    firehose.answer = {"FailedPutCount": 0, "RequestResponses": [{"RecordId": "1"}] * 3}
    put(boto3.client("firehose"))
    assert put(firehose_client())["FailedPutCount"] == 0
    plain, ours = firehose.requests
    assert ours == plain


def test_every_entry_of_a_partly_accepted_batch_is_read(firehose: Firehose) -> None:
    rejected = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": 'no "FailedPutCount":0, at all'}
    firehose.answer = {
        "RequestResponses": [{"RecordId": "1"}, rejected, {"RecordId": "3"}],
        "FailedPutCount": 1,
    }
    answer = put(firehose_client())
    assert answer["FailedPutCount"] == 1
    assert [entry.get("ErrorCode") for entry in answer["RequestResponses"]] == [
        None,
        "ServiceUnavailableException",
        None,
    ]


def test_a_rejection_is_raised_with_its_code_and_not_tried_again(firehose: Firehose) -> None:
    firehose.status, firehose.answer = 400, {"__type": "ResourceNotFoundException", "message": "no stream"}
    with pytest.raises(ClientError) as raised:
        put(firehose_client())
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert len(firehose.requests) == 1


NOW = datetime(2026, 11, 20, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("description", "lines"),
    [
        (DEAGGREGATING, 500),
        ({**DEAGGREGATING, "LastUpdateTimestamp": NOW - timedelta(minutes=11)}, 500),
        ({**DEAGGREGATING, "LastUpdateTimestamp": NOW - timedelta(minutes=9)}, 1),
        (ONE_BY_ONE, 1),
        (described(*PROCESSORS, enabled=False), 1),
        (described(PROCESSORS[0], PROCESSORS[2]), 1),
        ({"Destinations": [{"ExtendedS3DestinationDescription": {}}]}, 1),
        ({"Destinations": [{"S3DestinationDescription": {}}]}, 1),
    ],
    ids=["yes", "for long", "since just now", "no", "off", "without delimiter", "nothing", "plain S3"],
)
def test_a_record_holds_many_lines_only_where_the_stream_surely_parts_them(
    firehose: Firehose, description: dict[str, Any], lines: int
) -> None:
    answer = dict(description)
    if "LastUpdateTimestamp" in answer:
        answer["LastUpdateTimestamp"] = answer["LastUpdateTimestamp"].timestamp()
    firehose.answer = {"DeliveryStreamDescription": answer}
    assert lines_per_record(firehose_client(), "stream", NOW) == lines


def test_a_stream_that_parts_records_otherwise_than_by_json_gets_one_line_a_record(
    firehose: Firehose,
) -> None:
    delimited = {
        **PROCESSORS[0],
        "Parameters": [
            {"ParameterName": "SubRecordType", "ParameterValue": "DELIMITED"},
            {"ParameterName": "Delimiter", "ParameterValue": "Cg=="},
        ],
    }
    firehose.answer = {"DeliveryStreamDescription": described(delimited, *PROCESSORS[1:])}
    assert lines_per_record(firehose_client(), "stream", NOW) == 1
