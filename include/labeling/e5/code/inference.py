"""N-grams and an encoder behind SageMaker's handler functions: cheap where it is easy, good where it is not.

The n-grams read every text. Where their two likeliest classes are close, the encoder reads it too, and both
models' probabilities are mixed. `cascade.json` says how close, and how they are mixed; beside it are the
files of both models (`ngram_model`, `encoder_model`).

Answers `{"id", "p_negative", "p_neutral", "p_positive"}`; see `serving` for the rest of the contract.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import encoder_model  # type: ignore[import-not-found]
import ngram_model  # type: ignore[import-not-found]
import numpy as np
import numpy.typing as npt
from serving import input_fn, output_fn, probability_answers  # type: ignore[import-not-found]

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]

_LEAST = 1e-9
"""Its logarithm stands for that of a probability of 0."""


@dataclass(frozen=True)
class Cascade:
    """Both models, and when and how the second one's answers are mixed in."""

    ngram: ngram_model.NgramModel
    encoder: encoder_model.EncoderModel
    margin: float
    """The encoder reads a text where the likeliest two classes of the n-grams differ by less (0 to 1)."""
    weights: tuple[float, float]
    """What the logarithms of the n-grams' and of the encoder's probabilities are multiplied by."""
    bias: npt.NDArray[np.float64]
    """What is added for each of the three classes."""

    def probabilities(self, texts: Sequence[str], languages: Sequence[str]) -> npt.NDArray[np.float64]:
        """Texts x 3: negative, neutral, positive; each row adds up to 1."""
        result: npt.NDArray[np.float64] = self.ngram.probabilities(texts, languages)
        ordered = np.sort(result, axis=1)
        close = np.flatnonzero(ordered[:, 2] - ordered[:, 1] < self.margin).tolist()
        if close:
            read = self.encoder.probabilities([texts[position] for position in close])
            result[close] = self._mixed(result[close], read)
        return result

    def _mixed(
        self, cheap: npt.NDArray[np.float64], good: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        logs = [np.log(np.maximum(given, _LEAST)) for given in (cheap, good)]
        logits = self.bias + self.weights[0] * logs[0] + self.weights[1] * logs[1]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def model_fn(model_dir: str) -> Cascade:
    """Load both models; raises `ModelFormatError`, or what a missing or broken file raises."""
    folder = Path(model_dir)
    settings = json.loads((folder / "cascade.json").read_text())
    return Cascade(
        ngram=ngram_model.load(folder),
        encoder=encoder_model.load(folder),
        margin=settings["margin"],
        weights=(settings["ngram_weight"], settings["encoder_weight"]),
        bias=np.array(settings["bias"], np.float64),
    )


def predict_fn(data: list[dict[str, Any]], model: Cascade) -> list[dict[str, Any]]:
    """Score what `input_fn` gave, in its order; records with an `error` are passed on as they are."""
    answers: list[dict[str, Any]] = probability_answers(data, model.probabilities)
    return answers
