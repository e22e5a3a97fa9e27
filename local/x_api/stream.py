"""The filtered stream: one connection at a time, posts as their moment comes, keep-alives between.

Sources: X's documentation "Consuming streaming data", "Handling disconnections" and "Stream connections"
(2026-08).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from include.x.snowflake import LOW_BITS, lowest_id
from local.faults import Fault, Faults
from local.x_api import problems
from local.x_api.disturbance import Disturbance
from local.x_api.injected import Injected
from local.x_api.lines import KEEP_ALIVE, Journal, Line, rendered
from local.x_api.post import Json, Post, instant
from local.x_api.rules import Rules
from local.x_api.selection import Selection

MAXIMUM_CONNECTIONS = 1
"""Connections that an app of the pay-per-use tier may hold."""

KEEP_ALIVE_SECONDS = 20.0
"""The longest silence: then X sends an empty line."""

POSTS_PER_SECOND = 250.0
"""What a filtered stream carries at most; what is more waits at X."""

FULL_BUFFER_SECONDS = 60.0
"""A client that is so far behind the stream's rate is disconnected."""

_TICK_SECONDS = 0.2
_DRIP_SECONDS = 0.1
_HISTORY = 1000
_SOURCES_BACK = timedelta(hours=6)
_FOREIGN_IP = "198.51.100.7"

log = logging.getLogger(__name__)


@dataclass
class Connection:
    """One client's stay on the stream, and what was sent to it."""

    client_ip: str
    connected_at: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    disconnected_at: datetime | None = None
    disconnect_reason: str | None = None
    delivered: int = 0
    keep_alives: int = 0
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    haunting: Fault | None = None
    """As long as this fault lasts X counts the connection, though it is gone."""

    def end(self, reason: str) -> None:
        """Has X end the connection; the client is told in the stream."""
        self.disconnect_reason = self.disconnect_reason or reason
        self.ending.set()

    def to_json(self) -> Json:
        """As `GET /2/connections` lists it."""
        described: Json = {
            "id": self.id,
            "endpoint_name": "filtered_stream",
            "client_ip": self.client_ip,
            "connected_at": instant(self.connected_at),
        }
        if self.disconnected_at:
            described["disconnected_at"] = instant(self.disconnected_at)
            described["disconnect_reason"] = self.disconnect_reason
        return described


