"""The page Costs: what a month's usage comes to by list prices, and the price list."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response

from include import prices
from include.costs import month as costs
from include.settings import settings
from include.window import possible_day
from x_opinion.access import COSTS_DAG, reads
from x_opinion.answers import data, time_text
from x_opinion.cache import Cache
from x_opinion.inputs import LakeDependency, NowDependency


def router(cache: Cache) -> APIRouter:
    """The page's routes, apart from the page itself."""
    made = APIRouter()

    @made.get("/data/costs", dependencies=[reads(COSTS_DAG)])
    async def month_data(
        lake: LakeDependency,
        now: NowDependency,
        month: Annotated[str | None, Query(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] = None,
    ) -> Response:
        """A month's costs by stage and item, what they come to, and the prices; by default this month's."""
        first = possible_day(date.fromisoformat(f"{month or f'{now:%Y-%m}'}-01"), now)
        last = min(first.replace(day=monthrange(first.year, first.month)[1]), now.date())

        def read() -> bytes:
            listed = prices.load(settings().prices_file)
            found = lake.select(costs.statements(first, last))
            tweets = int(found["tweets"].to_pylist()[0]["tweets"])
            rows = found["month"].to_pylist()
            whole = costs.of(first, last, rows, tweets, settings(), listed)
            lines = [price.model_dump(mode="json") for price in listed.prices]
            limit = settings().monthly_cost_limit
            told = {"rows": rows, "prices": lines, "limit": limit, "read_at": time_text(now)}
            return orjson.dumps(whole.to_json() | told)

        return data(await cache.get(("costs", first, last), read))

    return made
