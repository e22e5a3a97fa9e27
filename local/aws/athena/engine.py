"""Runs statements: on Trino, or on the catalog; writes their results to S3 and their states to the store."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from trino.dbapi import Cursor, connect
from trino.exceptions import Error as TrinoClientError
from trino.exceptions import TrinoConnectionError, TrinoQueryError

from local.aws.athena import statements as s
from local.aws.athena.catalog import Catalog, QueryError, TextResult, split_location
from local.aws.athena.results import ColumnInfo, csv_line, text_column, to_text, trino_column
from local.aws.athena.store import Document, Store
from local.aws.trino import access

if TYPE_CHECKING:
    from types_boto3_glue import GlueClient
    from types_boto3_s3 import S3Client

log = logging.getLogger(__name__)

CATALOG = "awsdatacatalog"
_AT_ONCE = 10
"""Queries in progress at one time; further ones are queued, as over the account's quota."""
_PATIENCE_SECONDS = 120.0
"""How long a query is queued while Trino is not up yet."""
_STARTING = {"SERVER_STARTING_UP", "NO_NODES_AVAILABLE"}
_FETCHED_ROWS = 1000
_IN_MEMORY_BYTES = 8 * 2**20
_PROPERTIES = {
    "format": "format",
    "external_location": "external_location",
    "partitioned_by": "partitioned_by",
    "bucketed_by": "bucketed_by",
    "bucket_count": "bucket_count",
    "field_delimiter": "textfile_field_separator",
}
"""CTAS properties of Athena by their names in Trino's Hive connector."""
_COMPRESSIONS = ("write_compression", "compression", "parquet_compression", "orc_compression")
_CODECS = {"NONE", "SNAPPY", "LZ4", "ZSTD", "GZIP"}


class StoppedError(Exception):
    """The query was stopped."""


@dataclass(frozen=True)
class Outcome:
    """The result of a successful statement."""

    columns: tuple[ColumnInfo, ...] = ()
    header: bool = False
    update_count: int | None = None
    manifest: str | None = None
    statistics: dict[str, int] | None = None


