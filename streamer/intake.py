"""The connection to X: tweepy's StreamingClient, one attempt at a time.

tweepy 4.17 reconnects without delay, dies on a bad line and cannot be stopped between two lines. Here an
attempt is a single connection, no callback raises, and `cut` and `stop` close the socket.
"""

from __future__ import annotations

import logging
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from io import BytesIO
from typing import Any

import requests
import tweepy

from include.settings import Settings
from include.x.client import PAYLOAD_FIELDS, XSession
from streamer.reconnect import Cause, Ended

SILENCE_SECONDS = 25.0
"""X sends a keep-alive at least every 20 s; a silence this long means that the connection is dead."""

_CHUNK_BYTES = 65_536
_BLOCK_BYTES = 2 * _CHUNK_BYTES
"""The most bytes handed over at once, not counting the chunk that exceeds it."""

log = logging.getLogger(__name__)


class _OneRequestSession(XSession):
    """Allows one request per attempt: tweepy does not decide how long to wait before the next."""

    requests_left = 0

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As `XSession.request`; raises `_AttemptOver` at the second request of an attempt."""
        if self.requests_left < 1:
            raise _AttemptOver
        self.requests_left -= 1
        return super().request(*args, **kwargs)


class _AttemptOver(Exception):  # noqa: N818 - no error, but the end of tweepy's own loop
    """tweepy tried to reconnect."""


class Intake(tweepy.StreamingClient):
    """X's filtered stream; its lines except keep-alives go to ``on_lines``, in the attempt's thread.

    They come by chunk, with the time at which it was read. ``on_lines`` returns the reason if X announced a
    disconnect; if it raises, the attempt ends and `attempt` raises the same. ``on_connected`` is called with
    the time, by X's clock if X sends it, and the time of the previous connection's last byte, if there was
    one.

    ``last_byte_at`` is when the last chunk was read whose complete lines have all been handed over: nothing
    received up to then is missing. ``received_bytes`` counts the lines' bytes, ``skew_seconds`` is how far
    X's clock is ahead of ours.
    """

    def __init__(
        self,
        settings: Settings,
        token: str,
        on_lines: Callable[[list[bytes], datetime], str | None],
        on_connected: Callable[[datetime, datetime | None], None],
    ) -> None:
        super().__init__(token, return_type=dict, chunk_size=_CHUNK_BYTES, daemon=True)
        self.session = _OneRequestSession(settings.x_api_url, read_seconds=SILENCE_SECONDS)
        self.session.hooks["response"].append(self._answered)
        self.last_byte_at: datetime | None = None
        self.received_bytes = 0
        self.skew_seconds: float | None = None
        self._heard = time.monotonic()
        self._chunk_at = datetime.now(UTC)
        self._on_lines = on_lines
        self._on_connected = on_connected
        self._stopping = False
        self._response: requests.Response | None = None
        self._connected_at: float | None = None
        self._announced: str | None = None
        self._ended: Ended | None = None
        self._raised: Exception | None = None

    @property
    def connected(self) -> bool:
        """Whether X is sending."""
        return self._connected_at is not None

    @property
    def connected_seconds(self) -> float:
        """For how long X has been sending; 0 if it is not."""
        connected_at = self._connected_at
        return 0.0 if connected_at is None else time.monotonic() - connected_at

    @property
    def unheard_seconds(self) -> float:
        """For how long the present connection has had no complete line, keep-alives included."""
        return time.monotonic() - self._heard if self.connected else 0.0

    def attempt(self) -> Ended:
        """Connects, reads until the end, and returns how it ended. Raises only what ``on_lines`` raised."""
        self.session.requests_left = 1
        self._response = self._announced = self._ended = self._raised = None
        self._connected_at = None
        if not self._stopping:
            self.filter(**{name.replace(".", "_"): value for name, value in PAYLOAD_FIELDS.items()})
        seconds = None if self._connected_at is None else time.monotonic() - self._connected_at
        self._connected_at = None
        if self._raised is not None:
            raise self._raised
        if self._stopping:
            return Ended(Cause.STOPPED, "stopped", seconds)
        ended = self._ended or Ended(Cause.NETWORK, "closed")
        reason = self._announced or ended.reason
        return Ended(ended.cause, reason, seconds, ended.reset_at)

    def stop(self) -> None:
        """Ends the attempt soon, from any thread; there is no next one."""
        self._stopping = True
        self._shut()

    def cut(self, reason: str, cause: Cause = Cause.PAUSED) -> None:
        """Ends the present connection soon, from any thread, for a reason of the caller."""
        if self.connected:
            self._ended = self._ended or Ended(cause, reason)
            self._shut()

    def _shut(self) -> None:
        self.disconnect()
        response = self._response
        if response is not None:
            try:
                response.raw.shutdown()
            except (OSError, RuntimeError, ValueError) as error:
                log.debug("the connection was gone already", extra={"fields": {"error": str(error)}})

    def on_connect(self) -> None:
        """Called by tweepy on 200."""
        if self._stopping:
            self.disconnect()
            return
        before, self.last_byte_at = self.last_byte_at, datetime.now(UTC)
        self._connected_at = self._heard = time.monotonic()
        at = self._x_time() or self.last_byte_at
        self.skew_seconds = (at - self.last_byte_at).total_seconds()
        try:
            self._on_connected(at, before)
        except Exception as error:
            self._raise(error)

    def on_data(self, raw_data: bytes) -> None:
        """Called by tweepy with what `_blocks` yields."""
        self._heard = time.monotonic()
        # A file finds its newlines several times faster than `bytes.split` does.
        lines = [line for each in BytesIO(raw_data) if (line := each.strip())]
        if not lines:
            return
        try:
            self._announced = self._on_lines(lines, self._chunk_at) or self._announced
        except Exception as error:
            self._raise(error)
        else:
            self.received_bytes += sum(map(len, lines))

    def on_closed(self, _: requests.Response) -> None:
        """Called by tweepy when X ends the stream properly."""
        self._end(Ended(Cause.NETWORK, "closed"))

    def on_request_error(self, _: int) -> None:
        """Called by tweepy on any status but 200; `_answered` has noted it."""
        self.disconnect()

    def on_connection_error(self) -> None:
        """Called by tweepy while it handles a network error or a time-out."""
        self._end(Ended(Cause.NETWORK, _network_reason(sys.exception())))

    def on_exception(self, exception: Exception) -> None:
        """Called by tweepy with an unexpected exception; its loop has ended."""
        if not isinstance(exception, _AttemptOver):
            self._end(Ended(Cause.NETWORK, _network_reason(exception)))

    def on_disconnect(self) -> None:
        """Called by tweepy when its loop has ended; the supervisor logs that."""

    def _blocks(self, response: requests.Response, chunk_size: int) -> Iterator[bytes]:
        """Instead of requests' single lines: complete lines in blocks, and at the end the remainder.

        Data that is available is handed over at once, up to `_BLOCK_BYTES`; a stream that pauses or ends
        holds nothing back. tweepy asks for more after the previous block was processed.
        """
        chunks = response.iter_content(chunk_size)
        ready = _Ready(response)
        held = [b""]
        rest = b""
        failure: Exception | None = None
        ended = False
        while not ended:
            try:
                held.append(next(chunks))
                self._chunk_at = datetime.now(UTC)
            except StopIteration:
                ended = True
            except Exception as error:
                failure, ended = error, True
            if not ended and sum(map(len, held)) < _BLOCK_BYTES and ready.now():
                continue
            read = len(held) > 1
            block, newline, rest = b"".join(held).rpartition(b"\n")
            held = [rest]
            if newline:
                yield block or b"\r"
            if read and self._raised is None and self._ended is None:
                self.last_byte_at = self._chunk_at
        if failure is not None:
            raise failure
        if rest:
            yield rest

    def _raise(self, error: Exception) -> None:
        """An exception would end tweepy's loop with nothing but a log line: `attempt` raises it instead."""
        self._raised = error
        self.disconnect()

    def _x_time(self) -> datetime | None:
        try:
            return parsedate_to_datetime(self._response.headers["Date"]) if self._response else None
        except (KeyError, ValueError):
            return None

    def _end(self, ended: Ended) -> None:
        self._ended = self._ended or ended
        self.disconnect()

    def _answered(self, response: requests.Response, **_: Any) -> None:
        self._response = response
        status = response.status_code
        if status == requests.codes.ok:
            response.iter_lines = partial(self._blocks, response)  # pyrefly: ignore[bad-assignment, method-assign]
            return
        title = _title(response)
        cause = {401: Cause.REJECTED, 403: Cause.REJECTED, 409: Cause.NO_RULES, 429: Cause.RATE_LIMITED}.get(
            status
        )
        if title == "TooManyConnections":
            cause = Cause.TOO_MANY
        # Every answer has the reset time; it is the time to wait for only if no calls are left.
        reset = response.headers.get("x-rate-limit-reset", "")
        limited = cause is Cause.RATE_LIMITED and reset.isdigit()
        self._ended = Ended(
            cause or Cause.HTTP, f"http {status} {title}".strip(), reset_at=float(reset) if limited else None
        )


