"""Parses SQL into a statement of Athena: which kind it is and, for what Trino doesn't know, all of it.

Athena hands queries, CTAS, INSERT and views to Trino and everything else to Hive's DDL
(https://docs.aws.amazon.com/athena/latest/ug/ddl-reference.html). Here likewise: `parse` returns a statement
that Trino runs (its SQL as it was written) or one that `local.aws.athena.catalog` carries out.
"""

from __future__ import annotations

import re

from local.aws.athena.statements import (
    ICEBERG,
    AddColumns,
    AddPartitions,
    ChangeView,
    Column,
    CreateDatabase,
    CreateTable,
    CreateTableAs,
    Describe,
    DropDatabase,
    DropPartitions,
    DropTable,
    Explain,
    Insert,
    Name,
    NotOfferedError,
    Properties,
    Rejected,
    RepairTable,
    Select,
    SetLocation,
    SetProperties,
    ShowColumns,
    ShowCreateTable,
    ShowDatabases,
    ShowPartitions,
    ShowProperties,
    ShowTables,
    ShowView,
    Statement,
    StatementError,
    Unload,
)
from local.aws.athena.tokens import Tokens

_FORMATS: dict[str, tuple[str, str, str]] = {
    "TEXTFILE": (
        "org.apache.hadoop.mapred.TextInputFormat",
        "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
    ),
    "PARQUET": (
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
    ),
    "ORC": (
        "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat",
        "org.apache.hadoop.hive.ql.io.orc.OrcOutputFormat",
        "org.apache.hadoop.hive.ql.io.orc.OrcSerde",
    ),
    "AVRO": (
        "org.apache.hadoop.hive.ql.io.avro.AvroContainerInputFormat",
        "org.apache.hadoop.hive.ql.io.avro.AvroContainerOutputFormat",
        "org.apache.hadoop.hive.serde2.avro.AvroSerDe",
    ),
}
"""Input format, output format and SerDe by the word after STORED AS."""

_TYPES = {"boolean", "tinyint", "smallint", "int", "bigint", "float", "double"}
_TYPES |= {"string", "binary", "date", "timestamp", "decimal", "char", "varchar"}

_DELIMITERS = {
    ("FIELDS", "TERMINATED"): "field.delim",
    ("ESCAPED",): "escape.delim",
    ("COLLECTION", "ITEMS", "TERMINATED"): "colelction.delim",
    ("MAP", "KEYS", "TERMINATED"): "mapkey.delim",
    ("LINES", "TERMINATED"): "line.delim",
}
"""Hive's SerDe properties (one is misspelled in Hive itself: serdeConstants.COLLECTION_DELIM)."""

_ROWS = "NOT_SUPPORTED: Modifying Hive table rows is only supported for transactional tables"


def parse(sql: str) -> Statement:
    """The one statement in ``sql``.

    Raises `StatementError` if it is malformed or is not exactly one statement, and `NotOfferedError` if its
    kind is not offered.
    """
    return _Parser(Tokens(sql)).statement()


