"""Scores a packed classifier by language on texts that people have labeled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.models.errors import PackError
from tools.models.recipes import LABELS
from tools.models.serving import Served

LEAST_ROWS = 100
"""Languages with fewer rows are not measured."""
_ABOVE_GUESSING = 0.15
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
    return {language: values for language, values in measured.items() if values["macro_f1"] >= _least(values)}


def renewed(
    shipped: dict[str, dict[str, Any]], measured: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The scores that count of a model that comes with some: what is measured now takes their place.

    A language that is measured now and not read better than chance no longer counts.
    """
    kept = {language: values for language, values in shipped.items() if language not in measured}
    return kept | better_than_chance(measured)


def report(rows: Sequence[tuple[str, str, int]], measured: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A line for each language of the rows: its score, and whether the language counts, or why not."""
    for language, count in sorted(Counter(language for language, *_ in rows).items()):
        values = measured.get(language)
        if values is None:
            yield f"{language}: {count:,} rows; not measured: {LEAST_ROWS} of two classes are needed"
            continue
        verdict = "counts" if better_than_chance({language: values}) else "does not count"
        yield (
            f"{language}: {count:,} rows; macro-F1 {values['macro_f1']:.1%}, of {_least(values):.1%} needed:"
            f" {verdict}"
        )


def _least(values: dict[str, Any]) -> float:
    return 1 / len(values["classes"]) + _ABOVE_GUESSING
