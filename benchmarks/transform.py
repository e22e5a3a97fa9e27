"""Prepare and publish an hour, against the row-at-a-time loop (`benchmarks.row_by_row`).

Every step runs in a separate process, as Airflow's tasks do; S3 is a local moto in another process, so that
its CPU and memory do not count. The models' answers are written by a process that does not count either.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
import orjson

from benchmarks import row_by_row, tweets
from benchmarks.measure import Row, in_own_process, local_s3, report
from include.labeling.model_io import compose_sentiment_input
from include.labeling.prepare import prepare
from include.labeling.prepared import Prepared
from include.labeling.publish import publish
from include.lake import layout, storage
from include.settings import Settings

BUCKET = "bench"
LIMIT_MIB = 512
"""The memory that an hour of 900,000 tweets may take."""

_WHOLE = 20_000
"""Up to this many tweets the peer labels all of them; beyond, it is measured on `_SHARE`."""
_SHARE = 10_000


def measure(quick: bool = False) -> list[Row]:
    """The rows for this part; ``quick`` measures a tenth of the tweets and leaves out the full hour."""
    rows = []
    for count in (2_000, 25_000) if quick else (20_000, 200_000):
        # The peer takes milliseconds per tweet and treats all objects alike, so a share of many is enough.
        share = count if count <= _WHOLE else _SHARE
        with _lake(count) as environment:
            ours = _ours(environment)
            peer = in_own_process("benchmarks.transform", "peer", share, environment=environment)
        rate, peer_rate = count / ours["cpu_s"], peer["tweets"] / peer["cpu_s"]
        measured = "" if share == count else f", measured on {peer['tweets']:,} of them"
        rows.append(
            Row(
                f"prepare + publish, {count:,} tweets",
                round(rate),
                round(peer_rate),
                round(rate / peer_rate, 1),
                "tweets per CPU-second",
                round(ours["peak_mib"]),
                f"peer is a row-at-a-time loop{measured}, peak {peer['peak_mib']:.0f} MiB",
            )
        )
    if not quick:
        count = 900_000
        with _lake(count) as environment:
            ours = _ours(environment)
        rows.append(
            Row(
                f"memory of an hour of {count:,} tweets",
                round(ours["peak_mib"]),
                LIMIT_MIB,
                round(LIMIT_MIB / ours["peak_mib"], 2),
                "MiB",
                round(ours["peak_mib"]),
                f"peer is the limit; {count / ours['cpu_s']:,.0f} tweets per CPU-second",
            )
        )
    return rows


def _ours(environment: dict[str, str]) -> dict[str, float]:
    prepared = in_own_process("benchmarks.transform", "prepare", environment=environment)
    handed_over = {**environment, "BENCH_PREPARED": json.dumps(prepared["prepared"])}
    handed_over["BENCH_OUTPUT"] = in_own_process("benchmarks.transform", "model", environment=handed_over)[
        "output"
    ]
    published = in_own_process("benchmarks.transform", "publish", environment=handed_over)
    return {
        "cpu_s": prepared["cpu_s"] + published["cpu_s"],
        "peak_mib": max(prepared["peak_mib"], published["peak_mib"]),
    }


@contextlib.contextmanager
def _lake(count: int) -> Iterator[dict[str, str]]:
    """A local S3 with an hour of ``count`` tweets in raw; yields the environment for its clients."""
    with local_s3() as environment:
        in_own_process("benchmarks.transform", "upload", count, environment=environment)
        yield environment


def main() -> None:
    """One measured step; see the subcommands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["upload", "prepare", "model", "publish", "peer"])
    parser.add_argument("tweets", nargs="?", type=int, default=0)
    chosen = parser.parse_args()
    s3 = boto3.client("s3")
    settings = Settings(bucket=BUCKET)
    prefixes = [layout.raw_prefix(topic, tweets.WINDOW) for topic in tweets.TOPICS]

    def upload() -> dict[str, Any]:
        s3.create_bucket(Bucket=BUCKET)
        lines, size = tweets.upload(s3, BUCKET, chosen.tweets)
        return {"lines": lines, "bytes": size}

    def prepare_hour() -> dict[str, Any]:
        prepared = prepare(s3, settings, tweets.TOPICS, tweets.WINDOW, b"benchmark")
        prefix = compose_sentiment_input(s3, settings, prepared, None)
        return {"prepared": {**prepared.to_json(), "prefix": prepared.prefix}, "input": prefix}

    def answer() -> dict[str, Any]:
        prepared = Prepared.from_json(json.loads(os.environ["BENCH_PREPARED"]))
        for entry in storage.list_objects(s3, BUCKET, f"{prepared.prefix}sentiment/").objects:
            answers = (
                orjson.dumps(
                    {"id": orjson.loads(line)["id"], "p_negative": 0.25, "p_neutral": 0.5, "p_positive": 0.25}
                )
                for line in storage.read_lines(s3, BUCKET, entry.key)
            )
            name = entry.key.rsplit("/", 1)[-1]
            storage.put(s3, BUCKET, f"{prepared.prefix}output/{name}.out", b"\n".join(answers))
        return {"output": f"{prepared.prefix}output/"}

    def publish_hour() -> dict[str, Any]:
        prepared = Prepared.from_json(json.loads(os.environ["BENCH_PREPARED"]))
        published = publish(
            s3, settings, prepared, b"benchmark", os.environ["BENCH_OUTPUT"], "stub", None, "none"
        )
        return {"rows": sum(published.rows.values())}

    def peer() -> dict[str, Any]:
        return {"tweets": row_by_row.label_objects(s3, BUCKET, prefixes, chosen.tweets)}

    steps = {
        "upload": upload,
        "prepare": prepare_hour,
        "model": answer,
        "publish": publish_hour,
        "peer": peer,
    }
    report(steps[chosen.step])


if __name__ == "__main__":
    main()
