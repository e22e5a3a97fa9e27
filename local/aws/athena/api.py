"""The operations of Athena's API: requests checked as Athena checks them, answers in its shapes."""

from __future__ import annotations

import itertools
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from local.aws.athena import statements as s
from local.aws.athena.catalog import split_location
from local.aws.athena.engine import Engine
from local.aws.athena.parser import parse
from local.aws.athena.results import csv_rows
from local.aws.athena.store import Document, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_glue import GlueClient
    from types_boto3_s3 import S3Client

OPERATIONS = {
    "StartQueryExecution": "start_query_execution",
    "StopQueryExecution": "stop_query_execution",
    "GetQueryExecution": "get_query_execution",
    "BatchGetQueryExecution": "batch_get_query_execution",
    "ListQueryExecutions": "list_query_executions",
    "GetQueryResults": "get_query_results",
    "CreateWorkGroup": "create_work_group",
    "GetWorkGroup": "get_work_group",
    "UpdateWorkGroup": "update_work_group",
    "DeleteWorkGroup": "delete_work_group",
    "ListWorkGroups": "list_work_groups",
    "GetDataCatalog": "get_data_catalog",
    "ListDataCatalogs": "list_data_catalogs",
    "GetDatabase": "get_database",
    "ListDatabases": "list_databases",
    "GetTableMetadata": "get_table_metadata",
    "ListTableMetadata": "list_table_metadata",
}
"""What is offered, with the method of `Api` that answers it."""

type Json = dict[str, Any]

_CATALOG = "AwsDataCatalog"
_QUERY_BYTES = 262_144
_PAGE_ROWS = 1000
_PAGE_EXECUTIONS = 50
_ENGINE = {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "Athena engine version 3"}
_ON_TRINO = (s.Select, s.Explain, s.Insert, s.ChangeView, s.ShowView)


class ApiError(Exception):
    """A request that Athena rejects, with its error code."""

    code = "InvalidRequestException"

    def __init__(self, message: str, athena_code: str = "INVALID_INPUT") -> None:
        super().__init__(message)
        self._athena_code = athena_code

    def body(self) -> Json:
        """The error as JSON holds it."""
        return {"__type": self.code, "AthenaErrorCode": self._athena_code, "Message": str(self)}


class MetadataError(ApiError):
    """The requested object is not in the data catalog."""

    code = "MetadataException"

    def body(self) -> Json:
        """The error as JSON holds it."""
        return {"__type": self.code, "Message": str(self)}


