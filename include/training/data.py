"""The training rows: from the Delta table, split by a fixed hash of the tweet's text."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession, functions

from include.lake.schemas import SENTIMENTS
from include.training.errors import TrainingRejectedError
from include.training.parameters import Parameters
from include.training.sync import location

HOLDOUT, VALIDATION, LEARNED = "holdout", "validation", "learned"
"""The parts of the split: 10, 12 and 78 of 100 texts."""
FOLDS = 5
"""The number of folds of the rows outside the hold-out: each is scored by a model of the others."""
_SAME = r"lower(regexp_replace(text, '(?:https?://|@)[^ ]+|[^\\p{L}\\p{N}\\p{So}]+', ' '))"
"""The part of a text that is compared: without mentions and links."""


def rows(spark: SparkSession, parameters: Parameters) -> DataFrame:
    """``tweet_id, text, lang, label`` of the Delta table, divided by `split`.

    Labels of which the teacher is not sure enough are left out.
    """
    label = functions.expr(f"array_position(array({', '.join(map(repr, SENTIMENTS))}), sentiment) - 1")
    return split(
        spark.read.format("delta")
        .load(location(parameters.bucket))
        .where(functions.col("confidence") >= parameters.minimum_confidence)
        .where(functions.length(functions.trim("text")) > 0)
        .select("tweet_id", "text", "lang", label.cast("double").alias("label"))
    )


def split(labeled: DataFrame) -> DataFrame:
    """Rows with ``split`` and ``fold``: a text and its copies are always in the same part and fold.

    ``fold`` is -1 for the hold-out, which is never trained on.
    """
    same = functions.expr(_SAME)
    share = functions.pmod(functions.xxhash64(same), functions.lit(100))
    part = functions.when(share < 10, HOLDOUT).when(share < 22, VALIDATION).otherwise(LEARNED)
    fold = functions.pmod(functions.xxhash64(same, functions.lit("fold")), functions.lit(FOLDS))
    return labeled.withColumn("split", part).withColumn(
        "fold", functions.when(functions.col("split") == HOLDOUT, -1).otherwise(fold).cast("int")
    )


def require(counts: Mapping[tuple[str, int], int], minimum: int) -> None:
    """Raises `TrainingRejectedError` for too few rows; ``counts`` by part and label's index.

    Every sentiment needs ``minimum`` rows to train on, and a tenth of that to be evaluated on.
    """
    for part, least in ((LEARNED, minimum), (VALIDATION, minimum // 10), (HOLDOUT, minimum // 10)):
        rows = {name: counts.get((part, index), 0) for index, name in enumerate(SENTIMENTS)}
        short = [name for name, count in rows.items() if count < max(least, 1)]
        if short:
            told = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise TrainingRejectedError(
                f"too few rows of {', '.join(short)} in the part {part!r} ({told}; {max(least, 1)} each are"
                " needed): nothing was trained, the champion stays. Wait for more tweets, or lower"
                " OPINION_TRAINING_MINIMUM_ROWS."
            )
