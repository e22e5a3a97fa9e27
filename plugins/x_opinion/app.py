"""The pages' routes. Every one, the static files too, needs Airflow's login and a DAG that the user may read.

What a page shows needs the right to read the DAG that makes it (`DAGS`). A route that changes something is
guarded by `access.starts` of the DAG that it concerns.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Annotated, Any

import orjson
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from include.audit.drift import DIMENSIONS
from include.coverage.measure import collection_start
from include.settings import settings
from include.window import FIRST_DAY, Window, WindowError, possible_day
from include.x.topics import load
from x_opinion import audit, costs, examples, removals
from x_opinion.access import (
    AUDIT_DAG,
    COMPLIANCE_DAG,
    COSTS_DAG,
    COVERAGE_DAG,
    INSIGHTS_DAG,
    TRANSFORM_DAG,
    may_start,
    reads,
)
from x_opinion.answers import HEADERS, data
from x_opinion.cache import Cache
from x_opinion.coverage import grid, period
from x_opinion.inputs import LakeDependency, NowDependency
from x_opinion.lake import LakeError, NotThereError
from x_opinion.opinion import LONGEST_DAYS, Filters, UnknownFilterError, figures, tables

STATIC = Path(__file__).parent / "static"
PAGES = {
    "opinion-over-time": ("Opinion over time", "opinion"),
    "opinion-across-the-world": ("Opinion across the world", "opinion"),
    "coverage": ("Coverage", "coverage"),
    "audit": ("Audit", "audit"),
    "removals": ("Removals", "removals"),
    "costs": ("Costs", "costs"),
}
"""The title and the script of each page; a dashboard's page has its id."""
DAGS = {
    "opinion": INSIGHTS_DAG,
    "coverage": COVERAGE_DAG,
    "audit": AUDIT_DAG,
    "removals": COMPLIANCE_DAG,
    "costs": COSTS_DAG,
    "quality": TRANSFORM_DAG,
    "drift": INSIGHTS_DAG,
}
"""The DAG that a user must be allowed to read. The drift warning stands on the dashboards, so it needs
`insights`."""
CACHE_SECONDS = 60.0
DEFAULT_DAYS = 7


@cache
def version() -> str:
    """Digest of the static files: their addresses hold it, so that browsers may keep them for good."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STATIC).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def topics() -> list[dict[str, str]]:
    """Name and title of every topic, in the topics file's order."""
    return [{"name": topic.name, "title": topic.title} for topic in load(settings().topics_file).topics]


def _page(content: str) -> HTMLResponse:
    # Nothing is loaded from elsewhere but the posts that X shows in frames of its own, and no other site may
    # put the pages into a frame of its own.
    frames = "/".join(settings().tweet_embed_url.split("/")[:3]) or "'none'"
    policy = (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        f" frame-src {frames}; frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(content, headers=headers)


def _shows(template: Template, **parts: str) -> Callable[[], Awaitable[HTMLResponse]]:
    async def show() -> HTMLResponse:
        notice = settings().source_notice
        banner = f'<p id="source" class="banner" role="note">{escape(notice)}</p>' if notice else ""
        refresh = settings().pages_refresh_seconds
        text = template.substitute(parts, banner=banner, refresh=refresh)
        return _page(text)

    return show


def _router(cache: Cache) -> APIRouter:
    router = APIRouter()
    files = StaticFiles(directory=STATIC)
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))

    @router.get("/data/coverage", dependencies=[reads(DAGS["coverage"])])
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

    @router.get("/data/drift", dependencies=[reads(DAGS["drift"])])
    async def drift_data(lake: LakeDependency, now: NowDependency) -> Response:
        """What the tweets no longer have in common with those that people audited."""

        def read() -> bytes:
            return orjson.dumps(
                [{**row, "changed": DIMENSIONS[row["dimension"]]} for row in lake.drift(now.date())]
            )

        return data(await cache.get(("drift", now.date()), read))

    @router.get("/data/rights")
    def rights(request: Request, user: GetUserDep) -> Response:
        """What the pages need not offer to those who may not do it; Airflow's API decides in any case."""
        return data(
            {
                "backfill": may_start(DAGS["coverage"], request, user),
                "texts": may_start(DAGS["audit"], request, user),
            }
        )

    router.include_router(audit.router(cache))
    router.include_router(removals.router(cache))
    router.include_router(examples.router())
    router.include_router(costs.router(cache))

    @router.get("/data/{name}", dependencies=[reads(DAGS["opinion"])])
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
        if name not in PAGES:
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

    @router.get("/static/{digest}/{name:path}")
    async def static_file(request: Request, digest: str, name: str) -> Response:
        response = await files.get_response(name, request.scope)
        # An older page may still ask by its own digest: it gets today's file, but must ask again.
        fresh = digest == version()
        response.headers["Cache-Control"] = "private, max-age=31536000, immutable" if fresh else "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @router.get("/icons/{name}")
    async def icon(request: Request, name: str) -> Response:
        return await files.get_response(f"icons/{name}", request.scope)

    @router.get("/quality/", dependencies=[reads(DAGS["quality"])])
    async def quality_index(lake: LakeDependency) -> HTMLResponse:
        def read() -> str:
            from include.quality.docs import index

            return index(lake.quality_results(), settings().source_notice)

        return _page(await cache.get(("quality",), read))

    @router.get("/quality/{suite}/{label}", dependencies=[reads(DAGS["quality"])])
    async def quality(
        lake: LakeDependency,
        now: NowDependency,
        suite: Annotated[str, PathParameter(pattern="^[a-z_]{1,40}$")],
        label: Annotated[str, PathParameter(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2})?$")],
    ) -> HTMLResponse:
        possible_day(Window.parse(label if "T" in label else f"{label}T00").start.date(), now)

        def read() -> str:
            from include.quality.docs import Neighbors, render

            content = lake.quality(suite, label)
            neighbors = Neighbors.of(label, lake.quality_results().get(suite, []))
            return render(content, neighbors, settings().source_notice)

        return _page(await cache.get(("quality", suite, label), read))

    for page, (title, script) in PAGES.items():
        show = _shows(template, page=page, title=title, script=script, static=f"static/{version()}")
        router.add_api_route(f"/{page}", show, name=page, dependencies=[reads(DAGS[script])])

    return router


def create_app(cache: Cache | None = None) -> FastAPI:
    """The application that Airflow mounts; its dependency guards every route it has.

    What its data routes have read is kept in ``cache``, by default for `CACHE_SECONDS`.
    """
    app = FastAPI(
        title="x-opinion",
        dependencies=[reads()],
        # FastAPI's own pages would need no login.
        openapi_url=None,
    )
    app.include_router(_router(cache or Cache(CACHE_SECONDS, entries=64)))

    @app.exception_handler(WindowError)
    async def no_such_day(_: Request, error: WindowError) -> JSONResponse:
        return JSONResponse(
            {"title": "This period cannot be shown", "detail": str(error)}, 422, headers=HEADERS
        )

    @app.exception_handler(NotThereError)
    async def not_there(_: Request, error: NotThereError) -> JSONResponse:
        return JSONResponse({"title": "No data yet", "detail": str(error)}, 404, headers=HEADERS)

    @app.exception_handler(LakeError)
    async def lake_failed(_: Request, error: LakeError) -> JSONResponse:
        problem = {"title": "The lake does not answer", "detail": str(error)}
        return JSONResponse(problem, 502, headers=HEADERS)

    return app
