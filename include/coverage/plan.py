"""Decides from the ledger's rows which stretches to recover and which hours to transform again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from include.coverage.judge import GapState
from include.coverage.ledger import CoverageRow
from include.coverage.stretch import Stretch
from include.window import Window
from include.x.price import cost, priced
from include.x.snowflake import from_milliseconds, to_milliseconds

_UNFILLED = (GapState.OPEN, GapState.FILLING)


@dataclass(frozen=True)
class Recovery:
    """One stretch of one topic to recover by search.

    ``sample`` is the percentage in force then (None: the topics file's), ``posts`` X's estimate of what it
    costs, ``approval`` why a person has to allow it (None: no need), ``approved`` that one has.
    """

    topic: str
    window: Window
    stretch: Stretch
    sample: int | None
    posts: int
    approval: str | None = None
    approved: bool = False

    @property
    def waits(self) -> bool:
        """Whether it needs an approval first."""
        return self.approval is not None and not self.approved

    def to_json(self) -> dict[str, Any]:
        """Plain values, for XCom."""
        return {
            "topic": self.topic,
            "window": self.window.label,
            "from_ms": to_milliseconds(self.stretch.start),
            "to_ms": to_milliseconds(self.stretch.end),
            "sample": self.sample,
            "posts": self.posts,
            "dollars": cost(self.posts),
            "approval": self.approval,
            "approved": self.approved,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recovery:
        """Reads what `to_json` gave."""
        stretch = Stretch(from_milliseconds(value["from_ms"]), from_milliseconds(value["to_ms"]))
        return cls(
            topic=value["topic"],
            window=Window.parse(value["window"]),
            stretch=stretch,
            sample=value["sample"],
            posts=value["posts"],
            approval=value["approval"],
            approved=value["approved"],
        )

    def __str__(self) -> str:
        text = f"{self.topic} {self.window.date} {self.stretch}, about {priced(self.posts)}"
        return f"{text}; needs approval: {self.approval}" if self.waits else text


class Way(StrEnum):
    """How an hour is transformed again, or why not now."""

    CLEAR = "clear its scheduled run"
    START = "start a run for the window"
    SCHEDULE = "the schedule will run it"
    ACTIVE = "its run is under way"
    CHANGED = "its objects have changed since it was measured; the next run measures it again"
    ALARM = "no more reruns"


@dataclass(frozen=True)
class Runs:
    """What is known of an hour's runs of transform.

    ``scheduled`` says whether its scheduled run exists, ``active`` whether any run of the hour is queued or
    running, ``next_scheduled`` is the first hour that the schedule has still to come to.
    """

    scheduled: bool
    active: bool
    next_scheduled: datetime | None


@dataclass(frozen=True)
class Rerun:
    """What happens to one hour; ``run_id`` is the run to clear or start, if any."""

    window: Window
    way: Way
    run_id: str | None = None

    def __str__(self) -> str:
        return f"{self.window}: {self.way}" + (f" ({self.run_id})" if self.run_id else "")


def scheduled_run_id(window: Window) -> str:
    """The id that the hour's scheduled run has: Airflow names it by the interval's end."""
    return f"scheduled__{window.end.isoformat()}"


def backfill_run_id(window: Window) -> str:
    """The id of the hour's run in a backfill."""
    return f"backfill__{window.end.isoformat()}"


def window_run_id(window: Window) -> str:
    """The id of a run that takes the hour from its `conf`."""
    return f"window__{window.label}"


def run_ids(window: Window) -> list[str]:
    """Every id under which a run of the hour may be found."""
    return [scheduled_run_id(window), backfill_run_id(window), window_run_id(window)]


def way(window: Window, runs: Runs) -> Rerun:
    """How to have ``window`` transformed again.

    An active run is left alone. A scheduled run is cleared. Where there is none, the schedule is left to come
    to the hour, and where it never will (the hour lies before its start, or was skipped) a run is started.
    """
    if runs.active:
        return Rerun(window, Way.ACTIVE)
    if runs.scheduled:
        return Rerun(window, Way.CLEAR, scheduled_run_id(window))
    if runs.next_scheduled is not None and window.start >= runs.next_scheduled:
        return Rerun(window, Way.SCHEDULE)
    return Rerun(window, Way.START, window_run_id(window))


def unlabeled(rows: Iterable[CoverageRow]) -> dict[Window, list[CoverageRow]]:
    """The rows, by hour, of closed hours with tweets that are neither labeled nor quarantined."""
    found: dict[Window, list[CoverageRow]] = defaultdict(list)
    for row in rows:
        if row.measures.missing_ids and row.judged_until == row.window.end:
            found[row.window].append(row)
    return dict(sorted(found.items()))


def reruns(
    rows: Iterable[CoverageRow],
    runs: Mapping[Window, Runs],
    max_reruns: int,
    run_id: str,
    changed_since: Collection[Window] = (),
) -> tuple[list[Rerun], list[CoverageRow]]:
    """What to do about each hour that needs transform, and its rows as the ledger is to have them then.

    An hour that was rerun ``max_reruns`` times on the evidence that it still has raises an alarm instead. One
    whose objects have ``changed_since`` it was measured is left for the next time: a run may just have
    labeled it. ``run_id`` names the run of coverage that asks: however often it decides, it counts once.
    """
    planned: list[Rerun] = []
    changed: list[CoverageRow] = []
    for window, needing in unlabeled(rows).items():
        step = Rerun(window, Way.CHANGED) if window in changed_since else way(window, runs[window])
        before = [row.reruns - (row.rerun_by == run_id) for row in needing]
        done = max(before)
        if step.run_id and done >= max_reruns:
            step = Rerun(window, Way.ALARM)
            alarm = f"transform was rerun {done} times, and the same tweets are still missing"
            changed += [replace(row, alarm=_joined(row.alarm, alarm)) for row in needing]
        elif step.run_id:
            changed += [
                replace(row, reruns=count + 1, rerun_by=run_id)
                for row, count in zip(needing, before, strict=True)
            ]
        planned.append(step)
    return planned, changed


def _joined(alarm: str | None, another: str) -> str:
    """The alarms of an hour, each one once."""
    return another if not alarm else alarm if another in alarm else f"{alarm}; {another}"


def recoveries(
    rows: Iterable[CoverageRow],
    unapproved_start: datetime,
    posts_left: int,
    estimate: Callable[[str, Stretch], int],
    sample: Callable[[Window], int | None],
    exhausted: Callable[[str, Stretch], str | None] = lambda topic, stretch: None,  # noqa: ARG005 - names them
) -> list[Recovery]:
    """A recovery for every gap that is not filled and can be, the oldest first.

    What begins before ``unapproved_start``, and what no longer fits into ``posts_left``, needs a person's
    approval, unless the ledger says that the gap has it; so does what ``exhausted`` gives a reason for.
    ``estimate`` asks X for the number of posts.
    """
    planned: list[Recovery] = []
    ordered = sorted(rows, key=lambda row: (row.window, row.topic))
    for row in ordered:
        for gap in row.gaps:
            if gap.state not in _UNFILLED:
                continue
            posts = estimate(row.topic, gap.stretch)
            approval = None
            if row.window.start < unapproved_start:
                approval = (
                    f"it begins before {unapproved_start:%Y-%m-%dT%H:%M}: older than OPINION_UNAPPROVED_HOURS"
                )
            elif (failed := exhausted(row.topic, gap.stretch)) is not None:
                approval = failed
            elif posts > posts_left:
                approval = f"{priced(max(posts_left, 0))} are left of the month's budget"
            recovery = Recovery(
                row.topic, row.window, gap.stretch, sample(row.window), posts, approval, gap.approved
            )
            posts_left -= 0 if recovery.waits else posts
            planned.append(recovery)
    return planned


def unfilled(rows: Iterable[CoverageRow]) -> list[Stretch]:
    """The gaps that are not filled and can be."""
    return [gap.stretch for row in rows for gap in row.gaps if gap.state in _UNFILLED]


@dataclass(frozen=True)
class CoveragePlan:
    """What a run of coverage is to do: in words, as a proposal in plain values, and what it starts."""

    text: str
    proposal: dict[str, Any]
    recoveries: list[Recovery]


def compose(
    windows: Sequence[Window],
    rows: Sequence[CoverageRow],
    planned: list[Recovery],
    runs: Callable[[Sequence[Window]], Mapping[Window, Runs]],
    *,
    dry_run: bool,
    unplanned: str | None = None,
    redelivered: str = "",
) -> CoveragePlan:
    """The plan for ``windows`` and their ``rows``; a dry run starts nothing.

    ``runs`` is asked about the hours that need transform, after the recoveries too. ``unplanned`` says why
    recoveries could not be planned, ``redelivered`` what was delivered again before.
    """
    hours = sorted({*unlabeled(rows), *(recovery.window for recovery in planned)})
    known = runs(hours)
    steps = [way(window, known[window]) for window in hours]
    text = describe(rows, planned, steps, dry_run, unplanned)
    return CoveragePlan(
        text=f"{redelivered}\n{text}" if redelivered else text,
        proposal={**propose(windows, planned, steps), "unplanned": unplanned},
        recoveries=[] if dry_run else planned,
    )


def propose(windows: Sequence[Window], planned: Sequence[Recovery], steps: Sequence[Rerun]) -> dict[str, Any]:
    """The plan for programs, in plain values: what the page Coverage shows before a backfill is started.

    ``hours`` are the labels of all hours that were looked at, ``posts`` is X's estimate for all recoveries.
    """
    posts = sum(recovery.posts for recovery in planned)
    return {
        "hours": [window.label for window in sorted(windows)],
        "recoveries": [
            {
                "topic": recovery.topic,
                "hour": recovery.window.label,
                "stretch": str(recovery.stretch),
                "posts": recovery.posts,
                "dollars": cost(recovery.posts),
                "approval": recovery.approval if recovery.waits else None,
            }
            for recovery in planned
        ],
        "reruns": [
            {"hour": step.window.label, "way": step.way.value, "run_id": step.run_id} for step in steps
        ],
        "posts": posts,
        "dollars": cost(posts),
    }


def describe(
    rows: Sequence[CoverageRow],
    planned: Sequence[Recovery],
    steps: Sequence[Rerun],
    dry_run: bool,
    unplanned: str | None = None,
) -> str:
    """The plan for people."""
    if not rows:
        return "No hour of the collection's period lies in the range: nothing to do."
    windows = sorted({row.window for row in rows})
    lines = [f"Coverage from {windows[0].start:%Y-%m-%dT%H:%M} to {windows[-1].end:%Y-%m-%dT%H:%M} UTC"]
    ordered = sorted(rows, key=lambda row: (row.window, row.topic))
    lines += [f"  {row.window} {row.topic}: {row.verdict}: {row.evidence}" for row in ordered]
    for title, entries in (
        ("To recover by search", planned),
        ("To transform again", steps),
        ("Alarms", [f"{row.window} {row.topic}: {row.alarm}" for row in ordered if row.alarm]),
    ):
        lines.append(f"{title}:")
        lines += [f"  {entry}" for entry in entries] or ["  nothing"]
    if unplanned:
        lines.append(f"Recoveries are not planned: {unplanned}")
    if planned:
        lines.append(f"Recoveries in all: about {priced(sum(recovery.posts for recovery in planned))}")
    if dry_run:
        lines.append("This was a dry run: nothing was changed.")
    return "\n".join(lines)
