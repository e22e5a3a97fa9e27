"""Drift, pure: whether the recent tweets are still like those that people audited.

A rectifier corrects for the errors that a model makes on one mix of tweets. If the mix changes, it corrects
for errors that are no longer made. The measure is the population stability index of each dimension,
``sum((now - then) * ln(now / then))`` over the shares of its bins. It is 0 for the same mix; by convention a
change is small above 0.1 and large above 0.25 (N. Siddiqi, Credit Risk Scorecards, 2006).

Without any change the index is about ``(1 / n + 1 / m)`` times a chi-squared value with one degree of freedom
less than there are bins, for samples of n and m tweets (B. Yurdakul, J. Naranjo, Statistical properties of
the population stability index, Journal of Risk Model Validation 14, 2020). So few tweets cannot look like
drift.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

ENGINE = "engine"
LANGUAGE = "language"
COUNTRY = "country"
SOURCE = "source"
NEGATIVE = "negative"
POSITIVE = "positive"
AGREEMENT = "agreement"
DIMENSIONS: Mapping[str, str] = {
    ENGINE: "the model that labels",
    LANGUAGE: "the mix of languages",
    COUNTRY: "the mix of countries",
    SOURCE: "the mix of streamed and recovered tweets",
    NEGATIVE: "the distribution of the probability of Negative",
    POSITIVE: "the distribution of the probability of Positive",
    AGREEMENT: "how often student and teacher agree",
}
"""What is compared, in this order, with its name for readers."""

_OF_ONE_ENGINE = (NEGATIVE, POSITIVE, AGREEMENT)
"""Compared only among the tweets of the models that both periods share: another model answers otherwise."""

_LEAST_SHARE = 0.01
"""A bin with less of both periods' tweets is counted among `_OTHER`: logarithms of few tweets are noise."""
_OTHER = "other"
_PSEUDO_COUNT = 0.5
"""Added to each bin, so that an empty one has a logarithm (H. Jeffreys' prior)."""
_CONFIDENCE = 0.999
"""The check runs daily on some ten dimensions: at 95 % it would warn of nothing every other day."""


@dataclass(frozen=True)
class MixRow:
    """A row of the table `mix`."""

    topic: str
    engine: str
    dimension: str
    bin: str
    tweets: int
    posts: float


@dataclass
class Mix:
    """The bins of one dimension: the tweets in each, and the posts that they stand for."""

    tweets: Counter[str] = field(default_factory=Counter)
    posts: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, tweets: int, posts: float) -> None:
        """Counts in another row."""
        self.tweets[name] += tweets
        self.posts[name] = self.posts.get(name, 0.0) + posts

    @property
    def size(self) -> int:
        """All its tweets."""
        return self.tweets.total()

    def share(self, name: str) -> float:
        """A bin's share of the posts, 0 to 1."""
        return self.posts.get(name, 0.0) / sum(self.posts.values()) if self.posts else 0.0

    def grouped(self, named: Collection[str]) -> Mix:
        """The same with the bins ``named``; all others are one."""
        mix = Mix()
        for name, tweets in self.tweets.items():
            mix.add(name if name in named else _OTHER, tweets, self.posts[name])
        return mix


@dataclass(frozen=True)
class Drift:
    """How far one dimension of a topic has moved; without a change the index stays below ``noise``."""

    topic: str
    dimension: str
    stability_index: float
    noise: float
    audited_tweets: int
    recent_tweets: int

    def exceeds(self, tolerated: float) -> bool:
        """Whether the change is larger than tolerated, and than chance can make it."""
        return self.stability_index > max(tolerated, self.noise)


def compare(topic: str, audited: Iterable[MixRow], recent: Iterable[MixRow]) -> list[Drift]:
    """The drift of each dimension of a topic that both periods have tweets for, in the dimensions' order."""
    then, now = _by_engine(topic, audited), _by_engine(topic, recent)
    shared = then.keys() & now.keys()
    drifts = []
    for dimension in DIMENSIONS:
        engines = shared if dimension in _OF_ONE_ENGINE else then.keys() | now.keys()
        before, after = (_mix(dimension, period, engines) for period in (then, now))
        if before.size and after.size:
            drifts.append(_drift(topic, dimension, before, after))
    return drifts


def _by_engine(topic: str, rows: Iterable[MixRow]) -> dict[str, list[MixRow]]:
    found: dict[str, list[MixRow]] = {}
    for row in rows:
        if row.topic == topic:
            found.setdefault(row.engine, []).append(row)
    return found


def _mix(dimension: str, period: Mapping[str, Sequence[MixRow]], engines: Collection[str]) -> Mix:
    mix = Mix()
    for engine in engines:
        for row in period.get(engine, ()):
            # Every tweet has one source, so that its rows count each tweet of a model once.
            if dimension == ENGINE and row.dimension == SOURCE:
                mix.add(engine, row.tweets, row.posts)
            elif row.dimension == dimension:
                mix.add(row.bin, row.tweets, row.posts)
    return mix


def _drift(topic: str, dimension: str, before: Mix, after: Mix) -> Drift:
    # Half a second to import, which only a comparison needs.
    from scipy.stats import chi2

    names = before.tweets.keys() | after.tweets.keys()
    large = {name for name in names if max(before.share(name), after.share(name)) >= _LEAST_SHARE}
    before, after = before.grouped(large), after.grouped(large)
    bins = sorted(before.tweets.keys() | after.tweets.keys())
    index = 0.0
    for name in bins:
        then, now = (_smoothed(mix, name, len(bins)) for mix in (before, after))
        index += (now - then) * math.log(now / then)
    degrees = len(bins) - 1
    quantile = float(chi2.ppf(_CONFIDENCE, degrees)) if degrees else 0.0
    noise = (1 / before.size + 1 / after.size) * quantile
    return Drift(topic, dimension, index, noise, before.size, after.size)


def _smoothed(mix: Mix, name: str, bins: int) -> float:
    return (mix.share(name) * mix.size + _PSEUDO_COUNT) / (mix.size + _PSEUDO_COUNT * bins)
