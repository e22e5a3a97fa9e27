"""What the streamer remembers beside its lines, in the same database: it outlives the process."""

from __future__ import annotations

import secrets

from streamer.database import Database


class Notes:
    """The posts bought by month, the times of connects, and texts by name. Any thread may call."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.write("INSERT OR IGNORE INTO state VALUES ('identity', ?)", secrets.token_hex(6))

    @property
    def identity(self) -> str:
        """A name that this spool keeps as long as it lives, and no other has."""
        name = self.state("identity")
        assert name is not None
        return name

    def bought(self) -> dict[str, int]:
        """Posts bought, committed, by month: by every session that had this spool."""
        return dict(self._database.rows("SELECT month, posts FROM bought"))

    def forget_bought(self, month: str) -> None:
        """Drops the count of a month that is over and published."""
        self._database.write("DELETE FROM bought WHERE month = ?", month)

    def add_connect(self, at_ms: int) -> None:
        """Remembers that X was asked for a stream, also for the next process."""
        self._database.write("INSERT INTO connect VALUES (?)", at_ms)

    def connects_since(self, since_ms: int) -> list[int]:
        """The times of connects from ``since_ms`` on, in order; forgets older ones."""
        self._database.write("DELETE FROM connect WHERE at_ms < ?", since_ms)
        return [at for (at,) in self._database.rows("SELECT at_ms FROM connect ORDER BY at_ms")]

    def set_state(self, name: str, value: str | None) -> None:
        """Keeps a text for the next process under a name; None forgets it."""
        if value is None:
            self._database.write("DELETE FROM state WHERE name = ?", name)
        else:
            self._database.write("INSERT OR REPLACE INTO state VALUES (?, ?)", name, value)

    def state(self, name: str) -> str | None:
        """What was kept under a name, also by an earlier process."""
        rows = self._database.rows("SELECT value FROM state WHERE name = ?", name)
        return str(rows[0][0]) if rows else None
