"""Whether a candidate is better than the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import binomtest

SIGNIFICANT = 0.05
"""People tell two models apart where chance alone would less often."""


@dataclass(frozen=True)
class Paired:
    """Two models on the same ``rows`` judged tweets: how many both label as people do, and how many one."""

    rows: int
    both: int
    candidate_only: int
    champion_only: int

    @property
    def tells_apart(self) -> bool:
        """Whether the difference is more than chance (McNemar's exact test: Q. McNemar, 1947)."""
        differing = self.candidate_only + self.champion_only
        return differing > 0 and binomtest(self.candidate_only, differing).pvalue < SIGNIFICANT

    def scores(self) -> dict[str, float]:
        """``people_rows``, and the share of them that the candidate and the champion label as people do."""
        if not self.rows:
            return {"people_rows": 0.0}
        return {
            "people_rows": float(self.rows),
            "people_accuracy": (self.both + self.candidate_only) / self.rows,
            "people_accuracy_champion": (self.both + self.champion_only) / self.rows,
        }


@dataclass(frozen=True)
class Promotion:
    """Whether the candidate becomes champion, and why in words."""

    promoted: bool
    reason: str


NO_JUDGMENTS = Paired(0, 0, 0, 0)
"""Nobody has judged a tweet, or there is only one model."""


def decide_promotion(
    candidate: Mapping[str, float], champion: Mapping[str, float] | None, margin: float, people: Paired
) -> Promotion:
    """Which of two models people's judgments prefer, or, where these cannot tell, the teacher's labels.

    The teacher compares by macro-F1 on one hold-out. Without a champion the candidate becomes it.
    """
    if champion is None:
        return Promotion(
            True, f"first champion: macro-F1 {candidate['macro_f1']:.4f}, nothing to compare with"
        )
    if people.tells_apart:
        better = people.candidate_only > people.champion_only
        preferred = "candidate" if better else "champion"
        return Promotion(
            better,
            f"people agree with the {preferred}: of {people.rows} judged tweets the candidate"
            f" alone is right about {people.candidate_only}, the champion alone about {people.champion_only}",
        )
    ours, theirs = candidate["macro_f1"], champion["macro_f1"]
    gain = ours - theirs
    told = f"macro-F1 {ours:.4f} against the champion's {theirs:.4f} on {candidate['rows']:.0f} rows"
    if gain >= margin and gain > 0:
        return Promotion(True, f"{told}: better by {gain:.4f}, {margin:.4f} is needed")
    return Promotion(False, f"{told}: a gain of {gain:+.4f} is less than the margin of {margin:.4f}")
