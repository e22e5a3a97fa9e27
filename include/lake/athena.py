"""Runs statements on Athena and reads their rows."""

from __future__ import annotations

import io
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from include.lake import storage
from include.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from types_boto3_athena.client import AthenaClient
    from types_boto3_s3.client import S3Client

ResultRow = dict[str, Any]

_UNDER_WAY = {"QUEUED", "RUNNING"}
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 1.0
"""Athena answers 100 such questions a second."""
_AGAIN_AFTER_S = (1.0, 3.0)
"""The waits before a statement that could not read the data is run again."""
_UNREAD = re.compile(r"(?:HIVE_|GENERIC_INTERNAL_ERROR|INTERNAL_ERROR|ICEBERG_)")
"""How Athena's reason begins where it could not read the data: statement and rights are in order."""
_KINDS = {
    **dict.fromkeys(("tinyint", "smallint", "integer", "bigint"), "int"),
    **dict.fromkeys(("double", "float"), "float"),
    "boolean": "bool",
    "timestamp": "time",
}
_READERS: Mapping[str, Callable[[str], Any]] = {
    "tinyint": int,
    "smallint": int,
    "integer": int,
    "bigint": int,
    "double": float,
    "float": float,
    "boolean": lambda text: text == "true",
}

log = logging.getLogger(__name__)


class AthenaError(RuntimeError):
    """A statement failed or was stopped; the message has Athena's reason and the execution's id."""


class UnreadDataError(AthenaError):
    """Athena could not read the data, though the statement and its rights are in order."""


class AthenaTimeoutError(AthenaError):
    """A statement took longer than it may; it was stopped."""


def billed_queries(client: AthenaClient, workgroup: str, start: datetime, end: datetime) -> Iterator[int]:
    """The bytes that each query of ``workgroup`` has scanned, of those that were begun in ``[start, end)``.

    DDL is left out, as Athena does not bill it. Athena keeps queries for 45 days, and lists the latest first.
    """
    for page in client.get_paginator("list_query_executions").paginate(WorkGroup=workgroup):
        if not page["QueryExecutionIds"]:
            continue
        found = client.batch_get_query_execution(QueryExecutionIds=page["QueryExecutionIds"])
        begun = []
        for each in found["QueryExecutions"]:
            begun.append(each["Status"]["SubmissionDateTime"])
            # A failed query costs nothing, a stopped one what it has scanned.
            if each["Status"]["State"] == "FAILED" or each.get("StatementType") != "DML":
                continue
            if start <= begun[-1] < end:
                yield each.get("Statistics", {}).get("DataScannedInBytes", 0)
        if begun and max(begun) < start:
            return


