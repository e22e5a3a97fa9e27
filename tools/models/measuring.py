"""Scores a packed classifier by language on texts that people have labeled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.models.errors import PackError
from tools.models.recipes import LABELS
from tools.models.serving import Served

LEAST_ROWS = 100
"""Languages with fewer rows are not measured."""
_PAYLOAD = 2000


def read(path: Path) -> list[tuple[str, str, int]]:
    """Rows of ``lang``, ``text`` and ``label`` (0 negative, 1 neutral, 2 positive); raises `PackError`.

    From a Parquet file, or from all of a folder.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    rows: list[tuple[str, str, int]] = []
    for file in files:
        try:
            columns = pq.read_table(file, columns=["lang", "text", "label"]).to_pydict()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise PackError(f"{file} is not a table of lang, text and label: {error}.") from error
        rows += zip(columns["lang"], columns["text"], columns["label"], strict=True)
    if not rows:
        raise PackError(f"{path} has no labeled rows.")
    if not {label for *_, label in rows} <= {0, 1, 2}:
        raise PackError(f"{path} has other labels than 0 (negative), 1 (neutral) and 2 (positive).")
    return rows


def measure(served: Served, rows: Sequence[tuple[str, str, int]]) -> dict[str, dict[str, Any]]:
    """Rows, accuracy and macro-F1 by language, as the card keeps them.

    A language without neutral rows is scored on negative and positive alone: both the rows and the answers.
    """
    records = [
        {"id": str(number), "lang": language, "text": text} for number, (language, text, _) in enumerate(rows)
    ]
    answers = [
        answer
        for at in range(0, len(records), _PAYLOAD)
        for answer in served.answer(records[at : at + _PAYLOAD])
    ]
    chosen = np.array([[answer.get(f"p_{name}", -1.0) for name in LABELS] for answer in answers])
    return score([language for language, *_ in rows], np.array([label for *_, label in rows]), chosen)


def score(
    languages: Sequence[str], labels: np.ndarray[Any, np.dtype[Any]], odds: np.ndarray[Any, np.dtype[Any]]
) -> dict[str, dict[str, Any]]:
    """As `measure`, of probabilities: rows x (negative, neutral, positive)."""
    from sklearn.metrics import accuracy_score, f1_score

    found = {}
    spoken = np.array(languages)
    for language in sorted(set(languages)):
        own = spoken == language
        classes = np.unique(labels[own])
        if own.sum() < LEAST_ROWS or len(classes) < 2:
            continue
        given = classes[odds[own][:, classes].argmax(axis=1)]
        found[language] = {
            "rows": int(own.sum()),
            "classes": [LABELS[number] for number in classes],
            "accuracy": round(float(accuracy_score(labels[own], given)), 4),
            "macro_f1": round(float(f1_score(labels[own], given, average="macro")), 4),
        }
    return found


def better_than_chance(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The languages that a model is good for: macro-F1 at least 0.15 above guessing among their classes."""
    return {
        language: values
        for language, values in measured.items()
        if values["macro_f1"] >= 1 / len(values["classes"]) + 0.15
    }
