"""Runs inside the ml environment: one Spark session that does a step a line, as a job cluster would.

Reads ``step --name=value …`` lines and answers each with one line of JSON behind ``answer: ``; the step
``table`` gives the rows of the Delta table, and ``impatient`` lets its VACUUM remove what is unused at once.
"""

from __future__ import annotations

import json
import sys
import traceback


def main() -> None:
    from include.training.steps import run

    for line in sys.stdin:
        step, *arguments = line.split()
        try:
            own = {"table": table, "impatient": impatient}.get(step)
            answer = own(arguments[0]) if own else run(step, arguments)
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


def impatient(bucket: str) -> None:
    from pyspark.sql import SparkSession

    from include.training.sync import location

    SparkSession.builder.getOrCreate().sql(
        f"ALTER TABLE delta.`{location(bucket)}`"
        " SET TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 0 hours')"
    )


if __name__ == "__main__":
    main()
