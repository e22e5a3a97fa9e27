"""Tells an implausible silence of a topic from a quiet one, by what the topic has sent before.

A silence counts only while X is connected. With Poisson arrivals a silence of 14 mean gaps comes once in a
million; tweets come in bunches and the night is slower than the evening, so four times that is waited, and
never less than a minute (shorter silences are no evidence: they raise false alarms).
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
"""What a topic must have sent before its silence means anything."""


@dataclass
class _History:
    """What a topic sent over about an hour of being connected, up to its last tweet; its silence since."""

    tweets: float = 0.0
    seconds: float = 0.0
    silent: float = 0.0

    def limit(self) -> float:
        """From which silence on nothing plausible explains it."""
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
        """Takes in that ``count`` tweets of ``topic`` came."""
        with self._lock:
            self._fresh[topic] += count

    def look(self, connected_seconds: float) -> dict[str, float]:
        """Takes in that X was connected for so long since the last look; returns the implausible silences.

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
        """Starts anew: the rules or the sample have changed."""
        with self._lock:
            self._fresh.clear()
            self._histories.clear()
