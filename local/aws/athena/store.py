"""The state of the local Athena that survives a restart: query executions and workgroups, in SQLite."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

type Document = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS executions (
  id TEXT PRIMARY KEY, token TEXT UNIQUE, workgroup TEXT NOT NULL, submitted REAL NOT NULL,
  state TEXT NOT NULL, document TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_workgroup ON executions (workgroup, submitted DESC);
CREATE TABLE IF NOT EXISTS workgroups (name TEXT PRIMARY KEY, document TEXT NOT NULL);
"""


class Store:
    """Documents by name; every method is atomic and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._database.close()

    def add(self, document: Document, token: str | None) -> Document:
        """Stores a new execution, unless one with that token exists, which is then returned."""
        with self._lock:
            if token:
                found = self._database.execute(
                    "SELECT document FROM executions WHERE token = ?", (token,)
                ).fetchone()
                if found:
                    kept: Document = json.loads(found[0])
                    return kept
            status = document["Status"]
            self._database.execute(
                "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?)",
                (
                    document["QueryExecutionId"],
                    token,
                    document["WorkGroup"],
                    status["SubmissionDateTime"],
                    status["State"],
                    json.dumps(document),
                ),
            )
            return document

    def execution(self, identity: str) -> Document | None:
        """The execution of that id."""
        with self._lock:
            found = self._database.execute(
                "SELECT document FROM executions WHERE id = ?", (identity,)
            ).fetchone()
        return json.loads(found[0]) if found else None

    def change(self, identity: str, change: Callable[[Document], bool]) -> Document:
        """Lets ``change`` modify an execution and stores it if that returns True; returns it."""
        with self._lock:
            document = self.execution(identity)
            if document is None:
                raise KeyError(identity)
            if change(document):
                self._database.execute(
                    "UPDATE executions SET state = ?, document = ? WHERE id = ?",
                    (document["Status"]["State"], json.dumps(document), identity),
                )
            return document

    def listed(self, workgroup: str, limit: int, offset: int) -> list[str]:
        """Ids of a workgroup's executions, the latest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id FROM executions WHERE workgroup = ? ORDER BY submitted DESC, id LIMIT ? OFFSET ?",
                (workgroup, limit, offset),
            ).fetchall()
        return [row[0] for row in rows]

    def unfinished(self) -> list[str]:
        """Ids of the executions that are queued or running."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id FROM executions WHERE state IN ('QUEUED', 'RUNNING')"
            ).fetchall()
        return [row[0] for row in rows]

    def workgroup(self, name: str) -> Document | None:
        """The workgroup of that name."""
        with self._lock:
            found = self._database.execute(
                "SELECT document FROM workgroups WHERE name = ?", (name,)
            ).fetchone()
        return json.loads(found[0]) if found else None

    def workgroups(self) -> list[Document]:
        """All workgroups by name."""
        with self._lock:
            rows = self._database.execute("SELECT document FROM workgroups ORDER BY name").fetchall()
        return [json.loads(row[0]) for row in rows]

    def put_workgroup(self, document: Document) -> None:
        """Keeps a workgroup, in place of the one of that name."""
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO workgroups VALUES (?, ?)", (document["Name"], json.dumps(document))
            )

    def delete_workgroup(self, name: str) -> None:
        """Deletes a workgroup and its executions."""
        with self._lock:
            self._database.execute("DELETE FROM workgroups WHERE name = ?", (name,))
            self._database.execute("DELETE FROM executions WHERE workgroup = ?", (name,))
