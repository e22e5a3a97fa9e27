"""The connection to X: one request an attempt, every end has its cause, no line is lost, stop stops."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from include.settings import Settings
from streamer import intake as intake_module
from streamer.intake import Intake
from streamer.reconnect import Cause, Ended

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
TWEET = b'{"data":{"id":"1"},"matching_rules":[{"tag":"tea"}]}'
DISCONNECT = (
    b'{"errors":[{"title":"operational-disconnect","disconnect_type":"UpstreamOperationalDisconnect"}]}\r\n'
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def status(code: int, body: bytes = b"{}", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (code, len(body), headers, body)


class ScriptedX:
    """Answers each connection with the script's bytes, then does to the socket what the script says."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.ending: Callable[[socket.socket], None] = lambda _: None
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.done = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.requests.append(self._request(connection))
                for answer in self.answers:
                    connection.sendall(answer)
                self.ending(connection)

    def _request(self, connection: socket.socket) -> str:
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += connection.recv(65_536)
        return received.decode()

    def close(self) -> None:
        self.done.set()
        self._listener.close()


@pytest.fixture
def x() -> Iterator[ScriptedX]:
    scripted = ScriptedX()
    yield scripted
    scripted.close()


class Collected:
    def __init__(self, x: ScriptedX) -> None:
        self.lines: list[bytes] = []
        self.connects: list[datetime | None] = []
        self.connected_at: list[datetime] = []
        self.outcome: Callable[[bytes], Any] = lambda line: (
            "UpstreamOperationalDisconnect" if b"errors" in line else None
        )
        self.intake = Intake(Settings(x_api_url=x.url), "secret", self.on_lines, self.on_connected)

    def on_lines(self, lines: list[bytes], received: datetime) -> Any:
        told = None
        for line in lines:
            self.lines.append(line)
            told = self.outcome(line) or told
        return told

    def on_connected(self, at: datetime, last_byte_before: datetime | None) -> None:
        self.connected_at.append(at)
        self.connects.append(last_byte_before)


@pytest.fixture
def collected(x: ScriptedX) -> Collected:
    return Collected(x)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_the_request_carries_token_and_fields_and_lines_arrive_as_they_are(
    x: ScriptedX, collected: Collected
) -> None:
    x.answers = [HEAD, chunk(TWEET + b"\r\n\r\n" + TWEET[:20]), chunk(TWEET[20:] + b"\r\n"), b"0\r\n\r\n"]
    ended = collected.intake.attempt()
    assert collected.lines == [TWEET, TWEET]
    assert (ended.cause, ended.reason) == (Cause.NETWORK, "closed")
    assert ended.connected_seconds is not None
    request = x.requests[0]
    assert request.startswith("GET /2/tweets/search/stream?")
    assert "Bearer secret" in request
    for field in (
        "created_at",
        "context_annotations",
        "author_id%2Cgeo.place_id",
        "country_code%2Cfull_name",
    ):
        assert field in request


ENDS: dict[str, tuple[list[bytes], Callable[[socket.socket], None], Cause, str, list[bytes]]] = {
    "a clean close": (
        [HEAD, chunk(TWEET + b"\r\n"), b"0\r\n\r\n"],
        lambda _: None,
        Cause.NETWORK,
        "closed",
        [TWEET],
    ),
    "an announced disconnect": (
        [HEAD, chunk(TWEET + b"\r\n"), chunk(DISCONNECT), b"0\r\n\r\n"],
        lambda _: None,
        Cause.NETWORK,
        "UpstreamOperationalDisconnect",
        [TWEET, DISCONNECT.strip()],
    ),
    "an end in mid-tweet": (
        [HEAD, chunk(TWEET + b"\r\n" + TWEET[:9]), b"0\r\n\r\n"],
        lambda _: None,
        Cause.NETWORK,
        "closed",
        [TWEET, TWEET[:9]],
    ),
    "a cut in mid-chunk": (
        [HEAD, chunk(TWEET + b"\r\n"), b"ff\r\nhalf"],
        lambda _: None,
        Cause.NETWORK,
        "ChunkedEncodingError < ProtocolError",
        [TWEET],
    ),
    "a reset": (
        [HEAD, chunk(TWEET + b"\r\n")],
        reset,
        Cause.NETWORK,
        "Error",
        [],
    ),
    "a broken gzip stream": (
        [HEAD.replace(b"Transfer", b"Content-Encoding: gzip\r\nTransfer"), chunk(b"not gzip"), b"0\r\n\r\n"],
        lambda _: None,
        Cause.NETWORK,
        "ContentDecodingError",
        [],
    ),
    "no answer at all": ([], lambda _: None, Cause.NETWORK, "ConnectionError", []),
    "a wrong token": ([status(401)], lambda _: None, Cause.REJECTED, "http 401", []),
    "a forbidden stream": ([status(403)], lambda _: None, Cause.REJECTED, "http 403", []),
    "no rules": ([status(409)], lambda _: None, Cause.NO_RULES, "http 409", []),
    "a broken X": ([status(503, b"<html>")], lambda _: None, Cause.HTTP, "http 503", []),
    "too many connections": (
        [status(429, b'{"title":"ConnectionException","connection_issue":"TooManyConnections"}')],
        lambda _: None,
        Cause.TOO_MANY,
        "http 429 TooManyConnections",
        [],
    ),
}


