"""Judges an hour of a topic from its evidence: a pure, total function, one verdict for any evidence.

If several verdicts fit, the one whose action must come first is chosen: posts are recovered from X before
tweets are labeled, and a defect takes precedence over none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from include.coverage.stretch import Stretch
from include.lake.verdict import Verdict
from include.window import Window
from include.x.search import REACH


class GapState(StrEnum):
    """The life of a gap, the furthest from filled first."""

    UNRECOVERABLE = "unrecoverable"
    OPEN = "open"
    FILLING = "filling"
    FILLED = "filled"


@dataclass(frozen=True)
class Gap:
    """An outage, or a part of one, inside an hour.

    ``deadline`` is when search stops reaching its start; ``approved`` says that a person has allowed its
    recovery; ``reason`` says why it is not filled, if that needs saying.
    """

    stretch: Stretch
    state: GapState
    deadline: datetime
    approved: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Measures:
    """What was counted in an hour of a topic; ids are distinct, times UTC, silence in seconds."""

    raw_ids: int = 0
    labeled_ids: int = 0
    missing_ids: int = 0
    quarantined: int = 0
    duplicates: int = 0
    lines_without_id: int = 0
    overlap: int = 0
    recovered: int = 0
    removed: int = 0
    """Tweets that were removed from raw on request: they are counted nowhere else."""
    first_ts: datetime | None = None
    last_ts: datetime | None = None
    longest_silence_s: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """All that a verdict rests on.

    ``expected`` is the part of the hour for which there should be data: inside the collection's period, and
    up to where the heartbeats' watermark (or the grace time) lets it be judged; None if there is no such part
    yet. ``silences`` are the parts of it of which nothing proves that tweets arrived: no stream was alive, or
    its end came too soon. ``unreadable`` are the keys of the hour's objects in raw, quarantine, heartbeats
    or labeled that cannot be read whole. ``recovered`` is what search has brought back,
    ``searchable_from`` how far back it still reaches. ``edits_unread`` says that labeled still counts
    versions of posts that were edited later.
    """

    topic: str
    window: Window
    expected: Stretch | None
    measures: Measures
    alive_s: float
    heartbeats: int
    silences: tuple[Stretch, ...]
    recovered: tuple[Stretch, ...]
    former_gaps: tuple[Gap, ...]
    raw_digest: str
    raw_newest: datetime | None
    labeled_at: datetime | None
    active: bool
    searchable_from: datetime
    edits_unread: bool = False
    unreadable: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether the hour cannot be judged up to its end yet."""
        return self.expected is None or self.expected.end < self.window.end


@dataclass(frozen=True)
class Assessment:
    """The verdict, its evidence in words, its gaps, and a digest that decides whether to try again.

    ``alarm`` is the reason of every alarming verdict that fits, also where another one comes first.
    """

    verdict: Verdict
    evidence: str
    gaps: tuple[Gap, ...]
    digest: str
    alarm: str | None


def deadline(stretch: Stretch) -> datetime:
    """When search no longer reaches the start of the stretch."""
    return stretch.start + REACH


def gaps(evidence: Evidence) -> tuple[Gap, ...]:
    """The hour's gaps in order: filled, unrecoverable and open ones."""
    known = [gap for gap in evidence.former_gaps if gap.state is GapState.UNRECOVERABLE]
    found = [Gap(stretch, GapState.FILLED, deadline(stretch)) for stretch in set(evidence.recovered)]
    found += known
    settled = [gap.stretch for gap in found]
    for silence in evidence.silences:
        for left in silence.without(settled):
            found += _divided(left, evidence)
    return tuple(sorted(found, key=lambda gap: gap.stretch))


def _divided(stretch: Stretch, evidence: Evidence) -> Iterable[Gap]:
    """An unfilled stretch, split where search stops reaching."""
    limit = evidence.searchable_from
    lost = stretch.clipped(stretch.start, limit)
    if lost:
        yield Gap(
            lost, GapState.UNRECOVERABLE, deadline(lost), reason=f"search reaches back {REACH.days} days only"
        )
    left = stretch.clipped(limit, stretch.end)
    if left:
        former = [gap for gap in evidence.former_gaps if gap.stretch.clipped(left.start, left.end)]
        yield Gap(left, GapState.OPEN, deadline(left), approved=any(gap.approved for gap in former))


