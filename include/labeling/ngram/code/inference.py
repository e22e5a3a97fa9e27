"""The embedded sentiment model behind SageMaker's handler functions.

Answers `{"id", "p_negative", "p_neutral", "p_positive"}`; see `serving` for the rest of the contract.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ngram_model import NgramModel, load  # type: ignore[import-not-found]
from serving import input_fn, output_fn, probability_answers  # type: ignore[import-not-found]

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]


def model_fn(model_dir: str) -> NgramModel:
    """Read the artifact's weights; `FileNotFoundError` or `KeyError` where it is no such artifact."""
    return load(Path(model_dir))


def predict_fn(data: list[dict[str, Any]], model: NgramModel) -> list[dict[str, Any]]:
    """Score what `input_fn` gave, in its order; records with an `error` are passed on as they are."""
    answers: list[dict[str, Any]] = probability_answers(data, model.probabilities)
    return answers
