"""The dashboards' pages: their description and figures as JSON, read once for all viewers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response

from include.audit.drift import DIMENSIONS
from include.insights import events, page
from include.insights.comparison import compared
from include.insights.definition import FILTER_COLUMNS, MEASURED_LANGUAGE, Dashboard, load
from include.settings import settings
from include.window import FIRST_DAY, Window, possible_day
from include.x.topics import load as load_topics
from x_opinion.access import INSIGHTS_DAG, reads
from x_opinion.answers import data
from x_opinion.cache import Cache
from x_opinion.inputs import LakeDependency, NowDependency

if TYPE_CHECKING:
    import pyarrow as pa

    from x_opinion.lake import Lake

DASHBOARD_PAGES = {
    "opinion-over-time": "Opinion over time",
    "opinion-across-the-world": "Opinion across the world",
}
"""The title of each dashboard's page, by the dashboard's id."""
DEFAULT_DAYS = 7
LONGEST_DAYS = 92
"""So many days can be shown at a time."""

log = logging.getLogger(__name__)

type Tables = Mapping[str, pa.Table]


class UnknownFilterError(ValueError):
    """A filter names something unknown."""


@dataclass(frozen=True)
class Filters:
    """What a page is narrowed to: whole UTC days, ``last`` included; no topic or language means all."""

    first: date
    last: date
    topics: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    unmeasured: bool = False
    compare: bool = False

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def before(self) -> Filters:
        """The same for the same number of days just before."""
        length = timedelta(days=self.days)
        return replace(self, first=self.first - length, last=self.last - length, compare=False)

    def of_page(self) -> dict[str, Any]:
        """As `page.evaluate` takes them."""
        return {
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "topics": self.topics,
            "languages": self.languages,
            "unmeasured": self.unmeasured,
        }

    def __post_init__(self) -> None:
        unknown = set(self.topics) - set(load_topics(settings().topics_file).names)
        if unknown:
            raise UnknownFilterError(f"there is no topic {', '.join(sorted(unknown))}")
        if self.first > self.last:
            raise UnknownFilterError("the period ends before it starts")


def router(cache: Cache) -> APIRouter:
    """The pages' routes, apart from the pages themselves; one of them takes every name under ``/data/``."""
    made = APIRouter()

    @made.get("/data/drift", dependencies=[reads(INSIGHTS_DAG)])
    async def drift_data(lake: LakeDependency, now: NowDependency) -> Response:
        """What the tweets no longer have in common with those that people audited."""

        def read() -> bytes:
            return orjson.dumps(
                [{**row, "changed": DIMENSIONS[row["dimension"]]} for row in lake.drift(now.date())]
            )

        return data(await cache.get(("drift", now.date()), read))

    @made.get("/data/{name}", dependencies=[reads(INSIGHTS_DAG)])
    async def opinion_data(
        lake: LakeDependency,
        now: NowDependency,
        name: str,
        first: Annotated[date | None, Query(alias="from")] = None,
        last: Annotated[date | None, Query(alias="to")] = None,
        topic: Annotated[list[str] | None, Query()] = None,
        language: Annotated[list[str] | None, Query()] = None,
        unmeasured: bool = False,
        compare: bool = False,
    ) -> Response:
        if name not in DASHBOARD_PAGES:
            raise HTTPException(404, f"there is no dashboard {name!r}")
        end = possible_day(last, now) if last else now.date()
        start = possible_day(first, now) if first else max(end - timedelta(days=DEFAULT_DAYS - 1), FIRST_DAY)
        if (end - start).days >= LONGEST_DAYS:
            raise HTTPException(422, f"at most {LONGEST_DAYS} days can be shown at a time")
        try:
            filters = Filters(start, end, tuple(topic or ()), tuple(language or ()), unmeasured, compare)
        except UnknownFilterError as error:
            raise HTTPException(422, str(error)) from error
        if compare:
            possible_day(filters.before.first, now)

        async def rows(of: Filters) -> Any:
            # The last day is what changes while it is looked at.
            revision = await asyncio.to_thread(lake.revision, of.last)
            key = ("tables", name, of.first, of.last, revision)
            return await cache.get(key, lambda: (tables(lake, name, of.first, of.last), now))

        reading = asyncio.gather(*(rows(of) for of in ((filters, filters.before) if compare else (filters,))))
        read, *before = await reading

        def evaluate() -> bytes:
            found = figures(name, read[0], filters, read[1], before[0][0] if before else None)
            return orjson.dumps({**found, "scores": lake.scores(found["engines"])})

        key = (name, filters, read[1], *(each[1] for each in before))
        return data(await cache.get(key, evaluate))

    return made


