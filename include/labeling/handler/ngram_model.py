"""The embedded sentiment model: weights of hashed n-grams, read by numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ngram_features import hashed  # type: ignore[import-not-found]

_CHUNK = 512  # texts hashed at a time: their arrays stay within the processor's cache


@dataclass(frozen=True)
class NgramModel:
    """Quantized weights and how to read them."""

    weights: npt.NDArray[np.int16]
    """Buckets x 2: negative's and positive's weight in units; neutral's is minus their sum."""
    unit: float
    """What one step of a weight is worth."""
    bias: npt.NDArray[np.float64]
    """Three classes."""
    languages: frozenset[str]
    """The languages that have n-grams of their own; any other is read by what all languages share."""

    def probabilities(self, texts: Sequence[str], languages: Sequence[str]) -> npt.NDArray[np.float64]:
        """Texts x 3: negative, neutral, positive; each row adds up to 1.

        Weights are summed as integers, so a text's row is the same to the last bit whatever texts
        stand beside it.
        """
        chunks = [
            self._chunk(texts[at : at + _CHUNK], languages[at : at + _CHUNK])
            for at in range(0, len(texts), _CHUNK)
        ]
        return np.concatenate(chunks) if chunks else np.empty((0, 3))

    def _chunk(self, texts: Sequence[str], languages: Sequence[str]) -> npt.NDArray[np.float64]:
        known = [language if language in self.languages else "" for language in languages]
        buckets, starts = hashed(texts, known, len(self.weights).bit_length() - 1)
        ends = np.add.reduceat(self.weights[buckets], starts[:-1], axis=0, dtype=np.int64)
        sums = np.stack([ends[:, 0], -ends[:, 0] - ends[:, 1], ends[:, 1]], axis=1)
        logits = sums * self.unit / np.sqrt(np.diff(starts))[:, None] + self.bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def load(folder: Path) -> NgramModel:
    """Read `weights.npz`; `FileNotFoundError` or `KeyError` where it is no such model."""
    with np.load(folder / "weights.npz", allow_pickle=False) as weights:
        roots = weights["codes"].astype(np.int16)
        return NgramModel(
            weights=roots * np.abs(roots),
            unit=float(weights["unit"]),
            bias=weights["bias"].astype(np.float64),
            languages=frozenset(weights["languages"].tolist()),
        )