class FilteredStream:
    """Opens connections and remembers them."""

    def __init__(
        self,
        corpus: Injected,
        rules: Rules,
        journal: Journal,
        faults: Faults,
        clock: Callable[[], float] = time.time,
        posts_per_second: float = POSTS_PER_SECOND,
    ) -> None:
        self.faults = faults
        self.posts_per_second = posts_per_second
        self._corpus = corpus
        self._rules = rules
        self._journal = journal
        self._clock = clock
        self.connections: deque[Connection] = deque(maxlen=_HISTORY)

    @property
    def active(self) -> list[Connection]:
        """The connections that X counts: the open ones, and zombies."""
        if foreign := self.faults.strike(
            "zombie", lambda fault: fault.options["foreign"] and not fault.struck
        ):
            self.connections.append(Connection(_FOREIGN_IP, self._now(), haunting=foreign))
        for connection in self.connections:
            over = connection.haunting and not self.faults.holds(connection.haunting)
            if over and connection.disconnected_at is None:
                connection.disconnected_at = self._now()
        return [connection for connection in self.connections if connection.disconnected_at is None]

    def connect(
        self, client_ip: str, selection: Selection, compress: bool, headers: dict[str, str]
    ) -> StreamResponse:
        """A new connection's answer; raises `Problem` 409 without rules and 429 beside another connection."""
        if not len(self._rules):
            raise no_rules()
        if len(self.active) >= MAXIMUM_CONNECTIONS:
            raise problems.connection(
                429,
                "TooManyConnections",
                "This stream is currently at the maximum allowed connection limit.",
            )
        connection = Connection(client_ip, self._now())
        self.connections.append(connection)
        log.info("stream connected connection=%s", connection.id)
        return StreamResponse(self, connection, selection, compress, headers)

    def end_all(self, reason: str) -> int:
        """Ends every open connection, zombies too; returns how many there were."""
        active = self.active
        for connection in active:
            connection.end(reason)
            if connection.haunting:
                connection.disconnected_at = self._now()
        return len(active)

    def closed(self, connection: Connection, reason: str) -> None:
        """Records that the connection has ended."""
        connection.disconnect_reason = connection.disconnect_reason or reason
        if not connection.ending.is_set():
            connection.haunting = self.faults.strike(
                "zombie", lambda fault: not fault.options["foreign"] and not fault.struck
            )
        if not connection.haunting:
            connection.disconnected_at = self._now()
        log.info(
            "stream disconnected connection=%s reason=%s delivered=%d keep_alives=%d zombie=%s",
            connection.id,
            connection.disconnect_reason,
            connection.delivered,
            connection.keep_alives,
            connection.haunting is not None,
        )

    def lose_rules(self) -> None:
        """Deletes every rule if a fault wants it."""
        if self.faults.strike("rules-lost"):
            self._rules.delete_all(dry_run=False)

    def position(self) -> int:
        """The lowest id that has not come about yet."""
        return lowest_id(self._now())

    def lines(self, lowest: int, below: int, selection: Selection) -> list[Line]:
        """The stream's lines for the posts with ids in ``[lowest, below)`` that meet a rule now in force."""
        lines = []
        for post in self._corpus.posts(lowest, below):
            matching = self._rules.matching(post)
            if matching:
                lines.append(Line.post(_payload(post, matching, selection)))
        return lines

    def redelivered(self, position: int, selection: Selection) -> list[Line]:
        """What a new connection gets for a second time."""
        fault = self.faults.strike("redelivery")
        if not fault:
            return []
        back = int(fault.options["back"] * 1000) << LOW_BITS
        return self.lines(position - back, position, selection)

    def sudden(self, position: int, selection: Selection) -> list[Line]:
        """The lines of a burst, and of posts of all sizes; they keep to no rate."""
        if fault := self.faults.strike("burst"):
            sources = self._sources(position, fault.options["count"])
            return self._inject(sources, [post.text for post, _ in sources], position, selection)
        if fault := self.faults.strike("sizes"):
            sizes = fault.options["bytes"]
            sources = self._sources(position, len(sizes))
            texts = [_of_size(post.text, size) for (post, _), size in zip(sources, sizes, strict=False)]
            return self._inject(sources, texts, position, selection)
        return []

    def sent(self, connection: Connection, lines: Sequence[Line]) -> None:
        """Takes down what was given to the connection's socket."""
        connection.delivered += sum(line.kind == "post" for line in lines)
        connection.keep_alives += sum(line.kind == "keep_alive" for line in lines)
        self._journal.sent(int(self._clock() * 1000), connection.id, lines)

    def _sources(self, position: int, count: int) -> list[tuple[Post, list[Json]]]:
        """``count`` recent posts that meet a rule, over and over if there are fewer."""
        lowest = position - (int(_SOURCES_BACK.total_seconds() * 1000) << LOW_BITS)
        matching = (
            (post, rules)
            for post in self._corpus.posts(lowest, position, newest_first=True)
            if (rules := self._rules.matching(post))
        )
        found = list(islice(matching, min(count, 1000)))
        return list(islice(cycle(found), count))

    def _inject(
        self,
        sources: Sequence[tuple[Post, list[Json]]],
        texts: Sequence[str],
        position: int,
        selection: Selection,
    ) -> list[Line]:
        made = self._corpus.add([post for post, _ in sources], texts, position)
        return [
            Line.post(_payload(post, rules, selection))
            for post, (_, rules) in zip(made, sources, strict=True)
        ]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


