"""Athena's API over a real Trino that reads the same Glue tables from the same S3.

All offered operations of Athena are answered here; moto's Athena, which runs no queries, only provides the
routing. API reference: https://docs.aws.amazon.com/athena/latest/APIReference/.
"""

from __future__ import annotations

import json
import logging
from html import escape
from typing import Any
from urllib.parse import unquote

from moto.athena.responses import AthenaResponse

from local.aws import pages
from local.aws.athena.api import OPERATIONS, Api, ApiError
from local.aws.athena.engine import Engine
from local.aws.athena.store import Store
from local.aws.context import Context, Reply
from local.aws.trino import token

PAGES = "/_local/athena/queries/"
_UNDER_WAY = ("QUEUED", "RUNNING")

log = logging.getLogger(__name__)


def install(context: Context) -> None:
    """Replaces moto's Athena by this one; needs ``options.trino_url``."""
    if context.options.trino_url is None:
        raise ValueError("Athena needs the address of a Trino")
    glue, s3 = context.client("glue"), context.client("s3")
    store = Store(context.state / "athena" / "history.sqlite")
    engine = Engine(context.options.trino_url, token(context.credentials), glue, s3, store)
    api = Api(store, engine, glue, s3)
    for method in OPERATIONS.values():
        setattr(AthenaResponse, method, _answering(api, method))
    context.offer("athena", f"({'|'.join(OPERATIONS)})$")
    for identity in store.unfinished():
        engine.interrupt(identity)
    context.serve_page(PAGES, lambda raw_path: _page(store, unquote(raw_path.removeprefix(PAGES))))
    context.on_close(store.close)
    context.on_close(engine.close)


def _answering(api: Api, method: str) -> Any:
    def respond(response: Any) -> tuple[str, dict[str, Any]]:
        try:
            return json.dumps(getattr(api, method)(json.loads(response.body or "{}"))), {}
        except ApiError as error:
            return json.dumps(error.body()), {"status": 400, "x-amzn-ErrorType": error.code}

    return respond


def _page(store: Store, identity: str) -> Reply:
    """The page of a query: statement, state, error and statistics; 404 if there is none."""
    found = store.execution(identity)
    if found is None:
        return pages.page(404, "No such query", f"<p>There is no query {escape(identity)}.</p>")
    status, statistics = found["Status"], found.get("Statistics", {})
    failure = status.get("StateChangeReason", "") if status["State"] in ("FAILED", "CANCELLED") else ""
    return pages.page(
        200,
        f"Athena query {identity}",
        pages.facts(
            [
                ("State", status["State"]),
                ("Submitted", pages.moment(status.get("SubmissionDateTime"))),
                ("Completed", pages.moment(status.get("CompletionDateTime"))),
                ("Workgroup", found["WorkGroup"]),
                ("Database", found["QueryExecutionContext"].get("Database")),
                ("Result", found["ResultConfiguration"]["OutputLocation"]),
            ]
        ),
        pages.error(failure),
        pages.listing("Statement", found["Query"], ""),
        "<h2>Statistics</h2>",
        pages.facts(
            (name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value)
            for name, value in statistics.items()
        ),
        again=status["State"] in _UNDER_WAY,
    )
