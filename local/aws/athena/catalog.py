"""Carries out Hive's DDL on Glue and S3, as Athena does."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from botocore.exceptions import ClientError

from local.aws.athena import statements as s
from local.aws.athena.results import ColumnInfo, text_column

if TYPE_CHECKING:
    from types_boto3_glue import GlueClient
    from types_boto3_s3 import S3Client

_BATCH = 100
"""Partitions a BatchCreatePartition call takes (API reference)."""


class QueryError(Exception):
    """A query fails; the message is Athena's StateChangeReason, ``name`` is the error's own."""

    def __init__(self, reason: str, name: str = "", *, user: bool = True) -> None:
        super().__init__(reason)
        self.name = name
        self.user = user


@dataclass(frozen=True)
class TextResult:
    """The result of a DDL or utility statement: columns and lines (cells joined by tabs)."""

    columns: tuple[ColumnInfo, ...] = ()
    lines: tuple[str, ...] = ()


class Catalog:
    """The Glue data catalog as Hive's DDL sees it; ``database`` is the query's own."""

    def __init__(self, glue: GlueClient, s3: S3Client) -> None:
        self._glue = glue
        self._s3 = s3

    def run(self, statement: s.Statement, database: str) -> TextResult:
        """Carries out a statement; raises `QueryError` with Hive's message if it cannot be."""
        try:
            return self._run(statement, database)
        except ClientError as error:
            detail = error.response["Error"]
            raise QueryError(_failed(f"{detail.get('Code')}(message:{detail.get('Message')})")) from error

    def _run(self, statement: s.Statement, database: str) -> TextResult:
        match statement:
            case s.CreateDatabase():
                return self._create_database(statement)
            case s.DropDatabase():
                return self._drop_database(statement)
            case s.CreateTable():
                return self._create_table(statement, database)
            case s.DropTable():
                return self._drop_table(statement, database)
            case s.AddPartitions():
                return self._add_partitions(statement, database)
            case s.DropPartitions():
                return self._drop_partitions(statement, database)
            case s.SetProperties(properties=properties):
                return self._alter(statement.name, database, lambda t: t["Parameters"].update(properties))
            case s.SetLocation(location=location):
                return self._alter(
                    statement.name, database, lambda t: t["StorageDescriptor"].update(Location=location)
                )
            case s.AddColumns(columns=columns):
                added = _glue_columns(columns)
                return self._alter(
                    statement.name, database, lambda t: t["StorageDescriptor"]["Columns"].extend(added)
                )
            case s.RepairTable():
                return self._repair(statement, database)
            case s.ShowDatabases(pattern=pattern):
                names = (entry["Name"] for entry in self._pages("get_databases", "DatabaseList"))
                return _lines("database_name", *_matching(names, pattern))
            case s.ShowTables():
                return self._show_tables(statement, database)
            case s.ShowPartitions(name=name):
                return self._show_partitions(name, database)
            case s.ShowColumns(name=name):
                table = self.table(name, database)
                return _lines("field", *(column["Name"].ljust(20) for column in _all_columns(table)))
            case s.ShowProperties(name=name, property=wanted):
                found: dict[str, str] = self.table(name, database)["Parameters"]
                if wanted is not None:
                    return _lines("prpt_name", found.get(wanted, f"Table does not have property: {wanted}"))
                return TextResult(
                    (text_column("prpt_name"), text_column("prpt_value")),
                    tuple(f"{key}\t{value}" for key, value in found.items()),
                )
            case s.ShowCreateTable(name=name):
                return _lines("createtab_stmt", *_definition(self.table(name, database)))
            case s.Describe(name=name):
                return _described(self.table(name, database))
        raise TypeError(f"not Hive's: {statement}")

    def _pages(self, operation: str, key: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        for page in self._glue.get_paginator(operation).paginate(**parameters):  # pyrefly: ignore[no-matching-overload]
            yield from page[key]

    def _require_database(self, name: str) -> None:
        try:
            self._glue.get_database(Name=name)
        except self._glue.exceptions.EntityNotFoundException as error:
            raise QueryError(
                f"FAILED: SemanticException [Error 10072]: Database does not exist: {name}",
                "DATABASE_NOT_FOUND",
            ) from error

    def table(self, name: s.Name, database: str) -> dict[str, Any]:
        """Glue's description of a table; raises `QueryError` if there is none."""
        holder = name.database or database
        try:
            table = self._glue.get_table(DatabaseName=holder, Name=name.table)["Table"]
        except self._glue.exceptions.EntityNotFoundException as error:
            raise QueryError(
                f"FAILED: SemanticException [Error 10001]: Table not found {holder}.{name.table}",
                "TABLE_NOT_FOUND",
            ) from error
        return {"Parameters": {}, "PartitionKeys": [], **table}

    def exists(self, name: s.Name, database: str) -> bool:
        """Whether there is a table of that name."""
        try:
            self._glue.get_table(DatabaseName=name.database or database, Name=name.table)
        except self._glue.exceptions.EntityNotFoundException:
            return False
        return True

    def forget(self, database: str, table: str) -> None:
        """Deletes a table's description; its data stays."""
        self._glue.delete_table(DatabaseName=database, Name=table)

    def keys(self, location: str) -> list[str]:
        """The addresses of the objects under an S3 address."""
        bucket, prefix = split_location(location)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [f"s3://{bucket}/{entry['Key']}" for page in pages for entry in page.get("Contents", [])]

    def _create_database(self, statement: s.CreateDatabase) -> TextResult:
        parameters: dict[str, Any] = {"Name": statement.name, "Parameters": statement.properties}
        if statement.comment is not None:
            parameters["Description"] = statement.comment
        if statement.location is not None:
            parameters["LocationUri"] = statement.location
        try:
            self._glue.create_database(DatabaseInput=parameters)  # pyrefly: ignore[bad-argument-type]
        except self._glue.exceptions.AlreadyExistsException as error:
            if not statement.if_not_exists:
                raise QueryError(
                    _failed(f"AlreadyExistsException(message:Database {statement.name} already exists)"),
                    "ALREADY_EXISTS",
                ) from error
        return TextResult()

    def _drop_database(self, statement: s.DropDatabase) -> TextResult:
        if statement.if_exists:
            try:
                self._require_database(statement.name)
            except QueryError:
                return TextResult()
        self._require_database(statement.name)
        tables = [
            table["Name"] for table in self._pages("get_tables", "TableList", DatabaseName=statement.name)
        ]
        if tables and not statement.cascade:
            raise QueryError(
                _failed(
                    f"InvalidOperationException(message:Database {statement.name} is not empty."
                    " One or more tables exist.)"
                )
            )
        for table in tables:
            self.forget(statement.name, table)
        self._glue.delete_database(Name=statement.name)
        return TextResult()

    def _create_table(self, statement: s.CreateTable, database: str) -> TextResult:
        holder = statement.name.database or database
        self._require_database(holder)
        if not statement.location:
            raise QueryError(_failed("MetaException(message:Table location must be specified)"))
        if not re.match(r"s3[an]?://[^/]+", statement.location):
            raise QueryError(
                _failed(f"MetaException(message:No FileSystem for scheme in {statement.location})")
            )
        names = [column.name for column in (*statement.columns, *statement.partitions)]
        duplicate = next((name for name in names if names.count(name) > 1), None)
        if duplicate:
            raise QueryError(f"FAILED: SemanticException [Error 10036]: Duplicate column name: {duplicate}")
        parameters = {
            "EXTERNAL": "TRUE",
            "transient_lastDdlTime": str(int(time.time())),
            **statement.properties,
        }
        if statement.comment is not None:
            parameters["comment"] = statement.comment
        table: dict[str, Any] = {
            "Name": statement.name.table,
            "Owner": "hadoop",
            "Retention": 0,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": parameters,
            "PartitionKeys": _glue_columns(statement.partitions),
            "StorageDescriptor": {
                "Columns": _glue_columns(statement.columns),
                "Location": statement.location,
                "InputFormat": statement.input_format,
                "OutputFormat": statement.output_format,
                "Compressed": False,
                "NumberOfBuckets": -1,
                "SerdeInfo": {
                    "SerializationLibrary": statement.serde,
                    "Parameters": statement.serde_properties,
                },
                "BucketColumns": [],
                "SortColumns": [],
                "Parameters": {},
                "StoredAsSubDirectories": False,
            },
        }
        try:
            self._glue.create_table(DatabaseName=holder, TableInput=table)  # pyrefly: ignore[bad-argument-type]
        except self._glue.exceptions.AlreadyExistsException as error:
            if not statement.if_not_exists:
                raise QueryError(
                    _failed(f"AlreadyExistsException(message:Table {statement.name.table} already exists)"),
                    "ALREADY_EXISTS",
                ) from error
        return TextResult()

    def _drop_table(self, statement: s.DropTable, database: str) -> TextResult:
        if statement.if_exists and not self.exists(statement.name, database):
            return TextResult()
        table = self.table(statement.name, database)
        if table.get("TableType") == "VIRTUAL_VIEW":
            raise QueryError("FAILED: SemanticException [Error 10132]: Cannot drop a view with DROP TABLE")
        self.forget(statement.name.database or database, statement.name.table)
        return TextResult()

    def _alter(self, name: s.Name, database: str, change: Any) -> TextResult:
        table = self.table(name, database)
        taken = (
            *("Name", "Description", "Owner", "Retention", "StorageDescriptor", "PartitionKeys"),
            *("ViewOriginalText", "ViewExpandedText", "TableType", "Parameters"),
        )
        wanted = {key: table[key] for key in taken if key in table}
        change(wanted)
        self._glue.update_table(DatabaseName=name.database or database, TableInput=wanted)  # pyrefly: ignore[bad-argument-type]
        return TextResult()

    def _partition_input(
        self, table: dict[str, Any], values: dict[str, str], location: str | None = None
    ) -> dict[str, Any]:
        keys = [key["Name"] for key in table["PartitionKeys"]]
        if sorted(values) != sorted(keys):
            given = ", ".join(f"{key}={value}" for key, value in values.items())
            raise QueryError(
                f"FAILED: SemanticException [Error 10006]: Partition spec {{{given}}} does not match the"
                f" partition columns ({', '.join(keys)})"
            )
        ordered = [values[key] for key in keys]
        storage = table["StorageDescriptor"]
        default = storage["Location"].rstrip("/") + "/" + _partition_name(keys, ordered)
        return {"Values": ordered, "StorageDescriptor": {**storage, "Location": location or default}}

    def _add_partitions(self, statement: s.AddPartitions, database: str) -> TextResult:
        table = self.table(statement.name, database)
        holder = statement.name.database or database
        for values, location in statement.partitions:
            try:
                self._glue.create_partition(
                    DatabaseName=holder,
                    TableName=statement.name.table,
                    PartitionInput=self._partition_input(table, values, location),  # pyrefly: ignore[bad-argument-type]
                )
            except self._glue.exceptions.AlreadyExistsException as error:
                if not statement.if_not_exists:
                    raise QueryError(
                        _failed("AlreadyExistsException(message:Partition already exists.)"), "ALREADY_EXISTS"
                    ) from error
        return TextResult()

    def _drop_partitions(self, statement: s.DropPartitions, database: str) -> TextResult:
        table = self.table(statement.name, database)
        for values in statement.partitions:
            try:
                self._glue.delete_partition(
                    DatabaseName=statement.name.database or database,
                    TableName=statement.name.table,
                    PartitionValues=self._partition_input(table, values)["Values"],
                )
            except self._glue.exceptions.EntityNotFoundException as error:
                if not statement.if_exists:
                    raise QueryError(
                        "FAILED: SemanticException [Error 10006]: Partition not found"
                        f" ({', '.join(f'{key} = {value}' for key, value in values.items())})"
                    ) from error
        return TextResult()

    def _partitions(self, table: dict[str, Any], holder: str) -> set[tuple[str, ...]]:
        found = self._pages("get_partitions", "Partitions", DatabaseName=holder, TableName=table["Name"])
        return {tuple(entry["Values"]) for entry in found}

    def _require_partitioned(self, table: dict[str, Any]) -> list[str]:
        keys = [key["Name"] for key in table["PartitionKeys"]]
        if not keys:
            raise QueryError(
                f"FAILED: SemanticException [Error 10241]: Table {table['Name']} is not a partitioned table"
            )
        return keys

    def _repair(self, statement: s.RepairTable, database: str) -> TextResult:
        table = self.table(statement.name, database)
        holder = statement.name.database or database
        keys = self._require_partitioned(table)
        location = table["StorageDescriptor"]["Location"].rstrip("/") + "/"
        pattern = re.compile("/".join(rf"{re.escape(key)}=([^/]+)" for key in keys) + "/", re.IGNORECASE)
        present: set[tuple[str, ...]] = set()
        for address in self.keys(location):
            if match := pattern.match(address.removeprefix(location)):
                present.add(tuple(unquote(value) for value in match.groups()))
        missing = sorted(present - self._partitions(table, holder))
        for start in range(0, len(missing), _BATCH):
            batch = [
                self._partition_input(table, dict(zip(keys, values, strict=True)))
                for values in missing[start : start + _BATCH]
            ]
            answer = self._glue.batch_create_partition(
                DatabaseName=holder,
                TableName=table["Name"],
                PartitionInputList=batch,  # pyrefly: ignore[bad-argument-type]
            )
            if answer.get("Errors"):
                raise QueryError(_failed(f"MetaException(message:{answer['Errors']})"))
        if not missing:
            return TextResult()
        names = [_partition_name(keys, list(values)) for values in missing]
        listed = "\t".join(f"{table['Name']}:{name}" for name in names)
        added = [f"Repair: Added partition to metastore {table['Name']}:{name}" for name in names]
        return _lines("result", f"Partitions not in metastore:\t{listed}", *added)

    def _show_tables(self, statement: s.ShowTables, database: str) -> TextResult:
        holder = statement.database or database
        self._require_database(holder)
        tables = self._pages("get_tables", "TableList", DatabaseName=holder)
        names = (
            table["Name"]
            for table in tables
            if not statement.views_only or table.get("TableType") == "VIRTUAL_VIEW"
        )
        return _lines("views" if statement.views_only else "tab_name", *_matching(names, statement.pattern))

    def _show_partitions(self, name: s.Name, database: str) -> TextResult:
        table = self.table(name, database)
        keys = self._require_partitioned(table)
        found = sorted(self._partitions(table, name.database or database))
        return _lines("partition", *(_partition_name(keys, list(values)) for values in found))


def split_location(location: str) -> tuple[str, str]:
    """Bucket and key of an S3 address."""
    bucket, _, key = re.sub(r"^s3[an]?://", "", location).partition("/")
    return bucket, key


def _failed(cause: str) -> str:
    return f"FAILED: Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. {cause}"


def _lines(column: str, *lines: str) -> TextResult:
    return TextResult((text_column(column),), lines)


def _matching(names: Iterator[str], pattern: str | None) -> list[str]:
    """Names that match one of a pattern's alternatives (Hive: ``*`` and ``|``), sorted."""
    if pattern is None:
        return sorted(names)
    alternatives = [part.replace(".*", "*").lower() for part in pattern.split("|")]
    return sorted(name for name in names if any(fnmatch.fnmatchcase(name, part) for part in alternatives))


def _glue_columns(columns: tuple[s.Column, ...]) -> list[dict[str, str]]:
    return [
        {"Name": column.name, "Type": column.type}
        | ({} if column.comment is None else {"Comment": column.comment})
        for column in columns
    ]


def _all_columns(table: dict[str, Any]) -> list[dict[str, str]]:
    return [*table["StorageDescriptor"]["Columns"], *table["PartitionKeys"]]


def _partition_name(keys: list[str], values: list[str]) -> str:
    """``dt=2026-11-20/hour=05``, values escaped as Hive escapes them in paths."""
    return "/".join(
        f"{key}={quote(value, safe=' ,()+-_.@!~;&$|<>')}" for key, value in zip(keys, values, strict=True)
    )


def _described(table: dict[str, Any]) -> TextResult:
    def line(column: dict[str, str]) -> str:
        return "\t".join(
            (
                column["Name"].ljust(20),
                column.get("Type", "string").ljust(20),
                column.get("Comment", "").ljust(20),
            )
        )

    lines = [line(column) for column in _all_columns(table)]
    if table["PartitionKeys"]:
        heading = "\t".join(("# col_name".ljust(20), "data_type".ljust(20), "comment".ljust(20)))
        lines += ["\t \t ", "# Partition Information\t \t ", heading, "\t \t "]
        lines += [line(column) for column in table["PartitionKeys"]]
    return TextResult(
        (text_column("col_name"), text_column("data_type"), text_column("comment")), tuple(lines)
    )


def _definition(table: dict[str, Any]) -> list[str]:
    """The statement that makes a table, line by line."""

    def text(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def columns(listed: list[dict[str, str]]) -> list[str]:
        written = [
            f"  `{column['Name']}` {column['Type']}"
            + (f" COMMENT {text(column['Comment'])}" if column.get("Comment") else "")
            for column in listed
        ]
        return [f"{line}{')' if number == len(written) else ', '}" for number, line in enumerate(written, 1)]

    def properties(pairs: dict[str, str]) -> list[str]:
        written = [f"  {text(key)}={text(value)}" for key, value in pairs.items()]
        return [f"{line}{')' if number == len(written) else ', '}" for number, line in enumerate(written, 1)]

    if table.get("TableType") == "VIRTUAL_VIEW":
        raise QueryError(
            "FAILED: SemanticException: SHOW CREATE TABLE does not take a view; use SHOW CREATE VIEW"
        )
    storage = table["StorageDescriptor"]
    serde = storage["SerdeInfo"]
    lines = [
        f"CREATE EXTERNAL TABLE `{table['DatabaseName']}.{table['Name']}`(",
        *columns(storage["Columns"]),
    ]
    if table["PartitionKeys"]:
        lines += ["PARTITIONED BY ( ", *columns(table["PartitionKeys"])]
    lines += ["ROW FORMAT SERDE ", f"  {text(serde['SerializationLibrary'])} "]
    if serde.get("Parameters"):
        lines += ["WITH SERDEPROPERTIES ( ", *properties(serde["Parameters"])]
    lines += ["STORED AS INPUTFORMAT ", f"  {text(storage['InputFormat'])} "]
    lines += [
        "OUTPUTFORMAT ",
        f"  {text(storage['OutputFormat'])}",
        "LOCATION",
        f"  {text(storage['Location'])}",
    ]
    shown = {key: value for key, value in table["Parameters"].items() if key != "EXTERNAL"}
    if shown:
        lines += ["TBLPROPERTIES (", *properties(shown)]
    return lines
