"""How data is answered: as JSON that nobody keeps, and no browser takes for anything else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi.responses import Response

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def data(content: Any) -> Response:
    """``content`` as JSON; bytes are JSON already: writing it may take as long as computing it."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(body, media_type="application/json", headers=HEADERS)


def time_text(at: datetime) -> str:
    """An aware time as the pages' scripts read it: ISO, UTC, whole seconds."""
    return at.astimezone(UTC).isoformat(timespec="seconds")
