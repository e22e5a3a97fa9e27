"""The embedded sentiment model behind SageMaker's handler functions.

One JSON object a line in, `{"id", "text", "lang"}`; one a line out, in the same order,
`{"id", "p_negative", "p_neutral", "p_positive"}`. A line that cannot be scored is answered with
`{"id", "error"}`, so that one broken line never costs the others their labels.

The container puts this folder on the module path and calls `model_fn` once, then `input_fn`,
`predict_fn` and `output_fn` for each request
(https://sagemaker.readthedocs.io/en/stable/frameworks/pytorch/using_pytorch.html#serve-a-pytorch-model).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ngram_features import hashed  # type: ignore[import-not-found]

CONTENT_TYPE = "application/jsonlines"
CLASSES = ("p_negative", "p_neutral", "p_positive")
_CHUNK = 512  # texts hashed at a time: their arrays stay within the processor's cache


class UnsupportedContentTypeError(ValueError):
    """The request or the wanted answer is not JSON Lines."""


@dataclass(frozen=True)
class Model:
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


def model_fn(model_dir: str) -> Model:
    """Read the artifact's weights; `FileNotFoundError` or `KeyError` where it is no such artifact."""
    with np.load(Path(model_dir) / "weights.npz", allow_pickle=False) as weights:
        roots = weights["codes"].astype(np.int16)
        return Model(
            weights=roots * np.abs(roots),
            unit=float(weights["unit"]),
            bias=weights["bias"].astype(np.float64),
            languages=frozenset(weights["languages"].tolist()),
        )


def input_fn(request_body: str | bytes, content_type: str) -> list[dict[str, Any]]:
    """Parse a request: one dict a line that is not blank, with `text`, or with `error` where unusable.

    Raises `UnsupportedContentTypeError` for anything but JSON Lines.
    """
    _require_json_lines(content_type)
    body = request_body if isinstance(request_body, bytes) else request_body.encode()
    # Not splitlines(), which also splits at U+2028 and the like: they are legal inside a JSON string.
    return [_read(line) for line in body.split(b"\n") if line.strip()]


def predict_fn(data: list[dict[str, Any]], model: Model) -> list[dict[str, Any]]:
    """Score what `input_fn` gave, in its order; records with an `error` are passed on as they are."""
    usable = [record for record in data if "error" not in record]
    rows = iter(
        model.probabilities(
            [record["text"] for record in usable], [record["lang"] for record in usable]
        ).tolist()
    )
    return [
        record
        if "error" in record
        else {"id": record["id"], **{name: round(p, 6) for name, p in zip(CLASSES, next(rows), strict=True)}}
        for record in data
    ]


def output_fn(prediction: list[dict[str, Any]], accept: str) -> str:
    """The answer as JSON Lines, each line ended; raises `UnsupportedContentTypeError` for another format."""
    if accept not in ("", "*/*"):
        _require_json_lines(accept)
    return "".join(json.dumps(record) + "\n" for record in prediction)


def _require_json_lines(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise UnsupportedContentTypeError(
            f"content type {content_type!r} is not supported: send {CONTENT_TYPE}"
        )


def _read(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        return {"id": None, "error": f"not JSON: {error}"}
    if not isinstance(record, dict):
        return {"id": None, "error": "not a JSON object"}
    identifier, text = record.get("id"), record.get("text")
    if not isinstance(identifier, str):
        return {"id": None, "error": "id is missing or no string"}
    if not isinstance(text, str) or not text.strip():
        return {"id": identifier, "error": "text is missing, blank or no string"}
    lang = record.get("lang")
    return {"id": identifier, "text": text, "lang": lang if isinstance(lang, str) else ""}
