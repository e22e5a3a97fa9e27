"""The Files API over HTTP: files in one piece or in parts, ranges of them, and directories."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from local.databricks.errors import ApiError, invalid
from local.databricks.files import MAXIMUM_BYTES, Files
from local.databricks.settings import truth
from local.databricks.uploads import StorageError, Uploads

FILES, DIRECTORIES, STORAGE = "/api/2.0/fs/files/", "/api/2.0/fs/directories/", "/_storage/"
_SIGNED = {
    "/api/2.0/fs/create-upload-part-urls": Uploads.part_urls,
    "/api/2.0/fs/create-abort-upload-url": Uploads.abort_url,
}
_CHUNK = 2**20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class FileApi:
    """Answers what `answers` says; bodies are never held whole in memory."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._uploads = Uploads(files.incoming, files)

    def answers(self, path: str) -> bool:
        """Whether a path of the API is one of these."""
        return path.startswith((FILES, DIRECTORIES)) or path in _SIGNED

    async def answer(self, request: Request) -> Response:
        """Answers a request whose token is right; raises `ApiError`. The server has decoded its path once."""
        path = request.scope["path"]
        if path in _SIGNED and request.method == "POST":
            body = _document(await request.body())
            return JSONResponse(_SIGNED[path](self._uploads, body, str(request.base_url).rstrip("/")))
        if path.startswith(DIRECTORIES):
            return await run_in_threadpool(self._directory, request, "/" + path.removeprefix(DIRECTORIES))
        if path.startswith(FILES):
            return await self._file(request, "/" + path.removeprefix(FILES))
        raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} {path}'")

    async def storage(self, request: Request) -> Response:
        """Answers at a signed address, as S3 does; the signature is the credential."""
        name = request.scope["path"].removeprefix(STORAGE)
        try:
            self._uploads.check(request.method, name, dict(request.query_params))
            if request.method == "DELETE":
                await run_in_threadpool(self._uploads.abort, name)
                return Response()
            body = await self._received(request)
            try:
                tag = await run_in_threadpool(self._uploads.put_part, name, body)
            finally:
                body.unlink(missing_ok=True)
            return Response(headers={"etag": tag})
        except StorageError as error:
            return Response(error.body(), error.status, media_type="application/xml")

    async def _file(self, request: Request, path: str) -> Response:
        match request.method:
            case "PUT":
                self._files.check_new(path, overwrite := _overwrite(request))
                body = await self._received(request)
                try:
                    await run_in_threadpool(self._files.put, path, body, overwrite)
                finally:
                    body.unlink(missing_ok=True)
                return Response(status_code=204)
            case "POST" if request.query_params.get("action") == "initiate-upload":
                return JSONResponse(self._uploads.initiate(path, _overwrite(request)))
            case "POST" if request.query_params.get("action") == "complete-upload":
                parts = _document(await request.body()).get("parts")
                token = request.query_params.get("session_token", "")
                await run_in_threadpool(self._uploads.complete, path, token, parts)
                return JSONResponse({})
            case "GET" | "HEAD":
                return _content(request, self._files.file(path))
            case "DELETE":
                self._files.delete(path)
                return Response(status_code=204)
        raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} /2.0/fs/files'")

    async def _received(self, request: Request) -> Path:
        """The body in a separate file, which is deleted if the body is incomplete or too long."""
        body, size = self._uploads.new_file(), 0
        try:
            with body.open("wb") as target:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > MAXIMUM_BYTES:
                        raise invalid("The file is larger than 5 GiB.")
                    target.write(chunk)
        except BaseException:
            body.unlink(missing_ok=True)
            raise
        return body

    def _directory(self, request: Request, path: str) -> Response:
        match request.method:
            case "PUT":
                self._files.make_directory(path)
                return Response(status_code=204)
            case "HEAD":
                self._files.directory(path)
                return Response(status_code=200)
            case "DELETE":
                self._files.delete_directory(path)
                return Response(status_code=204)
            case "GET":
                found = sorted(self._files.directory(path).iterdir())
                base = path.rstrip("/")
                contents = [
                    {
                        "path": f"{base}/{entry.name}",
                        "name": entry.name,
                        "is_directory": entry.is_dir(),
                        "file_size": entry.stat().st_size,
                        "last_modified": int(entry.stat().st_mtime * 1000),
                    }
                    for entry in found
                ]
                return JSONResponse({"contents": contents})
        raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} /2.0/fs/directories'")


def _overwrite(request: Request) -> bool:
    return truth(request.query_params.get("overwrite", "false"), "overwrite")


def _document(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ApiError(400, "MALFORMED_REQUEST", f"Could not parse request object: {error}") from error
    if not isinstance(document, dict):
        raise ApiError(400, "MALFORMED_REQUEST", "Could not parse request object: not an object")
    return document


def _content(request: Request, file: Path) -> Response:
    """A file or, with ``Range``, one stretch of it (RFC 9110, 14.2); several at once are the whole file."""
    state = file.stat()
    size, modified = state.st_size, int(state.st_mtime)
    _check_unmodified(request.headers.get("if-unmodified-since"), modified)
    start, end, status = 0, size - 1, 200
    if request.method == "GET" and (asked := _RANGE.fullmatch(request.headers.get("range", ""))):
        first, last = asked.groups()
        if first:
            start, end = int(first), min(int(last) if last else size - 1, size - 1)
        elif last:
            start = max(size - int(last), 0) if int(last) else size
        if (first and last and int(first) > int(last)) or not (first or last):
            start, end = 0, size - 1
        elif start >= size:
            error = ApiError(
                416, "REQUESTED_RANGE_NOT_SATISFIABLE", "The requested range is not satisfiable."
            )
            return JSONResponse(error.body(), 416, {"content-range": f"bytes */{size}"})
        else:
            status = 206
    headers = {
        "accept-ranges": "bytes",
        "content-length": str(end - start + 1),
        "last-modified": formatdate(modified, usegmt=True),
    }
    if status == 206:
        headers["content-range"] = f"bytes {start}-{end}/{size}"
    media = "application/octet-stream"
    if request.method == "HEAD":
        return Response(headers=headers, media_type=media)
    return StreamingResponse(_read(file, start, end + 1 - start), status, headers, media)


def _read(file: Path, start: int, length: int) -> Iterator[bytes]:
    with file.open("rb") as content:
        content.seek(start)
        while length > 0 and (chunk := content.read(min(_CHUNK, length))):
            length -= len(chunk)
            yield chunk


def _check_unmodified(since: str | None, modified: int) -> None:
    if not since:
        return
    try:
        limit = parsedate_to_datetime(since).timestamp()
    except ValueError:
        return
    if modified > limit:
        raise ApiError(412, "PRECONDITION_FAILED", "The file was modified since the given time.")
