"""QuickSight's API, answered here as a whole: moto's knows neither ingestions nor definitions.

SPICE ingestions run the data sets' SQL on the local Athena, definitions are checked as QuickSight checks
them, refresh schedules run. What a dashboard holds is shown on a page (`local.aws.quicksight.page`).
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Mapping
from urllib.parse import unquote

from local.aws.context import Context, Reply
from local.aws.quicksight import page
from local.aws.quicksight.api import Api
from local.aws.quicksight.model import Json, ServiceError, read
from local.aws.quicksight.store import Store

PAGES = "/_local/quicksight/dashboards/"
_SCHEDULE_SECONDS = 15.0

log = logging.getLogger(__name__)


def install(context: Context) -> None:
    """Serves QuickSight."""
    store = Store(context.state / "quicksight" / "resources.sqlite")
    api = Api(store, context.client)
    closing = threading.Event()

    def answer(method: str, raw_path: str, query: str, _: Mapping[str, str], body: bytes) -> Reply:
        try:
            request = read(method, raw_path, query, body)
            content = api.answer(request.operation, request.parameters)
            return _reply(int(content.pop("Status", 200)), content)
        except ServiceError as error:
            log.info("rejected method=%s path=%s code=%s", method, raw_path, error.code)
            return _reply(error.status, {"Message": str(error), **error.members}, error.code)

    def run_schedules() -> None:
        while not closing.wait(_SCHEDULE_SECONDS):
            api.run_schedules(time.time())

    def start() -> None:
        api.start()
        threading.Thread(target=run_schedules, name="refresh-schedules", daemon=True).start()

    def close() -> None:
        closing.set()
        api.close()
        store.close()

    context.serve("quicksight", answer)
    context.serve_page(PAGES, lambda raw_path: page.dashboard(store, unquote(raw_path.removeprefix(PAGES))))
    context.on_start(start)
    context.on_close(close)


def _reply(status: int, content: Json, error: str | None = None) -> Reply:
    identity = str(uuid.uuid4())
    data = json.dumps({**content, "RequestId": identity}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(data))),
        ("x-amzn-RequestId", identity),
    ]
    if error:
        headers.append(("x-amzn-ErrorType", error))
    return status, headers, data
