"""The faults of Firehose, under ``/_local/firehose/faults``, and the account's throughput."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moto.core.exceptions import JsonRESTError

from local.aws import api_faults
from local.faults import FaultError, Faults, Kind, Option, number

PATH = "/_local/firehose/faults"

REQUESTS_PER_SECOND, RECORDS_PER_SECOND, BYTES_PER_SECOND = 2_000, 500_000, 5 * 2**20
"""Quotas of Direct PUT to one stream in us-east-1 (Firehose's developer guide, "Quota")."""

Code = Literal["ServiceUnavailableException", "InternalFailure"]
CODES: tuple[Code, ...] = ("ServiceUnavailableException", "InternalFailure")
_MESSAGES = {"ServiceUnavailableException": "Slow down.", "InternalFailure": "Internal service failure."}

KINDS: dict[str, Kind] = {
    # The whole request is rejected: ServiceUnavailableException, "Slow down."
    "throttle": Kind("request"),
    # The whole request is rejected: InternalFailure.
    "internal-failure": Kind("request"),
    # A ``share`` of the records of a batch, at random but at least one, is rejected.
    "partial": Kind(
        "request",
        {
            "share": number(0.3, high=1),
            "code": Option(CODES[0], f"one of {', '.join(CODES)}", lambda value: value in CODES),
        },
    ),
    # Records are taken, but the answer comes only after ``hold`` seconds.
    "time-out": Kind("request", {"hold": number(30.0, high=600)}),
    # JQ gives no keys for a record: it goes to the error prefix.
    "jq-failure": Kind("line"),
    # De-aggregated records keep the newline that stood behind them: documented nowhere.
    "newline-kept": Kind("period"),
    # What cannot be partitioned takes its whole record to the error prefix: documented nowhere.
    "whole-record-fails": Kind("period"),
    # S3 takes no objects: buffers grow, and are delivered later.
    "s3-down": Kind("period"),
}
"""All faults; `local.faults` describes what they have in common."""

FAULTS = Faults(KINDS)
"""The faults of this process."""

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rejection:
    """Why one record of a batch is rejected."""

    code: Code
    message: str

    @classmethod
    def of(cls, code: Code) -> Rejection:
        """The message, in Firehose's words."""
        return cls(code, _MESSAGES[code])


class UnavailableError(JsonRESTError):
    """A request that is rejected as a whole; Firehose uses HTTP status 500 for both codes."""

    code = 500

    def __init__(self, code: Code) -> None:
        super().__init__(code, _MESSAGES[code])


class Throughput:
    """What the streams accepted in the current second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: dict[str, tuple[int, int, int, int]] = {}

    def take(self, stream: str, records: Sequence[bytes]) -> int:
        """How many of the records, from the first on, are within the quotas.

        Raises `UnavailableError` for a request too many.
        """
        second = int(self._clock())
        then, requests, count, size = self._used.get(stream, (second, 0, 0, 0))
        if then != second:
            requests = count = size = 0
        if requests >= REQUESTS_PER_SECOND:
            raise UnavailableError("ServiceUnavailableException")
        taken = 0
        for record in records:
            if count >= RECORDS_PER_SECOND or size + len(record) > BYTES_PER_SECOND:
                break
            taken, count, size = taken + 1, count + 1, size + len(record)
        self._used[stream] = (second, requests + 1, count, size)
        return taken


THROUGHPUT = Throughput()


def decide(stream: str, records: Sequence[bytes]) -> list[Rejection | None]:
    """Decides for each record of a batch whether it is accepted (None), by the quotas and the faults.

    Raises `UnavailableError` if the whole batch is rejected.
    """
    if FAULTS.strike("throttle"):
        raise UnavailableError("ServiceUnavailableException")
    if FAULTS.strike("internal-failure"):
        raise UnavailableError("InternalFailure")
    within = THROUGHPUT.take(stream, records)
    decided: list[Rejection | None] = [
        None if number < within else Rejection.of("ServiceUnavailableException")
        for number in range(len(records))
    ]
    if fault := FAULTS.strike("partial"):
        certain = random.randrange(len(records))  # noqa: S311 - bad luck, no secret
        for number in range(len(records)):
            if number == certain or random.random() < fault.options["share"]:  # noqa: S311
                decided[number] = Rejection.of(fault.options["code"])
    return decided


def controlled(application: Application) -> Application:
    """The application with the faults' control interface, and with answers held back as they want it."""

    async def serve(scope: Message, receive: Receive, send: Send) -> None:
        for path, faults in (PATH, FAULTS), (api_faults.PATH, api_faults.FAULTS):
            if scope["type"] == "http" and (scope["path"] == path or scope["path"].startswith(f"{path}/")):
                await _control(faults, scope["path"].removeprefix(path).strip("/"), scope, receive, send)
                return
        headers = dict(scope.get("headers", ()))
        puts = headers.get(b"x-amz-target", b"").startswith(b"Firehose_20150804.PutRecord")

        async def late(message: Message) -> None:
            answered = message["type"] == "http.response.start" and message["status"] == 200
            if answered and (fault := FAULTS.strike("time-out")):
                await asyncio.sleep(fault.options["hold"])
            await send(message)

        await application(scope, receive, late if puts else send)

    return serve


async def _control(faults: Faults, fault_id: str, scope: Message, receive: Receive, send: Send) -> None:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    status, answer = _answer(faults, scope["method"], fault_id, bytes(body))
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def _answer(faults: Faults, method: str, fault_id: str, body: bytes) -> tuple[int, Any]:
    match method:
        case "GET" if not fault_id:
            return 200, {"data": faults.to_json()}
        case "POST" if not fault_id:
            try:
                added = faults.add(json.loads(body))
            except (FaultError, ValueError) as error:
                return 400, {"detail": str(error)}
            log.info("faults on kinds=%s", ",".join(fault["kind"] for fault in added))
            return 201, {"data": added}
        case "DELETE":
            ended = faults.clear(fault_id or None)
            if fault_id and not ended:
                return 404, {"detail": f"no fault {fault_id} is on"}
            return 200, {"ended": ended}
    return 405, {"detail": f"{method} is not offered here"}
