"""The state of the local QuickSight that survives a restart: documents by kind and key, in SQLite."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

type Document = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
  kind TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, key)
)
"""


class Store:
    """Documents in the order in which their keys came; hold `lock` over a change that reads first."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(_SCHEMA)

    def close(self) -> None:
        """Closes the file."""
        with self.lock:
            self._database.close()

    def get(self, kind: str, key: str) -> Document | None:
        """The document of that key."""
        with self.lock:
            found = self._database.execute(
                "SELECT document FROM documents WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return json.loads(found[0]) if found else None

    def put(self, kind: str, key: str, document: Document) -> None:
        """Stores a document; one with that key is replaced."""
        with self.lock:
            self._database.execute(
                "INSERT INTO documents VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET document = excluded.document",
                (kind, key, json.dumps(document)),
            )

    def all(self, kind: str, prefix: str = "") -> list[Document]:
        """The documents of a kind whose keys start with ``prefix``, oldest first."""
        with self.lock:
            found = self._database.execute(
                "SELECT document FROM documents WHERE kind = ? AND substr(key, 1, ?) = ? ORDER BY rowid",
                (kind, len(prefix), prefix),
            ).fetchall()
        return [json.loads(row[0]) for row in found]

    def delete(self, kind: str, key: str) -> None:
        """Deletes a document."""
        with self.lock:
            self._database.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))

    def delete_below(self, kind: str, prefix: str) -> None:
        """Deletes the documents of a kind whose keys start with ``prefix``."""
        with self.lock:
            self._database.execute(
                "DELETE FROM documents WHERE kind = ? AND substr(key, 1, ?) = ?", (kind, len(prefix), prefix)
            )
