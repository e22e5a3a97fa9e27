"""Every address of the plugin: one that answers for each of its routes, as the routes themselves say."""

from __future__ import annotations

from fastapi.routing import APIRoute
from x_opinion.app import PAGES, create_app, version

OPINION = [page for page, (_, script) in PAGES.items() if script == "opinion"]
ANYONES = [f"/static/{version()}/style.css", "/icons/coverage-light.svg", "/data/rights"]
"""What is part of every page, and what one may do oneself."""
INSIGHTS = [*(address for page in OPINION for address in (f"/{page}", f"/data/{page}")), "/data/drift"]
COVERAGE = ["/coverage", "/data/coverage"]
QUALITY = ["/quality/", "/quality/raw/2026-11-20T05"]
AUDIT = ["/audit", "/data/audit", "/data/audit/results"]
REMOVALS = ["/removals", "/data/removals", "/data/removals/done"]
COSTS = ["/costs", "/data/costs"]
READING = [*ANYONES, *INSIGHTS, *COVERAGE, *AUDIT, *REMOVALS, *COSTS, *QUALITY]
"""What whoever may read the DAGs can read."""
CHANGING = [
    ("GET", "/data/audit/tweets"),
    ("GET", "/data/audit/tweets.csv"),
    ("GET", "/data/examples"),
    ("POST", "/data/audit/judgments"),
    ("POST", "/data/audit/tweets.csv"),
    ("POST", "/data/removals"),
    ("DELETE", "/data/removals/a-request"),
]
"""Methods and addresses that change something, and those that give texts to who may."""
PROBE = ("POST", "/probe")
"""A route of the tests' server alone, guarded as those that change something."""


def routes() -> list[tuple[str, APIRoute]]:
    """Every method of every route; raises `AssertionError` for what is no route, which no login guards."""
    app = create_app()
    found = [route for route in app.routes if isinstance(route, APIRoute)]
    assert len(app.routes) == len(found), "a mounted application needs no login"
    return [(method, route) for route in found for method in sorted(route.methods)]


def addresses(method: str, route: APIRoute) -> list[str]:
    """Those of the addresses above that are answered by a route."""
    known = [("GET", address) for address in READING] + CHANGING
    return [address for asked, address in known if asked == method and route.path_regex.fullmatch(address)]
