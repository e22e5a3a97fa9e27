"""Synthetic raw lines of an hour: X's payloads in the stream's form, 1 to 1.5 KB each."""

from __future__ import annotations

import functools
import gzip
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from include.lake import layout
from include.window import Window
from include.x import snowflake

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TOPICS = ("ukraine", "russia")
WINDOW = Window(datetime(2026, 11, 20, 5, tzinfo=UTC))
LINES_PER_OBJECT = 5_000
"""The tweets of one topic in a minute of a busy stream, after which Firehose's buffer is delivered."""

_BODIES = 20_000
"""Distinct tweets before their texts are repeated, under new ids."""
_ID, _CREATED, _RECEIVED = b"@ID@", b"@CREATED@", b"@RECEIVED@"

_LANGUAGES = ("en",) * 10 + ("es", "de", "fr", "pt", "it", "ar", "hi", "uk", "ru", "tr", "und", "qme")
_WORDS = tuple(
    """people today talk about war peace help government city weather music support news story picture friends
    morning evening always never because think know want need world country money energy winter history мир
    сегодня люди война помощь новости город зима السلام اليوم الناس खबर लोग आज guerra paz ayuda hoy Krieg
    Frieden heute Leute guerre paix gens""".split()  # noqa: SIM905 - readable as one text
)
_ENTITIES = (
    "Ongoing News Story",
    "Politics",
    "Energy",
    "Volodymyr Zelensky",
    "Vladimir Putin",
    "Europe",
    "NATO",
)


def lines(topic: str, count: int, window: Window = WINDOW) -> Iterator[bytes]:
    """``count`` lines of one topic, spread evenly over the hour; every fiftieth comes a second time."""
    choice = random.Random(topic)  # noqa: S311 - synthetic data, no secret
    bodies = _bodies(topic, min(count, _BODIES))
    lowest = snowflake.lowest_id(window.start)
    span = snowflake.lowest_id(window.end) - lowest
    offset = TOPICS.index(topic)
    for number in range(count):
        tweet_id = lowest + span * number // count + offset
        at = snowflake.moment(tweet_id)
        received = at + timedelta(milliseconds=choice.randrange(800, 7_000))
        line = (
            bodies[number % len(bodies)]
            .replace(_ID, b"%d" % tweet_id)
            .replace(_CREATED, f"{at:%Y-%m-%dT%H:%M:%S}.000Z".encode())
            .replace(_RECEIVED, f"{received:%Y-%m-%dT%H:%M:%S}.{received.microsecond // 1000:03}Z".encode())
        )
        yield line
        if number % 50 == 0:
            yield line


@functools.cache
def _bodies(topic: str, count: int) -> list[bytes]:
    choice = random.Random(topic)  # noqa: S311 - synthetic data, no secret
    return [_body(topic, choice) for _ in range(count)]


def _body(topic: str, choice: random.Random) -> bytes:
    """A line with marks in place of its id and its times."""
    author = str(choice.randrange(10**6, 10**6 + 400_000) * 7919)
    others = [str(choice.randrange(10**9, 10**10)) for _ in range(choice.choice((0, 0, 1, 1, 2)))]
    words = " ".join(choice.choices(_WORDS, k=choice.randrange(8, 34)))
    data: dict[str, object] = {
        "author_id": author,
        "conversation_id": _ID.decode(),
        "created_at": _CREATED.decode(),
        "edit_history_tweet_ids": [_ID.decode()],
        "id": _ID.decode(),
        "lang": choice.choice(_LANGUAGES),
        "public_metrics": {"retweet_count": 0, "reply_count": 0, "like_count": 0, "quote_count": 0},
        "text": f"{words} #{topic} https://t.co/{choice.randrange(16**10):010x}",
    }
    if choice.random() < 0.5:
        data["context_annotations"] = [
            {
                "domain": {"id": "123", "name": "Ongoing News Story", "description": "Ongoing News Stories"},
                "entity": {"id": str(choice.randrange(10**18)), "name": name},
            }
            for name in choice.sample(_ENTITIES, k=choice.randrange(1, 4))
        ]
    users = [
        {
            "id": user,
            "name": f"User {user[-4:]}",
            "username": f"user_{user[-6:]}",
            "location": choice.choice(("Київ", "London", "Berlin, Deutschland", "somewhere", "🌍")),
            "public_metrics": {
                "followers_count": choice.randrange(100_000),
                "following_count": choice.randrange(3_000),
                "tweet_count": choice.randrange(90_000),
                "listed_count": choice.randrange(900),
            },
        }
        for user in (author, *others)
    ]
    includes: dict[str, object] = {"users": users}
    if choice.random() < 0.03:
        data["geo"] = {"place_id": "9b108a0c2513daeb"}
        includes["places"] = [{"country_code": "FI", "full_name": "Lappeenranta", "id": "9b108a0c2513daeb"}]
    return orjson.dumps(
        {
            "data": data,
            "includes": includes,
            "matching_rules": [{"id": "1526235282076483585", "tag": topic}],
            "ingest": {
                "received_at": _RECEIVED.decode(),
                "session": "b0e1c9d4",
                "rule_hash": "5d41402abc4b2a76",
                "sample": 100,
                "source": "stream",
            },
        }
    )


def upload(s3: S3Client, bucket: str, tweets: int) -> tuple[int, int]:
    """Puts an hour of ``tweets`` distinct tweets into the raw layer; returns lines and unpacked bytes."""
    written = size = 0
    for topic in TOPICS:
        stream = lines(topic, tweets // len(TOPICS))
        number = 0
        while batch := [line for line, _ in zip(stream, range(LINES_PER_OBJECT), strict=False)]:
            text = b"\n".join(batch) + b"\n"
            written += len(batch)
            size += len(text)
            s3.put_object(
                Bucket=bucket,
                Key=f"{layout.raw_prefix(topic, WINDOW)}stream-{number:04}.gz",
                Body=gzip.compress(text, compresslevel=3, mtime=0),
            )
            number += 1
    return written, size
