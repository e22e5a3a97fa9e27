"""The pages of quality results: the list of all, and what one check found."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse

from include.settings import settings
from include.window import Window, possible_day
from x_opinion.access import TRANSFORM_DAG, reads
from x_opinion.answers import page_text
from x_opinion.cache import Cache
from x_opinion.inputs import LakeDependency, NowDependency


def router(cache: Cache) -> APIRouter:
    """The pages, made when somebody looks."""
    made = APIRouter()

    @made.get("/quality/", dependencies=[reads(TRANSFORM_DAG)])
    async def listed(lake: LakeDependency) -> HTMLResponse:
        def read() -> str:
            from include.quality.docs import index

            return index(lake.quality_results(), settings().source_notice)

        return page_text(await cache.get(("quality",), read))

    @made.get("/quality/{suite}/{label}", dependencies=[reads(TRANSFORM_DAG)])
    async def result(
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

        return page_text(await cache.get(("quality", suite, label), read))

    return made
