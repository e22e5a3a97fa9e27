"""Connections that X still counts although their process is gone: after `kill -9` they block new ones.

Source: X's reference of stream connections (`GET /2/connections`, `DELETE /2/connections/{endpoint_id}`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime
from typing import Any

import tweepy

_ENDPOINT = "filtered_stream"
_TOLERANCE_SECONDS = 3.0
"""How far apart X's times of the two ends of a handshake, in whole seconds, may be."""

log = logging.getLogger(__name__)


def free_own(client: tweepy.Client, ours: Collection[datetime]) -> bool:
    """Ends a leftover connection that we made at one of the times ``ours``; True if X then has room for us.

    Connections of other processes are left alone. Raises tweepy's and requests' exceptions.
    """
    params = {
        "status": "active",
        "endpoints": _ENDPOINT,
        "connection.fields": "id,endpoint_name,connected_at,client_ip",
    }
    active: list[dict[str, Any]] = (
        client.request("GET", "/2/connections", params=params).json().get("data", [])
    )
    if not active:
        return True
    if not all(any(_same(found, made) for made in ours) for found in active):
        log.warning(
            "another streamer holds the account's connection", extra={"fields": {"connections": len(active)}}
        )
        return False
    client.request("DELETE", f"/2/connections/{_ENDPOINT}")
    log.info("freed our own dead connection", extra={"fields": {"connections": len(active)}})
    return True


def _same(found: dict[str, Any], connected_at: datetime) -> bool:
    try:
        theirs = datetime.fromisoformat(found["connected_at"])
    except (KeyError, ValueError):
        return False
    return abs((theirs - connected_at).total_seconds()) <= _TOLERANCE_SECONDS