class Api:
    """Each method answers one operation: the request's JSON in, the answer's JSON out."""

    def __init__(self, store: Store, engine: Engine, glue: GlueClient, s3: S3Client) -> None:
        self._store = store
        self._engine = engine
        self._glue = glue
        self._s3 = s3
        if store.workgroup("primary") is None:
            self._add_workgroup("primary", "", {"EnforceWorkGroupConfiguration": False})

    def start_query_execution(self, request: Json) -> Json:
        """Checks and queues a query; the same token returns the same execution."""
        sql = _required(request, "QueryString")
        if len(sql.encode()) > _QUERY_BYTES:
            raise ApiError(f"Query string exceeds the maximum length of {_QUERY_BYTES} bytes.")
        token = request.get("ClientRequestToken")
        if token is not None and not 32 <= len(token) <= 128:
            raise ApiError("ClientRequestToken must have 32 to 128 characters.")
        context = {key: value for key, value in request.get("QueryExecutionContext", {}).items() if value}
        if context.get("Catalog", _CATALOG).lower() != _CATALOG.lower():
            raise ApiError(f"Catalog {context['Catalog']} was not found; there is {_CATALOG} alone.")
        workgroup = self._workgroup(request.get("WorkGroup", "primary"))
        if workgroup["State"] == "DISABLED":
            raise ApiError(f"WorkGroup {workgroup['Name']} is disabled.")
        results = self._result_configuration(request, workgroup)
        if (
            request.get("ResultReuseConfiguration", {})
            .get("ResultReuseByAgeConfiguration", {})
            .get("Enabled")
        ):
            raise ApiError("Result reuse is not offered by the local Athena.")
        statement = self._parsed(sql, workgroup)
        parameters = request.get("ExecutionParameters") or []
        identity = str(uuid.uuid4())
        asked = {"query": sql, "context": context, "results": results, "parameters": parameters}
        document: Document = {
            "QueryExecutionId": identity,
            "Query": sql,
            "StatementType": statement.statement_type,
            "SubstatementType": statement.substatement_type,
            "ResultConfiguration": {
                **results,
                "OutputLocation": _output(results["OutputLocation"], identity, statement),
            },
            "ResultReuseConfiguration": {"ResultReuseByAgeConfiguration": {"Enabled": False}},
            "QueryExecutionContext": context,
            "Status": {"State": "QUEUED", "SubmissionDateTime": time.time()},
            "Statistics": {"ResultReuseInformation": {"ReusedPreviousResult": False}},
            "WorkGroup": workgroup["Name"],
            "EngineVersion": _ENGINE,
            "asked": asked,
        }
        if parameters:
            document["ExecutionParameters"] = parameters
        kept = self._store.add(document, token)
        if kept["QueryExecutionId"] == identity:
            self._engine.submit(identity, statement)
        elif kept["asked"] != asked or kept["WorkGroup"] != workgroup["Name"]:
            raise ApiError("Idempotent parameters do not match")
        return {"QueryExecutionId": kept["QueryExecutionId"]}

    def _parsed(self, sql: str, workgroup: Document) -> s.Statement:
        try:
            statement = parse(sql)
            if isinstance(statement, _ON_TRINO):
                self._engine.check(statement.sql)
            elif isinstance(statement, s.CreateTableAs):
                self._engine.check(statement.query, "CREATE TABLE t AS")
            elif isinstance(statement, s.Unload):
                self._engine.check(statement.query)
        except s.StatementError as error:
            raise ApiError(str(error), "MALFORMED_QUERY") from error
        except s.NotOfferedError as error:
            raise ApiError(str(error), "INVALID_QUERY") from error
        enforced = workgroup["Configuration"]["EnforceWorkGroupConfiguration"]
        if (
            enforced
            and isinstance(statement, s.CreateTableAs)
            and "external_location" in statement.properties
        ):
            raise ApiError(
                "The Create Table As Select query failed because it was submitted with an 'external_location'"
                " property to an Athena Workgroup that enforces a centralized output location for all"
                " queries. Please remove the 'external_location' property and resubmit the query.",
                "INVALID_QUERY",
            )
        return statement

    def _result_configuration(self, request: Json, workgroup: Document) -> Json:
        """The workgroup's, if it is enforced or the request has none."""
        configuration = workgroup["Configuration"]
        own: Json = configuration.get("ResultConfiguration", {})
        given: Json = request.get("ResultConfiguration") or {}
        enforced = configuration["EnforceWorkGroupConfiguration"] and own.get("OutputLocation")
        chosen = own if enforced or not given.get("OutputLocation") else given
        location = chosen.get("OutputLocation")
        if not location:
            raise ApiError(
                "No output location provided. An output location is required either through the Workgroup"
                " result configuration setting or as an API input."
            )
        if not re.match(r"s3://[a-z0-9][a-z0-9.-]+(/|$)", location):
            raise ApiError(f"outputLocation is not a valid S3 path: {location}")
        bucket, _ = split_location(location)
        try:
            self._s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            raise ApiError(f"Unable to verify/create output bucket {bucket}") from error
        return {**chosen, "OutputLocation": location.rstrip("/") + "/"}

    def stop_query_execution(self, request: Json) -> Json:
        """Cancels a query; a finished one stays as it is."""
        self._engine.stop(self._execution(request)["QueryExecutionId"])
        return {}

    def get_query_execution(self, request: Json) -> Json:
        """One execution."""
        return {"QueryExecution": _public(self._execution(request))}

    def batch_get_query_execution(self, request: Json) -> Json:
        """Several executions, and the ids of those that do not exist."""
        wanted: list[str] = request.get("QueryExecutionIds") or []
        if not 1 <= len(wanted) <= _PAGE_EXECUTIONS:
            raise ApiError("QueryExecutionIds must have 1 to 50 entries.")
        found = {identity: self._store.execution(identity) for identity in wanted}
        return {
            "QueryExecutions": [_public(document) for document in found.values() if document],
            "UnprocessedQueryExecutionIds": [
                {
                    "QueryExecutionId": identity,
                    "ErrorCode": "INVALID_INPUT",
                    "ErrorMessage": f"QueryExecution {identity} was not found",
                }
                for identity, document in found.items()
                if document is None
            ],
        }

    def list_query_executions(self, request: Json) -> Json:
        """Ids of a workgroup's executions, the latest first."""
        workgroup = self._workgroup(request.get("WorkGroup", "primary"))["Name"]
        limit = _page_size(request, _PAGE_EXECUTIONS)
        offset = _token(request)
        found = self._store.listed(workgroup, limit + 1, offset)
        answer: Json = {"QueryExecutionIds": found[:limit]}
        if len(found) > limit:
            answer["NextToken"] = str(offset + limit)
        return answer

    def get_query_results(self, request: Json) -> Json:
        """A page of a result, read from where the query wrote it."""
        document = self._execution(request)
        state = document["Status"]["State"]
        if state in ("QUEUED", "RUNNING"):
            raise ApiError(f"Query has not yet finished. Current state: {state}")
        if state != "SUCCEEDED":
            raise ApiError(
                f"Query did not finish successfully. Final query state: {state}",
            )
        limit = _page_size(request, _PAGE_ROWS)
        rows, following = self._rows(document, _token(request), limit)
        answer: Json = {
            "ResultSet": {
                "Rows": [
                    {"Data": [{} if value is None else {"VarCharValue": value} for value in row]}
                    for row in rows
                ],
                "ResultSetMetadata": {"ColumnInfo": document["columns"]},
            },
            "UpdateCount": document.get("update_count", 0),
        }
        if following is not None:
            answer["NextToken"] = str(following)
        return answer

    def _rows(self, document: Document, offset: int, limit: int) -> tuple[list[list[str | None]], int | None]:
        """Rows from a byte offset on, and the offset after them unless they are the last."""
        if not document["columns"]:
            return [], None
        bucket, key = split_location(document["ResultConfiguration"]["OutputLocation"])
        try:
            size = self._s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
            if offset >= size:
                return [], None
            body = self._s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={offset}-")["Body"]
        except ClientError as error:
            raise ApiError(f"Could not find results: s3://{bucket}/{key}") from error
        blocks = body.iter_chunks(65536)
        pairs = csv_rows(blocks) if key.endswith(".csv") else _text_rows(blocks)
        page = list(itertools.islice(pairs, limit))
        body.close()
        following = offset + page[-1][1] if page else size
        return [row for row, _ in page], (following if following < size else None)

    def _execution(self, request: Json) -> Document:
        identity = _required(request, "QueryExecutionId")
        document = self._store.execution(identity)
        if document is None:
            raise ApiError(f"QueryExecution {identity} was not found")
        return document

    def _workgroup(self, name: str) -> Document:
        found = self._store.workgroup(name)
        if found is None:
            raise ApiError(f"WorkGroup {name} is not found.")
        return found

    def _add_workgroup(self, name: str, description: str, configuration: Json) -> None:
        defaults = {
            "ResultConfiguration": {},
            "EnforceWorkGroupConfiguration": True,
            "PublishCloudWatchMetricsEnabled": True,
            "RequesterPaysEnabled": False,
            "EnableMinimumEncryptionConfiguration": False,
            "EngineVersion": _ENGINE,
        }
        self._store.put_workgroup(
            {
                "Name": name,
                "State": "ENABLED",
                "Description": description,
                "CreationTime": time.time(),
                "Configuration": {**defaults, **configuration},
            }
        )

    def create_work_group(self, request: Json) -> Json:
        """Creates a workgroup; one of that name must not be there."""
        name = _required(request, "Name")
        if not re.fullmatch(r"[a-zA-Z0-9._-]{1,128}", name):
            raise ApiError(f"Workgroup name {name} is not valid.")
        if self._store.workgroup(name):
            raise ApiError("WorkGroup is already created")
        if request.get("Tags"):
            raise ApiError("Tags of workgroups are not offered by the local Athena.")
        self._add_workgroup(name, request.get("Description", ""), request.get("Configuration") or {})
        return {}

    def get_work_group(self, request: Json) -> Json:
        """One workgroup."""
        return {"WorkGroup": self._workgroup(_required(request, "WorkGroup"))}

    def update_work_group(self, request: Json) -> Json:
        """Changes a workgroup's description, state and configuration."""
        workgroup = self._workgroup(_required(request, "WorkGroup"))
        for key in ("Description", "State"):
            if key in request:
                workgroup[key] = request[key]
        updates = dict(request.get("ConfigurationUpdates") or {})
        results = dict(updates.pop("ResultConfigurationUpdates", {}))
        own = workgroup["Configuration"]["ResultConfiguration"]
        for key, value in results.items():
            if not key.startswith("Remove"):
                own[key] = value
            elif value:
                own.pop(key.removeprefix("Remove"), None)
        for key, value in updates.items():
            if not key.startswith("Remove"):
                workgroup["Configuration"][key] = value
            elif value:
                workgroup["Configuration"].pop(key.removeprefix("Remove"), None)
        self._store.put_workgroup(workgroup)
        return {}

    def delete_work_group(self, request: Json) -> Json:
        """Deletes a workgroup, with its history if that is asked for."""
        name = self._workgroup(_required(request, "WorkGroup"))["Name"]
        if name == "primary":
            raise ApiError("The primary WorkGroup cannot be deleted.")
        if self._store.listed(name, 1, 0) and not request.get("RecursiveDeleteOption"):
            raise ApiError(f"WorkGroup {name} is not empty")
        self._store.delete_workgroup(name)
        return {}

    def list_work_groups(self, request: Json) -> Json:  # noqa: ARG002 - one page holds all there are
        """All workgroups."""
        shown = ("Name", "State", "Description", "CreationTime")
        found = [{key: group[key] for key in shown} for group in self._store.workgroups()]
        return {"WorkGroups": [{**group, "EngineVersion": _ENGINE} for group in found]}

    def get_data_catalog(self, request: Json) -> Json:
        """The one data catalog."""
        self._require_catalog(_required(request, "Name"))
        return {"DataCatalog": {"Name": _CATALOG, "Type": "GLUE", "Status": "CREATE_COMPLETE"}}

    def list_data_catalogs(self, request: Json) -> Json:  # noqa: ARG002 - there is one
        """The one data catalog."""
        return {"DataCatalogsSummary": [{"CatalogName": _CATALOG, "Type": "GLUE"}]}

    def get_database(self, request: Json) -> Json:
        """A database of Glue."""
        self._require_catalog(_required(request, "CatalogName"))
        return {
            "Database": _database(
                self._from_glue("get_database", Name=_required(request, "DatabaseName"))["Database"]
            )
        }

    def list_databases(self, request: Json) -> Json:
        """Glue's databases."""
        self._require_catalog(_required(request, "CatalogName"))
        pages = self._glue.get_paginator("get_databases").paginate()
        return {"DatabaseList": [_database(dict(entry)) for page in pages for entry in page["DatabaseList"]]}

    def get_table_metadata(self, request: Json) -> Json:
        """A table of Glue."""
        self._require_catalog(_required(request, "CatalogName"))
        found = self._from_glue(
            "get_table",
            DatabaseName=_required(request, "DatabaseName"),
            Name=_required(request, "TableName").lower(),
        )
        return {"TableMetadata": _table(found["Table"])}

    def list_table_metadata(self, request: Json) -> Json:
        """Tables of a Glue database whose names match a regular expression."""
        self._require_catalog(_required(request, "CatalogName"))
        database = _required(request, "DatabaseName")
        self._from_glue("get_database", Name=database)
        expression = re.compile(request.get("Expression") or ".*")
        pages = self._glue.get_paginator("get_tables").paginate(DatabaseName=database)
        tables: list[Json] = [dict(entry) for page in pages for entry in page["TableList"]]
        return {
            "TableMetadataList": [_table(table) for table in tables if expression.fullmatch(table["Name"])]
        }

    def _require_catalog(self, name: str) -> None:
        if name.lower() != _CATALOG.lower():
            raise ApiError(f"Data catalog {name} was not found")

    def _from_glue(self, operation: str, **parameters: str) -> Json:
        try:
            answer: Json = getattr(self._glue, operation)(**parameters)
        except ClientError as error:
            raise MetadataError(str(error)) from error
        return answer


