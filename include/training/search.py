"""The search: few points of Optuna's TPE sampler, trees that stop when they no longer help.

Points are asked two at a time, tried beside each other and told in order, so that a seed gives the same
search whatever finishes first. Stopping early looks at the validation rows, and so does the score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import optuna
from pyspark.ml import Model
from pyspark.sql import DataFrame
from xgboost.spark import SparkXGBClassifier

from include.training.features import FEATURES
from include.training.metrics import Confusion, scores

_AT_ONCE = 2
_MOST_TREES = 300
_PATIENCE = 10
_FIRST = {
    "max_depth": 5,
    "learning_rate": 0.3,
    "min_child_weight": 3.0,
    "subsample": 0.9,
    "colsample_bytree": 0.8,
}
"""Where every search begins: what is good in most cases."""


@dataclass(frozen=True)
class Trial:
    """One point of the search, its score on the validation rows and the model."""

    number: int
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    model: Model


def search(
    rows: DataFrame, trials: int, seed: int, record: Callable[[Trial], None] = lambda _: None
) -> Trial:
    """The trial with the best macro-F1 on the validation rows; of equals the first.

    ``rows`` are one sorted, cached partition with ``features, label, validation``.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(_FIRST)
    validation = rows.where("validation").cache()
    best: Trial | None = None
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for start in range(0, trials, _AT_ONCE):
            asked = [study.ask() for _ in range(min(_AT_ONCE, trials - start))]
            points = [(each.number, _point(each)) for each in asked]
            done = list(threads.map(lambda point: _try(rows, validation, point[0], point[1], seed), points))
            for asked_trial, trial in zip(asked, done, strict=True):
                study.tell(asked_trial, trial.metrics["validation_macro_f1"])
                record(trial)
                if best is None or _score(trial) > _score(best):
                    best = trial
    validation.unpersist()
    assert best is not None
    return best


def _score(trial: Trial) -> float:
    return trial.metrics["validation_macro_f1"]


def _point(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "max_depth": trial.suggest_int("max_depth", 3, 8),
        "learning_rate": trial.suggest_float("learning_rate", 0.1, 0.5, log=True),
        "min_child_weight": trial.suggest_float("min_child_weight", 1.0, 20.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.6, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.5, 1.0),
    }


def _try(
    rows: DataFrame, validation: DataFrame, number: int, parameters: Mapping[str, Any], seed: int
) -> Trial:
    model = SparkXGBClassifier(
        features_col=FEATURES,
        label_col="label",
        validation_indicator_col="validation",
        num_workers=1,
        device="cpu",
        tree_method="hist",
        # Most terms are in few texts: zeros are left out, and mean the same in training and prediction.
        missing=0.0,
        enable_sparse_data_optim=True,
        n_estimators=_MOST_TREES,
        early_stopping_rounds=_PATIENCE,
        eval_metric="mlogloss",
        verbosity=0,
        random_state=seed,
        **parameters,
    ).fit(rows)
    found = scores(confusion(model.transform(validation)))
    metrics = {f"validation_{name}": value for name, value in found.items()}
    return Trial(number, parameters, metrics, model)


def confusion(judged: DataFrame) -> Confusion:
    """Rows with ``label`` and ``prediction``, counted by both."""
    counted = judged.groupBy("label", "prediction").count().collect()
    return {(int(row["label"]), int(row["prediction"])): int(row["count"]) for row in counted}
