"""The step gate: the candidate becomes champion only if it is better, by people or on the same hold-out.

Where people have judged enough tweets to tell both models apart, they decide (`include.training.people`).

The hold-out is a fixed tenth of all texts by a hash of their content, so neither model was trained on it, and
both are evaluated on its current rows. Tags on the version say why it was promoted or not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, SparkSession, functions

from include.training import data, hours, people
from include.training.decision import NO_JUDGMENTS, decide_promotion
from include.training.errors import TrainingRejectedError
from include.training.metrics import scores
from include.training.parameters import Parameters
from include.training.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from include.training.search import confusion

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GateResult:
    """The decision about the candidate, and its scores on the hold-out."""

    version: int
    alias: str
    promoted: bool
    reason: str
    metrics: dict[str, float]


def gate(spark: SparkSession, s3: S3Client, parameters: Parameters) -> GateResult:
    """Promotes the version registered by train, or gives it the alias `challenger`.

    Raises `TrainingRejectedError` if train has registered none.
    """
    trained = hours.read_outcome(s3, parameters.bucket, "train")
    if trained.get("rejected"):
        raise TrainingRejectedError(trained["rejected"])
    registry = Registry(parameters.model, parameters.experiment)
    candidate = registry.version(trained["version"])
    champion = registry.aliased(CHAMPION)
    if champion and champion.number == candidate.number:
        reason = candidate.tags.get("gate_reason", "it is the champion")
        return GateResult(candidate.number, CHAMPION, True, reason, _kept(candidate))
    synced = hours.read_synced(s3, parameters.bucket)
    holdout = (
        data.rows(spark, parameters)
        .where(functions.col("split") == data.HOLDOUT)
        .select("text", "lang", "label")
        .cache()
    )
    theirs = _judge(registry, champion, holdout) if champion else None
    if candidate.tags.get("data") == synced.digest:
        ours = _of_holdout(trained["metrics"])  # train has judged it on these very rows
    else:
        ours = _judge(registry, candidate, holdout)
    holdout.unpersist()
    paired = (
        people.compare(spark, s3, parameters, registry, candidate, champion) if champion else NO_JUDGMENTS
    )
    ours |= paired.scores()
    decision = decide_promotion(ours, theirs, parameters.margin, paired)
    alias = CHAMPION if decision.promoted else CHALLENGER
    registry.tag(
        candidate,
        {
            "gate": alias,
            "gate_reason": decision.reason,
            **{f"gate_{name}": f"{value:.6f}" for name, value in ours.items()},
        },
    )
    registry.set_alias(alias, candidate)
    if decision.promoted:
        registry.drop_alias(CHALLENGER)
    log.info("gate version=%d promoted=%s reason=%s", candidate.number, decision.promoted, decision.reason)
    return GateResult(candidate.number, alias, decision.promoted, decision.reason, ours)


def _of_holdout(metrics: Mapping[str, float]) -> dict[str, float]:
    prefix = "holdout_"
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def _judge(registry: Registry, version: ModelVersion, holdout: DataFrame) -> dict[str, float]:
    return scores(confusion(registry.load(version).transform(holdout)))


def _kept(version: ModelVersion) -> dict[str, float]:
    """The scores that an earlier gate has added to a version."""
    tags = (
        (name.removeprefix("gate_"), value) for name, value in version.tags.items() if name != "gate_reason"
    )
    names = {"rows", "accuracy", "macro_f1"}
    return {
        name: float(value) for name, value in tags if name in names or name.startswith(("f1_", "people_"))
    }
