"""SPICE ingestions that really run: the data set's SQL on Athena, its rows read, checked and counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from botocore.exceptions import BotoCoreError, ClientError

from local.aws.quicksight.store import Document, Store

KIND = "ingestion"
ACTIVE = ("INITIALIZED", "QUEUED", "RUNNING")
_POLL_SECONDS = 0.1
_NUMBER = r"^-?\d+(\.\d+)?([eE][-+]?\d+)?$"
_VALID: Mapping[str, str] = {
    "INTEGER": r"^-?\d+$",
    "DECIMAL": _NUMBER,
    "DATETIME": r"^\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d+)?( UTC)?)?$",
}
"""What a value must look like to be kept as that type; a row with another is dropped."""

log = logging.getLogger(__name__)


class IngestionError(Exception):
    """Why an ingestion fails: type and message of its ErrorInfo."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _CanceledError(Exception):
    pass


@dataclass(frozen=True)
class Query:
    """What an ingestion reads: SQL in a workgroup, and the types of the columns that are declared."""

    sql: str
    workgroup: str
    columns: Mapping[str, str]


def key_of(data_set: str, ingestion: str = "") -> str:
    """The key of an ingestion's document, or what the keys of a data set's ingestions start with."""
    return f"{data_set}/{ingestion}"


class Ingestions:
    """The account's ingestions: one at a time for each data set, as they came."""

    def __init__(self, store: Store, client: Callable[[str], Any]) -> None:
        self._store = store
        self._client = client
        self._turns: dict[str, threading.Lock] = {}
        self._canceled: dict[str, threading.Event] = {}
        self._closing = threading.Event()

    def start(self, key: str, data_set: str, query: Callable[[], Query]) -> None:
        """Runs the ingestion of that key in the background; ``query`` may raise `IngestionError`."""
        self._canceled[key] = threading.Event()
        turn = self._turns.setdefault(data_set, threading.Lock())
        threading.Thread(target=self._run, args=(key, turn, query), name=key, daemon=True).start()

    def cancel(self, key: str) -> None:
        """Ends an ingestion that is in progress."""
        self._end(key, "CANCELLED", IngestionError("INGESTION_CANCELED", "The ingestion was canceled."))
        if key in self._canceled:
            self._canceled[key].set()

    def interrupt_all(self) -> None:
        """Fails what an earlier server left in progress."""
        for document in self._store.all(KIND):
            if document["IngestionStatus"] in ACTIVE:
                reason = IngestionError(
                    "INTERNAL_SERVICE_ERROR", "The service was restarted while the ingestion ran."
                )
                self._end(key_of(document["DataSetId"], document["IngestionId"]), "FAILED", reason)

    def close(self) -> None:
        """Leaves what is in progress to the next server."""
        self._closing.set()

    def _run(self, key: str, turn: threading.Lock, query: Callable[[], Query]) -> None:
        canceled = self._canceled[key]
        try:
            self._change(key, IngestionStatus="QUEUED")
            with turn:
                if canceled.is_set() or not self._change(key, IngestionStatus="RUNNING"):
                    return
                began = time.monotonic()
                rows, dropped, size = self._ingest(query(), canceled)
                self._change(
                    key,
                    IngestionStatus="COMPLETED",
                    RowInfo={"RowsIngested": rows, "RowsDropped": dropped, "TotalRowsInDataset": rows},
                    IngestionTimeInSeconds=round(time.monotonic() - began),
                    IngestionSizeInBytes=size,
                )
        except _CanceledError:
            log.info("canceled ingestion=%s", key)
        except IngestionError as error:
            self._end(key, "FAILED", error)
        except Exception as error:
            if self._closing.is_set():
                return
            log.exception("failed ingestion=%s", key)
            self._end(key, "FAILED", IngestionError("INTERNAL_SERVICE_ERROR", type(error).__name__))
        finally:
            self._canceled.pop(key, None)

    def _change(self, key: str, **values: Any) -> bool:
        """Changes an ingestion in progress; returns whether it was."""
        with self._store.lock:
            if self._closing.is_set():
                return False
            document: Document | None = self._store.get(KIND, key)
            if document is None or document["IngestionStatus"] not in ACTIVE:
                return False
            self._store.put(KIND, key, {**document, **values})
        log.info("ingestion=%s status=%s", key, values["IngestionStatus"])
        return True

    def _end(self, key: str, status: str, error: IngestionError) -> None:
        info = {"Type": error.kind, "Message": str(error)}
        self._change(key, IngestionStatus=status, ErrorInfo=info)

    def _ingest(self, query: Query, canceled: threading.Event) -> tuple[int, int, int]:
        """Rows kept, rows dropped and bytes of the SQL's result."""
        athena = self._client("athena")
        try:
            identity = athena.start_query_execution(QueryString=query.sql, WorkGroup=query.workgroup)[
                "QueryExecutionId"
            ]
            while True:
                execution = athena.get_query_execution(QueryExecutionId=identity)["QueryExecution"]
                status = execution["Status"]
                if status["State"] not in ("QUEUED", "RUNNING"):
                    break
                if canceled.wait(_POLL_SECONDS):
                    athena.stop_query_execution(QueryExecutionId=identity)
                    raise _CanceledError
        except ClientError as error:
            raise _failure(error.response["Error"].get("Message", "")) from error
        except BotoCoreError as error:
            raise IngestionError("CONNECTION_FAILURE", str(error)) from error
        if status["State"] != "SUCCEEDED":
            raise _failure(status.get("StateChangeReason", ""))
        bucket, _, name = (
            execution["ResultConfiguration"]["OutputLocation"].removeprefix("s3://").partition("/")
        )
        data = self._client("s3").get_object(Bucket=bucket, Key=name)["Body"].read()
        if canceled.is_set():
            raise _CanceledError
        kept, dropped = _counted(data, query.columns)
        return kept, dropped, len(data)


def _failure(reason: str) -> IngestionError:
    missing = ("TABLE_NOT_FOUND", "SCHEMA_NOT_FOUND", "does not exist")
    kind = "SQL_TABLE_NOT_FOUND" if any(sign in reason for sign in missing) else "SQL_EXCEPTION"
    if "COLUMN_NOT_FOUND" in reason:
        kind = "SQL_SCHEMA_MISMATCH_ERROR"
    return IngestionError(kind, reason)


def _counted(data: bytes, columns: Mapping[str, str]) -> tuple[int, int]:
    """How many rows of Athena's CSV have values of the declared types, and how many don't."""
    found = pa.csv.read_csv(
        pa.BufferReader(data),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
    )
    missing = [name for name in columns if name not in found.column_names]
    if missing:
        raise IngestionError(
            "SQL_SCHEMA_MISMATCH_ERROR", f"The SQL's result has no column {', '.join(missing)}"
        )
    dropped = pa.chunked_array([pa.array([False] * found.num_rows, pa.bool_())])
    for name, kind in columns.items():
        if kind in _VALID:
            values = found[name]
            # Athena writes null as an empty field.
            bad = pc.and_(pc.invert(pc.match_substring_regex(values, _VALID[kind])), pc.not_equal(values, ""))
            dropped = pc.or_(dropped, pc.fill_null(bad, False))
    count = pc.sum(dropped).as_py() or 0
    return found.num_rows - count, count
