"""The peer of prepare and publish: the loop of the hobby project that this one replaces.

Object by object and tweet by tweet: one `json.loads`, one call of each model (here a stub that costs nothing)
and one row appended to a pandas frame; each raw object becomes one Parquet object. Nothing is deduplicated,
checked or quarantined.
"""

from __future__ import annotations

import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from include.lake import storage

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

COLUMNS = [
    "ts",
    "tweet_id",
    "author_id",
    "text",
    "lang",
    "country_code",
    "location",
    "tag",
    "translated_text",
    "sentiment",
    "score",
]


def translate(text: str) -> str:
    """The call of the translator, stubbed."""
    return text


def classify(text: str) -> dict[str, Any]:  # noqa: ARG001 - a stub of the same signature
    """The call of the sentiment model, stubbed."""
    return {"label": "Neutral", "score": 0.5}


def label_objects(s3: S3Client, bucket: str, prefixes: list[str], tweets: int) -> int:
    """Labels whole raw objects until ``tweets`` lines are done; returns how many were."""
    done = 0
    for prefix in prefixes:
        for entry in storage.list_objects(s3, bucket, prefix).objects:
            if done >= tweets:
                return done
            frame = pd.DataFrame(columns=COLUMNS)
            for line in gzip.decompress(storage.read(s3, bucket, entry.key)).splitlines():
                tweet = json.loads(line)
                frame = pd.concat([frame, pd.DataFrame([_row(tweet)], columns=COLUMNS)], ignore_index=True)
                done += 1
            body = io.BytesIO()
            frame.to_parquet(body, index=False)
            storage.put(s3, bucket, f"row-by-row/{entry.key}.parquet", body.getvalue())
    return done


def _row(tweet: dict[str, Any]) -> list[Any]:
    data = tweet["data"]
    user = next(user for user in tweet["includes"]["users"] if user["id"] == data["author_id"])
    country = None
    if "geo" in data:
        country = next(
            place["country_code"]
            for place in tweet["includes"]["places"]
            if place["id"] == data["geo"]["place_id"]
        )
    translated = data["text"] if data["lang"] == "en" else translate(data["text"])
    label = classify(translated)
    return [
        pd.to_datetime(data["created_at"]),
        int(data["id"]),
        int(data["author_id"]),
        data["text"],
        data["lang"],
        country,
        user.get("location"),
        tweet["matching_rules"][0]["tag"],
        translated,
        label["label"],
        label["score"],
    ]