class _Ready:
    """Whether a response has more to read: bytes in its socket, or a whole chunk in its reader's buffer."""

    def __init__(self, response: requests.Response) -> None:
        self._poll = select.poll()
        self._known = False
        with suppress(OSError, ValueError, AttributeError):
            # The reader takes more from the socket than it is asked for; what it holds, polling cannot see.
            reader: Any = response.raw._fp.fp  # pyrefly: ignore[missing-attribute]
            self._reader, self._socket = reader, reader.raw._sock
            self._poll.register(self._socket, select.POLLIN)
            self._known = True

    def now(self) -> bool:
        """Whether reading would not block; False if that is unknown."""
        return self._known and (bool(self._poll.poll(0)) or self._holds_a_chunk())

    def _holds_a_chunk(self) -> bool:
        """Whether the buffer begins with a whole chunk (RFC 9112, section 7.1): a part of one would block."""
        before = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            held = self._reader.peek()
        except OSError:  # TLS has nothing either: the next read says what is wrong, if anything is
            return False
        finally:
            self._socket.settimeout(before)
        size, end, rest = held.partition(b"\r\n")
        try:
            return bool(end) and len(rest) >= int(size.split(b";")[0], 16) + 2
        except ValueError:
            return True


def _title(response: requests.Response) -> str:
    try:
        problem = response.json()
        return str(problem.get("connection_issue") or problem.get("title") or "")
    except (ValueError, AttributeError, requests.RequestException):
        return ""


def _network_reason(error: BaseException | None) -> str:
    """A short word for the log; the errors' own texts contain addresses of objects."""
    names: list[str] = []
    while error is not None and len(names) < 3:
        names.append(type(error).__name__)
        error = error.__cause__ or error.__context__
    return " < ".join(names) or "network"
