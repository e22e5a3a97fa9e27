"""Uploads in parts, as the Files API makes them for the SDK: a session, signed addresses of parts, an end.

The protocol is that of ``databricks.sdk.mixins.files`` for a workspace on AWS: the addresses lead to S3, need
no token, expire, and are answered in S3's manner (XML errors, parts of 5 MiB and more but for the last).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from local.databricks.errors import ApiError, invalid, not_found
from local.databricks.files import MAXIMUM_BYTES, Files

SMALLEST_PART = 5 * 2**20
MOST_PARTS = 10_000
LONGEST_SECONDS = 7 * 24 * 3600
"""How long an address that was signed for S3 may be good."""


class StorageError(Exception):
    """A rejection of the storage behind an address: HTTP status, S3's code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def body(self) -> str:
        """The XML that clients read."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{self.code}</Code><Message>{escape(str(self))}</Message></Error>"
        )


class Uploads:
    """Sessions, kept under ``folder`` so that they outlive a restart."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._folder = folder
        self._files = files
        folder.mkdir(parents=True, exist_ok=True)
        key = folder / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(secrets.token_bytes(32))
        self._key = key.read_bytes()

    def new_file(self) -> Path:
        """Where a body may be written before it is a file or a part."""
        return self._folder / f"body-{secrets.token_hex(8)}"

    def initiate(self, path: str, overwrite: bool) -> dict[str, Any]:
        """Begins an upload; raises `ApiError` if the file could not be put."""
        self._files.check_new(path, overwrite)
        token = secrets.token_hex(16)
        session = self._folder / token
        session.mkdir()
        (session / "session.json").write_text(json.dumps({"path": path, "overwrite": overwrite}))
        return {"multipart_upload": {"session_token": token}}

    def part_urls(self, parameters: dict[str, Any], base: str) -> dict[str, Any]:
        """Signed addresses for so many parts."""
        token = self._session(parameters).name
        start, count = parameters.get("start_part_number"), parameters.get("count")
        if not isinstance(start, int) or not isinstance(count, int) or start < 1 or count < 1:
            raise invalid("start_part_number and count must be positive.")
        if start + count - 1 > MOST_PARTS:
            raise invalid(f"An upload has at most {MOST_PARTS} parts.")
        expires = _expiry(parameters)
        urls = [
            {
                "method": "PUT",
                "url": self._sign(base, "PUT", f"{token}/{number}", expires),
                "headers": [],
                "part_number": number,
            }
            for number in range(start, start + count)
        ]
        return {"upload_part_urls": urls}

    def abort_url(self, parameters: dict[str, Any], base: str) -> dict[str, Any]:
        """The signed address whose DELETE ends an upload without a file."""
        token = self._session(parameters).name
        url = self._sign(base, "DELETE", token, _expiry(parameters))
        return {"abort_upload_url": {"method": "DELETE", "url": url, "headers": []}}

    def check(self, method: str, name: str, query: dict[str, str]) -> None:
        """Raises `StorageError` unless an address was signed for this, and not too long ago."""
        expires = query.get("expires", "")
        given, wanted = query.get("signature", ""), self._signature(method, name, expires)
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            raise StorageError(403, "SignatureDoesNotMatch", "The request signature does not match.")
        if datetime.now(UTC).timestamp() > int(expires):
            raise StorageError(403, "AccessDenied", "Request has expired")

    def put_part(self, name: str, body: Path) -> str:
        """Keeps a part and returns its ETag; one of the same number is replaced."""
        token, _, number = name.partition("/")
        session = self._stored(token)
        with body.open("rb") as content:
            tag = hashlib.file_digest(content, "md5").hexdigest()
        body.replace(session / f"part-{int(number)}")
        (session / f"tag-{int(number)}").write_text(tag)
        return f'"{tag}"'

    def abort(self, name: str) -> None:
        """Forgets an upload and its parts."""
        shutil.rmtree(self._stored(name))

    def complete(self, path: str, token: str, parts: Any) -> None:
        """Makes the file of an upload's parts; raises `ApiError` if they are not those that were put."""
        session = self._session({"session_token": token, "path": path})
        if not isinstance(parts, list) or not parts:
            raise invalid("parts must name at least one part.")
        chosen: list[Path] = []
        last = 0
        for part in parts:
            number = part.get("part_number") if isinstance(part, dict) else None
            if not isinstance(number, int) or number <= last:
                raise invalid("parts must be named once each, in ascending order of part_number.")
            tag = session / f"tag-{number}"
            if not tag.exists() or tag.read_text() != str(part.get("etag", "")).strip('"'):
                raise invalid(f"Part {number} was not uploaded or its etag does not match.")
            chosen.append(session / f"part-{number}")
            last = number
        sizes = [part.stat().st_size for part in chosen]
        if any(size < SMALLEST_PART for size in sizes[:-1]):
            raise invalid("Every part but the last must have 5 MiB or more.")
        if sum(sizes) > MAXIMUM_BYTES:
            raise invalid("The file is larger than 5 GiB.")
        overwrite = json.loads((session / "session.json").read_text())["overwrite"]
        self._files.check_new(path, overwrite)
        whole = self.new_file()
        with whole.open("wb") as target:
            for part in chosen:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target)
        self._files.put(path, whole, overwrite)
        shutil.rmtree(session)

    def _stored(self, token: str) -> Path:
        session = self._folder / token
        if not token.isalnum() or not session.is_dir():
            raise StorageError(404, "NoSuchUpload", "The specified upload does not exist.")
        return session

    def _session(self, parameters: dict[str, Any]) -> Path:
        token = parameters.get("session_token")
        session = self._folder / str(token)
        if not isinstance(token, str) or not token.isalnum() or not session.is_dir():
            raise not_found("The upload session does not exist or has ended.")
        if json.loads((session / "session.json").read_text())["path"] != parameters.get("path"):
            raise invalid("The session_token is another path's.")
        return session

    def _sign(self, base: str, method: str, name: str, expires: int) -> str:
        query = {"expires": expires, "signature": self._signature(method, name, str(expires))}
        return f"{base}/_storage/{name}?{urlencode(query)}"

    def _signature(self, method: str, name: str, expires: str) -> str:
        return hmac.new(self._key, f"{method} {name} {expires}".encode(), "sha256").hexdigest()


def _expiry(parameters: dict[str, Any]) -> int:
    try:
        moment = datetime.fromisoformat(str(parameters["expire_time"]))
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (KeyError, ValueError) as error:
        raise invalid("expire_time must be a time in ISO 8601.") from error
    if not 0 < seconds - datetime.now(UTC).timestamp() <= LONGEST_SECONDS:
        raise ApiError(400, "INVALID_PARAMETER_VALUE", "expire_time must be within the next seven days.")
    return int(seconds)
