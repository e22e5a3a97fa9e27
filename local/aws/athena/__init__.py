"""Athena's API over a real Trino that reads the same Glue tables from the same S3.

Everything of Athena that is offered is answered here; moto's Athena, which runs no query, gives only the
routing. API reference: https://docs.aws.amazon.com/athena/latest/APIReference/.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from moto.athena.responses import AthenaResponse

from local.aws.athena.api import OPERATIONS, Api, ApiError
from local.aws.athena.engine import Engine
from local.aws.athena.store import Store
from local.aws.context import Context
from local.aws.trino import token

log = logging.getLogger(__name__)


def install(context: Context) -> None:
    """Puts this Athena in the place of moto's; needs ``options.trino_url``."""
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
    context.on_close(store.close)
    context.on_close(engine.close)


def _answering(api: Api, method: str) -> Any:
    def respond(response: Any) -> tuple[str, dict[str, Any]]:
        try:
            return json.dumps(getattr(api, method)(json.loads(response.body or "{}"))), {}
        except ApiError as error:
            return json.dumps(error.body()), {"status": 400, "x-amzn-ErrorType": error.code}

    return respond
