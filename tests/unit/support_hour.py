"""An hour of raw lines in an S3 that lives in this process, for the tests of prepare and publish."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from moto import mock_aws
from types_boto3_s3 import S3Client

from include.labeling import model_io
from include.labeling import prepare as preparing
from include.labeling.prepared import Prepared
from include.lake import layout, storage
from include.settings import Settings
from include.window import Window
from include.x import snowflake

TOPICS = ("ukraine", "russia")
WINDOW = Window(datetime(2026, 11, 20, 5, tzinfo=UTC))
KEY = b"a key of the tests"
BUCKET = "lake"
SETTINGS = Settings(bucket=BUCKET)


@contextlib.contextmanager
def lake() -> Iterator[S3Client]:
    """An empty bucket."""
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with mock.patch.dict(os.environ, environment), mock_aws():
        os.environ.pop("AWS_ENDPOINT_URL", None)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


def empty(s3: S3Client) -> None:
    """Removes every object."""
    for found in storage.list_objects(s3, BUCKET, "").objects:
        s3.delete_object(Bucket=BUCKET, Key=found.key)


def tweet_id(second: float, sequence: int = 0) -> int:
    """An id made ``second`` seconds after the window's start."""
    return snowflake.lowest_id(WINDOW.start + timedelta(seconds=second)) + sequence


def tweet(identifier: int, topics: Sequence[str] = ("ukraine",), **changes: Any) -> dict[str, Any]:
    """A payload with its `ingest`; ``changes`` replace fields of `data`, or of a part such as `ingest`."""
    at = snowflake.moment(identifier)
    payload: dict[str, Any] = {
        "data": {
            "id": str(identifier),
            "author_id": "829647236",
            "created_at": f"{at:%Y-%m-%dT%H:%M:%S}.000Z",
            "lang": "en",
            "text": f"text of {identifier}",
        },
        "includes": {
            "users": [{"id": "829647236", "location": "Kyiv", "public_metrics": {"followers_count": 7}}]
        },
        "matching_rules": [{"id": "1", "tag": topic} for topic in topics],
        "ingest": {
            "received_at": f"{at + timedelta(seconds=2):%Y-%m-%dT%H:%M:%S}.500Z",
            "session": "s",
            "rule_hash": "h",
            "sample": 100,
            "source": "stream",
        },
    }
    for name, value in changes.items():
        place = payload if name in payload else payload["data"]
        if value is None:
            place.pop(name, None)
        elif isinstance(value, dict) and place is payload:
            place[name] = {**place[name], **value}
        else:
            place[name] = value
    return payload


def line(payload: Any) -> bytes:
    """The payload as a raw line."""
    return json.dumps(payload, ensure_ascii=False).encode()


def put_raw(
    s3: S3Client, topic: str, lines: Sequence[bytes], name: str = "stream-0.gz", window: Window = WINDOW
) -> str:
    """Writes a raw object as Firehose would and gives its key."""
    key = layout.raw_prefix(topic, window) + name
    s3.put_object(
        Bucket=BUCKET, Key=key, Body=gzip.compress(b"".join(entry + b"\n" for entry in lines), mtime=0)
    )
    return key


def prepare(s3: S3Client, topics: Sequence[str] = TOPICS) -> Prepared:
    """`prepare` of the tests' hour."""
    return preparing.prepare(s3, SETTINGS, topics, WINDOW, KEY)


def rows(s3: S3Client, prepared: Prepared) -> list[dict[str, Any]]:
    """The accepted rows of every shard, in order."""
    return [
        row
        for shard in range(prepared.shards)
        for row in model_io.read_shard(s3, SETTINGS, prepared, shard).to_pylist()
    ]


def json_lines(s3: S3Client, key: str) -> list[dict[str, Any]]:
    """The objects of an NDJSON object."""
    return [json.loads(entry) for entry in storage.read_lines(s3, BUCKET, key)]


def json_lines_under(s3: S3Client, prefix: str) -> list[dict[str, Any]]:
    """The objects of every NDJSON object under a prefix."""
    return [
        entry
        for found in storage.list_objects(s3, BUCKET, prefix).objects
        for entry in json_lines(s3, found.key)
    ]


def parquet(s3: S3Client, key: str) -> pa.Table:
    """The table of a Parquet object."""
    return pq.read_table(io.BytesIO(storage.read(s3, BUCKET, key)))


def answer(
    s3: S3Client, model_input: str, output: str, model: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> str:
    """What a batch transform job writes: an answer a line, in the input's order (None: no line)."""
    for found in storage.list_objects(s3, BUCKET, model_input).objects:
        answers = (model(entry) for entry in json_lines(s3, found.key))
        body = b"".join(line(entry) + b"\n" for entry in answers if entry is not None)
        s3.put_object(Bucket=BUCKET, Key=f"{output}/{found.key.rsplit('/')[-1]}.out", Body=body)
    return f"s3://{BUCKET}/{output}/"
