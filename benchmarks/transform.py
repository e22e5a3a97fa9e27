"""Prepare and publish an hour, against the row-at-a-time loop (`benchmarks.row_by_row`).

Every step runs in a separate process, as Airflow's tasks do; S3 is a local moto in another process, so that
its CPU and memory do not count. The models' answers are written by a process that does not count either. Ours
and its peer take turns, each on an empty lake, and the median of each counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import orjson

from benchmarks import row_by_row, tweets
from benchmarks.measure import REPETITIONS, Row, Runs, in_own_process, local_s3, report
from include.labeling import jobs
from include.labeling.model_io import compose_sentiment_input
from include.labeling.models import SENTIMENT, TRANSLATION, Model
from include.labeling.prepare import prepare
from include.labeling.prepared import Prepared
from include.labeling.publish import publish
from include.lake import layout, storage
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "bench"
LIMIT_MIB = 512
"""The memory that an hour of 900,000 tweets may take."""

_SMALL_HOUR = 1_000
"""Tweets of an hour whose model calls are counted."""
_MILLION = 1_000_000
_SHARE = 4_000
"""The peer takes milliseconds per tweet and treats all raw objects alike, so one of them is enough."""


def measure(quick: bool = False) -> list[Row]:
    """The rows for this part; ``quick`` measures a tenth of the tweets and leaves out the full hour."""
    rows = [_model_calls()]
    counts, repetitions = ((2_000, 25_000), 1) if quick else ((20_000, 200_000), REPETITIONS)
    for count in counts:
        turns = [_turn(count) for _ in range(repetitions)]
        ours, peer = (Runs.of(runs) for runs in zip(*turns, strict=True))
        rows.append(
            Row(
                f"prepare + publish, {count:,} tweets",
                round(ours.rate),
                round(peer.rate),
                round(ours.rate / peer.rate, 1),
                "tweets per CPU-second",
                round(ours.peak_mib),
                f"peer is a row-at-a-time loop, measured on {turns[0][1]['tweets']:,} of them, peak"
                f" {peer.peak_mib:.0f} MiB; medians of {repetitions}: ours {ours.spread}, peer {peer.spread}",
            )
        )
    if not quick:
        count = 900_000
        with _lake(count) as environment:
            hour = _ours(environment, count)
        rows.append(
            Row(
                f"memory of an hour of {count:,} tweets",
                round(hour["peak_mib"]),
                LIMIT_MIB,
                round(LIMIT_MIB / hour["peak_mib"], 2),
                "MiB",
                round(hour["peak_mib"]),
                f"peer is the limit; {count / hour['cpu_s']:,.0f} tweets per CPU-second",
            )
        )
    return rows


def _model_calls() -> Row:
    with _lake(_SMALL_HOUR) as environment:
        counted = in_own_process("benchmarks.transform", "calls", environment=environment)
    ours, peer = (
        round(counted[name] / _SMALL_HOUR * _MILLION) for name in ("calls", "one_a_tweet_and_model")
    )
    return Row(
        f"model calls per million tweets, hours of {_SMALL_HOUR:,}",
        ours,
        peer,
        round(peer / ours, 1),
        "calls",
        round(counted["peak_mib"]),
        f"requests of both transform jobs, translation ({counted['translation']:,} tweets) and sentiment"
        f" ({counted['sentiment']:,}), split as the local SageMaker splits their input; peer is one call a"
        " tweet and model",
    )


def _turn(count: int) -> tuple[dict[str, float], dict[str, float]]:
    """One run of ours and one of the peer's share, on the same new hour."""
    with _lake(count) as environment:
        peer = in_own_process("benchmarks.transform", "peer", min(count, _SHARE), environment=environment)
        return _ours(environment, count), peer


def _ours(environment: dict[str, str], count: int) -> dict[str, float]:
    prepared = in_own_process("benchmarks.transform", "prepare", environment=environment)
    handed_over = {**environment, "BENCH_PREPARED": json.dumps(prepared["prepared"])}
    handed_over["BENCH_OUTPUT"] = in_own_process("benchmarks.transform", "model", environment=handed_over)[
        "output"
    ]
    published = in_own_process("benchmarks.transform", "publish", environment=handed_over)
    return {
        "tweets": count,
        "cpu_s": prepared["cpu_s"] + published["cpu_s"],
        "peak_mib": max(prepared["peak_mib"], published["peak_mib"]),
    }


@contextlib.contextmanager
def _lake(count: int) -> Iterator[dict[str, str]]:
    """A local S3 with an hour of ``count`` tweets in raw; yields the environment for its clients."""
    with local_s3() as environment:
        in_own_process("benchmarks.transform", "upload", count, environment=environment)
        yield environment


def _payloads(s3: S3Client, settings: Settings, stage: str, prefix: str) -> list[bytes]:
    """The requests that a model gets for an input: the transform job as planned, split by the local AWS."""
    from local.aws.sagemaker import Plan  # loads moto, whose memory is no part of the other steps

    inputs = jobs.list_job_objects(s3, settings.bucket, prefix)
    model = Model(stage, stage, stage, "s3://bench/model.tar.gz", "0" * 64, None)
    planned = jobs.plan(settings, tweets.WINDOW, model, prefix, inputs).request
    plan = Plan.of(
        {
            "transform_input": planned["TransformInput"],
            "transform_output": planned["TransformOutput"],
            "batch_strategy": planned["BatchStrategy"],
            "max_payload_in_mb": planned["MaxPayloadInMB"],
            "max_concurrent_transforms": planned["MaxConcurrentTransforms"],
        }
    )
    return [body for key, _ in inputs for body in plan.payloads(storage.read(s3, settings.bucket, key))]


def main() -> None:
    """One measured step; see the subcommands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["upload", "prepare", "calls", "model", "publish", "peer"])
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

    def count_calls() -> dict[str, Any]:
        prepared = prepare(s3, settings, tweets.TOPICS, tweets.WINDOW, b"benchmark")
        prefixes = {
            TRANSLATION: prepared.translation_input,
            SENTIMENT: compose_sentiment_input(s3, settings, prepared, None),
        }
        payloads = {stage: _payloads(s3, settings, stage, prefix) for stage, prefix in prefixes.items()}
        asked = {stage: sum(body.count(b"\n") for body in bodies) for stage, bodies in payloads.items()}
        return {
            **asked,
            "calls": sum(map(len, payloads.values())),
            "one_a_tweet_and_model": sum(asked.values()),
        }

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
        "calls": count_calls,
        "model": answer,
        "publish": publish_hour,
        "peer": peer,
    }
    report(steps[chosen.step])


if __name__ == "__main__":
    main()
