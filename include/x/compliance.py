"""Batch compliance: asks X which of many posts or users must no longer be kept.

A job is created, the ids are uploaded to an address of its own, X works on them, and the result is downloaded
from another address. X runs one job of each type at a time, takes the upload for 15 minutes and keeps the
result for a week (https://docs.x.com/x-api/compliance/batch-compliance).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

import requests
import tweepy

from include.x.client import rejection

Kind = Literal["tweets", "users"]

IDS_PER_JOB = 500_000
"""How many ids are asked about in one job: an upload of at most 10 MB, which is sent in seconds.

X's documentation names no limit of its own.
"""

UNFINISHED = frozenset({"created", "in_progress"})
"""The states of a job that has not ended."""

_MARGIN = timedelta(minutes=1)
"""What must be left of an address's time for it to be used."""
_CONFLICT = 409
_UPLOADS = 3

log = logging.getLogger(__name__)


class ComplianceError(RuntimeError):
    """A compliance job that gives no result; another attempt creates another job."""


class JobUnderWayError(ComplianceError):
    """X is at another job of this type, and takes one at a time: ask again when that one has ended."""


class ComplianceAction(StrEnum):
    """What must be done about an id."""

    DELETE = "delete"
    SCRUB_GEO = "scrub_geo"
    """The post stays, without its place, country and location."""


@dataclass(frozen=True)
class Gone:
    """One line of a result: an id that must no longer be kept as it is, and why by X's own word."""

    id: str
    action: ComplianceAction
    reason: str


@dataclass(frozen=True)
class ComplianceJob:
    """A job as X describes it. ``status`` is created, in_progress, failed, complete or expired."""

    id: str
    name: str
    status: str
    upload_url: str
    upload_expires_at: datetime
    download_url: str
    download_expires_at: datetime

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ComplianceJob:
        """Reads X's object; raises `ComplianceError` where a field is missing or is no time."""
        try:
            return cls(
                id=data["id"],
                name=data.get("name", ""),
                status=data["status"],
                upload_url=data["upload_url"],
                upload_expires_at=datetime.fromisoformat(data["upload_expires_at"]),
                download_url=data["download_url"],
                download_expires_at=datetime.fromisoformat(data["download_expires_at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ComplianceError(f"X describes a compliance job without a usable {error}") from error

    def is_usable(self, now: datetime) -> bool:
        """Whether the job still gives a result, or can be made to."""
        if self.status == "created":
            return self.upload_expires_at - _MARGIN > now
        return self.status in ("in_progress", "complete") and self.download_expires_at - _MARGIN > now


class Compliance:
    """X's batch compliance jobs, by a client of `include.x.client.api_client`.

    Methods raise `tweepy.TooManyRequests` at X's rate limit, `RequestRejectedError` where waiting does not
    help, and `tweepy.HTTPException` or `requests.RequestException` where it may.
    """

    def __init__(self, client: tweepy.Client) -> None:
        self._client = client

    def submit(self, kind: Kind, ids: Iterable[str], label: str, now: datetime) -> ComplianceJob:
        """The job that answers about ``ids``: found again if submitted under the same ``label`` before.

        So a retry adopts what an attempt has begun, whether it died before the upload, in it or after it.
        ``label`` is at most 40 characters. Raises `JobUnderWayError` while X is at another job of the type.
        """
        body = "".join(f"{each}\n" for each in sorted(set(ids), key=int)).encode()
        name = f"{label}-{hashlib.sha256(body).hexdigest()[:16]}"
        for found in self.jobs(kind):
            if found.name == name and found.is_usable(now):
                log.info("adopting compliance job id=%s status=%s", found.id, found.status)
                return self._upload(found, body) if found.status == "created" else found
        try:
            created = self._asked(self._client.create_compliance_job, kind, name=name)
        except tweepy.HTTPException as error:
            if error.response.status_code == _CONFLICT:
                raise JobUnderWayError(f"X is at another compliance job for {kind}") from error
            raise
        job = ComplianceJob.from_json(created["data"])
        log.info("created compliance job id=%s kind=%s ids=%d", job.id, kind, body.count(b"\n"))
        return self._upload(job, body)

    def jobs(self, kind: Kind) -> list[ComplianceJob]:
        """The jobs of a type that X still knows, newest first."""
        answer = self._asked(self._client.get_compliance_jobs, kind)
        return [ComplianceJob.from_json(each) for each in answer.get("data", ())]

    def status(self, own: str) -> str:
        """The state of a job, whatever it is."""
        return self._found(own).status

    def job(self, own: str) -> ComplianceJob:
        """How a job stands; raises `ComplianceError` where it failed or expired."""
        job = self._found(own)
        if job.status not in UNFINISHED | {"complete"}:
            raise ComplianceError(f"compliance job {own} ended as {job.status}")
        return job

    def _found(self, own: str) -> ComplianceJob:
        answer = self._asked(self._client.get_compliance_job, own)
        return ComplianceJob.from_json(answer["data"])

    def result(self, job: ComplianceJob) -> Iterator[Gone]:
        """Everything that a complete job says must go, read as it arrives.

        A reason that is not known counts as a deletion. Raises `ComplianceError` where the result cannot be
        had any more, or is not whole.
        """
        with self._client.session.get(job.download_url, stream=True) as answer:
            if answer.status_code >= 500:
                answer.raise_for_status()
            if not answer.ok:
                raise ComplianceError(
                    f"X answers {answer.status_code} for the result of compliance job {job.id}: it is kept "
                    f"until {job.download_expires_at:%Y-%m-%dT%H:%M:%SZ}"
                )
            for number, line in enumerate(answer.iter_lines(), 1):
                if line:
                    yield _gone(job, number, line)

    def _upload(self, job: ComplianceJob, body: bytes) -> ComplianceJob:
        """Sends the ids; where the connection breaks, X is asked whether they arrived."""
        error: Exception | None = None
        for attempt in range(1, _UPLOADS + 1):
            try:
                # The address is signed: it needs no token, and must not be given one.
                answer = self._client.session.put(
                    job.upload_url, data=body, headers={"Content-Type": "text/plain"}
                )
                if answer.ok:
                    return self.job(job.id)
                error = requests.HTTPError(f"X answers {answer.status_code} to the upload")
            except requests.ConnectionError as broken:
                error = broken
            log.info("compliance upload failed id=%s attempt=%d", job.id, attempt)
            found = self.job(job.id)
            if found.status != "created":
                return found
        raise ComplianceError(f"the ids of compliance job {job.id} could not be uploaded") from error

    @staticmethod
    def _asked(call: Callable[..., Any], *arguments: str, **named: str) -> dict[str, Any]:
        """The answer to a call of a client that returns plain dicts."""
        try:
            found: dict[str, Any] = call(*arguments, **named)
        except tweepy.HTTPException as error:
            raise (rejection(error) or error) from error
        return found


def _gone(job: ComplianceJob, number: int, line: bytes) -> Gone:
    try:
        found = json.loads(line)
        own, reason = found["id"], str(found.get("reason", "unknown"))
        if not (isinstance(own, str) and own.isascii() and own.isdecimal()):
            raise ValueError("no id")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ComplianceError(
            f"line {number} of the result of compliance job {job.id} names no id"
        ) from error
    geo = ComplianceAction.SCRUB_GEO in (found.get("action"), reason)
    return Gone(own, ComplianceAction.SCRUB_GEO if geo else ComplianceAction.DELETE, reason)
