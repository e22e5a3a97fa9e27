"""What runs on Athena for too long is stopped, and what could not read the data is run again."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from include.lake.athena import Athena, AthenaError, AthenaTimeoutError, UnreadDataError
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


class Failing:
    """Athena whose statements fail for these reasons, one after the other, and then succeed."""

    def __init__(self, *reasons: str) -> None:
        self.started: list[str] = []
        self.reasons = iter(reasons)

    def start_query_execution(self, QueryString: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self.started.append(QueryString)
        return {"QueryExecutionId": f"e{len(self.started)}"}

    def get_query_execution(self, **_: Any) -> dict[str, Any]:
        reason = next(self.reasons, None)
        failed = {"State": "FAILED", "StateChangeReason": reason}
        return {"QueryExecution": {"Status": failed if reason else {"State": "SUCCEEDED"}}}

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, QueryExecutionId: str) -> list[dict[str, Any]]:  # noqa: N803
        columns = {"ColumnInfo": [{"Name": "execution", "Type": "varchar"}]}
        rows = [{"Data": [{"VarCharValue": value}]} for value in ("execution", QueryExecutionId)]
        return [{"ResultSet": {"ResultSetMetadata": columns, "Rows": rows}}]


# What Trino says of an object that is replaced, and of one that is deleted, after it was listed.
REPLACED = "GENERIC_INTERNAL_ERROR: java.io.IOException: can not read class org.apache.parquet.PageHeader"
DELETED = "HIVE_CANNOT_OPEN_SPLIT: Error opening Hive split s3://lake/t/x.parquet (offset=0, length=1348)"


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    paused: list[float] = []
    monkeypatch.setattr("include.lake.athena.time.sleep", paused.append)
    return paused


def test_a_statement_is_run_again_where_an_object_was_replaced_under_it(paused: list[float]) -> None:
    failing: Any = Failing(REPLACED, DELETED)
    assert Athena(failing, Settings()).run("SELECT 1") == [{"execution": "e3"}]
    assert failing.started == ["SELECT 1"] * 3
    assert paused == [1.0, 3.0]


def test_data_that_stays_unreadable_fails_its_statement(paused: list[float]) -> None:
    failing: Any = Failing(*itertools.repeat(DELETED, 3))
    with pytest.raises(UnreadDataError, match="'one' ended as FAILED: HIVE_CANNOT_OPEN_SPLIT"):
        Athena(failing, Settings(), limit_seconds=60).run_all({"one": "SELECT 1"})
    assert failing.started == ["SELECT 1"] * 3


@pytest.mark.parametrize("reason", ["COLUMN_NOT_FOUND: line 1:8", "EXCEEDED_TIME_LIMIT", "PERMISSION_DENIED"])
def test_a_statement_that_is_wrong_or_rejected_is_run_once(reason: str) -> None:
    failing: Any = Failing(reason)
    with pytest.raises(AthenaError, match=reason) as error:
        Athena(failing, Settings()).run("SELECT 1")
    assert not isinstance(error.value, UnreadDataError)
    assert failing.started == ["SELECT 1"]


def test_nobody_waits_for_a_statement_beyond_its_limit(paused: list[float]) -> None:
    failing: Any = Failing(REPLACED)
    with pytest.raises(UnreadDataError):
        Athena(failing, Settings(), limit_seconds=0.5).run("SELECT 1")
    assert (len(failing.started), paused) == (1, [])
