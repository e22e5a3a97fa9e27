"""The page Coverage: a grid of hours for each topic, with every layer's state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response

from include.coverage.measure import collection_start
from include.coverage.plan import run_ids
from include.lake.verdict import Verdict
from include.settings import settings
from include.window import Window, possible_day
from include.x.topics import load
from x_opinion.access import COVERAGE_DAG, reads
from x_opinion.answers import data
from x_opinion.cache import Cache
from x_opinion.inputs import LakeDependency, NowDependency


@dataclass(frozen=True)
class CellState:
    """What a cell shows: its letter, its meaning, and whether it needs nobody's attention."""

    letter: str
    meaning: str
    good: bool


NOT_JUDGED = "not judged"

STATES: Mapping[str, CellState] = {
    **{
        verdict.value: CellState(verdict.letter, verdict.meaning, verdict.whole and not verdict.alarming)
        for verdict in Verdict
    },
    "predicted": CellState("P", "The student has judged all tweets that have a label", True),
    "not predicted": CellState("S", "Labeled, but not all judged by the student yet", False),
    NOT_JUDGED: CellState("?", "Coverage has not judged the hour: it is unknown what is missing", False),
}
"""Every state of a cell, no letter twice."""

LAYERS: Mapping[str, str] = {"raw": "Raw", "labeled": "Labeled", "predicted": "Predicted"}
"""The layers by the columns that count them."""


def router(cache: Cache) -> APIRouter:
    """The page's routes, apart from the page itself."""
    made = APIRouter()

    @made.get("/data/coverage", dependencies=[reads(COVERAGE_DAG)])
    async def coverage_data(
        lake: LakeDependency,
        now: NowDependency,
        first: Annotated[date | None, Query(alias="from")] = None,
        days: Annotated[int, Query(ge=1, le=31)] = 7,
        revision: Annotated[str, Query(max_length=300)] = "",
    ) -> Response:
        """Who knows that the ledger has changed names a new ``revision``, for which it is read again."""
        first = possible_day(first, now) if first else None
        start, end = period(datetime.combine(first, time(), UTC) if first else None, days, now)

        def read() -> bytes:
            rows = lake.coverage(start.date(), (end - timedelta(days=1)).date())
            collected_from = collection_start(settings(), load(settings().topics_file))
            return orjson.dumps(grid(rows, topics(), start, end, now, collected_from))

        return data(await cache.get(("coverage", start, end, revision), read))

    return made


def topics() -> list[dict[str, str]]:
    """Name and title of every topic, in the topics file's order."""
    return [{"name": topic.name, "title": topic.title} for topic in load(settings().topics_file).topics]


def state(layer: str, row: Mapping[str, Any]) -> str:
    """The state of one layer of an hour: a key of `STATES`.

    Raw is complete also where labels are missing; what was labeled is predicted or not.
    """
    verdict = Verdict(row["verdict"])
    if layer == "raw" and verdict.collected and not verdict.whole:
        return Verdict.COMPLETE.value
    if layer == "predicted" and row["labeled"]:
        judged = row["judged"]
        return "predicted" if judged is not None and row["predicted"] >= judged else "not predicted"
    return verdict.value


def grid(
    rows: Iterable[Mapping[str, Any]],
    topics: Sequence[Mapping[str, str]],
    first: datetime,
    last: datetime,
    now: datetime,
    collected_from: datetime,
) -> dict[str, Any]:
    """The page's JSON: for each topic a list of cells, one an hour from ``first`` to before ``last``.

    An hour without a row is not judged; None stands for one before ``collected_from``, when the collection
    begins, or after ``now``, when the rows were read. ``topics`` are names and titles, ``measured`` tells
    when the first and the last of the rows were measured.
    """
    windows = list(Window.between(first, last))
    found = {(str(row["topic"]), _label(row["hour"])): row for row in rows}
    measured = sorted(moment for row in found.values() if (moment := _moment(row["measured_at"])))
    return {
        "as_of": now.astimezone(UTC).isoformat(timespec="seconds"),
        "measured": {"oldest": measured[0], "newest": measured[-1]} if measured else {},
        "hours": [window.label for window in windows],
        "runs": ["|".join(run_ids(window)) for window in windows],
        "layers": LAYERS,
        "states": {name: asdict(shown) for name, shown in STATES.items()},
        "topics": [
            {
                **topic,
                "cells": [
                    _cell(
                        found.get((topic["name"], window.label)),
                        expected=window.end > collected_from and window.start < now,
                    )
                    for window in windows
                ],
            }
            for topic in topics
        ],
        "empty": not found,
    }


def _label(hour: Any) -> str:
    """`2026-11-20T05`, from that or from Athena's `2026-11-20 05:00:00.000`."""
    return str(hour).replace(" ", "T")[: len("2026-11-20T05")]


def _moment(value: Any) -> str | None:
    """`2026-11-20T05:10:00`, UTC, from Athena's `2026-11-20 05:10:00.000` or a datetime; None for null."""
    return str(value).replace(" ", "T")[: len("2026-11-20T05:10:00")] if value else None


_COUNTS = ("raw", "labeled", "quarantined", "missing", "predicted", "recovered")


def _cell(row: Mapping[str, Any] | None, expected: bool) -> dict[str, Any] | None:
    if row is None:
        nothing = {**dict.fromkeys((*_COUNTS, "alive_s", "gap_s"), 0), "evidence": "", "alarm": ""}
        return {"states": dict.fromkeys(LAYERS, NOT_JUDGED), **nothing} if expected else None
    return {
        "states": {layer: state(layer, row) for layer in LAYERS},
        **{name: int(row[name] or 0) for name in _COUNTS},
        "alive_s": round(float(row["alive_s"] or 0)),
        "gap_s": round(float(row["gap_s"] or 0)),
        "evidence": row["evidence"] or "",
        "alarm": row["alarm"] or "",
        "measured_at": _moment(row["measured_at"]),
    }


def period(first: datetime | None, days: int, now: datetime) -> tuple[datetime, datetime]:
    """The hours' range: ``days`` whole days from ``first`` on, by default those that end today."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = first or midnight - timedelta(days=days - 1)
    return start, start + timedelta(days=days)
