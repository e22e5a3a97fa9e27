"""Batch compliance: which of the posts or users that a customer keeps must no longer be kept.

No post is deleted here on its own: ``/_local/redactions`` says which posts and users are gone, and why.
Sources: X's documentation of batch compliance and OpenAPI 2.167.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from include.x.snowflake import EPOCH_MS, LOW_BITS, moment
from local.x_api.post import Json, Post, instant
from local.x_api.problems import Problem, invalid_request, plain

TYPES = ("tweets", "users")
STATUSES = ("created", "in_progress", "failed", "complete", "expired")
REASONS = ("deleted", "deactivated", "protected", "scrub_geo", "suspended")

_UPLOAD_FOR = timedelta(minutes=15)
_DOWNLOAD_FOR = timedelta(days=7)
_WORK_SECONDS = 1.0
_ID = re.compile(rb"[0-9]{1,19}")


class Redactions:
    """The posts and users that are gone, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gone: dict[str, dict[str, Json]] = {kind: {} for kind in TYPES}
        if path.exists():
            self._gone.update(json.loads(path.read_text(encoding="utf-8")))

    def add(self, wanted: object, at: datetime) -> int:
        """Takes ``{"tweets": {id: reason}, "users": {id: reason}}``; raises `ValueError`."""
        if not isinstance(wanted, Mapping) or not wanted or set(wanted) - set(TYPES):
            raise ValueError(f"redactions are an object with {' or '.join(TYPES)}")
        for gone in wanted.values():
            if not isinstance(gone, Mapping) or not all(reason in REASONS for reason in gone.values()):
                raise ValueError(f"each id has one of the reasons {', '.join(REASONS)}")
        for kind, gone in wanted.items():
            for own, reason in gone.items():
                self._gone[kind][str(own)] = {"reason": reason, "redacted_at": instant(at)}
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(self._gone), encoding="utf-8")
        written.replace(self._path)
        return sum(map(len, wanted.values()))

    def left(self, post: Post) -> Post | None:
        """What searches still give of the post: None where it is gone, without its place where that is."""
        reasons = {
            gone[str(own)]["reason"]
            for gone, own in (
                (self._gone["tweets"], post.id),
                (self._gone["users"], post.data.get("author_id")),
            )
            if str(own) in gone
        }
        if reasons - {"scrub_geo"}:
            return None
        if not reasons:
            return post
        data = {name: value for name, value in post.data.items() if name != "geo"}
        return Post(data, {name: found for name, found in post.includes.items() if name != "places"})

    def result(self, kind: str, ids: Iterator[str]) -> Iterator[Json]:
        """A line of a job's result for each id that is gone."""
        for own in ids:
            if gone := self._gone[kind].get(own):
                line: Json = {"id": own, "action": "delete", **gone}
                if gone["reason"] == "scrub_geo":
                    line["action"] = "scrub_geo"
                if kind == "tweets":
                    line["created_at"] = instant(moment(int(own)))
                yield line