class Engine:
    """Runs the executions of a store, each on a thread of its own."""

    def __init__(
        self, trino_url: str, trino_token: str, glue: GlueClient, s3: S3Client, store: Store
    ) -> None:
        host, _, port = trino_url.rstrip("/").removeprefix("http://").partition(":")
        self._address = {"host": host, "port": int(port or 8080)}
        self._token = trino_token
        self._s3 = s3
        self._glue = glue
        self._store = store
        self._catalog = Catalog(glue, s3)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="athena")
        self._stops: dict[str, threading.Event] = {}
        self._closing = threading.Event()

    def close(self) -> None:
        """Stops the running queries without waiting for them."""
        self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def check(self, sql: str, header: str = "") -> None:
        """Has Trino parse a statement, without analyzing it; raises `s.StatementError` if it is malformed.

        ``header`` is put before it on a separate line, which positions do not count. While Trino is not up,
        nothing is checked: a malformed statement then fails when it runs.
        """
        try:
            with self._cursor("default", {}, attempts=1) as cursor:
                cursor.execute(f"PREPARE statement FROM {header}\n{sql}")
                cursor.fetchall()
        except TrinoQueryError as error:
            if error.error_name == "SYNTAX_ERROR":
                raise s.StatementError(_one_line_up(error.message)) from error
        except TrinoClientError:
            log.info("syntax not checked: Trino does not answer yet")

    def submit(self, identity: str, statement: s.Statement) -> None:
        """Queues an execution."""
        self._stops[identity] = threading.Event()
        self._pool.submit(self._run, identity, statement)

    def stop(self, identity: str) -> None:
        """Cancels an execution, in Trino too; a finished one stays as it is."""
        if identity in self._stops:
            self._stops[identity].set()
        self._finish(
            identity, "CANCELLED", lambda status: status.update(StateChangeReason="Query cancelled by user")
        )

    def _run(self, identity: str, statement: s.Statement) -> None:
        try:
            self._finish_with(identity, self._execute(identity, statement))
        except StoppedError:
            if not self._closing.is_set():
                self.stop(identity)
        except QueryError as error:
            self._fail(identity, str(error), user=error.user)
        except Exception as error:
            log.exception("query failed id=%s", identity)
            self._fail(identity, f"INTERNAL_ERROR: {type(error).__name__}: {error}", user=False)
        finally:
            self._stops.pop(identity, None)

    def _fail(self, identity: str, reason: str, *, user: bool) -> None:
        error = {"ErrorCategory": 2 if user else 1, "Retryable": not user, "ErrorMessage": reason}
        self._finish(
            identity, "FAILED", lambda status: status.update(StateChangeReason=reason, AthenaError=error)
        )

    def interrupt(self, identity: str) -> None:
        """Fails an execution that an earlier server left unfinished."""
        self._fail(
            identity, "INTERNAL_ERROR: The query was interrupted by a restart of the server", user=False
        )

    def _finish(self, identity: str, state: str, detail: Callable[[dict[str, Any]], None]) -> None:
        now = time.time()

        def change(document: Document) -> bool:
            status = document["Status"]
            if status["State"] not in ("QUEUED", "RUNNING"):
                return False
            status.update(State=state, CompletionDateTime=now)
            detail(status)
            statistics = document["Statistics"]
            total = _milliseconds(status["SubmissionDateTime"], now)
            statistics["TotalExecutionTimeInMillis"] = total
            queued = statistics.setdefault("QueryQueueTimeInMillis", total)
            engine = statistics.setdefault("EngineExecutionTimeInMillis", max(0, total - queued))
            statistics["ServiceProcessingTimeInMillis"] = max(0, total - queued - engine)
            statistics.setdefault("DataScannedInBytes", 0)
            return True

        self._store.change(identity, change)

    def _finish_with(self, identity: str, outcome: Outcome) -> None:
        def keep(document: Document) -> bool:
            document["columns"] = [column.as_dict() for column in outcome.columns]
            document["header"] = outcome.header
            if outcome.update_count is not None:
                document["update_count"] = outcome.update_count
            statistics = document["Statistics"]
            statistics.update(outcome.statistics or {})
            if outcome.manifest:
                statistics["DataManifestLocation"] = outcome.manifest
            return True

        self._store.change(identity, keep)
        self._finish(identity, "SUCCEEDED", lambda _status: None)

    def _begin(self, identity: str) -> None:
        """Marks the execution as running."""
        now = time.time()

        def change(document: Document) -> bool:
            if document["Status"]["State"] != "QUEUED":
                return False
            document["Status"]["State"] = "RUNNING"
            submitted = document["Status"]["SubmissionDateTime"]
            document["Statistics"]["QueryQueueTimeInMillis"] = _milliseconds(submitted, now)
            return True

        self._store.change(identity, change)

    def _heed(self, identity: str) -> None:
        if self._closing.is_set() or self._stops[identity].is_set():
            raise StoppedError

    def _execute(self, identity: str, statement: s.Statement) -> Outcome:
        self._heed(identity)
        document = self._store.execution(identity)
        if document is None:
            raise KeyError(identity)
        output: str = document["ResultConfiguration"]["OutputLocation"]
        database = document["QueryExecutionContext"].get("Database", "default").strip("`").lower()
        parameters: list[str] = document.get("ExecutionParameters", [])
        match statement:
            case s.Rejected(reason=reason):
                raise QueryError(reason, "NOT_SUPPORTED")
            case s.Select(sql=sql):
                return self._select(identity, _bound(sql, parameters), database, output)
            case s.Explain(sql=sql) | s.ShowView(sql=sql):
                return self._explain(identity, _bound(sql, parameters), database, output)
            case s.Insert(sql=sql):
                return self._insert(identity, statement, _bound(sql, parameters), database, output)
            case s.ChangeView(sql=sql):
                with self._on_trino(identity, sql, database) as cursor:
                    cursor.fetchall()
                self._write_lines(output, TextResult())
                return Outcome(statistics=_statistics(cursor))
            case s.CreateTableAs():
                return self._create_table_as(identity, statement, parameters, database, output)
            case s.Unload():
                return self._unload(identity, statement, parameters, database, output)
        self._begin(identity)
        result = self._catalog.run(statement, database)
        self._write_lines(output, result)
        return Outcome(result.columns)

    @contextmanager
    def _cursor(
        self,
        database: str,
        session: dict[str, str],
        attempts: int = 3,
        report: Callable[[dict[str, Any]], None] | None = None,
    ) -> Iterator[Cursor]:
        connection = connect(
            **self._address,
            **access(self._token),
            source="athena",
            catalog=CATALOG,
            schema=database,
            timezone="UTC",
            session_properties=session,
            legacy_primitive_types=True,
            max_attempts=attempts,
        )
        with contextlib.closing(connection):
            yield connection.cursor(stats_callback=report)

    @contextmanager
    def _on_trino(
        self, identity: str, sql: str, database: str, session: dict[str, str] | None = None
    ) -> Iterator[Cursor]:
        """A cursor on a statement's result; waits while Trino starts, and cancels stopped queries in Trino.

        Raises `QueryError` in Athena's form if Trino fails it or ends, also while rows are fetched.
        """

        def report(stats: dict[str, Any]) -> None:
            self._heed(identity)
            if stats.get("state") != "QUEUED":
                self._begin(identity)

        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            with self._cursor(database, session or {}, report=report) as cursor:
                try:
                    try:
                        cursor.execute(sql)
                    except (TrinoConnectionError, TrinoQueryError) as error:
                        # A query that Trino has taken may be what ended it: it is not sent again.
                        taken = isinstance(error, TrinoConnectionError) and cursor.query_id
                        if taken or not _is_starting(error) or time.monotonic() > deadline:
                            raise
                        self._heed(identity)
                        time.sleep(0.5)
                        continue
                    yield cursor
                except StoppedError:
                    cursor.cancel()
                    raise
                except TrinoQueryError as error:
                    name = error.error_name or "INTERNAL_ERROR"
                    user = error.error_type == "USER_ERROR"
                    raise QueryError(f"{name}: {error.message}", name, user=user) from error
                except TrinoClientError as error:
                    problem = "Trino ended during the query" if cursor.query_id else "Trino does not answer"
                    raise QueryError(f"INTERNAL_ERROR: {problem}: {error}", user=False) from error
                return

    def _select(self, identity: str, sql: str, database: str, output: str) -> Outcome:
        with self._on_trino(identity, sql, database) as cursor, _spool() as file:
            columns, types = _columns(cursor)
            file.write(csv_line([column.Name for column in columns]))
            while rows := cursor.fetchmany(_FETCHED_ROWS):
                self._heed(identity)
                for row in rows:
                    file.write(
                        csv_line([to_text(value, kind) for value, kind in zip(row, types, strict=True)])
                    )
            self._heed(identity)
            self._upload(file, output)
        self._write_metadata(output, columns)
        return Outcome(columns, header=True, statistics=_statistics(cursor))

    def _explain(self, identity: str, sql: str, database: str, output: str) -> Outcome:
        with self._on_trino(identity, sql, database) as cursor:
            columns, types = _columns(cursor)
            rows = cursor.fetchall()
        lines = tuple(
            line
            for row in rows
            for line in "\t".join(
                to_text(value, kind) or "" for value, kind in zip(row, types, strict=True)
            ).split("\n")
        )
        result = TextResult(tuple(text_column(column.Name) for column in columns), lines)
        self._write_lines(output, result)
        return Outcome(result.columns, statistics=_statistics(cursor))

    def _insert(self, identity: str, statement: s.Insert, sql: str, database: str, output: str) -> Outcome:
        location = (
            self._catalog.table(statement.name, database)["StorageDescriptor"].get("Location", "")
            if (self._catalog.exists(statement.name, database))
            else ""
        )
        with self._on_trino(identity, sql, database) as cursor:
            cursor.fetchall()
        manifest = self._write_manifest(f"{output}-manifest.csv", location, str(cursor.query_id))
        return Outcome(update_count=cursor.rowcount, manifest=manifest, statistics=_statistics(cursor))

    def _create_table_as(
        self, identity: str, statement: s.CreateTableAs, parameters: list[str], database: str, output: str
    ) -> Outcome:
        if statement.if_not_exists and self._catalog.exists(statement.name, database):
            self._begin(identity)
            return Outcome()
        properties, session = _hive_properties(statement.properties)
        location = str(properties.setdefault("external_location", f"{output}/"))
        name = f'"{statement.name.database or database}"."{statement.name.table}"'
        cursor = self._write_table(
            identity, name, location, properties, session, statement.query, parameters, database
        )
        manifest = self._write_manifest(f"{output}-manifest.csv", location, str(cursor.query_id))
        self._write_metadata(output, ())
        return Outcome(update_count=cursor.rowcount, manifest=manifest, statistics=_statistics(cursor))

    def _unload(
        self, identity: str, statement: s.Unload, parameters: list[str], database: str, output: str
    ) -> Outcome:
        """Writes a table over the location in a temporary database, then drops both."""
        properties, session = _hive_properties(statement.properties)
        if "format" not in properties:
            raise QueryError(
                "INVALID_TABLE_PROPERTY: UNLOAD needs the property 'format'", "INVALID_TABLE_PROPERTY"
            )
        properties["external_location"] = statement.location
        holder = f"unload_{identity.replace('-', '_')}"
        self._glue.create_database(DatabaseInput={"Name": holder})
        try:
            cursor = self._write_table(
                identity,
                f'"{holder}"."data"',
                statement.location,
                properties,
                session,
                statement.query,
                parameters,
                database,
            )
        finally:
            if self._catalog.exists(s.Name(holder, "data"), holder):
                self._catalog.forget(holder, "data")
            self._glue.delete_database(Name=holder)
        manifest = self._write_manifest(f"{output}-manifest.csv", statement.location, str(cursor.query_id))
        self._write_metadata(output, ())
        return Outcome(update_count=cursor.rowcount, manifest=manifest, statistics=_statistics(cursor))

    def _write_table(
        self,
        identity: str,
        name: str,
        location: str,
        properties: dict[str, Any],
        session: dict[str, str],
        query: str,
        parameters: list[str],
        database: str,
    ) -> Cursor:
        if not re.match(r"s3://[^/]+/", location):
            raise QueryError(f"INVALID_TABLE_PROPERTY: External location is not a valid S3 path: {location}")
        if self._catalog.keys(location.rstrip("/") + "/"):
            raise QueryError(
                f"HIVE_PATH_ALREADY_EXISTS: Target directory for table {name} already exists: {location}."
                " You may need to manually clean the data at this location before retrying. Athena will not"
                " delete data in your account.",
                "HIVE_PATH_ALREADY_EXISTS",
            )
        written = ", ".join(f"{key} = {_literal(value)}" for key, value in properties.items())
        sql = f"CREATE TABLE {name} WITH ({written}) AS\n{query}"
        try:
            with self._on_trino(identity, _bound(sql, parameters), database, session) as cursor:
                cursor.fetchall()
        except QueryError as error:
            name, _, message = str(error).partition(": ")
            raise QueryError(f"{name}: {_one_line_up(message)}", error.name, user=error.user) from error
        return cursor

    def _upload(self, file: IO[bytes], location: str) -> None:
        bucket, key = split_location(location)
        file.seek(0)
        self._s3.upload_fileobj(file, bucket, key)

    def _write_lines(self, location: str, result: TextResult) -> None:
        bucket, key = split_location(location)
        body = "".join(f"{line}\n" for line in result.lines)
        self._s3.put_object(Bucket=bucket, Key=key, Body=body.encode())
        self._write_metadata(location, result.columns)

    def _write_metadata(self, location: str, columns: tuple[ColumnInfo, ...]) -> None:
        """Writes the columns beside the result; AWS documents that object's name, not its content."""
        bucket, key = split_location(location)
        body = json.dumps([column.as_dict() for column in columns])
        self._s3.put_object(Bucket=bucket, Key=f"{key}.metadata", Body=body.encode())

    def _write_manifest(self, manifest: str, location: str, query: str) -> str:
        """Lists the data files that one query of Trino wrote under a location: they bear its id."""
        files = [address for address in self._catalog.keys(location) if query in address.rpartition("/")[2]]
        bucket, key = split_location(manifest)
        self._s3.put_object(Bucket=bucket, Key=key, Body="".join(f"{file}\n" for file in files).encode())
        return manifest