class _Parser:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def statement(self) -> Statement:
        word = self._tokens.current.text.upper()
        match word:
            case "SELECT" | "WITH" | "VALUES" | "(" | "TABLE":
                return Select(self._tokens.text)
            case "EXPLAIN":
                return Explain(self._tokens.text)
            case "INSERT":
                self._tokens.expect("INSERT", "INTO")
                return Insert(self._tokens.name(), self._tokens.text)
            case "DELETE" | "UPDATE" | "MERGE":
                return Rejected(_ROWS)
            case "UNLOAD":
                return self._unload()
            case "CREATE":
                return self._create()
            case "DROP":
                return self._drop()
            case "ALTER":
                return self._alter()
            case "MSCK":
                self._tokens.expect("MSCK", "REPAIR", "TABLE")
                return self._tokens.done(RepairTable(self._tokens.name()))
            case "SHOW":
                return self._show()
            case "DESCRIBE" | "DESC":
                self._tokens.take()
                if (
                    self._tokens.is_next("INPUT")
                    or self._tokens.is_next("OUTPUT")
                    or self._tokens.accept("EXTENDED")
                    or self._tokens.accept("FORMATTED")
                ):
                    raise NotOfferedError(f"{word} with options is not offered by the local Athena")
                self._tokens.accept("TABLE")
                return self._tokens.done(Describe(self._tokens.name()))
            case "OPTIMIZE" | "VACUUM":
                raise NotOfferedError(ICEBERG)
            case "PREPARE" | "EXECUTE" | "DEALLOCATE":
                raise NotOfferedError(f"{word} is not offered by the local Athena; use ExecutionParameters")
        raise self._tokens.mismatch(
            "'ALTER', 'CREATE', 'DELETE', 'DESC', 'DESCRIBE', 'DROP', 'EXPLAIN', 'INSERT', 'MERGE', 'MSCK',"
            " 'SHOW', 'UNLOAD', 'UPDATE', <query>"
        )

    def _unload(self) -> Unload:
        self._tokens.expect("UNLOAD", "(")
        end, depth = self._tokens.current, 1
        start = end.start
        while depth:
            if self._tokens.current.kind == "end":
                raise self._tokens.mismatch("')'")
            end = self._tokens.take()
            depth += (end.text == "(") - (end.text == ")")
        query = self._tokens.in_place(start, end.start)
        self._tokens.expect("TO")
        location = self._tokens.string()
        self._tokens.expect("WITH")
        return self._tokens.done(Unload(query, location, self._properties()))

    def _properties(self) -> Properties:
        """``(name = value, …)`` with values as Trino writes them."""

        def value() -> str | int | bool | list[str]:
            if self._tokens.accept("ARRAY"):
                self._tokens.expect("[")
                items = [] if self._tokens.is_next("]") else [self._tokens.string()]
                while self._tokens.accept(","):
                    items.append(self._tokens.string())
                self._tokens.expect("]")
                return items
            if self._tokens.current.kind == "number":
                return int(self._tokens.take().text)
            if self._tokens.is_next("TRUE") or self._tokens.is_next("FALSE"):
                return self._tokens.take().text.upper() == "TRUE"
            return self._tokens.string()

        def pair() -> tuple[str, str | int | bool | list[str]]:
            name = self._tokens.identifier()
            self._tokens.expect("=")
            return name, value()

        return dict(self._tokens.listed(pair))

    def _string_properties(self) -> dict[str, str]:
        """``('name' = 'value', …)`` as Hive writes them."""

        def pair() -> tuple[str, str]:
            name = self._tokens.string()
            self._tokens.expect("=")
            return name, self._tokens.string()

        return dict(self._tokens.listed(pair))

    def _create(self) -> Statement:
        self._tokens.expect("CREATE")
        if self._tokens.is_next("OR", "REPLACE", "VIEW") or self._tokens.is_next("VIEW"):
            return ChangeView(self._tokens.text)
        if self._tokens.accept("DATABASE") or self._tokens.accept("SCHEMA"):
            return self._create_database()
        if self._tokens.accept("EXTERNAL"):
            self._tokens.expect("TABLE")
            return self._create_table()
        if not self._tokens.accept("TABLE"):
            raise self._tokens.mismatch("'DATABASE', 'EXTERNAL', 'OR', 'SCHEMA', 'TABLE', 'VIEW'")
        if_not_exists = self._tokens.accept("IF", "NOT", "EXISTS")
        name = self._tokens.name()
        if self._tokens.is_next("("):
            if re.search(r"'table_type'\s*=\s*'iceberg'", self._tokens.text, re.IGNORECASE):
                raise NotOfferedError(ICEBERG)
            raise StatementError(
                "line 1:8: no viable alternative at input 'CREATE TABLE'. Expecting: 'EXTERNAL'"
            )
        properties = self._properties() if self._tokens.accept("WITH") else {}
        self._tokens.expect("AS")
        return CreateTableAs(
            name,
            if_not_exists,
            properties,
            self._tokens.in_place(self._tokens.current.start, len(self._tokens.text)),
        )

    def _create_database(self) -> CreateDatabase:
        if_not_exists = self._tokens.accept("IF", "NOT", "EXISTS")
        name = self._tokens.identifier()
        comment = self._tokens.string() if self._tokens.accept("COMMENT") else None
        location = self._tokens.string() if self._tokens.accept("LOCATION") else None
        properties = self._string_properties() if self._tokens.accept("WITH", "DBPROPERTIES") else {}
        return self._tokens.done(CreateDatabase(name, if_not_exists, comment, location, properties))

    def _create_table(self) -> CreateTable:
        if_not_exists = self._tokens.accept("IF", "NOT", "EXISTS")
        name = self._tokens.name()
        columns = self._tokens.listed(self._column)
        comment = self._tokens.string() if self._tokens.accept("COMMENT") else None
        partitions = self._tokens.listed(self._column) if self._tokens.accept("PARTITIONED", "BY") else []
        if self._tokens.is_next("CLUSTERED"):
            raise NotOfferedError("CLUSTERED BY is not offered by the local Athena")
        serde: str | None = None
        serde_properties: dict[str, str] = {}
        if self._tokens.accept("ROW", "FORMAT"):
            if self._tokens.one_of("SERDE", "DELIMITED") == "SERDE":
                serde = self._tokens.string()
                if self._tokens.accept("WITH", "SERDEPROPERTIES"):
                    serde_properties = self._string_properties()
            else:
                serde_properties = self._delimiters()
        input_format, output_format, default_serde = _FORMATS["TEXTFILE"]
        if self._tokens.accept("STORED", "AS"):
            if self._tokens.accept("INPUTFORMAT"):
                input_format = self._tokens.string()
                self._tokens.expect("OUTPUTFORMAT")
                output_format = self._tokens.string()
            else:
                input_format, output_format, default_serde = _FORMATS[self._tokens.one_of(*_FORMATS)]
        location = self._tokens.string() if self._tokens.accept("LOCATION") else None
        properties = self._string_properties() if self._tokens.accept("TBLPROPERTIES") else {}
        if properties.get("table_type", "").upper() == "ICEBERG":
            raise NotOfferedError(ICEBERG)
        return self._tokens.done(
            CreateTable(
                name,
                if_not_exists,
                tuple(columns),
                tuple(partitions),
                comment,
                serde or default_serde,
                {"serialization.format": "1", **serde_properties},
                input_format,
                output_format,
                location,
                properties,
            )
        )

    def _delimiters(self) -> dict[str, str]:
        properties = {}
        while True:
            for words, key in _DELIMITERS.items():
                if self._tokens.accept(*words, "BY"):
                    properties[key] = self._tokens.string()
                    break
            else:
                if not self._tokens.accept("NULL", "DEFINED", "AS"):
                    return properties
                properties["serialization.null.format"] = self._tokens.string()

    def _column(self) -> Column:
        name = self._tokens.identifier()
        kind = self._type()
        return Column(name, kind, self._tokens.string() if self._tokens.accept("COMMENT") else None)

    def _type(self) -> str:
        """A type of Hive, as Glue writes it: lower-case and without spaces."""
        if self._tokens.current.kind != "word":
            raise self._tokens.mismatch("<type>")
        name = self._tokens.current.text.lower()
        if name in ("array", "map", "struct"):
            self._tokens.take()
            self._tokens.expect("<")
            parts = [self._field() if name == "struct" else self._type()]
            while self._tokens.accept(","):
                parts.append(self._field() if name == "struct" else self._type())
            if name != "struct" and len(parts) != (1 if name == "array" else 2):
                raise self._tokens.mismatch(
                    f"the {'element' if name == 'array' else 'key and value'} of the {name}"
                )
            self._tokens.expect(">")
            return f"{name}<{','.join(parts)}>"
        name = "int" if name == "integer" else name
        if name not in _TYPES:
            raise self._tokens.mismatch("<type>")
        self._tokens.take()
        if name in ("decimal", "char", "varchar") and self._tokens.is_next("("):
            numbers = self._tokens.listed(self._number)
            return f"{name}({','.join(numbers)})"
        return name

    def _number(self) -> str:
        if self._tokens.current.kind != "number":
            raise self._tokens.mismatch("<integer>")
        return self._tokens.take().text

    def _field(self) -> str:
        name = self._tokens.identifier()
        self._tokens.expect(":")
        kind = self._type()
        if self._tokens.accept("COMMENT"):
            self._tokens.string()
        return f"{name}:{kind}"

    def _drop(self) -> Statement:
        self._tokens.expect("DROP")
        if self._tokens.is_next("VIEW"):
            return ChangeView(self._tokens.text)
        what = self._tokens.one_of("TABLE", "DATABASE", "SCHEMA")
        if_exists = self._tokens.accept("IF", "EXISTS")
        if what == "TABLE":
            return self._tokens.done(DropTable(self._tokens.name(), if_exists))
        name = self._tokens.identifier()
        cascade = self._tokens.accept("CASCADE") or (self._tokens.accept("RESTRICT") and False)
        return self._tokens.done(DropDatabase(name, if_exists, cascade))

    def _alter(self) -> Statement:
        self._tokens.expect("ALTER")
        if not self._tokens.accept("TABLE"):
            raise NotOfferedError("Of the ALTER statements only ALTER TABLE is offered by the local Athena")
        name = self._tokens.name()
        if self._tokens.accept("ADD", "COLUMNS"):
            return self._tokens.done(AddColumns(name, tuple(self._tokens.listed(self._column))))
        if self._tokens.accept("ADD"):
            if_not_exists = self._tokens.accept("IF", "NOT", "EXISTS")
            added = []
            while self._tokens.accept("PARTITION"):
                values = self._partition()
                added.append((values, self._tokens.string() if self._tokens.accept("LOCATION") else None))
            if not added:
                raise self._tokens.mismatch("'COLUMNS', 'IF', 'PARTITION'")
            return self._tokens.done(AddPartitions(name, if_not_exists, tuple(added)))
        if self._tokens.accept("DROP"):
            if_exists = self._tokens.accept("IF", "EXISTS")
            self._tokens.expect("PARTITION")
            dropped = [self._partition()]
            while self._tokens.accept(","):
                self._tokens.expect("PARTITION")
                dropped.append(self._partition())
            return self._tokens.done(DropPartitions(name, if_exists, tuple(dropped)))
        if self._tokens.accept("SET", "TBLPROPERTIES"):
            return self._tokens.done(SetProperties(name, self._string_properties()))
        if self._tokens.accept("SET", "LOCATION"):
            return self._tokens.done(SetLocation(name, self._tokens.string()))
        if (
            self._tokens.is_next("PARTITION")
            or self._tokens.is_next("RENAME")
            or self._tokens.is_next("REPLACE")
            or self._tokens.is_next("CHANGE")
        ):
            raise NotOfferedError(
                f"ALTER TABLE … {self._tokens.current.text.upper()} is not offered by the local Athena"
            )
        raise self._tokens.mismatch("'ADD', 'DROP', 'SET'")

    def _partition(self) -> dict[str, str]:
        def pair() -> tuple[str, str]:
            name = self._tokens.identifier()
            self._tokens.expect("=")
            return (
                name,
                self._tokens.take().text if self._tokens.current.kind == "number" else self._tokens.string(),
            )

        return dict(self._tokens.listed(pair))

    def _show(self) -> Statement:
        self._tokens.expect("SHOW")
        if self._tokens.is_next("CREATE", "VIEW"):
            return ShowView(self._tokens.text)
        if self._tokens.accept("CREATE", "TABLE"):
            return self._tokens.done(ShowCreateTable(self._tokens.name()))
        if self._tokens.accept("DATABASES") or self._tokens.accept("SCHEMAS"):
            self._tokens.accept("LIKE")
            return self._tokens.done(
                ShowDatabases(None if self._tokens.current.kind == "end" else self._tokens.string())
            )
        if self._tokens.is_next("TABLES") or self._tokens.is_next("VIEWS"):
            views_only = self._tokens.take().text.upper() == "VIEWS"
            database = (
                self._tokens.identifier()
                if self._tokens.accept("IN") or self._tokens.accept("FROM")
                else None
            )
            self._tokens.accept("LIKE")
            pattern = None if self._tokens.current.kind == "end" else self._tokens.string()
            return self._tokens.done(ShowTables(database, pattern, views_only))
        if self._tokens.accept("PARTITIONS"):
            return self._tokens.done(ShowPartitions(self._tokens.name()))
        if self._tokens.accept("COLUMNS"):
            self._tokens.one_of("IN", "FROM")
            name = self._tokens.name()
            if self._tokens.accept("IN") or self._tokens.accept("FROM"):
                name = Name(self._tokens.identifier(), name.table)
            return self._tokens.done(ShowColumns(name))
        if self._tokens.accept("TBLPROPERTIES"):
            name = self._tokens.name()
            wanted = self._tokens.listed(self._tokens.string)[0] if self._tokens.is_next("(") else None
            return self._tokens.done(ShowProperties(name, wanted))
        raise self._tokens.mismatch(
            "'COLUMNS', 'CREATE', 'DATABASES', 'PARTITIONS', 'SCHEMAS', 'TABLES', 'TBLPROPERTIES', 'VIEWS'"
        )
