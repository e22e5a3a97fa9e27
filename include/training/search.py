"""The search: few points of Optuna's TPE sampler, trees that stop when they no longer help.

The features are few and fit the driver, so the points are tried there; the best one's trees are then grown
again on Spark, as a stage of the pipeline. Points are requested two at a time, tried in parallel and reported
in order, so that a seed makes the same search whichever finishes first. Early stopping uses the validation
rows, and so does the score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import xgboost
from pyspark.ml import Model
from pyspark.sql import DataFrame
from xgboost.spark import SparkXGBClassifier

from include.lake.schemas import SENTIMENTS
from include.training.features import FEATURES
from include.training.linear import Floats, balanced
from include.training.metrics import Confusion, scores

_AT_ONCE = 2
_MOST_TREES = 300
_PATIENCE = 15
_FIRST = {
    "max_depth": 4,
    "learning_rate": 0.1,
    "min_child_weight": 5.0,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
}
"""The starting point of every search, which is good in most cases."""


@dataclass(frozen=True)
class Table:
    """The trees' input: ``features`` is rows x columns, ``labels`` has one index for each row."""

    features: Floats
    labels: npt.NDArray[np.int64]

    @property
    def weights(self) -> Floats:
        """How much each row weighs (`balanced`)."""
        return balanced(self.labels)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Table:
        """Some of the rows."""
        return Table(self.features[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Trial:
    """One point of the search, with its best number of trees and its score on the validation rows."""

    number: int
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]


def search(
    learned: Table,
    validation: Table,
    trials: int,
    seed: int,
    record: Callable[[Trial], None] = lambda _: None,
) -> Trial:
    """The trial with the best macro-F1 on the validation rows; the first of equal ones."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(_FIRST)
    best: Trial | None = None
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for start in range(0, trials, _AT_ONCE):
            asked = [study.ask() for _ in range(min(_AT_ONCE, trials - start))]
            points = [(each.number, _point(each)) for each in asked]
            done = list(
                threads.map(lambda point: _try(learned, validation, point[0], point[1], seed), points)
            )
            for asked_trial, trial in zip(asked, done, strict=True):
                study.tell(asked_trial, _score(trial))
                record(trial)
                if best is None or _score(trial) > _score(best):
                    best = trial
    assert best is not None
    return best


def _score(trial: Trial) -> float:
    return trial.metrics["validation_macro_f1"]


def _point(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "max_depth": trial.suggest_int("max_depth", 3, 6),
        "learning_rate": trial.suggest_float("learning_rate", 0.05, 0.3, log=True),
        "min_child_weight": trial.suggest_float("min_child_weight", 1.0, 30.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.6, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
    }


def _try(learned: Table, validation: Table, number: int, parameters: Mapping[str, Any], seed: int) -> Trial:
    inputs, judged = (
        xgboost.DMatrix(rows.features, rows.labels, weight=rows.weights, nthread=1)
        for rows in (learned, validation)
    )
    options = {
        "objective": "multi:softprob",
        "num_class": len(SENTIMENTS),
        "eval_metric": "mlogloss",
        "tree_method": "hist",
        "nthread": 1,
        "verbosity": 0,
        "seed": seed,
        **parameters,
    }
    booster = xgboost.train(
        options,
        inputs,
        _MOST_TREES,
        evals=[(judged, "validation")],
        early_stopping_rounds=_PATIENCE,
        verbose_eval=False,
    )
    trees = booster.best_iteration + 1
    said = booster.predict(judged, iteration_range=(0, trees)).argmax(axis=1)
    counts = Counter(zip(validation.labels.tolist(), said.tolist(), strict=True))
    metrics = {f"validation_{name}": value for name, value in scores(counts).items()}
    return Trial(number, {**parameters, "n_estimators": trees}, metrics)


def grow(rows: DataFrame, parameters: Mapping[str, Any], seed: int) -> Model:
    """The trees of a trial's ``parameters``, as a stage that reads `FEATURES`.

    ``rows`` are one partition of ``features, label, weight``, in the order of the search's.
    """
    return SparkXGBClassifier(
        features_col=FEATURES,
        label_col="label",
        weight_col="weight",
        num_workers=1,
        device="cpu",
        tree_method="hist",
        verbosity=0,
        random_state=seed,
        **parameters,
    ).fit(rows)


def confusion(judged: DataFrame) -> Confusion:
    """Rows with ``label`` and ``prediction``, counted by both."""
    counted = judged.groupBy("label", "prediction").count().collect()
    return {(int(row["label"]), int(row["prediction"])): int(row["count"]) for row in counted}
