"""Draws tweets at random: a stratified sample whose every tweet keeps its chance of being drawn.

A tweet's draw number is a keyed hash of its id (permanent random numbers: E. Ohlsson, Coordination of Samples
Using Permanent Random Numbers, 1995). Of each stratum the tweets with the lowest numbers are drawn, which is
a simple random sample without replacement. The same tweets and key give the same sample, and a tweet that
comes or goes changes at most one other.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

OTHER = "other"
"""The stratum of all languages that make up too little of the topic for one of their own."""

_SPAN = 1 << 64
_HALVINGS = 60


@dataclass(frozen=True)
class DrawPlan:
    """How many tweets are drawn of a topic.

    ``tweets`` in all; at least ``language_tweets`` of a language that makes up ``language_share`` (0 to 1) of
    the topic, also where the whole becomes more than ``tweets``; ``twice`` (0 to 1) are for two people.
    """

    tweets: int
    language_tweets: int
    language_share: float
    twice: float


@dataclass(frozen=True)
class Drawn:
    """A drawn tweet: its stratum, its chance of being drawn (0 to 1], and how many people judge it."""

    tweet_id: int
    stratum: str
    chance: float
    people: int


def strata(counts: Mapping[str, int], share: float) -> dict[str, list[str]]:
    """The languages of each stratum: one of its own from ``share`` of all tweets on, the rest is `OTHER`."""
    whole = sum(counts.values())
    languages: dict[str, list[str]] = {}
    for language, count in sorted(counts.items()):
        if count:
            languages.setdefault(language if count >= share * whole else OTHER, []).append(language)
    return languages


def sizes(counts: Mapping[str, int], plan: DrawPlan) -> dict[str, int]:
    """How many are drawn of each stratum, by the tweets that there are of each.

    Never fewer than the plan wants of a language, as far as there are so many; the rest of the plan's tweets
    go to the strata in proportion, so that the whole is the plan's unless the languages alone need more.
    """
    least = {
        stratum: min(count, 1 if stratum == OTHER else plan.language_tweets)
        for stratum, count in counts.items()
    }
    wanted = max(plan.tweets, sum(least.values()))

    def drawn(rate: float) -> dict[str, int]:
        return {
            stratum: min(count, max(least[stratum], math.ceil(rate * count)))
            for stratum, count in counts.items()
        }

    # The lowest rate that gives enough: it grows with the rate, and at 1 all are drawn.
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if sum(drawn(middle).values()) >= wanted else (middle, high)
    return drawn(high)


@dataclass
class Urn:
    """The tweets of one topic and wave; keeps of each language only those that may still be drawn."""

    key: bytes
    plan: DrawPlan
    _counts: dict[str, int] = field(default_factory=dict)
    _lowest: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._mac = hmac.new(self.key, b"audit:draw:", hashlib.sha256)
        self._second = hmac.new(self.key, b"audit:twice:", hashlib.sha256)
        # No stratum gives more than this, and it may come from one language.
        self._most = max(self.plan.tweets, self.plan.language_tweets) + 1

    def add(self, language: str, tweet_ids: Iterable[int]) -> None:
        """Puts in tweets, each once."""
        lowest = self._lowest.setdefault(language, [])
        count = 0
        for tweet_id in tweet_ids:
            count += 1
            # Negative, as heapq keeps the smallest at hand.
            entry = (-_number(self._mac, tweet_id), tweet_id)
            if len(lowest) < self._most:
                heapq.heappush(lowest, entry)
            elif entry > lowest[0]:
                heapq.heapreplace(lowest, entry)
        self._counts[language] = self._counts.get(language, 0) + count

    def draw(self) -> list[Drawn]:
        """The sample, in the order of ids."""
        languages = strata(self._counts, self.plan.language_share)
        counts = {
            stratum: sum(self._counts[language] for language in languages[stratum]) for stratum in languages
        }
        wanted = sizes(counts, self.plan)
        return sorted(
            (drawn for name in languages for drawn in self._of(name, languages[name], counts, wanted)),
            key=lambda drawn: drawn.tweet_id,
        )

    def _of(
        self, stratum: str, languages: Iterable[str], counts: Mapping[str, int], wanted: Mapping[str, int]
    ) -> Iterator[Drawn]:
        lowest = [entry for language in languages for entry in self._lowest[language]]
        for _, tweet_id in heapq.nlargest(wanted[stratum], lowest):
            twice = _number(self._second, tweet_id) < self.plan.twice * _SPAN
            yield Drawn(tweet_id, stratum, wanted[stratum] / counts[stratum], 2 if twice else 1)


def _number(mac: hmac.HMAC, tweet_id: int) -> int:
    """A number below 2^64, as good as random, that only the key and the id decide."""
    own = mac.copy()
    own.update(b"%d" % tweet_id)
    return int.from_bytes(own.digest()[:8], "big")
