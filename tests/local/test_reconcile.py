"""What became of every post: journal, lake and the streamer's own records held against each other."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.proof.reconcile import (
    Evidence,
    Span,
    alive,
    journal,
    lake_posts,
    outages,
    reconcile,
    sent_posts,
)


def at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def connect(session: str, ms: int) -> dict[str, Any]:
    return {"kind": "session", "event": "connect", "session": session, "at": at(ms), "last_byte_at": None}


def beat(session: str, ms: int, connected: bool = True) -> dict[str, Any]:
    return {"kind": "heartbeat", "session": session, "connected": connected, "last_byte_at": at(ms)}


def end(session: str, event: str, ms: int) -> dict[str, Any]:
    return {"kind": "session", "event": event, "session": session, "at": at(ms + 9), "last_byte_at": at(ms)}


class TestAlive:
    def test_from_a_connect_over_heartbeats_to_the_last_byte(self) -> None:
        records = [
            connect("a", 1_000),
            beat("a", 5_000),
            beat("a", 9_000),
            end("a", "disconnect", 10_000),
            connect("a", 60_000),
            end("a", "stop", 70_000),
        ]
        assert alive(records) == [(1_000, 10_000), (60_000, 70_000)]
        assert outages(alive(records), 500, 70_000) == [(500, 1_000), (10_000, 60_000)]
        assert outages([], 500, 600) == [(500, 600)]

    def test_a_killed_session_lived_to_its_last_heartbeat(self) -> None:
        records = [connect("a", 0), beat("a", 5_000), connect("b", 8_000), beat("b", 9_000)]
        assert alive(records) == [(0, 5_000), (8_000, 9_000)]

    def test_signs_of_life_too_far_apart_prove_nothing_between_them(self) -> None:
        assert alive([connect("a", 0), beat("a", 50_000), beat("a", 60_000)]) == [(50_000, 60_000)]

    def test_a_streamer_that_is_not_connected_is_not_alive(self) -> None:
        assert alive([connect("a", 0), beat("a", 5_000), beat("a", 9_000, connected=False)]) == [(0, 5_000)]

    def test_streamers_beside_each_other_add_up(self) -> None:
        records = [connect("a", 0), beat("a", 5_000), connect("b", 4_000), beat("b", 9_000)]
        assert alive(records) == [(0, 9_000)]


class TestReconcile:
    SPANS: tuple[Span, ...] = ((0, 10_000), (20_000, 30_000))

    @staticmethod
    def lake(*ids: int) -> dict[int, Counter[str]]:
        return {post_id: Counter({"raw/topic=a/dt=d/hour=00": 1}) for post_id in ids}

    def test_a_post_sent_in_an_outage_is_declared_missing_and_any_other_is_not(self) -> None:
        sent = {1: [5_000], 2: [15_000], 3: [25_000], 4: [40_000]}
        result = reconcile(sent, self.lake(1), self.SPANS)
        assert (result.sent, result.in_lake) == (4, 1)
        assert (result.declared_missing, result.undeclared_missing) == (2, 1)
        assert result.missing == {2, 3, 4}

    def test_what_was_under_way_at_an_outages_edge_belongs_to_it(self) -> None:
        sent = {1: [9_500], 2: [20_500], 3: [8_500], 4: [21_500]}
        result = reconcile(sent, {}, self.SPANS)
        assert (result.declared_missing, result.undeclared_missing) == (2, 2)

    def test_a_post_sent_twice_must_be_there_if_one_of_the_times_was_seen(self) -> None:
        assert reconcile({1: [5_000, 15_000]}, {}, self.SPANS).undeclared_missing == 1

    def test_duplicates_in_an_hour_are_counted_apart_from_those_that_stay(self) -> None:
        lake = {1: Counter({"raw/a": 2}), 2: Counter({"raw/a": 1, "raw/b": 1}), 3: Counter({"raw/a": 1})}
        result = reconcile({}, lake, self.SPANS)
        assert (result.delivered_twice, result.duplicated) == (1, 1)

    def test_a_post_that_cannot_be_used_is_in_the_lake_but_set_aside(self) -> None:
        lake = {1: Counter({"quarantine/topic=a/dt=d/hour=00": 1}), **self.lake(2)}
        result = reconcile({1: [5_000], 2: [5_000]}, lake, self.SPANS)
        assert (result.in_lake, result.set_aside, result.duplicated) == (2, 1, 0)

    def test_a_stretch_of_the_journal_is_settled_by_itself(self) -> None:
        sent = {1: [5_000], 2: [6_000, 50_000], 3: [25_000]}
        evidence = Evidence(sent, self.lake(1, 3), self.SPANS)
        result = evidence.settled(5_500, 20_000)
        assert (result.sent, result.in_lake, result.undeclared_missing) == (1, 0, 1)
        assert evidence.settled().sent == 3


def test_only_whole_posts_of_the_stream_are_owed(tmp_path: Path) -> None:
    path = tmp_path / "journal.ndjson"
    path.write_text(
        '{"at":1,"connection":"a","kind":"keep_alive","bytes":2,"whole":true}\n'
        '{"at":2,"connection":"a","kind":"post","id":"11","tags":["a"],"bytes":9,"whole":true}\n'
        '{"at":3,"connection":"a","kind":"post","id":"12","tags":["a"],"bytes":4,"whole":false}\n'
        '{"at":4,"kind":"search","ids":["13"]}\n'
        '{"at":5,"connection":"b","kind":"post","id":"11","tags":["a"],"bytes":9,"whole":true}\n'
        '{"at":6,"connec'
    )
    assert sent_posts(journal(path)) == {11: [2, 5]}


class Bucket:
    """Objects as an S3 client gives them."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, Bucket: str, Prefix: str) -> Any:  # noqa: N803
        yield {"Contents": [{"Key": key} for key in self.contents if key.startswith(Prefix)]}

    def get_object(self, Bucket: str, Key: str) -> Any:  # noqa: N803
        return {"Body": io.BytesIO(gzip.compress(self.contents[Key]))}


def test_a_post_is_found_in_raw_in_quarantine_and_in_a_whole_record_that_firehose_set_aside() -> None:
    one, two, three = (json.dumps({"data": {"id": str(number)}}).encode() for number in (1, 2, 3))
    record = two + b"\n" + b'{"kind":"heartbeat"}\n' + three + b"\n"
    envelope = json.dumps({"rawData": base64.b64encode(record).decode()}).encode()
    bucket: Any = Bucket(
        {
            "raw/a/x.gz": one + b"\n\n" + two + b"\n\n",
            "quarantine/a/x.gz": b'{"tweet_id":"4"}\n{"tweet_id":null}\n',
            "delivery-errors/a/x.gz": envelope + b"\n",
        }
    )
    assert lake_posts(bucket, "lake") == {
        1: {"raw/a": 1},
        2: {"raw/a": 1, "delivery-errors/a": 1},
        3: {"delivery-errors/a": 1},
        4: {"quarantine/a": 1},
    }
