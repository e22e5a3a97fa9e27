"""Access control: the ASGI middleware in front of every stand-in."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

from include.web_guard import WebGuard

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Any, Any, Any], Awaitable[None]]
type Reject = Callable[[Message, int, str], tuple[str, bytes]]
"""The media type and the body of a rejection, from the request's scope, the HTTP status and the reason."""


@dataclass(frozen=True, repr=False)
class Key:
    """The required ``Authorization`` header."""

    scheme: Literal["Basic", "Bearer"]
    value: str

    @classmethod
    def token(cls, token: str) -> Key:
        """A bearer token."""
        return cls("Bearer", token)

    @classmethod
    def login(cls, username: str, password: str) -> Key:
        """A login for which browsers prompt."""
        return cls("Basic", base64.b64encode(f"{username}:{password}".encode()).decode())

    def opens(self, authorization: str) -> bool:
        """Whether a request with this header is let in."""
        scheme, _, value = authorization.partition(" ")
        return scheme.lower() == self.scheme.lower() and hmac.compare_digest(
            value.strip().encode(), self.value.encode()
        )

    @property
    def challenge(self) -> str:
        """The rejection's ``WWW-Authenticate`` header."""
        return f'{self.scheme} realm="The login that make run prints, also in .run/endpoints.json"'


def plain_rejection(_scope: Message, status: int, reason: str) -> tuple[str, bytes]:
    """A rejection in no particular service's format."""
    return "application/json", json.dumps({"status": status, "detail": reason}).encode()


class Gate:
    """An ASGI application behind a `WebGuard`, parts of it behind keys.

    ``keys`` are by path; one that ends with a slash is a prefix, and the longest match counts. A path with
    None is open to all that the guard lets in; where no path fits the application itself decides. ``front``
    is the page for browsers that open the bare address.
    """

    def __init__(
        self,
        application: Application,
        guard: WebGuard,
        keys: Mapping[str, Key | None],
        reject: Reject = plain_rejection,
        front: str | None = None,
    ) -> None:
        self._application = application
        self._guard = guard
        self._keys = dict(sorted(keys.items(), key=lambda entry: len(entry[0]), reverse=True))
        self._reject = reject
        self._front = front

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Passes the request on or rejects it: 403 by the guard, 401 without the key."""
        if scope["type"] != "http":
            # Nothing else is offered: a WebSocket ends unaccepted (the ASGI specification).
            await send({"type": f"{scope['type']}.close"})
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        objection = self._guard.objection(scope["method"], headers)
        if objection:
            await self._answer(scope, send, 403, objection)
            return
        if self._front and _is_visit(scope, dict(headers)):
            await self._send(scope, send, 200, "text/html; charset=utf-8", self._front.encode(), [])
            return
        key = next((key for path, key in self._keys.items() if _fits(scope["path"], path)), None)
        given = next((value for name, value in headers if name.lower() == "authorization"), "")
        if key and not key.opens(given):
            await self._answer(scope, send, 401, "Credentials are missing or wrong.", key.challenge)
            return
        await self._application(scope, receive, send)

    async def _answer(
        self, scope: Message, send: Send, status: int, reason: str, challenge: str | None = None
    ) -> None:
        media, body = self._reject(scope, status, reason)
        # The rest of the client's request is not read.
        headers = [(b"connection", b"close")]
        if challenge:
            headers.append((b"www-authenticate", challenge.encode()))
        await self._send(scope, send, status, media, body, headers)

    async def _send(
        self,
        scope: Message,
        send: Send,
        status: int,
        media: str,
        body: bytes,
        more: list[tuple[bytes, bytes]],
    ) -> None:
        headers = [
            (b"content-type", media.encode()),
            (b"content-length", str(len(body)).encode()),
            *more,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _is_visit(scope: Message, headers: Mapping[str, str]) -> bool:
    """Whether a browser opens the bare address: no client of a service asks for HTML there."""
    given = {name.lower(): value for name, value in headers.items()}
    return (
        scope["method"] in ("GET", "HEAD")
        and scope["path"] == "/"
        and not scope["query_string"]
        and "text/html" in given.get("accept", "")
        and (given.get("authorization") or "Basic").startswith("Basic")
    )


def _fits(path: str, wanted: str) -> bool:
    return path.startswith(wanted) if wanted.endswith("/") else path == wanted
