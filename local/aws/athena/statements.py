"""The statements that Athena knows, with their parts. `local.aws.athena.parser` reads them from SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

type StatementType = Literal["DDL", "DML", "UTILITY"]
type Properties = Mapping[str, str | int | bool | list[str]]

ICEBERG = "Iceberg tables are not offered by the local Athena; create a Hive table instead"


class StatementError(ValueError):
    """The statement is malformed; the message has the form ``line 1:8: ...``."""


class NotOfferedError(ValueError):
    """Athena knows the statement but it is not offered here, or Athena rejects it."""


@dataclass(frozen=True)
class Name:
    """A table's name, lower-case as Glue keeps it; ``database`` is None if the statement names none."""

    database: str | None
    table: str


@dataclass(frozen=True)
class Column:
    """A column of a table; ``type`` is Hive's."""

    name: str
    type: str
    comment: str | None = None


@dataclass(frozen=True)
class Statement:
    """Any statement, with its types in `GetQueryExecution`."""

    statement_type: ClassVar[StatementType] = "DDL"
    substatement_type: ClassVar[str] = ""


@dataclass(frozen=True)
class Select(Statement):
    """A query, for Trino."""

    statement_type = "DML"
    substatement_type = "SELECT"
    sql: str


@dataclass(frozen=True)
class Explain(Statement):
    """EXPLAIN, for Trino."""

    statement_type = "UTILITY"
    substatement_type = "EXPLAIN"
    sql: str


@dataclass(frozen=True)
class Insert(Statement):
    """INSERT INTO, for Trino."""

    statement_type = "DML"
    substatement_type = "INSERT"
    name: Name
    sql: str


@dataclass(frozen=True)
class ChangeView(Statement):
    """CREATE [OR REPLACE] VIEW or DROP VIEW, for Trino."""

    substatement_type = "CREATE_VIEW"
    sql: str


@dataclass(frozen=True)
class ShowView(Statement):
    """SHOW CREATE VIEW, for Trino."""

    statement_type = "UTILITY"
    substatement_type = "SHOW_CREATE_VIEW"
    sql: str


@dataclass(frozen=True)
class CreateTableAs(Statement):
    """CREATE TABLE … AS, for Trino once its properties are translated."""

    substatement_type = "CREATE_TABLE_AS_SELECT"
    name: Name
    if_not_exists: bool
    properties: Properties
    query: str
    """The query with what follows it (WITH NO DATA), as far right and down as it stands in the statement."""


@dataclass(frozen=True)
class Unload(Statement):
    """UNLOAD (query) TO 'location' WITH (properties)."""

    statement_type = "DML"
    substatement_type = "UNLOAD"
    query: str
    location: str
    properties: Properties


@dataclass(frozen=True)
class CreateDatabase(Statement):
    """CREATE DATABASE or SCHEMA."""

    substatement_type = "CREATE_DATABASE"
    name: str
    if_not_exists: bool
    comment: str | None
    location: str | None
    properties: dict[str, str]


@dataclass(frozen=True)
class DropDatabase(Statement):
    """DROP DATABASE or SCHEMA."""

    substatement_type = "DROP_DATABASE"
    name: str
    if_exists: bool
    cascade: bool


@dataclass(frozen=True)
class CreateTable(Statement):
    """CREATE EXTERNAL TABLE."""

    substatement_type = "CREATE_TABLE"
    name: Name
    if_not_exists: bool
    columns: tuple[Column, ...]
    partitions: tuple[Column, ...]
    comment: str | None
    serde: str
    serde_properties: dict[str, str]
    input_format: str
    output_format: str
    location: str | None
    properties: dict[str, str]


@dataclass(frozen=True)
class DropTable(Statement):
    """DROP TABLE."""

    substatement_type = "DROP_TABLE"
    name: Name
    if_exists: bool


@dataclass(frozen=True)
class AddPartitions(Statement):
    """ALTER TABLE ADD PARTITION."""

    substatement_type = "ALTER_TABLE_ADD_PARTITION"
    name: Name
    if_not_exists: bool
    partitions: tuple[tuple[dict[str, str], str | None], ...]
    """Values by partition column, and the location where one is given."""


@dataclass(frozen=True)
class DropPartitions(Statement):
    """ALTER TABLE DROP PARTITION."""

    substatement_type = "ALTER_TABLE_DROP_PARTITION"
    name: Name
    if_exists: bool
    partitions: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class SetProperties(Statement):
    """ALTER TABLE SET TBLPROPERTIES."""

    substatement_type = "ALTER_TABLE_SET_PROPERTIES"
    name: Name
    properties: dict[str, str]


@dataclass(frozen=True)
class SetLocation(Statement):
    """ALTER TABLE SET LOCATION."""

    substatement_type = "ALTER_TABLE_SET_LOCATION"
    name: Name
    location: str


@dataclass(frozen=True)
class AddColumns(Statement):
    """ALTER TABLE ADD COLUMNS."""

    substatement_type = "ALTER_TABLE_ADD_COLUMNS"
    name: Name
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class RepairTable(Statement):
    """MSCK REPAIR TABLE."""

    substatement_type = "MSCK_REPAIR_TABLE"
    name: Name


@dataclass(frozen=True)
class ShowDatabases(Statement):
    """SHOW DATABASES or SCHEMAS."""

    statement_type = "UTILITY"
    substatement_type = "SHOW_DATABASES"
    pattern: str | None


@dataclass(frozen=True)
class ShowTables(Statement):
    """SHOW TABLES or VIEWS."""

    statement_type = "UTILITY"
    substatement_type = "SHOW_TABLES"
    database: str | None
    pattern: str | None
    views_only: bool


@dataclass(frozen=True)
class ShowPartitions(Statement):
    """SHOW PARTITIONS."""

    statement_type = "UTILITY"
    substatement_type = "SHOW_PARTITIONS"
    name: Name


@dataclass(frozen=True)
class ShowColumns(Statement):
    """SHOW COLUMNS."""

    statement_type = "UTILITY"
    substatement_type = "SHOW_COLUMNS"
    name: Name


@dataclass(frozen=True)
class ShowProperties(Statement):
    """SHOW TBLPROPERTIES."""

    statement_type = "UTILITY"
    substatement_type = "SHOW_TBLPROPERTIES"
    name: Name
    property: str | None


@dataclass(frozen=True)
class ShowCreateTable(Statement):
    """SHOW CREATE TABLE."""

    statement_type = "UTILITY"
    substatement_type = "SHOW_CREATE_TABLE"
    name: Name


@dataclass(frozen=True)
class Describe(Statement):
    """DESCRIBE."""

    statement_type = "UTILITY"
    substatement_type = "DESCRIBE_TABLE"
    name: Name


@dataclass(frozen=True)
class Rejected(Statement):
    """A well-formed statement that Athena fails on tables of this kind, with its reason."""

    statement_type = "DML"
    reason: str
