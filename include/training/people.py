"""People's judgments of audited tweets, with which the gate compares two models.

The teacher's labels are what a student learns, errors and all; people's are what it is for.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession, functions

from include.lake import layout, storage
from include.lake.schemas import AUDIT_JUDGED, SENTIMENTS
from include.training.decision import NO_JUDGMENTS, Paired
from include.training.parameters import Parameters
from include.training.registry import ModelVersion, Registry
from include.training.sync import location

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


def judgments(s3: S3Client, bucket: str) -> dict[int, int]:
    """The sentiment that people give a tweet, an index into `SENTIMENTS`, by the tweet's id.

    A tweet of which nobody can tell, or about which people are divided, is left out.
    """
    given: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for found in storage.list_objects(s3, bucket, layout.AUDIT_JUDGED_PREFIX).objects:
        content = storage.read(s3, bucket, found.key, found.etag)
        for row in pq.read_table(io.BytesIO(content), schema=AUDIT_JUDGED).to_pylist():
            if row["judgment"] in SENTIMENTS:
                given[row["tweet_id"]][row["judgment"]] += 1
    agreed = {}
    for tweet_id, counts in given.items():
        (first, most), *others = counts.most_common(2)
        if not others or others[0][1] < most:
            agreed[tweet_id] = SENTIMENTS.index(first)
    return agreed


def compare(
    spark: SparkSession,
    s3: S3Client,
    parameters: Parameters,
    registry: Registry,
    candidate: ModelVersion,
    champion: ModelVersion,
) -> Paired:
    """How often either model alone says what people say, over the judged tweets that have not expired."""
    judged = judgments(s3, parameters.bucket)
    if not judged:
        return NO_JUDGMENTS
    labels = [(tweet_id, float(label)) for tweet_id, label in judged.items()]
    truth = spark.createDataFrame(labels, "tweet_id long, truth double")
    texts = (
        spark.read.format("delta")
        .load(location(parameters.bucket))
        .join(functions.broadcast(truth), "tweet_id")
        .where(functions.length(functions.trim("text")) > 0)
        .select("tweet_id", "text", "lang", "truth")
        .cache()
    )
    ours, theirs = (_right(registry, version, texts) for version in (candidate, champion))
    texts.unpersist()
    return Paired(
        rows=len(ours),
        both=sum(ours[tweet] and theirs[tweet] for tweet in ours),
        candidate_only=sum(ours[tweet] and not theirs[tweet] for tweet in ours),
        champion_only=sum(theirs[tweet] and not ours[tweet] for tweet in ours),
    )


def _right(registry: Registry, version: ModelVersion, texts: DataFrame) -> dict[int, bool]:
    """Whether a model says what people say, by tweet."""
    told = registry.load(version).transform(texts)
    return {row["tweet_id"]: row["prediction"] == row["truth"] for row in told.collect()}