def _required(request: Json, name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError(f"{name} must not be empty.")
    return value


def _page_size(request: Json, largest: int) -> int:
    size: int = request.get("MaxResults") or largest
    if not 1 <= size <= largest:
        raise ApiError(f"MaxResults is more than maximum allowed length {largest}.")
    return size


def _token(request: Json) -> int:
    token = request.get("NextToken", "0")
    if not str(token).isdecimal():
        raise ApiError("NextToken is not valid.")
    return int(token)


def _output(prefix: str, identity: str, statement: s.Statement) -> str:
    """The address of a statement's result (AWS's user guide, Find query output files in Amazon S3)."""
    match statement:
        case s.Select():
            return f"{prefix}{identity}.csv"
        case s.CreateTableAs():
            return f"{prefix}tables/{identity}"
        case s.Insert() | s.Unload():
            return f"{prefix}{identity}"
    return f"{prefix}{identity}.txt"


def _public(document: Document) -> Document:
    """An execution without this server's internal fields."""
    return {key: value for key, value in document.items() if key[0].isupper()}


def _text_rows(blocks: Iterator[bytes]) -> Iterator[tuple[list[str | None], int]]:
    """Lines of a text result, each as one cell, with the number of bytes up to its end."""
    consumed = 0
    for line in b"".join(blocks).splitlines(keepends=True):
        consumed += len(line)
        yield [line.decode().rstrip("\n")], consumed


def _database(entry: Json) -> Json:
    return {
        "Name": entry["Name"],
        "Description": entry.get("Description", ""),
        "Parameters": entry.get("Parameters", {}),
    }


def _table(entry: Json) -> Json:
    storage = entry.get("StorageDescriptor", {})
    serde = storage.get("SerdeInfo", {})
    parameters = {
        **entry.get("Parameters", {}),
        "location": storage.get("Location", ""),
        "inputformat": storage.get("InputFormat", ""),
        "outputformat": storage.get("OutputFormat", ""),
        "serde.serialization.lib": serde.get("SerializationLibrary", ""),
    }
    shown = ("Name", "Type", "Comment")

    def columns(listed: list[Json]) -> list[Json]:
        return [{key: column[key] for key in shown if key in column} for column in listed]

    return {
        "Name": entry["Name"],
        "CreateTime": _epoch(entry.get("CreateTime")),
        "TableType": entry.get("TableType", ""),
        "Columns": columns(storage.get("Columns", [])),
        "PartitionKeys": columns(entry.get("PartitionKeys", [])),
        "Parameters": parameters,
    }


def _epoch(value: Any) -> float:
    return float(value.timestamp()) if hasattr(value, "timestamp") else 0.0
