"""Reconciles X's journal of what it sent with the lake and the streamer's own records.

A post that is not in the lake is declared missing if it was sent while, by session records and heartbeats, no
streamer was receiving; any other is undeclared, which must never happen.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ADJACENT_MS = 45_000
"""How far apart two signs of life of one session may lie (include/coverage/evidence.py)."""

UNDER_WAY_MS = 1_000
"""How long a line may be on its way from X's socket to ours: outages are that much wider at both ends."""

_RAW = "raw/"

Span = tuple[int, int]
"""A time range, milliseconds since 1970."""


@dataclass(frozen=True)
class Reconciled:
    """Numbers of posts, each id once; ``duplicated`` ones are in more than one topic or hour of raw."""

    sent: int
    in_lake: int
    set_aside: int
    """Of those in the lake: not in raw, but in quarantine or among Firehose's errors."""
    declared_missing: int
    undeclared_missing: int
    duplicated: int
    delivered_twice: int
    """Ids that are more than once in one hour of raw: the transformation keeps one of them."""
    missing: frozenset[int]


@dataclass(frozen=True)
class Evidence:
    """What X sent (`sent_posts`), what the lake has of it (`lake_posts`), and when the streamer was alive."""

    sent: Mapping[int, Sequence[int]]
    lake: Mapping[int, Counter[str]]
    spans: Sequence[Span]

    def settled(self, since: float = -math.inf, until: float = math.inf) -> Reconciled:
        """Reconciles the posts that X sent in ``[since, until)``, milliseconds since 1970."""
        sent = {
            post_id: within
            for post_id, times in self.sent.items()
            if (within := [at for at in times if since <= at < until])
        }
        lake = {post_id: self.lake[post_id] for post_id in sent if post_id in self.lake}
        return reconcile(sent, lake, self.spans)


def journal(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of X's journal, without an incomplete last one."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def sent_posts(entries: Iterable[Mapping[str, Any]]) -> dict[int, list[int]]:
    """The posts that were sent whole on the stream: id to the times, in milliseconds since 1970."""
    sent: dict[int, list[int]] = defaultdict(list)
    for entry in entries:
        if entry["kind"] == "post" and entry["whole"]:
            sent[int(entry["id"])].append(entry["at"])
    return sent


def lake_lines(s3: S3Client, bucket: str, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every line under a prefix with its object's folder."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", ()):
            key = found["Key"]
            content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            for line in gzip.decompress(content).splitlines():
                if line.strip():
                    yield key.rpartition("/")[0], json.loads(line)


def lake_posts(s3: S3Client, bucket: str) -> dict[int, Counter[str]]:
    """Every post of raw, of quarantine and of Firehose's errors: id to how often it lies in which folder."""
    found: dict[int, Counter[str]] = defaultdict(Counter)
    for folder, line in lake_lines(s3, bucket, _RAW):
        found[int(line["data"]["id"])][folder] += 1
    for folder, line in lake_lines(s3, bucket, "quarantine/"):
        if line["tweet_id"]:
            found[int(line["tweet_id"])][folder] += 1
    for folder, line in lake_lines(s3, bucket, "delivery-errors/"):
        # A record of the streamer holds many lines, and Firehose may set aside all or one of them.
        for record in map(json.loads, base64.b64decode(line["rawData"]).splitlines()):
            if "data" in record:
                found[int(record["data"]["id"])][folder] += 1
    return found


def alive(records: Iterable[Mapping[str, Any]]) -> list[Span]:
    """When the stream was proved to be alive, by session records and heartbeats, as coverage reads them.

    The same reading as ``sql/coverage/stretches.sql``.
    """
    signs: dict[str, set[tuple[int, bool]]] = defaultdict(set)
    for record in records:
        opens = record.get("event") == "connect"
        if not (record.get("connected") or record.get("event") in ("connect", "disconnect", "stop")):
            continue
        at = record.get("at") if opens else record.get("last_byte_at")
        if at:
            signs[record["session"]].add((_milliseconds(at), opens))
    spans = [
        (before, after)
        for found in signs.values()
        for (before, _), (after, opens) in pairwise(sorted(found))
        if not opens and after - before <= ADJACENT_MS
    ]
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def outages(spans: Sequence[Span], start: int, end: int) -> list[Span]:
    """The parts of ``[start, end)`` in which the streamer was not alive."""
    edges = [start, *(edge for span in spans for edge in span), end]
    return [(before, after) for before, after in zip(edges[::2], edges[1::2], strict=True) if before < after]


def reconcile(
    sent: Mapping[int, Sequence[int]], lake: Mapping[int, Counter[str]], spans: Sequence[Span]
) -> Reconciled:
    """Holds what was sent (`sent_posts`) against ids in the lake, by folder, and the times of life."""
    missing = frozenset(sent) - frozenset(lake)
    declared = {post_id for post_id in missing if all(_dark(at, spans) for at in sent[post_id])}
    raw = {
        post_id: [times for folder, times in folders.items() if folder.startswith(_RAW)]
        for post_id, folders in lake.items()
    }
    return Reconciled(
        sent=len(sent),
        in_lake=len(sent.keys() & lake.keys()),
        set_aside=sum(not raw[post_id] for post_id in sent.keys() & lake.keys()),
        declared_missing=len(declared),
        undeclared_missing=len(missing - declared),
        duplicated=sum(len(times) > 1 for times in raw.values()),
        delivered_twice=sum(max(times, default=0) > 1 for times in raw.values()),
        missing=missing,
    )


def _dark(at: int, spans: Sequence[Span]) -> bool:
    """Whether a time lies outside the stretches of life, or near enough to their ends."""
    place = bisect_right(spans, (at, at)) - 1
    if place < 0:
        return True
    start, end = spans[place]
    return at <= start + UNDER_WAY_MS or at >= end - UNDER_WAY_MS


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