@pytest.mark.parametrize(("answers", "ending", "cause", "reason", "lines"), ENDS.values(), ids=ENDS.keys())
def test_each_end_has_its_cause_and_costs_one_request(
    x: ScriptedX,
    collected: Collected,
    answers: list[bytes],
    ending: Callable[[socket.socket], None],
    cause: Cause,
    reason: str,
    lines: list[bytes],
) -> None:
    x.answers, x.ending = answers, ending
    ended = collected.intake.attempt()
    time.sleep(0.1)
    assert len(x.requests) == 1
    assert ended.cause is cause
    assert reason in ended.reason
    assert collected.lines[: len(lines)] == lines
    assert not collected.intake.connected


def test_a_reset_header_is_passed_on(x: ScriptedX, collected: Collected) -> None:
    x.answers = [status(429, headers=b"x-rate-limit-reset: 1795000000\r\n")]
    ended = collected.intake.attempt()
    assert (ended.cause, ended.reset_at) == (Cause.RATE_LIMITED, 1_795_000_000)


def test_a_reset_header_says_nothing_about_other_failures(x: ScriptedX, collected: Collected) -> None:
    header = b"x-rate-limit-reset: 1795000000\r\n"
    for answer in (status(503, headers=header), status(429, b'{"title":"TooManyConnections"}', header)):
        x.answers = [answer]
        assert collected.intake.attempt().reset_at is None


def test_a_connection_knows_when_the_one_before_had_its_last_byte(x: ScriptedX, collected: Collected) -> None:
    x.answers = [HEAD, chunk(TWEET + b"\r\n"), b"0\r\n\r\n"]
    collected.intake.attempt()
    last_byte_at = collected.intake.last_byte_at
    collected.intake.attempt()
    assert last_byte_at is not None
    assert collected.connects == [None, last_byte_at]


def test_a_rejected_connection_is_a_network_error(x: ScriptedX, collected: Collected) -> None:
    x.close()
    assert collected.intake.attempt().cause is Cause.NETWORK


def test_compressed_streams_are_read(x: ScriptedX, collected: Collected) -> None:
    head = HEAD.replace(b"Transfer", b"Content-Encoding: gzip\r\nTransfer")
    x.answers = [head, chunk(gzip.compress(TWEET + b"\r\n")), b"0\r\n\r\n"]
    collected.intake.attempt()
    assert collected.lines == [TWEET]


def test_silence_ends_an_attempt_and_keep_alives_do_not(
    x: ScriptedX, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "SILENCE_SECONDS", 2.0)
    collected = Collected(x)
    dripped = threading.Event()

    def drip(connection: socket.socket) -> None:
        for _ in range(12):
            time.sleep(0.25)
            connection.sendall(chunk(b"\r\n"))
        dripped.set()
        x.done.wait(60)

    x.answers, x.ending = [HEAD], drip
    ended = collected.intake.attempt()
    assert dripped.is_set(), "keep-alives for longer than the silence that ends an attempt"
    assert ended.cause is Cause.NETWORK
    assert collected.lines == []
    assert collected.connects == [None]


def attempted(intake: Intake) -> tuple[threading.Thread, list[Ended]]:
    ends: list[Ended] = []
    thread = threading.Thread(target=lambda: ends.append(intake.attempt()), daemon=True)
    thread.start()
    return thread, ends


def hold(x: ScriptedX) -> None:
    x.done.wait(60)


def test_stop_ends_a_silent_connection_at_once_and_for_good(x: ScriptedX, collected: Collected) -> None:
    x.answers, x.ending = [HEAD], lambda _: hold(x)
    thread, ends = attempted(collected.intake)
    while not collected.intake.connected:
        time.sleep(0.01)
    collected.intake.stop()
    thread.join(15)  # less than the silence that would end it
    assert not thread.is_alive()
    assert ends[0].cause is Cause.STOPPED
    assert collected.intake.attempt().cause is Cause.STOPPED
    assert len(x.requests) == 1


