"""Prediction-powered inference on audited tweets, pure: what the view `audit_rectifiers` says in SQL.

PPI++ with power tuning (A. Angelopoulos, J. Duchi, T. Zrnic, arXiv 2311.01453), of a stratified sample whose
tweets have weights. With y what people say (1 or 0), f the model's probability and F its mean over all tweets
the share is ``slope * F + offset``, where ``offset = mean(y - slope * f)`` over the audited tweets.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

RULE_OF_THREE = 1.5
"""An error is no smaller than this out of n: without a case among n tweets, 3 / n is the 95 % bound."""


@dataclass(frozen=True)
class Audited:
    """A drawn tweet: stratum, weight (100 / sample / chance), and of one class f and y (None: not judged)."""

    stratum: str
    weight: float
    chance: float
    f: float
    y: float | None


@dataclass(frozen=True)
class Rectifier:
    """What an audit of ``audited`` tweets makes of a share: ``slope * F + offset``, give or take ``error``.

    ``error`` is the offset's standard error without regard to the rule of three, over draws from the tweets
    there are; that these are a sample themselves is added where shares are shown. ``share`` is what the
    audited tweets alone say.
    """

    audited: int
    slope: float
    offset: float
    error: float
    share: float

    @property
    def safe_error(self) -> float:
        """The error that intervals are made with; see `RULE_OF_THREE`."""
        return max(self.error, RULE_OF_THREE / self.audited)


def rectifier(tweets: Sequence[Audited], slope: float | None = None) -> Rectifier | None:
    """What the audited tweets teach of one class; None where nobody judged any.

    ``slope`` is the one that makes the error smallest, within 0 and 1, unless it is given.
    """
    strata: dict[str, list[Audited]] = defaultdict(list)
    for tweet in tweets:
        strata[tweet.stratum].append(tweet)
    rows: list[tuple[str, int, float, float, float, float]] = []
    for name, drawn in strata.items():
        judged = [(tweet.weight, tweet.f, tweet.y, tweet.chance) for tweet in drawn if tweet.y is not None]
        if judged:
            # What nobody judged counts as if it were like what was judged of its stratum.
            share = sum(tweet.weight for tweet in drawn) / sum(weight for weight, *_ in judged)
            rows += [(name, len(judged), weight * share, f, y, chance) for weight, f, y, chance in judged]
    if not rows:
        return None
    whole = sum(row[2] for row in rows)
    mean_f = sum(row[2] * row[3] for row in rows) / whole
    mean_y = sum(row[2] * row[4] for row in rows) / whole
    yy = yf = ff = 0.0
    for name, count, weight, f, y, chance in rows:
        own = [row for row in rows if row[0] == name]
        total = sum(row[2] for row in own)
        # One tweet alone has no deviation from its stratum, and is compared with the whole.
        center_f = sum(row[2] * row[3] for row in own) / total if count > 1 else mean_f
        center_y = sum(row[2] * row[4] for row in own) / total if count > 1 else mean_y
        # What was drawn for certain leaves nothing open: the finite population correction.
        square = (1 - chance) * weight * weight * (count / (count - 1) if count > 1 else 1)
        yy += square * (y - center_y) ** 2
        yf += square * (y - center_y) * (f - center_f)
        ff += square * (f - center_f) ** 2
    if slope is None:
        slope = min(max(yf / ff, 0.0), 1.0) if ff else 0.0
    return Rectifier(
        audited=len(rows),
        slope=slope,
        offset=mean_y - slope * mean_f,
        error=math.sqrt(max(yy - 2 * slope * yf + slope * slope * ff, 0.0)) / whole,
        share=mean_y,
    )
