"""A boto3 client of Firehose with a fast PutRecordBatch, and how a delivery stream handles records.

botocore 1.43 checks, encodes and decodes record by record in Python, which costs more than all other
processing of a tweet. Its events allow writing the body at once and shortening the answer about a batch that
was accepted whole; addresses, credentials, signature and errors stay botocore's.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pybase64
from botocore.config import Config

from include import aws
from streamer.packs import RECORD_LINES

if TYPE_CHECKING:
    from types_boto3_firehose import FirehoseClient

_OPERATION = "firehose.PutRecordBatch"
_BATCH = "x_opinion_batch"
_USER_AGENT = "x-opinion-streamer"
"""A fixed text: botocore's own is composed of twenty parts, twice a request."""
_NONE = re.compile(rb'"FailedPutCount": ?0[,}]')

_IN_EFFECT = timedelta(minutes=10)
"""A change to a stream "normally takes effect within a few minutes" (Firehose's developer guide)."""


def firehose_client() -> FirehoseClient:
    """A client without retries: the delivery repeats failed records itself.

    The answer of a batch of which no record failed names no records.
    """
    client: FirehoseClient = aws.client(
        "firehose",
        config=Config(
            connect_timeout=5,
            read_timeout=20,
            retries={"total_max_attempts": 1},
            parameter_validation=False,
            user_agent=_USER_AGENT,
        ),
    )
    events = client.meta.events
    events.register(f"before-parameter-build.{_OPERATION}", _set_aside)
    events.register(f"before-call.{_OPERATION}", _write)
    events.register(f"before-parse.{_OPERATION}", _shorten)
    return client


def lines_per_record(firehose: FirehoseClient, stream: str, now: datetime) -> int:
    """How many lines a record of the stream may have: `RECORD_LINES` if it de-aggregates them, else 1.

    It must also add a newline after each, since Firehose does not document whether it keeps theirs, and both
    must have been in force for a while. Raises botocore's errors.
    """
    description = firehose.describe_delivery_stream(DeliveryStreamName=stream, Limit=1)[
        "DeliveryStreamDescription"
    ]
    updated = description.get("LastUpdateTimestamp")
    if updated is not None and now - updated < _IN_EFFECT:
        return 1
    destination: Any = description["Destinations"][0].get("ExtendedS3DestinationDescription", {})
    processing = destination.get("ProcessingConfiguration", {})
    processors = {
        processor["Type"]: {
            parameter["ParameterName"]: parameter["ParameterValue"]
            for parameter in processor.get("Parameters", ())
        }
        for processor in processing.get("Processors", ())
        if processing.get("Enabled")
    }
    parted = processors.get("RecordDeAggregation", {}).get("SubRecordType") == "JSON"
    return RECORD_LINES if parted and "AppendDelimiterToRecord" in processors else 1


def _set_aside(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context[_BATCH] = params["DeliveryStreamName"], params["Records"]
    params["Records"] = []


def _write(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    stream, records = context[_BATCH]
    parts = [b'{"DeliveryStreamName":', orjson.dumps(stream), b',"Records":[']
    for record in records:
        parts += (b'{"Data":"', pybase64.b64encode(record["Data"]), b'"},')
    parts[-1] = b'"}]}'
    params["body"] = b"".join(parts)


def _shorten(response_dict: dict[str, Any], **_: Any) -> None:
    if response_dict["status_code"] == 200 and _NONE.search(response_dict["body"]):
        response_dict["body"] = b'{"FailedPutCount":0,"RequestResponses":[]}'
