"""Drawn and judged tweets for the tests of the audit."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from types_boto3_s3 import S3Client

from include.audit import records
from include.audit.wave import Wave
from include.lake import layout
from include.lake.schemas import LABELED
from include.settings import Settings
from include.window import Window
from include.x.snowflake import lowest_id

KEY = b"a key of the tests"
TOPICS = ("ukraine", "russia")
HOUR = Window.parse("2026-11-20T05")
WAVE = Wave.of(HOUR.start.date())
NOW = datetime(2026, 11, 24, 5, tzinfo=UTC)
SETTINGS = Settings(bucket="lake", audit_tweets=300, audit_language_tweets=20)
LATER = NOW + timedelta(hours=1)


def label(
    s3: S3Client, topic: str = "ukraine", hour: Window = HOUR, count: int = 400, **columns: Any
) -> None:
    first = lowest_id(hour.start) + TOPICS.index(topic) * 1_000_000
    rows = [
        {
            "tweet_id": first + number,
            "text": f"Text {number} of {topic} & more https://t.co/{number}",
            "lang": "en" if number % 4 else "de",
            "sentiment": "Positive",
            "sentiment_engine": "ngram-1",
            "p_negative": 0.1,
            "p_neutral": 0.2,
            "p_positive": 0.7,
            "sample": 50,
            **columns,
        }
        for number in range(count)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=LABELED), sink)
    s3.put_object(Bucket="lake", Key=layout.labeled_key(topic, hour), Body=sink.getvalue())


def draw(s3: S3Client, **changes: Any) -> records.Draw:
    given: dict[str, Any] = {"now": NOW, "tweets": None, **changes}
    return records.draw(s3, SETTINGS, TOPICS, WAVE, KEY, given["now"], given["tweets"])


def rows(s3: S3Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = records.read_drawn(s3, "lake", WAVE).to_pylist()
    return found


def judged(s3: S3Client) -> dict[tuple[int, str], str]:
    return {
        (row["tweet_id"], row["person"]): row["judgment"]
        for row in records.read_judged(s3, "lake", WAVE).to_pylist()
    }