def test_what_the_receiver_raises_comes_out_of_the_attempt(x: ScriptedX, collected: Collected) -> None:
    def broken(_: bytes) -> None:
        raise OSError("disk")

    collected.outcome = broken
    x.answers = [HEAD, chunk(TWEET + b"\r\n" + TWEET + b"\r\n")]
    with pytest.raises(OSError, match="disk"):
        collected.intake.attempt()
    assert len(collected.lines) == 1


def test_the_receiver_may_cut_the_connection_for_a_reason_of_its_own(
    x: ScriptedX, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "_BLOCK_BYTES", 1)
    collected.outcome = lambda _: collected.intake.cut("spool_full")
    x.answers = [HEAD, chunk(TWEET + b"\r\n" + TWEET + b"\r\n"), chunk(TWEET + b"\r\n")]
    ended = collected.intake.attempt()
    assert (ended.cause, ended.reason) == (Cause.PAUSED, "spool_full")
    assert len(collected.lines) == 2, "what has been received is kept"
    assert len(x.requests) == 1


@pytest.mark.parametrize("chunks", [3, 300])
def test_what_is_there_at_once_is_handed_over_in_few_blocks_up_to_its_end(
    x: ScriptedX, collected: Collected, chunks: int
) -> None:
    lines = [b'{"data":{"id":"%d","text":"%s"}}' % (number, b"x" * 900) for number in range(chunks)]
    # Sent as one, so that all of it is there when the first is read; then cut in the middle of a chunk.
    x.answers = [HEAD + b"".join(chunk(line + b"\r\n") for line in lines) + b"ff\r\nhalf"]
    blocks: list[int] = []

    def on_lines(found: list[bytes], at: datetime) -> Any:
        blocks.append(len(found))
        return collected.on_lines(found, at)

    collected.intake._on_lines = on_lines
    ended = collected.intake.attempt()
    assert "ProtocolError" in ended.reason
    assert collected.lines[:chunks] == lines
    assert len(blocks) <= chunks / 2
    most = intake_module._BLOCK_BYTES + intake_module._CHUNK_BYTES
    assert max(blocks) * len(lines[-1]) <= most


def test_a_stream_that_pauses_within_a_chunk_holds_no_line_back(x: ScriptedX, collected: Collected) -> None:
    x.answers, x.ending = [HEAD + chunk(TWEET + b"\r\n") + chunk(TWEET + b"\r\n")[:-20]], lambda _: hold(x)
    thread, _ = attempted(collected.intake)
    deadline = time.monotonic() + 15  # less than the silence that would end it
    while not collected.lines:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert collected.lines == [TWEET]
    collected.intake.stop()
    thread.join(15)


def test_a_cut_ends_a_silent_connection_at_once_and_not_the_next(x: ScriptedX, collected: Collected) -> None:
    collected.intake.cut("too early to mean anything")
    x.answers, x.ending = [HEAD], lambda _: hold(x)
    thread, ends = attempted(collected.intake)
    while not collected.intake.connected:
        time.sleep(0.01)
    collected.intake.cut("deaf", Cause.NETWORK)
    thread.join(15)
    assert not thread.is_alive()
    assert (ends[0].cause, ends[0].reason) == (Cause.NETWORK, "deaf")
    assert collected.intake.connected_seconds == 0.0


def test_a_chunk_counts_as_heard_only_when_all_its_lines_have_been_handed_over(
    x: ScriptedX, collected: Collected
) -> None:
    seen: list[datetime | None] = []
    collected.outcome = lambda _: seen.append(collected.intake.last_byte_at)
    x.answers = [HEAD, chunk(2 * (TWEET + b"\r\n")), b"0\r\n\r\n"]
    before = datetime.now(UTC)
    collected.intake.attempt()
    assert collected.intake.last_byte_at is not None
    assert seen[0] is not None
    assert seen[1] == seen[0]
    assert before <= seen[0] < collected.intake.last_byte_at
    assert collected.intake.received_bytes == 2 * len(TWEET)


def test_a_chunk_that_was_not_read_to_its_end_does_not_count_as_heard(
    x: ScriptedX, collected: Collected
) -> None:
    collected.outcome = lambda _: collected.intake.cut("spool_full")
    x.answers = [HEAD, chunk(2 * (TWEET + b"\r\n")), b"0\r\n\r\n"]
    collected.intake.attempt()
    connected_at = collected.intake.last_byte_at
    assert connected_at is not None
    assert connected_at < collected.intake._chunk_at


def test_xs_own_clock_says_when_the_connection_was_made(x: ScriptedX, collected: Collected) -> None:
    x.answers = [HEAD.replace(b"Transfer", b"Date: Fri, 20 Nov 2026 05:00:00 GMT\r\nTransfer"), b"0\r\n\r\n"]
    collected.intake.attempt()
    assert collected.connected_at == [datetime(2026, 11, 20, 5, tzinfo=UTC)]
    assert collected.intake.skew_seconds is not None