def judge(evidence: Evidence) -> Assessment:
    """The one verdict on an hour of a topic, with its evidence and all its alarms."""
    found = gaps(evidence)
    findings = list(_findings(evidence, found))
    verdict, reason = findings[0]
    alarm = "; ".join(reason for verdict, reason in findings if verdict.alarming) or None
    measures = evidence.measures
    facts = [
        evidence.raw_digest,
        measures.raw_ids,
        measures.labeled_ids,
        measures.missing_ids,
        measures.quarantined,
        alarm,
        [[str(gap.stretch), gap.state] for gap in found],
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return Assessment(verdict, f"{reason}; {_counts(evidence)}", found, digest, alarm)


def _findings(evidence: Evidence, found: tuple[Gap, ...]) -> Iterator[tuple[Verdict, str]]:
    """Every verdict that fits, with its reason, in the order in which their actions are needed."""
    measures, window = evidence.measures, evidence.window
    unfilled = [gap.stretch for gap in found if gap.state is GapState.OPEN]
    lost = [gap for gap in found if gap.state is GapState.UNRECOVERABLE]
    if evidence.unreadable:
        yield Verdict.UNREADABLE, f"{', '.join(evidence.unreadable)} cannot be read whole, the rest was"
    if unfilled:
        stretches = ", ".join(map(str, unfilled))
        if not evidence.heartbeats and not evidence.alive_s:
            yield Verdict.NEVER_COLLECTED, f"no heartbeat in the hour, nothing collected {stretches}"
        yield Verdict.OUTAGE, f"nothing proves that tweets arrived of {stretches}"
    if measures.missing_ids:
        yield _unlabeled(evidence)
    if evidence.edits_unread:
        edited = "posts of the hour were edited later, which labeled does not know"
        if evidence.active:
            yield Verdict.IN_PROGRESS, f"{edited}, a run of transform is under way"
        if evidence.open:
            yield Verdict.IN_PROGRESS, f"{edited}, the hour is open"
        yield Verdict.LATE, edited
    if lost:
        yield Verdict.UNRECOVERABLE, ", ".join(f"{gap.stretch} lost: {gap.reason}" for gap in lost)
    if measures.overlap:
        yield Verdict.OVERLAP, f"{measures.overlap} tweets match two topics: the rules are not exclusive"
    if evidence.active:
        yield Verdict.IN_PROGRESS, "a run of transform is under way"
    if evidence.open:
        until = (
            f"judged up to {evidence.expected.end:%H:%M:%S}" if evidence.expected else "not to be judged yet"
        )
        yield Verdict.IN_PROGRESS, f"the hour ends at {window.end:%H:%M}, {until}"
    if not measures.raw_ids and not measures.removed:
        yield Verdict.QUIET, "no tweets"
    yield Verdict.COMPLETE, "every tweet labeled or quarantined"


def _unlabeled(evidence: Evidence) -> tuple[Verdict, str]:
    """What tweets without labels wait for."""
    missing = f"{evidence.measures.missing_ids} tweets neither labeled nor quarantined"
    if evidence.active:
        return Verdict.IN_PROGRESS, f"{missing}, a run of transform is under way"
    if evidence.open:
        return Verdict.IN_PROGRESS, f"{missing}, the hour is open"
    if evidence.labeled_at and evidence.raw_newest and evidence.raw_newest > evidence.labeled_at:
        raw, labeled = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (evidence.raw_newest, evidence.labeled_at))
        return Verdict.LATE, f"{missing}, raw of {raw} is newer than labeled of {labeled}"
    labeled = "labeled is not older than raw" if evidence.labeled_at else "there is no labeled object"
    return Verdict.UNLABELED, f"{missing}, {labeled}"


def _counts(evidence: Evidence) -> str:
    measures = evidence.measures
    expected = evidence.expected.seconds if evidence.expected else 0.0
    sum_of = f"labeled {measures.labeled_ids} + quarantined {measures.quarantined}"
    parts = [
        f"raw {measures.raw_ids} = {sum_of} + missing {measures.missing_ids}",
        f"alive {evidence.alive_s:.0f} of {expected:.0f} s",
    ]
    if evidence.recovered:
        recovered = ", ".join(map(str, sorted(evidence.recovered)))
        parts.append(f"recovered {recovered} ({measures.recovered} tweets only by search)")
    if measures.removed:
        parts.append(f"{measures.removed} tweets removed on request")
    if measures.lines_without_id:
        parts.append(f"{measures.lines_without_id} lines without an id")
    return "; ".join(parts)
