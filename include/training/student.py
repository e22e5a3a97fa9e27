"""The student: a model of labeled texts, as one pipeline that reads ``text`` and ``lang``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.ml import Model, PipelineModel, Transformer
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import DataFrame, SparkSession, functions

from include.training import data, features, linear
from include.training.metrics import scores
from include.training.search import Table, Trial, confusion, grow, search


@dataclass(frozen=True)
class Student:
    """The model, its trees' parameters, and its scores on the validation and the hold-out rows."""

    pipeline: PipelineModel
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class PreparedRows:
    """The trees' training rows, and the stages that make the same features from a text."""

    stages: Sequence[Transformer]
    table: Table
    splits: npt.NDArray[np.object_]

    def part(self, split: str) -> Table:
        """The rows of one part of the split."""
        return self.table.where(self.splits == split)


def learn(
    rows: DataFrame, trials: int, seed: int, record: Callable[[Trial], None] = lambda _: None
) -> Student:
    """Trains on rows with ``tweet_id, text, lang, label, split, fold``; the same rows, the same student."""
    prepared = prepare(rows, seed)
    trees, best, metrics = select(rows.sparkSession, prepared, trials, seed, record)
    return Student(PipelineModel([*prepared.stages, trees]), best, metrics)


def select(
    spark: SparkSession,
    prepared: PreparedRows,
    trials: int,
    seed: int,
    record: Callable[[Trial], None] = lambda _: None,
) -> tuple[Model, Mapping[str, Any], Mapping[str, float]]:
    """The best trees of a search, their parameters and their scores."""
    learned = prepared.part(data.LEARNED)
    best = search(learned, prepared.part(data.VALIDATION), trials, seed, record)
    trees = grow(_frame(spark, learned), best.parameters, seed)
    held = scores(confusion(trees.transform(_frame(spark, prepared.part(data.HOLDOUT)))))
    return (
        trees,
        best.parameters,
        {**best.metrics, **{f"holdout_{name}": value for name, value in held.items()}},
    )


def prepare(rows: DataFrame, seed: int) -> PreparedRows:
    """The features of rows with ``tweet_id, text, lang, label, split, fold``, sorted by id.

    Texts are read on Spark; their numbers come to the driver, which learns the linear scores from them.
    """
    spark = rows.sparkSession
    # Databricks' default: without it, rows come to the driver one by one.
    spark.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    reader = features.reader(rows)
    indices = (functions.unwrap_udt(name).getField("indices").alias(name) for name in features.HASHED)
    read = reader.transform(rows.repartition(spark.sparkContext.defaultParallelism, "tweet_id")).select(
        "tweet_id",
        functions.col("label").cast("long").alias("label"),
        "split",
        "fold",
        *indices,
        vector_to_array(features.READ).alias("read"),
        functions.col(features.SPOKEN)[0].alias("lang"),
    )
    found = read.toPandas().sort_values("tweet_id", ignore_index=True)
    labels, folds = found["label"].to_numpy(np.int64), found["fold"].to_numpy(np.int64)
    columns, learned = [], []
    for name in features.HASHED:
        hashed = linear.hashed(found.pop(name).tolist(), features.BUCKETS)
        scored, taught = linear.out_of_fold(hashed, labels, folds, seed)
        columns.append(scored)
        learned.append(taught)
    languages = sorted(set(found["lang"]))
    spoken = found["lang"].to_numpy()[:, None] == np.array(languages)
    table = Table(np.hstack([*columns, np.stack(found["read"].tolist()), spoken]), labels)
    stages = [*reader.stages, *features.scorer(learned, languages)]
    return PreparedRows(stages, table, found["split"].to_numpy(object))


def _frame(spark: SparkSession, table: Table) -> DataFrame:
    """A table as one partition in its order, so that the trees see the same rows in the same order."""
    rows = pd.DataFrame(
        {
            "number": np.arange(len(table.labels)),
            "label": table.labels.astype(float),
            "weight": table.weights,
            "values": list(table.features),
        }
    )
    frame = spark.createDataFrame(rows, "number long, label double, weight double, values array<double>")
    # Trees are grown in a barrier stage, which reads no coalesced partitions.
    whole = frame.repartition(1).sortWithinPartitions("number").cache()
    return whole.select("label", "weight", array_to_vector("values").alias(features.FEATURES))