def _is_starting(error: Exception) -> bool:
    if isinstance(error, TrinoQueryError):
        return error.error_name in _STARTING or "nodes is empty" in str(error.message)
    return True


def _columns(cursor: Cursor) -> tuple[tuple[ColumnInfo, ...], list[str]]:
    described = [(str(column[0]), str(column[1])) for column in cursor.description or ()]
    return tuple(trino_column(name, kind) for name, kind in described), [kind for _, kind in described]


def _statistics(cursor: Cursor) -> dict[str, int]:
    stats: dict[str, Any] = cursor.stats or {}
    return {
        "EngineExecutionTimeInMillis": int(stats.get("elapsedTimeMillis", 0)),
        "DataScannedInBytes": int(stats.get("physicalInputBytes", 0)),
        "QueryPlanningTimeInMillis": int(stats.get("planningTimeMillis", 0)),
    }


def _milliseconds(start: float, end: float) -> int:
    return max(0, round((end - start) * 1000))


def _bound(sql: str, parameters: list[str]) -> str:
    """The statement with its parameters, each the text of an expression."""
    if not parameters:
        return sql
    return f"EXECUTE IMMEDIATE {_literal(sql)} USING {', '.join(parameters)}"


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"ARRAY[{', '.join(_literal(item) for item in value)}]"
    return "'" + str(value).replace("'", "''") + "'"


