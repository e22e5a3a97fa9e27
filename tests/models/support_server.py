"""A model hub on this machine, as far as its client asks: what folders hold, at one commit."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server gives. It changes the bytes of ``corrupt`` files, and ends ``cut`` ones once."""

    folder: Path
    address: str = ""
    license: str | None = None
    corrupt: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    given: list[tuple[str, int]] = field(default_factory=list)
    """Files that were asked for, and from which byte on."""

    def files(self, repository: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / repository).iterdir())}


@contextmanager
def running(folder: Path) -> Iterator[Hub]:
    """Serves the repositories ``folder/owner/name``."""
    hub = Hub(folder)

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0].strip("/").split("/")
            if path[:2] == ["api", "models"] and len(path) >= 4:
                repository, rest = "/".join(path[2:4]), path[4:]
                if not (hub.folder / repository).is_dir():
                    self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
                elif rest and rest[1] not in (COMMIT, "main"):
                    self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, body)
                else:
                    found = self._tree(repository) if rest[:1] == ["tree"] else self._info(repository)
                    kind = {"Content-Type": "application/json"}
                    self._send(200, json.dumps(found).encode(), kind, body)
            elif len(path) >= 5 and path[2] == "resolve":
                self._file("/".join(path[:2]), "/".join(path[4:]), body)
            else:
                self._send(404, b"", {}, body)

        def _info(self, repository: str) -> dict[str, Any]:
            card = {} if hub.license is None else {"license": hub.license}
            siblings = [
                {
                    "rfilename": name,
                    "size": len(content),
                    **({"lfs": self._lfs(content)} if self._large(name) else {}),
                }
                for name, content in hub.files(repository).items()
            ]
            return {
                "id": repository,
                "modelId": repository,
                "sha": COMMIT,
                "cardData": card,
                "siblings": siblings,
            }

        def _tree(self, repository: str) -> list[dict[str, Any]]:
            return [
                {
                    "type": "file",
                    "path": name,
                    "size": len(content),
                    "oid": hashlib.sha1(content).hexdigest(),
                    **(
                        {"lfs": {"oid": hashlib.sha256(content).hexdigest(), **self._lfs(content)}}
                        if self._large(name)
                        else {}
                    ),
                }
                for name, content in hub.files(repository).items()
            ]

        def _large(self, name: str) -> bool:
            return name.endswith((".safetensors", ".bin", ".spm"))

        def _lfs(self, content: bytes) -> dict[str, Any]:
            return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}

        def _file(self, repository: str, name: str, body: bool) -> None:
            content = hub.files(repository)[name]
            tag = (hashlib.sha256 if self._large(name) else hashlib.sha1)(content).hexdigest()
            if name in hub.corrupt:
                content = bytes([content[0] ^ 1]) + content[1:]
            begin = 0
            if asked := self.headers.get("Range"):
                begin = int(asked.removeprefix("bytes=").partition("-")[0])
            if body:
                hub.given.append((name, begin))
            headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if begin:
                headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            half = body and name in hub.cut
            self._send(206 if begin else 200, content[begin:], headers, body, half)
            if half:
                hub.cut.discard(name)

        def _send(
            self, status: int, content: bytes, headers: dict[str, str], body: bool, half: bool = False
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content[: len(content) // 2] if half else content)
            if half:
                self.wfile.flush()
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
