"""The verdicts on an hour of a topic, and what follows from each: pages, summary, SQL and docs use it.

A new verdict is one member here, one finding in `coverage.judge`, and one color in the pages' style sheet.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Verdict(StrEnum):
    """The state of an hour of a topic.

    People read ``letter`` and ``meaning``; ``evidence`` is what it is based on, ``action`` what follows.
    ``collected``: nothing that X delivered is missing in raw; ``whole``: nothing of it is missing anywhere. A
    ``settled`` verdict holds until the hour's objects change. An ``alarming`` one needs a person: its reason
    is the hour's alarm on the page Coverage. A ``pressing`` one is alarming, and fails the run of `coverage`
    that first finds it, so that people are notified.
    """

    letter: str
    meaning: str
    evidence: str
    action: str
    collected: bool
    whole: bool
    settled: bool
    alarming: bool
    pressing: bool

    def __new__(
        cls,
        value: str,
        letter: str = "",
        meaning: str = "",
        evidence: str = "",
        action: str = "",
        *flags: str,
    ) -> Verdict:
        """A member with its properties; ``flags`` names those that are true."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.letter, member.meaning, member.evidence, member.action = letter, meaning, evidence, action
        member.whole = "whole" in flags
        member.collected = member.whole or "collected" in flags
        member.settled = "settled" in flags
        member.pressing = "pressing" in flags
        member.alarming = member.pressing or "alarming" in flags
        return member

    COMPLETE = (
        "complete",
        "C",
        "All that X delivered is here",
        "alive all hour, or recovered; every tweet of raw is labeled or quarantined",
        "none",
        "whole",
        "settled",
    )
    QUIET = (
        "quiet",
        "Q",
        "The stream was alive, and no one posted",
        "alive all hour, or recovered; no tweets",
        "none",
        "whole",
        "settled",
    )
    UNREADABLE = (
        "unreadable",
        "D",
        "An object of the hour is damaged: what is missing is not known",
        "an object of raw, quarantine, heartbeats or labeled is damaged; originals are under `damaged/`",
        "alarm: put the repaired object back in its place, and delete the original, also to accept the loss",
        "pressing",
    )
    UNLABELED = (
        "unlabeled",
        "U",
        "Tweets are not labeled yet",
        "tweets of raw are neither labeled nor quarantined",
        "`transform` is rerun; after `OPINION_MAX_RERUNS` reruns without success it raises an alarm",
        "collected",
    )
    LATE = (
        "late",
        "L",
        "Tweets came after the hour was labeled",
        "the same, and an object of raw is newer than the labeled object",
        "the same",
        "collected",
    )
    OUTAGE = (
        "outage",
        "O",
        "The stream was away for a minute or more",
        "no heartbeat proves that the stream was alive for `OPINION_OUTAGE_SECONDS`",
        (
            "recovered by search, then labeled; a person approves it above the budget, and when it is older"
            " than `OPINION_UNAPPROVED_HOURS`"
        ),
    )
    NEVER_COLLECTED = (
        "never collected",
        "N",
        "The stream was away all hour",
        "no heartbeat at all, since the collection's start",
        "the same",
    )
    OVERLAP = (
        "overlap",
        "X",
        "Tweets match two topics: the rules are not exclusive",
        "tweets whose matching rules name two topics; they are quarantined, for either topic",
        "alarm: make the topics' keywords exclude each other",
        "whole",
        "settled",
        "alarming",
    )
    IN_PROGRESS = (
        "in progress",
        "I",
        "The hour is open, or its run is active",
        "the hour cannot be judged to its end yet, or a run of `transform` is active",
        "none yet",
    )
    UNRECOVERABLE = (
        "unrecoverable",
        "R",
        "Lost permanently: search no longer reaches it",
        "an outage that search no longer reaches",
        "recorded, never tried again",
        "settled",
    )

    @property
    def under_way(self) -> bool:
        """Whether the hour waits only for its end or for labels."""
        return self is Verdict.IN_PROGRESS or (self.collected and not self.whole)


def names(holds: Callable[[Verdict], bool]) -> list[str]:
    """The values of the verdicts for which ``holds`` is true, such as for ``IN (…)`` in SQL."""
    return [verdict.value for verdict in Verdict if holds(verdict)]
