"""The streamer's state besides its lines, in the same database: it outlives the process."""

from __future__ import annotations

import secrets

from streamer.database import Database


class Notes:
    """The posts bought by month, the times of connects, and texts by name. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.write("INSERT OR IGNORE INTO state VALUES ('identity', ?)", secrets.token_hex(6))

    @property
    def identity(self) -> str:
        """A unique name that this spool keeps as long as it exists."""
        name = self.state("identity")
        assert name is not None
        return name

    def bought(self) -> dict[str, int]:
        """Committed posts bought, by month, over all sessions of this spool."""
        return dict(self._database.rows("SELECT month, posts FROM bought"))

    def forget_bought(self, month: str) -> None:
        """Drops the count of a past month that is published."""
        self._database.write("DELETE FROM bought WHERE month = ?", month)

    def add_connect(self, at_ms: int) -> None:
        """Records that a stream was requested from X, also for the next process."""
        self._database.write("INSERT INTO connect VALUES (?)", at_ms)

    def connects_since(self, since_ms: int) -> list[int]:
        """The times of connects from ``since_ms`` on, in order; deletes older ones."""
        self._database.write("DELETE FROM connect WHERE at_ms < ?", since_ms)
        return [at for (at,) in self._database.rows("SELECT at_ms FROM connect ORDER BY at_ms")]

    def set_state(self, name: str, value: str | None) -> None:
        """Stores a text under a name for the next process; None deletes it."""
        if value is None:
            self._database.write("DELETE FROM state WHERE name = ?", name)
        else:
            self._database.write("INSERT OR REPLACE INTO state VALUES (?, ?)", name, value)

    def state(self, name: str) -> str | None:
        """The text stored under a name, also by an earlier process."""
        rows = self._database.rows("SELECT value FROM state WHERE name = ?", name)
        return str(rows[0][0]) if rows else None
