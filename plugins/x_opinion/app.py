"""The pages' routes. Every one, the static files too, needs Airflow's login and a DAG that the user may read.

What a page shows needs the right to read the DAG that makes it (`DAGS`). A route that changes something is
guarded by `access.starts` of the DAG that it concerns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from include.settings import settings
from include.window import WindowError
from x_opinion import audit, costs, coverage, examples, opinion, quality, removals
from x_opinion.access import (
    AUDIT_DAG,
    COMPLIANCE_DAG,
    COSTS_DAG,
    COVERAGE_DAG,
    INSIGHTS_DAG,
    may_start,
    reads,
)
from x_opinion.answers import HEADERS, data, page_text
from x_opinion.cache import Cache
from x_opinion.lake import LakeError, NotThereError

STATIC = Path(__file__).parent / "static"
PAGES = {
    **{name: (title, "opinion") for name, title in opinion.DASHBOARD_PAGES.items()},
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
}
"""The DAG that a user must be allowed to read. The drift warning stands on the dashboards, so it needs
`insights`."""
CACHE_SECONDS = 60.0


@cache
def version() -> str:
    """Digest of the static files: their addresses hold it, so that browsers may keep them for good."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STATIC).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _shows(template: Template, **parts: str) -> Callable[[], Awaitable[HTMLResponse]]:
    async def show() -> HTMLResponse:
        notice = settings().source_notice
        banner = f'<p id="source" class="banner" role="note">{escape(notice)}</p>' if notice else ""
        refresh = settings().pages_refresh_seconds
        text = template.substitute(parts, banner=banner, refresh=refresh)
        return page_text(text)

    return show


def _router(cache: Cache) -> APIRouter:
    router = APIRouter()
    files = StaticFiles(directory=STATIC)
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))

    @router.get("/data/rights")
    def rights(request: Request, user: GetUserDep) -> Response:
        """What the pages need not offer to those who may not do it; Airflow's API decides in any case."""
        return data(
            {
                "backfill": may_start(DAGS["coverage"], request, user),
                "texts": may_start(DAGS["audit"], request, user),
            }
        )

    router.include_router(coverage.router(cache))
    router.include_router(audit.router(cache))
    router.include_router(removals.router(cache))
    router.include_router(examples.router())
    router.include_router(costs.router(cache))
    router.include_router(quality.router(cache))
    # Last of those that have data: it takes every name that no other one has.
    router.include_router(opinion.router(cache))

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