@cache
def dashboard(name: str) -> Dashboard:
    """The dashboard of that id; raises `KeyError`."""
    return load(load_topics(settings().topics_file)).dashboards[name]


def tables(lake: Lake, name: str, first: date, last: date) -> Tables:
    """The rows of every data set that the dashboard shows, for whole days; raises what `Lake` raises."""
    start = datetime.combine(first, time(), UTC)
    end = datetime.combine(last, time(), UTC) + timedelta(days=1)
    sets = dashboard(name).data_sets
    found = lake.select({one.name: page.statement(one, start, end) for one in sets})
    return {one.name: page.table(one, found[one.name]) for one in sets}


def figures(
    name: str, read: Tables, filters: Filters, now: datetime, before: Tables | None = None
) -> dict[str, Any]:
    """The page's JSON: its description and figures, the languages to choose from, the models that labeled.

    Also when it was read and, given the rows of the period ``before``, what has changed since.
    """
    chosen = dashboard(name)
    period = {"from": filters.first.isoformat(), "to": filters.last.isoformat()}
    found = page.evaluate(chosen, read, filters.of_page())
    if before is not None:
        found["before"] = _compared(chosen, read, before, filters, now, found["tiles"])
    # An open hour has no tweets of its remaining time.
    present = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    found["as_of"] = {topic: min(end, present) for topic, end in found["as_of"].items()}
    return {
        "read_at": now.astimezone(UTC).isoformat(timespec="seconds"),
        **period,
        "description": page.describe(chosen, load_topics(settings().topics_file)),
        "languages": _languages(read[chosen.data_sets[0].name]),
        "engines": _engines(read[chosen.data_sets[0].name]),
        **_events(filters),
        **found,
    }


def _compared(
    chosen: Dashboard, read: Tables, before: Tables, filters: Filters, now: datetime, tiles: list[Any]
) -> dict[str, Any]:
    """The tiles of the period before with what has changed since, and which methods differ.

    A period that is not over is compared with the same hours of the days before.
    """
    wanted = filters.before.of_page()
    if filters.first <= now.date() <= filters.last:
        wanted["to"] = (Window.containing(now).end - timedelta(days=filters.days)).isoformat()
    former = {tile["id"]: tile for tile in page.evaluate(chosen, before, wanted)["tiles"]}
    first_set = chosen.data_sets[0].name
    one = page.methods(chosen, read[first_set], filters.of_page())
    other = page.methods(chosen, before[first_set], wanted)
    differs = {kind for kind in ("models", "sample", "search") if one[kind] != other[kind]}
    # Without tweets there is nothing that was measured in another way.
    empty = not other["sample"]
    return {
        "from": filters.before.first.isoformat(),
        "to": wanted["to"],
        "tiles": {tile["id"]: compared(tile, former[tile["id"]]) for tile in tiles if not empty},
        "differs": [] if empty else sorted(differs.union(one["changes"], other["changes"])),
    }


def _events(filters: Filters) -> dict[str, Any]:
    """The period's events; a file that is rejected takes no chart from a reader, and is told."""
    try:
        found = events.load(settings().events_file)
    except events.EventsError as error:
        log.warning("events are not shown: %s", error)
        return {"events": [], "events_problem": f"The events are not shown: {error}"}
    shown = [event for event in found if filters.first <= event.day <= filters.last]
    return {
        "events": [
            {"day": event.day.isoformat(), "title": event.title, "link": event.link} for event in shown
        ],
        "events_problem": "",
    }


def _languages(table: pa.Table) -> list[dict[str, Any]]:
    """The languages of the period, those with the most tweets first; measured by any model that labeled."""
    column = FILTER_COLUMNS["unmeasured"]
    tweets: Counter[str] = Counter()
    measured = set()
    for row in table.group_by(["lang", column]).aggregate([("tweets", "sum")]).to_pylist():
        if row["lang"] and row["tweets_sum"]:
            tweets[row["lang"]] += row["tweets_sum"]
            if row[column] == MEASURED_LANGUAGE:
                measured.add(row["lang"])
    return [
        {"value": lang, "measured": lang in measured, "tweets": count}
        for lang, count in sorted(tweets.items(), key=lambda item: (-item[1], item[0]))
    ]


def _engines(table: pa.Table) -> list[str]:
    """The models that labeled in the period, those with the most tweets first."""
    totals = table.group_by(["engine"]).aggregate([("tweets", "sum")]).to_pylist()
    found = sorted(totals, key=lambda row: (-row["tweets_sum"], row["engine"]))
    return [row["engine"] for row in found if row["engine"] != "none" and row["tweets_sum"]]
