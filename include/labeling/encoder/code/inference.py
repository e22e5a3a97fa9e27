"""An encoder classifier (`encoder_model`) behind SageMaker's handler functions.

Answers `{"id", "p_negative", "p_neutral", "p_positive"}`; see `serving` for the rest of the contract.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from encoder_model import EncoderModel, load  # type: ignore[import-not-found]
from serving import input_fn, output_fn, probability_answers  # type: ignore[import-not-found]

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]


def model_fn(model_dir: str) -> EncoderModel:
    """Load the artifact; raises `ModelFormatError`, or what a missing or broken file raises."""
    return load(Path(model_dir))


def predict_fn(data: list[dict[str, Any]], model: EncoderModel) -> list[dict[str, Any]]:
    """Score what `input_fn` gave, in its order; records with an `error` are passed on as they are."""
    answers: list[dict[str, Any]] = probability_answers(data, lambda texts, _: model.probabilities(texts))
    return answers
