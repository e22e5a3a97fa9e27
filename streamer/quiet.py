"""Distinguishes a topic's implausible silence from a plausible one, by its earlier tweets.

A silence counts only while X is connected. With Poisson arrivals a silence of 14 mean gaps comes once in a
million; tweets come in bursts and nights are quieter than evenings, so the limit is four times that, and at
least a minute (shorter silences raise false alarms).
"""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass

SHORTEST_SECONDS = 60.0

_GAPS = 56.0
_HISTORY_SECONDS = 3600.0
_LEAST_TWEETS = 20.0
"""The tweets that a topic must have sent before its silence means anything."""


@dataclass
class _History:
    """A topic's tweets over about an hour of connection, up to its last tweet, and its silence since."""

    tweets: float = 0.0
    seconds: float = 0.0
    silent: float = 0.0

    def limit(self) -> float:
        """The silence from which on it is implausible."""
        if self.tweets < _LEAST_TWEETS:
            return math.inf
        return max(SHORTEST_SECONDS, _GAPS * self.seconds / self.tweets)


class Quiet:
    """Keeps every topic's history."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fresh: Counter[str] = Counter()
        self._histories: defaultdict[str, _History] = defaultdict(_History)

    def tweets(self, topic: str, count: int) -> None:
        """Records ``count`` tweets of ``topic``."""
        with self._lock:
            self._fresh[topic] += count

    def look(self, connected_seconds: float) -> dict[str, float]:
        """Records the time connected since the last look; returns the implausible silences.

        They are seconds by topic.
        """
        with self._lock:
            fresh, self._fresh = self._fresh, Counter()
            for topic in {*self._histories, *fresh}:
                history = self._histories[topic]
                history.silent += connected_seconds
                if fresh[topic]:
                    fading = math.exp(-history.silent / _HISTORY_SECONDS)
                    history.tweets = history.tweets * fading + fresh[topic]
                    history.seconds = history.seconds * fading + history.silent
                    history.silent = 0.0
            return {
                topic: history.silent
                for topic, history in self._histories.items()
                if history.silent > history.limit()
            }

    def forget(self) -> None:
        """Starts from nothing: the rules or the sample have changed."""
        with self._lock:
            self._fresh.clear()
            self._histories.clear()
