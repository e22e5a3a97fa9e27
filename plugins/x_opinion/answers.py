"""How data and pages are answered: data as JSON that nobody keeps, and no browser takes for anything else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi.responses import HTMLResponse, Response

from include.settings import settings

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def data(content: Any) -> Response:
    """``content`` as JSON; bytes are JSON already: writing it may take as long as computing it."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(body, media_type="application/json", headers=HEADERS)


def page_text(content: str) -> HTMLResponse:
    """``content`` as a page."""
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


def time_text(at: datetime) -> str:
    """An aware time as the pages' scripts read it: ISO, UTC, whole seconds."""
    return at.astimezone(UTC).isoformat(timespec="seconds")