class Jobs:
    """All jobs, each with a folder for what was uploaded and what came out."""

    def __init__(self, folder: Path, redactions: Redactions, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._redactions = redactions
        self._clock = clock
        self._lock = threading.Lock()

    def create(self, body: Mapping[str, Any], base_url: str) -> Json:
        """A new job; raises `Problem` 400."""
        unknown = set(body) - {"type", "name", "resumable"}
        kind, name, resumable = body.get("type"), body.get("name"), body.get("resumable", False)
        if unknown:
            raise invalid_request([({field: ""}, f"Unknown field {field}") for field in sorted(unknown)])
        if kind not in TYPES:
            raise invalid_request([({"type": str(kind)}, f"`type` must be one of [{','.join(TYPES)}]")])
        if resumable is not False:
            raise invalid_request([({"resumable": str(resumable)}, "Only false is offered here")])
        if name is not None and not (isinstance(name, str) and 1 <= len(name) <= 64):
            raise invalid_request([({"name": str(name)}, "`name` must be a text of 1 to 64 characters")])
        if any(job["status"] in ("created", "in_progress") for job in self.all(kind, None)):
            raise plain(409, "Conflict", f"There is a job for {kind} under way; one at a time is allowed")
        now = self._clock()
        own = str((int(now * 1000) - EPOCH_MS << LOW_BITS) + secrets.randbits(LOW_BITS))
        key = secrets.token_urlsafe(24)
        address = f"{base_url.rstrip('/')}/_local/compliance/{own}/{key}"
        created = datetime.fromtimestamp(now, UTC)
        job: Json = {
            "id": own,
            "type": kind,
            "created_at": instant(created),
            "resumable": False,
            "upload_url": f"{address}/submission",
            "upload_expires_at": instant(created + _UPLOAD_FOR),
            "download_url": f"{address}/result",
            "download_expires_at": instant(created + _DOWNLOAD_FOR),
        } | ({} if name is None else {"name": name})
        with self._lock:
            self._write({"job": job, "key": key, "uploaded": None})
        return self.one(own)

    def one(self, own: str) -> Json:
        """A job with its status; raises `Problem` 404."""
        return self._described(self._read(own))

    def all(self, kind: str | None, status: str | None) -> list[Json]:
        """The jobs of a type, newest first; raises `Problem` 400."""
        if kind not in TYPES:
            raise invalid_request([({"type": str(kind)}, f"`type` must be one of [{','.join(TYPES)}]")])
        if status is not None and status not in STATUSES:
            raise invalid_request([({"status": status}, f"`status` must be one of [{','.join(STATUSES)}]")])
        jobs = [self._described(self._read(path.parent.name)) for path in self._folder.glob("*/job.json")]
        return sorted(
            (job for job in jobs if job["type"] == kind and status in (None, job["status"])),
            key=lambda job: int(job["id"]),
            reverse=True,
        )

    def upload(self, own: str, key: str, content: bytes) -> None:
        """Takes the ids, one a line; raises `Problem` 403, 404 and 400."""
        kept = self._keyed(own, key)
        if self._described(kept)["status"] != "created":
            raise plain(403, "Forbidden", "There is nothing to upload any more")
        ids = content.split()
        failed = not all(map(_ID.fullmatch, ids))
        with self._lock:
            result = (
                []
                if failed
                else list(self._redactions.result(kept["job"]["type"], (found.decode() for found in ids)))
            )
            lines = "".join(json.dumps(line) + "\n" for line in result)
            (self._folder / own / "result.ndjson").write_text(lines, encoding="utf-8")
            self._write({**kept, "uploaded": self._clock(), "failed": failed})

    def download(self, own: str, key: str) -> bytes:
        """The result as NDJSON; raises `Problem` 400 (expired), 403 and 404."""
        kept = self._keyed(own, key)
        if instant(datetime.fromtimestamp(self._clock(), UTC)) >= kept["job"]["download_expires_at"]:
            raise plain(400, "ExpiredToken", "The provided token has expired.")
        if self._described(kept)["status"] != "complete":
            raise plain(404, "Not Found", "The job is not complete")
        return (self._folder / own / "result.ndjson").read_bytes()

    def _keyed(self, own: str, key: str) -> Json:
        kept = self._read(own)
        if not secrets.compare_digest(kept["key"].encode(), key.encode()):
            raise plain(403, "Forbidden")
        return kept

    def _described(self, kept: Json) -> Json:
        now, job, uploaded = self._clock(), kept["job"], kept["uploaded"]
        if uploaded is None:
            status = (
                "created"
                if instant(datetime.fromtimestamp(now, UTC)) < job["upload_expires_at"]
                else "expired"
            )
        elif now < uploaded + _WORK_SECONDS:
            status = "in_progress"
        else:
            status = "failed" if kept["failed"] else "complete"
        return {**job, "status": status}

    def _read(self, own: str) -> Json:
        path = self._folder / own / "job.json"
        if not own.isdigit() or not path.exists():
            raise _not_found(own)
        kept: Json = json.loads(path.read_text(encoding="utf-8"))
        return kept

    def _write(self, kept: Json) -> None:
        path = self._folder / kept["job"]["id"] / "job.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(".new")
        written.write_text(json.dumps(kept), encoding="utf-8")
        written.replace(path)


def _not_found(own: str) -> Problem:
    return plain(404, "Not Found", f"There is no compliance job {own}")