class Athena:
    """Athena in the settings' workgroup and database; the workgroup determines where results are written.

    A statement fails if an object that it reads is replaced or deleted after Athena has listed it: the new
    object is read by the old one's size. It is run again, up to twice; Athena does not bill what failed. Only
    data that stays unreadable raises `UnreadDataError`.
    """

    def __init__(
        self,
        client: AthenaClient,
        settings: Settings,
        note: Callable[[str], None] = lambda _: None,
        limit_seconds: float = math.inf,
    ) -> None:
        """``note`` is called with the id of every execution when it starts, and again if it fails.

        What takes longer than ``limit_seconds`` is stopped, and raises `AthenaTimeoutError`.
        """
        self._limit_seconds = limit_seconds
        self._client = client
        self._note = note
        self._settings = settings
        self._running: set[str] = set()

    def run(self, statement: str, *, in_database: bool = True) -> list[ResultRow]:
        """Runs one statement; returns its rows, values typed by Athena's column types.

        ``in_database`` is false for the statement that creates the database. Raises `AthenaError`.
        """
        return self.run_all({"statement": statement}, in_database=in_database)["statement"]

    def run_all(
        self, statements: Mapping[str, str], *, in_database: bool = True
    ) -> dict[str, list[ResultRow]]:
        """Runs statements in parallel; returns the rows of each under its name.

        If one fails, the others are stopped and `AthenaError` is raised.
        """
        ended = self._ended(statements, in_database=in_database)
        return {name: self._rows(execution) for name, execution in ended.items()}

    def table(self, s3: S3Client, statement: str) -> pa.Table:
        """The rows of one SELECT as a table; see `tables`."""
        return self.tables(s3, {"table": statement})["table"]

    def tables(self, s3: S3Client, statements: Mapping[str, str]) -> dict[str, pa.Table]:
        """Runs SELECTs in parallel; returns the rows of each as a table under its name.

        A result is read whole from S3, where Athena writes it, instead of a thousand rows per call. Columns
        are of the types ``bool, int64, float64, timestamp[ms], string``; an empty text is not null. If one
        fails, the others are stopped and `AthenaError` is raised.
        """
        return {name: self._table(s3, execution) for name, execution in self._ended(statements).items()}

    def stop(self) -> None:
        """Stops the executions in progress, so that they are not billed further."""
        for execution in tuple(self._running):
            self._client.stop_query_execution(QueryExecutionId=execution)
            self._running.discard(execution)
            log.info("stopped athena execution=%s", execution)

    def _ended(self, statements: Mapping[str, str], *, in_database: bool = True) -> dict[str, str]:
        """The executions of statements that were run in parallel and succeeded, by name."""
        executions: dict[str, str] = {}
        deadline = time.monotonic() + self._limit_seconds
        try:
            for name, statement in statements.items():
                executions[name] = self._start(statement, in_database)
            for name, statement in statements.items():
                executions[name] = self._read(name, statement, executions[name], in_database, deadline)
        except BaseException:
            self.stop()
            raise
        return executions

    def _read(self, name: str, statement: str, execution: str, in_database: bool, deadline: float) -> str:
        """Waits for an execution, and runs its statement again where it could not read the data.

        Returns the execution that succeeded.
        """
        for pause in _AGAIN_AFTER_S:
            try:
                self._wait(name, execution, deadline)
            except UnreadDataError as error:
                if time.monotonic() + pause >= deadline:
                    raise
                log.warning("runs again in %g s: %s", pause, error)
                time.sleep(pause)
                execution = self._start(statement, in_database)
            else:
                return execution
        self._wait(name, execution, deadline)
        return execution

    def _start(self, statement: str, in_database: bool) -> str:
        context: dict[str, Any] = {}
        if in_database:
            context["QueryExecutionContext"] = {"Database": self._settings.database}
        answer = self._client.start_query_execution(
            QueryString=statement, WorkGroup=self._settings.workgroup, **context
        )
        execution = answer["QueryExecutionId"]
        self._running.add(execution)
        self._note(execution)
        return execution

    def _wait(self, name: str, execution: str, deadline: float) -> None:
        wait = _FIRST_WAIT_S
        while True:
            found = self._client.get_query_execution(QueryExecutionId=execution)["QueryExecution"]
            state = found["Status"]["State"]
            if state not in _UNDER_WAY:
                break
            if time.monotonic() >= deadline:
                raise AthenaTimeoutError(
                    f"statement {name!r} took longer than {self._limit_seconds:g} s (execution {execution})"
                )
            time.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_WAIT_S)
        self._running.discard(execution)
        statistics = found.get("Statistics", {})
        log.info(
            "athena statement=%s execution=%s state=%s scanned_bytes=%s ms=%s",
            name,
            execution,
            state,
            statistics.get("DataScannedInBytes"),
            statistics.get("TotalExecutionTimeInMillis"),
        )
        if state != "SUCCEEDED":
            self._note(execution)
            reason = found["Status"].get("StateChangeReason", "no reason given")
            failed = UnreadDataError if state == "FAILED" and _UNREAD.match(reason) else AthenaError
            raise failed(f"statement {name!r} ended as {state}: {reason} (execution {execution})")

    def _table(self, s3: S3Client, execution: str) -> pa.Table:
        import pyarrow as pa
        from pyarrow import csv

        found = self._client.get_query_execution(QueryExecutionId=execution)["QueryExecution"]
        metadata = self._client.get_query_results(QueryExecutionId=execution, MaxResults=1)["ResultSet"]
        columns = metadata["ResultSetMetadata"]["ColumnInfo"]
        bucket, key = storage.split_address(found["ResultConfiguration"]["OutputLocation"])
        types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "time": pa.timestamp("ms")}
        return csv.read_csv(
            io.BytesIO(storage.read(s3, bucket, key)),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types={
                    column["Name"]: types.get(_KINDS.get(column["Type"], ""), pa.string())
                    for column in columns
                },
                # Athena writes texts in quotes, and null as an empty field.
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
                true_values=["true"],
                false_values=["false"],
            ),
        )

    def _rows(self, execution: str) -> list[ResultRow]:
        rows: list[ResultRow] = []
        header: Sequence[str] | None = None
        for page in self._client.get_paginator("get_query_results").paginate(QueryExecutionId=execution):
            columns = page["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
            for row in page["ResultSet"]["Rows"]:
                values = [cell.get("VarCharValue") for cell in row["Data"]]
                if header is None:
                    # The first row of a SELECT repeats the columns' names; DDL has no such row.
                    header = [column["Name"] for column in columns]
                    if values == header:
                        continue
                rows.append(
                    {
                        column["Name"]: None if value is None else _READERS.get(column["Type"], str)(value)
                        for column, value in zip(columns, values, strict=True)
                    }
                )
        return rows
