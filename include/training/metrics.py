"""Scores from counts: how often the student agrees with the teacher."""

from __future__ import annotations

from collections.abc import Mapping

from include.lake.schemas import SENTIMENTS

Confusion = Mapping[tuple[int, int], int]
"""Rows by (the teacher's sentiment, the student's), each an index into `SENTIMENTS`."""


def scores(confusion: Confusion) -> dict[str, float]:
    """``accuracy``, ``macro_f1``, ``f1_<sentiment>`` and ``rows``; all 0 if there are no rows.

    A sentiment that neither side assigns has no F1 and is left out of the mean.
    """
    rows = sum(confusion.values())
    result = {"rows": float(rows), "accuracy": 0.0, "macro_f1": 0.0}
    if not rows:
        return result
    f1 = {}
    for index, sentiment in enumerate(SENTIMENTS):
        both = confusion.get((index, index), 0)
        named = sum(count for (teacher, _), count in confusion.items() if teacher == index)
        said = sum(count for (_, student), count in confusion.items() if student == index)
        if named + said:
            f1[sentiment] = 2 * both / (named + said)
    result["accuracy"] = sum(confusion.get((index, index), 0) for index in range(len(SENTIMENTS))) / rows
    result["macro_f1"] = sum(f1.values()) / len(f1)
    return result | {f"f1_{sentiment.lower()}": value for sentiment, value in f1.items()}
