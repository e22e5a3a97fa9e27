"""A task instance as far as links need one: XComs of its own."""

from __future__ import annotations

from typing import Any


class TaskInstance:
    """Keeps what is pushed, with what was pushed before it."""

    map_index = -1

    def __init__(self) -> None:
        self.pushed: list[tuple[str, Any]] = []

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed.append((key, value))

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int = -1) -> Any:
        return dict(self.pushed).get(key)

    @property
    def context(self) -> Any:
        """The context of its task, as far as links need one."""
        return {"ti": self}
