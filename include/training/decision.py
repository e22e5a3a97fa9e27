"""Whether a candidate is better than the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Promotion:
    """Whether the candidate becomes champion, and why in words."""

    promoted: bool
    reason: str


def decide_promotion(
    candidate: Mapping[str, float], champion: Mapping[str, float] | None, margin: float
) -> Promotion:
    """Compares the macro-F1 of two models on one hold-out; without a champion the candidate becomes it."""
    if champion is None:
        return Promotion(
            True, f"first champion: macro-F1 {candidate['macro_f1']:.4f}, nothing to compare with"
        )
    ours, theirs = candidate["macro_f1"], champion["macro_f1"]
    gain = ours - theirs
    told = f"macro-F1 {ours:.4f} against the champion's {theirs:.4f} on {candidate['rows']:.0f} rows"
    if gain >= margin and gain > 0:
        return Promotion(True, f"{told}: better by {gain:.4f}, {margin:.4f} is needed")
    return Promotion(False, f"{told}: a gain of {gain:+.4f} is less than the margin of {margin:.4f}")
