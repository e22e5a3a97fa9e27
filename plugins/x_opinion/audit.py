"""The page Audit: people judge drawn tweets, and everybody sees how far the models agree with them.

A tweet's text is given only to who may start runs of the DAG `audit`, and so may judge; the results are for
whoever may read the DAG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Literal

import orjson
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Body, HTTPException, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from include.audit.records import JudgmentError
from include.lake.sql import render
from include.settings import settings
from include.x.topics import load
from x_opinion.access import AUDIT_DAG, may_start, reads, sent_as, starts
from x_opinion.answers import HEADERS, data, time_text
from x_opinion.cache import Cache
from x_opinion.inputs import DeskDependency, LakeDependency, NowDependency
from x_opinion.lake import lake_errors

AT_A_TIME = 5
"""So many tweets are given at a time: few, as others judge meanwhile."""
LARGEST_CSV = 4 << 20
SHOWN_PROBLEMS = 50
SHOWN_DAYS = 731
"""Months whose first day is at most this long ago have their results shown."""


class GivenJudgment(BaseModel):
    """What a person says of a tweet; null takes it back."""

    model_config = ConfigDict(extra="forbid")

    tweet_id: Annotated[str, Field(pattern="^[1-9][0-9]{0,18}$")]
    judgment: Literal["Negative", "Neutral", "Positive", "Cannot tell"] | None


def router(cache: Cache) -> APIRouter:
    """The page's routes, apart from the page itself."""
    made = APIRouter()

    @made.get("/data/audit", dependencies=[reads(AUDIT_DAG)])
    def progress(
        request: Request,
        user: GetUserDep,
        desk: DeskDependency,
        now: NowDependency,
    ) -> Response:
        """How far the audit is, and whether the user may judge."""
        judges = may_start(AUDIT_DAG, request, user)
        with lake_errors():
            found = desk.progress(desk.person(user.get_id()) if judges else None, now)
        titles = {topic.name: topic.title for topic in load(settings().topics_file).topics}
        standing = [asdict(each) for each in found]
        return data({"read_at": time_text(now), "judges": judges, "topics": titles, "progress": standing})

    @made.get("/data/audit/results", dependencies=[reads(AUDIT_DAG)])
    async def results(lake: LakeDependency, now: NowDependency) -> Response:
        """How far the models agree with people, and people with each other."""

        def read() -> bytes:
            last = now.date()
            first = last - timedelta(days=SHOWN_DAYS)
            query = render("pages/audit", first_day=first.isoformat(), last_day=last.isoformat())
            rows = lake.select({"audit": query})["audit"].to_pylist()
            return orjson.dumps({"read_at": time_text(now), "rows": rows})

        return data(await cache.get(("audit",), read))

    @made.get("/data/audit/tweets", dependencies=[starts(AUDIT_DAG)])
    def tweets(
        user: GetUserDep,
        desk: DeskDependency,
        now: NowDependency,
        topic: Annotated[list[str] | None, Query(max_length=100)] = None,
        language: Annotated[list[str] | None, Query(max_length=100)] = None,
    ) -> Response:
        """The next tweets that the user judges, and the one that the user has judged last."""
        with lake_errors():
            person = desk.person(user.get_id())
            given = desk.given(person, now, AT_A_TIME, tuple(topic or ()), tuple(language or ()))
            last = desk.last(person, now)
        return data(
            {
                "tweets": [tweet.to_json() for tweet in given],
                "last": {**last[0].to_json(), "judgment": last[1]} if last else None,
            }
        )

    @made.post("/data/audit/judgments", dependencies=[starts(AUDIT_DAG), sent_as("application/json")])
    def judge(
        user: GetUserDep,
        desk: DeskDependency,
        now: NowDependency,
        given: GivenJudgment,
    ) -> Response:
        """Keeps a judgment at once; the same again changes nothing."""
        with lake_errors():
            try:
                desk.judge(desk.person(user.get_id()), int(given.tweet_id), given.judgment, now)
            except JudgmentError as error:
                # X has deleted it, or its id was made up.
                raise HTTPException(409, "; ".join(error.problems)) from error
        return data(given.model_dump())

    @made.get("/data/audit/tweets.csv", dependencies=[starts(AUDIT_DAG)])
    def written(
        user: GetUserDep,
        desk: DeskDependency,
        now: NowDependency,
    ) -> Response:
        """What the user has judged or can judge, for a labeling tool."""
        with lake_errors():
            content = desk.written(desk.person(user.get_id()), now)
        disposition = {"Content-Disposition": f'attachment; filename="audit-{now:%Y-%m-%d}.csv"'}
        return Response(content, media_type="text/csv; charset=utf-8", headers=HEADERS | disposition)

    @made.post("/data/audit/tweets.csv", dependencies=[starts(AUDIT_DAG), sent_as("text/csv")])
    def take(
        user: GetUserDep,
        desk: DeskDependency,
        now: NowDependency,
        content: Annotated[bytes, Body(media_type="text/csv", max_length=LARGEST_CSV)],
    ) -> Response:
        """Keeps the judgments of a file, or none where one is bad."""
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise HTTPException(422, "the file is not in UTF-8") from error
        with lake_errors():
            try:
                counts = desk.take(desk.person(user.get_id()), text, now)
            except JudgmentError as error:
                raise HTTPException(422, _listed(error.problems)) from error
        return data({"taken": counts})

    return made


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - SHOWN_PROBLEMS
    return "\n".join([*problems[:SHOWN_PROBLEMS], *([f"and {more} more"] if more > 0 else [])])
