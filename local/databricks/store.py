"""What survives a restart: jobs, runs, tokens and permissions as JSON documents in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any


class Store:
    """Documents by kind and identity; every write is durable when it returns."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (kind TEXT, identity TEXT, body TEXT NOT NULL, PRIMARY KEY (kind, identity))"
        )

    def all(self, kind: str) -> dict[str, Any]:
        """Every document of a kind by its identity."""
        with self._lock:
            rows = self._database.execute("SELECT identity, body FROM documents WHERE kind = ?", [kind])
            return {identity: json.loads(body) for identity, body in rows}

    def put(self, kind: str, identity: object, body: Any) -> None:
        """Writes a document."""
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", [kind, str(identity), json.dumps(body)]
            )

    def delete(self, kind: str, identity: object) -> None:
        """Deletes a document, where there is one."""
        with self._lock:
            self._database.execute(
                "DELETE FROM documents WHERE kind = ? AND identity = ?", [kind, str(identity)]
            )

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._database.close()