def _hive_properties(given: s.Properties) -> tuple[dict[str, Any], dict[str, str]]:
    """Trino's table properties and session properties for those of a CTAS or UNLOAD in Athena.

    Raises `QueryError` on one that Athena doesn't know, and on Iceberg.
    """
    properties: dict[str, Any] = {}
    session: dict[str, str] = {}
    for name, value in given.items():
        if name in _PROPERTIES:
            properties[_PROPERTIES[name]] = value
        elif name in _COMPRESSIONS:
            codec = str(value).upper()
            if codec not in _CODECS:
                raise QueryError(
                    f"INVALID_TABLE_PROPERTY: Unsupported compression {value}", "INVALID_TABLE_PROPERTY"
                )
            session[f"{CATALOG}.compression_codec"] = codec
        elif name == "table_type":
            if str(value).upper() == "ICEBERG":
                raise QueryError(f"NOT_SUPPORTED: {s.ICEBERG}", "NOT_SUPPORTED")
        elif name != "is_external":
            raise QueryError(
                f"INVALID_TABLE_PROPERTY: Table property '{name}' does not exist", "INVALID_TABLE_PROPERTY"
            )
    return properties, session


def _one_line_up(message: str) -> str:
    """Trino's message for a statement that was sent after a line of ours."""
    return re.sub(r"^line (\d+):", lambda match: f"line {int(match[1]) - 1}:", message)


def _spool() -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)
