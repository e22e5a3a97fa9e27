"""Examples: some of the tweets behind a point, a bar or a country, at random, for whoever may read texts.

Who may is who may judge (`audit.DAG`), and labels are not shown here either: who has seen them would judge by
them. A tweet is shown by X itself where the settings name its embed, and else from the lake; one that has a
tombstone is not shown, also while it still lies in the lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response
from pydantic import StringConstraints

from include.audit.records import texts
from include.compliance import tombstones
from include.lake import cards
from include.lake.sql import render
from include.settings import settings
from include.window import Window, possible_day
from include.x.compliance import ComplianceAction
from include.x.snowflake import moment
from include.x.topics import load
from x_opinion import audit
from x_opinion.access import reads, starts
from x_opinion.answers import data
from x_opinion.inputs import LakeDependency, NowDependency, Objects, ObjectsDependency
from x_opinion.lake import Lake, lake_errors
from x_opinion.opinion import AGGREGATING_DAG, LONGEST_DAYS

SHOWN = 5
_DRAWN = 25
"""So many are drawn: some may be gone meanwhile."""
_NONE = ("none",)
"""Stands for an empty list in a statement."""

Language = Annotated[str, StringConstraints(pattern="^[A-Za-z-]{2,12}$")]


@dataclass(frozen=True)
class Point:
    """What a point of a chart stands for: a topic's hours from ``first`` on, as the filters narrow them.

    A bar or a country of a map stands for the hours of the whole period, narrowed to its language or country.
    """

    topic: str
    first: Window
    hours: int
    languages: tuple[str, ...] = ()
    country: str | None = None
    unmeasured: bool = False

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return self.first.start + timedelta(hours=self.hours)


def router() -> APIRouter:
    """The route of the charts' examples."""
    made = APIRouter()

    @made.get("/data/examples", dependencies=[reads(AGGREGATING_DAG), starts(audit.DAG)])
    def examples(
        lake: LakeDependency,
        objects: ObjectsDependency,
        now: NowDependency,
        topic: Annotated[str, Query(max_length=100)],
        hour: Annotated[str, Query(max_length=20)],
        hours: Annotated[int, Query(ge=1, le=24 * LONGEST_DAYS)] = 1,
        language: Annotated[list[Language] | None, Query(max_length=100)] = None,
        country: Annotated[str | None, Query(pattern="^[A-Z]{2}$")] = None,
        unmeasured: bool = False,
    ) -> Response:
        """Some tweets behind a point; each time others."""
        if topic not in load(settings().topics_file).names:
            raise HTTPException(422, f"there is no topic {topic!r}")
        first = Window.parse(hour)
        possible_day(first.start.date(), now)
        point = Point(topic, first, hours, tuple(language or ()), country, unmeasured)
        with lake_errors():
            shown = _shown(objects, topic, _drawn(lake, objects, point))
        return data({"tweets": shown, "retention_days": settings().retention_days})

    return made


def _drawn(lake: Lake, objects: Objects, point: Point) -> list[dict[str, Any]]:
    """Ids, authors' pseudonyms and languages of tweets behind the point, at random."""
    measured = cards.measured(objects.s3, objects.bucket)
    query = render(
        "pages/examples",
        topic=point.topic,
        first_day=point.first.date,
        last_day=Window.containing(point.end).previous.date,
        start=point.first.start,
        end=point.end,
        every_language=int(not point.languages),
        languages=point.languages or _NONE,
        every_country=int(point.country is None),
        country=point.country or "",
        unmeasured=int(point.unmeasured),
        measured=measured.sentiment or _NONE,
        measured_translations=measured.translation or _NONE,
        count=_DRAWN,
    )
    rows: list[dict[str, Any]] = lake.select({"examples": query}, forget=True)["examples"].to_pylist()
    return rows


def _shown(objects: Objects, topic: str, drawn: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of the drawn tweets that nobody has removed, as a page shows them."""
    embed = settings().tweet_embed_url
    shown: list[dict[str, Any]] = []
    for start in range(0, len(drawn), SHOWN):
        some = drawn[start : start + SHOWN]
        ids = [row["tweet_id"] for row in some]
        found = {} if embed else texts(objects.s3, objects.bucket, dict.fromkeys(ids, topic))
        # After the texts: what is removed while this runs is removed here, too.
        hours = {Window.containing(moment(tweet_id)) for tweet_id in ids}
        stones = tombstones.read(objects.s3, objects.bucket, objects.pseudonyms, hours)
        for row in some:
            tweet_id = row["tweet_id"]
            gone = stones.of(tweet_id, row["author_id"]) is ComplianceAction.DELETE
            if gone or not (embed or tweet_id in found):
                continue
            told = {"lang": row["lang"], "written_at": moment(tweet_id).isoformat(timespec="seconds")}
            if embed:
                shown.append({**told, "embed": embed.format(tweet_id=tweet_id)})
            else:
                text, translation = found[tweet_id]
                shown.append({**told, "text": text, "translation": translation})
        if len(shown) >= SHOWN:
            break
    return shown[:SHOWN]
