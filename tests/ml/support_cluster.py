"""Runs inside the ml environment: one Spark session that does a step a line, as a job cluster would.

Reads ``step --name=value …`` lines and answers each with one line of JSON behind ``answer: ``; the step
``table`` gives the rows of the Delta table, ``loaded`` what a registered version scores on the hold-out,
``overtaken`` is a sync that finds an object replaced, and ``killed`` one that ends before its last note.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any


def main() -> None:
    from include.training.steps import run

    for line in sys.stdin:
        step, *arguments = line.split()
        try:
            answer = OWN[step](*arguments) if step in OWN else run(step, arguments)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(f"answer: {json.dumps(answer)}", flush=True)


def table(bucket: str) -> list[list[object]]:
    from pyspark.sql import SparkSession

    from include.training.sync import location

    rows = SparkSession.builder.getOrCreate().read.format("delta").load(location(bucket))
    return sorted(
        list(row) for row in rows.select("topic", "hour", "tweet_id", "sentiment", "text").collect()
    )


def loaded(bucket: str, model: str, version: str) -> dict[str, float]:
    from pyspark.sql import SparkSession

    from include.training import data
    from include.training.metrics import scores
    from include.training.parameters import Parameters
    from include.training.registry import Registry
    from include.training.search import confusion

    registry = Registry(model, "/tests")
    rows = data.rows(SparkSession.builder.getOrCreate(), Parameters(bucket=bucket))
    held = rows.where(rows["split"] == data.HOLDOUT).select("text", "lang", "label")
    return scores(confusion(registry.load(registry.version(int(version))).transform(held)))


def overtaken(key: str, between: str, later: str, *arguments: str) -> dict[str, object]:
    """The step sync while the object ``between`` replaces the object ``key``, and then ``later`` does.

    ``between`` comes after Spark has asked for the sizes of what it reads, ``later`` before the next listing.
    """
    from unittest.mock import patch

    from include import aws
    from include.training import hours, sync
    from include.training.parameters import Parameters
    from include.training.steps import run

    s3, bucket = aws.client("s3"), Parameters.parse(arguments).bucket
    read, listed, reads = sync._rows, hours.labeled, list[str]()

    def rows(*given: Any) -> Any:
        found = read(*given)
        reads.append(key)
        if len(reads) == 1:
            s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": between})
        return found

    def labeled(*given: Any) -> Any:
        if reads:
            s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": later})
        return listed(*given)

    with patch.object(sync, "_rows", rows), patch.object(hours, "labeled", labeled):
        return {**run("sync", arguments), "reads": len(reads)}


def killed(*arguments: str) -> dict[str, object]:
    """The step sync, which ends when the table is written, before it notes the states of its hours."""
    from unittest.mock import patch

    from include.training import hours
    from include.training.steps import run

    write = hours.write_synced

    def end(s3: Any, bucket: str, synced: hours.Synced) -> None:
        if all(synced.hours.values()):
            raise InterruptedError
        write(s3, bucket, synced)

    with patch.object(hours, "write_synced", end):
        try:
            return run("sync", arguments)
        except InterruptedError:
            return {}


OWN: dict[str, Callable[..., object]] = {
    "table": table,
    "loaded": loaded,
    "overtaken": overtaken,
    "killed": killed,
}

if __name__ == "__main__":
    main()
