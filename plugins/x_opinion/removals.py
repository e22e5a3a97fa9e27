"""The page Removals: what is to be removed, what was, and the form by which a person asks for it.

An id is given to the server once, and nothing keeps it: a request holds keyed hashes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import orjson
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from include.compliance import requests
from include.compliance.requests import OVERDUE, RemovalRequest, RequestError
from include.lake.sql import render
from x_opinion.access import COMPLIANCE_DAG, may_start, reads, sent_as, starts
from x_opinion.answers import data, time_text
from x_opinion.cache import Cache
from x_opinion.inputs import LakeDependency, NowDependency, ObjectsDependency
from x_opinion.lake import NotThereError, lake_errors

_MOST_IDS = 1_000
_SHOWN_DAYS = 92
"""So many days of the ledger are shown."""
_Ids = Annotated[list[Annotated[str, Field(max_length=30)]], Field(max_length=_MOST_IDS)]


class AskedRemoval(BaseModel):
    """What a person asks to remove, and why: without names, as the ledger keeps the reason."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=200)]
    tweets: _Ids = Field(default_factory=list)
    users: _Ids = Field(default_factory=list)


def router(cache: Cache) -> APIRouter:
    """The page's routes, apart from the page itself."""
    made = APIRouter()

    @made.get("/data/removals", dependencies=[reads(COMPLIANCE_DAG)])
    def waiting(
        request: Request, user: GetUserDep, objects: ObjectsDependency, now: NowDependency
    ) -> Response:
        """The open requests, and whether the user may make one."""
        with lake_errors():
            found = requests.pending(objects.s3, objects.bucket)
        return data(
            {
                "read_at": time_text(now),
                "asks": may_start(COMPLIANCE_DAG, request, user),
                "open": [_shown(each, now) for each in found],
            }
        )

    @made.get("/data/removals/done", dependencies=[reads(COMPLIANCE_DAG)])
    async def done(lake: LakeDependency, now: NowDependency) -> Response:
        """The ledger of the last days: counts by request and layer."""

        def read() -> bytes:
            last = now.date()
            first = last - timedelta(days=_SHOWN_DAYS)
            query = render("pages/removals", first_day=first.isoformat(), last_day=last.isoformat())
            try:
                rows = lake.select({"removals": query})["removals"].to_pylist()
            except NotThereError:
                rows = []
            return orjson.dumps({"read_at": time_text(now), "rows": rows})

        return data(await cache.get(("removals",), read))

    @made.post("/data/removals", dependencies=[starts(COMPLIANCE_DAG), sent_as("application/json")])
    def ask(objects: ObjectsDependency, now: NowDependency, asked: AskedRemoval) -> Response:
        """Keeps a request, which nobody has confirmed yet; its name is what a run of the DAG is given."""
        try:
            request = requests.asked_for(objects.pseudonyms, asked.reason, now, asked.tweets, asked.users)
        except RequestError as error:
            raise HTTPException(422, str(error)) from error
        with lake_errors():
            requests.add(objects.s3, objects.bucket, request)
        return data(_shown(request, now))

    @made.delete("/data/removals/{name}", dependencies=[starts(COMPLIANCE_DAG), sent_as("application/json")])
    def take_back(
        objects: ObjectsDependency,
        name: Annotated[str, PathParameter(pattern="^[a-z0-9][a-z0-9-]{0,63}$")],
    ) -> Response:
        """Forgets a request that nobody has confirmed."""
        with lake_errors():
            try:
                found = requests.find(objects.s3, objects.bucket, name)
            except RequestError as error:
                raise HTTPException(404, str(error)) from error
            if found.confirmed:
                raise HTTPException(409, "this request is confirmed: it is being carried out")
            requests.drop(objects.s3, objects.bucket, name)
        return data({"name": name})

    return made


def _shown(request: RemovalRequest, now: datetime) -> dict[str, object]:
    return {
        "name": request.name,
        "reason": request.reason,
        "requested_at": time_text(request.requested_at),
        "confirmed": request.confirmed,
        "tweets": request.tweets_count,
        "users": len(request.users),
        "overdue": request.requested_at < now - OVERDUE,
    }