class StreamResponse(Response):
    """Sends lines until the client goes or the connection is ended."""

    def __init__(
        self,
        stream: FilteredStream,
        connection: Connection,
        selection: Selection,
        compress: bool,
        headers: dict[str, str],
    ) -> None:
        super().__init__(headers=headers, media_type="application/json; charset=utf-8")
        del self.headers["content-length"]
        if compress:
            self.headers["content-encoding"] = "gzip"
        self._stream = stream
        self._faults = stream.faults
        self._connection = connection
        self._selection = selection
        self._gzip = zlib.compressobj(wbits=31) if compress else None
        self._disturbance = Disturbance(stream.faults)
        self._queue: deque[Line] = deque()
        self._transport: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the connection from its start to its end."""
        self._transport = scope.get("transport")
        self._send_message = send
        self._gone = asyncio.create_task(_disconnected(receive))
        self._ending = asyncio.create_task(self._connection.ending.wait())
        reason = "server_shutdown"
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            reason = await self._serve()
        finally:
            self._gone.cancel()
            self._ending.cancel()
            self._stream.closed(self._connection, reason)

    async def _serve(self) -> str:
        position = self._stream.position()
        # The first keep-alive goes out at once: it carries the headers to clients that wait for a body.
        quiet_since = time.monotonic() - KEEP_ALIVE_SECONDS
        rate = self._stream.posts_per_second
        allowed, allowed_at = 0.0, time.monotonic()
        self._queue.extend(await run_in_threadpool(self._stream.redelivered, position, self._selection))
        while True:
            self._stream.lose_rules()
            below = self._stream.position()
            # Beside the event loop: a busy hour's posts take a while to make.
            self._queue.extend(await run_in_threadpool(self._stream.lines, position, below, self._selection))
            position = max(position, below)
            sudden = await run_in_threadpool(self._stream.sudden, position, self._selection)
            now = time.monotonic()
            allowed = min(allowed + rate * (now - allowed_at), rate)
            allowed_at = now
            due = [self._queue.popleft() for _ in range(min(int(allowed), len(self._queue)))]
            allowed -= len(due)
            lines = [*sudden, *self._disturbance.apply(due)]
            if ended := await self._struck(lines):
                return ended
            if lines:
                await self._send(lines)
                quiet_since = time.monotonic()
            elif now - quiet_since >= KEEP_ALIVE_SECONDS and not self._faults.present("silence"):
                await self._send([KEEP_ALIVE])
                quiet_since = time.monotonic()
            if len(self._queue) > rate * FULL_BUFFER_SECONDS:
                self._connection.end("full_buffer")
            await asyncio.wait(
                {self._gone, self._ending}, timeout=_TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if self._gone.done():
                return "client_disconnect"
            if self._ending.done():
                await self._farewell()
                return "operational_disconnect"

    async def _struck(self, lines: list[Line]) -> str | None:
        """Ends the connection if a fault wants it; returns the reason."""
        if self._faults.strike("operational-disconnect"):
            await self._send(lines)
            await self._farewell()
            return "operational_disconnect"
        if self._faults.strike("close"):
            await self._send(lines)
            await self._give(self._compressed(b"", zlib.Z_FINISH), last=True)
            return "closed"
        if not lines or lines[-1].kind != "post":
            return None
        last = lines[-1]
        half = last.body[: len(last.body) // 2]
        cut = Line(half, "post", last.id, last.payload, whole=False)
        if self._faults.strike("end-in-tweet"):
            await self._send(lines[:-1])
            await self._give(self._compressed(half, zlib.Z_FINISH), last=True)
        elif self._gzip is not None and self._faults.strike("gzip-cut"):
            await self._send(lines[:-1])
            content = self._compressed(last.body, zlib.Z_SYNC_FLUSH)
            await self._give(content[: len(content) // 2], last=True)
        elif self._faults.strike("reset"):
            await self._send(lines[:-1])
            await self._reset(self._compressed(last.body, zlib.Z_SYNC_FLUSH))
        else:
            return None
        self._stream.sent(self._connection, [cut])
        return "upstream_failure"

    async def _reset(self, content: bytes) -> None:
        """Half a chunk, and then a TCP reset."""
        if self._transport is None:
            raise RuntimeError("a reset needs the server's transport")
        self._transport.write(f"{len(content):x}\r\n".encode() + content[: len(content) // 2])
        # What is still under way when a socket is reset is lost; the half chunk must arrive.
        await asyncio.sleep(0.05)
        connected: socket.socket = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        await self._gone

    async def _farewell(self) -> None:
        message = Line(
            rendered(
                problems.operational_disconnect(
                    "This stream has been disconnected upstream for operational reasons."
                )
            ),
            "message",
        )
        await self._give(self._compressed(message.body, zlib.Z_FINISH), last=True)
        self._stream.sent(self._connection, [message])

    async def _send(self, lines: Sequence[Line]) -> None:
        """Sends lines and takes them down; nothing is taken down once the client is known to be gone."""
        if not lines:
            return
        if not self._faults.present("slow-drip"):
            if not self._gone.done():
                await self._give(self._compressed(b"".join(line.body for line in lines), zlib.Z_SYNC_FLUSH))
                self._stream.sent(self._connection, lines)
            return
        for line in lines:
            await self._drip(self._compressed(line.body, zlib.Z_SYNC_FLUSH))
            if self._gone.done():
                return
            self._stream.sent(self._connection, [line])

    async def _drip(self, content: bytes) -> None:
        while content and not self._gone.done():
            fault = self._faults.present("slow-drip")
            size = max(1, int(fault.options["rate"] * _DRIP_SECONDS)) if fault else len(content)
            await self._give(content[:size])
            content = content[size:]
            if fault:
                await asyncio.wait({self._gone}, timeout=size / fault.options["rate"])

    def _compressed(self, content: bytes, flush: int) -> bytes:
        if self._gzip is None:
            return content
        return self._gzip.compress(content) + self._gzip.flush(flush)

    async def _give(self, content: bytes, last: bool = False) -> None:
        await self._send_message({"type": "http.response.body", "body": content, "more_body": not last})


def no_rules() -> problems.Problem:
    """409: there is nothing that the stream could be filtered by."""
    return problems.connection(
        409,
        "RuleConfigurationIssue",
        "You must define rules using the POST /2/tweets/search/stream/rules endpoint before "
        "connecting to filtered stream.",
    )


def _payload(post: Post, matching: list[Json], selection: Selection) -> Json:
    payload: Json = {"data": selection.data(post)}
    if includes := selection.includes([post]):
        payload["includes"] = includes
    payload["matching_rules"] = matching
    return payload


def _of_size(text: str, size: int) -> str:
    """A text of ``size`` bytes in UTF-8 that begins like ``text``, as far as it can."""
    begun = text.encode(errors="replace")[:size].decode(errors="ignore")
    return begun + "." * (size - len(begun.encode()))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
