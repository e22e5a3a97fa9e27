"""What runs on Athena for too long is stopped: nobody pays for what nobody waits for."""

from __future__ import annotations

from typing import Any

import pytest

from include.lake.athena import Athena, AthenaTimeoutError
from include.settings import Settings


class Endless:
    """Athena whose statements never end unless they are stopped."""

    def __init__(self) -> None:
        self.running: list[str] = []

    def start_query_execution(self, **_: Any) -> dict[str, Any]:
        self.running.append(f"e{len(self.running)}")
        return {"QueryExecutionId": self.running[-1]}

    def get_query_execution(self, **_: Any) -> dict[str, Any]:
        return {"QueryExecution": {"Status": {"State": "RUNNING"}}}

    def stop_query_execution(self, QueryExecutionId: str) -> None:  # noqa: N803
        self.running.remove(QueryExecutionId)


def test_statements_that_take_too_long_are_stopped() -> None:
    endless: Any = Endless()
    athena = Athena(endless, Settings(), limit_seconds=0)
    with pytest.raises(AthenaTimeoutError, match=r"statement 'one' took longer than 0 s \(execution e0\)"):
        athena.run_all({"one": "SELECT 1", "two": "SELECT 2"})
    assert endless.running == []
