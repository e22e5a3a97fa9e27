"""Reads a statement of Athena: which kind it is, and for what Trino doesn't speak, all of it.

Athena hands queries, CTAS, INSERT and views to Trino and everything else to Hive's DDL
(https://docs.aws.amazon.com/athena/latest/ug/ddl-reference.html). Here likewise: `parse` gives a statement
that Trino runs (its SQL kept as it was written) or one that `local.aws.athena.catalog` carries out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

type StatementType = Literal["DDL", "DML", "UTILITY"]
type Properties = Mapping[str, str | int | bool | list[str]]


class StatementError(ValueError):
    """The statement is malformed; the message has the form ``line 1:8: ...``."""


class NotOfferedError(ValueError):
    """The statement is one that Athena knows and that is not offered here, or that Athena refuses."""


@dataclass(frozen=True)
class Name:
    """A table's name, lower-case as Glue keeps it; ``database`` is None where the statement names none."""

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
    """Any statement, with what `GetQueryExecution` tells of its kind."""

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
class Refused(Statement):
    """A well-formed statement that Athena fails on tables of this kind, with its reason."""

    statement_type = "DML"
    reason: str


@dataclass(frozen=True)
class _Token:
    kind: Literal["word", "quoted", "backquoted", "string", "number", "symbol", "end"]
    text: str
    start: int
    end: int

    @property
    def value(self) -> str:
        """The text without its quotes."""
        if self.kind in ("quoted", "backquoted", "string"):
            mark = self.text[0]
            return self.text[1:-1].replace(mark * 2, mark)
        return self.text


_LEXICON = r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      |(?P<string>{string})
      |(?P<quoted>"(?:[^"]|"")*")
      |(?P<backquoted>`(?:[^`]|``)*`)
      |(?P<number>\d+(?:\.\d+)?)
      |(?P<word>[^\W\d][\w$]*)
      |(?P<symbol>.)"""
_SQL = re.compile(_LEXICON.replace("{string}", r"'(?:[^']|'')*'"), re.VERBOSE | re.DOTALL)
_HIVE = re.compile(_LEXICON.replace("{string}", r"'(?:[^'\\]|\\.|'')*'"), re.VERBOSE | re.DOTALL)
"""Tokens of Trino's SQL, and of Hive's, in whose strings a backslash keeps the next character."""

_HIVE_STARTS = re.compile(r"(ALTER|DROP|DESC|DESCRIBE|MSCK|SHOW|CREATE (EXTERNAL|DATABASE|SCHEMA))\b")

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
"""Input format, output format and SerDe by the word behind STORED AS."""

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

ICEBERG = "Iceberg tables are not offered by the local Athena; create a Hive table instead"
_ROWS = "NOT_SUPPORTED: Modifying Hive table rows is only supported for transactional tables"


def parse(sql: str) -> Statement:
    """The one statement in ``sql``.

    Raises `StatementError` where it is malformed, holds more than one statement or none, and
    `NotOfferedError` where it is of a kind that is not offered.
    """
    return _Parser(sql).statement()


def _tokens(sql: str, pattern: re.Pattern[str]) -> list[_Token]:
    return [
        _Token(match.lastgroup, match[0], match.start(), match.end())  # type: ignore[arg-type]
        for match in pattern.finditer(sql)
        if match.lastgroup != "space"
    ]


class _Parser:
    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._tokens = _tokens(sql, _SQL)
        if _HIVE_STARTS.match(" ".join(token.text.upper() for token in self._tokens[:2])):
            self._tokens = _tokens(sql, _HIVE)
        while self._tokens and self._tokens[-1].text == ";":
            self._tokens.pop()
        if not self._tokens:
            raise StatementError("line 1:1: the query holds no statement")
        if any(token.text == ";" for token in self._tokens):
            raise StatementError(f"Only one sql statement is allowed. Got: {sql}")
        self._text = sql[: self._tokens[-1].end]
        self._tokens.append(_Token("end", "<EOF>", len(self._text), len(self._text)))
        self._at = 0

    @property
    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _mismatch(self, expected: str) -> StatementError:
        before = self._sql[: self._token.start]
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        return StatementError(
            f"line {line}:{column}: mismatched input '{self._token.text}'. Expecting: {expected}"
        )

    def _is(self, *words: str) -> bool:
        tokens = self._tokens[self._at : self._at + len(words)]
        return len(tokens) == len(words) and all(
            token.kind in ("word", "symbol") and token.text.upper() == word
            for token, word in zip(tokens, words, strict=True)
        )

    def _accept(self, *words: str) -> bool:
        if self._is(*words):
            self._at += len(words)
            return True
        return False

    def _expect(self, *words: str) -> None:
        for word in words:
            if not self._accept(word):
                raise self._mismatch(f"'{word}'")

    def _one_of(self, *words: str) -> str:
        for word in words:
            if self._accept(word):
                return word
        raise self._mismatch(", ".join(f"'{word}'" for word in words))

    def _next(self) -> _Token:
        token = self._token
        self._at += 1
        return token

    def _identifier(self) -> str:
        if self._token.kind not in ("word", "quoted", "backquoted"):
            raise self._mismatch("<identifier>")
        return self._next().value.lower()

    def _name(self) -> Name:
        parts = [self._identifier()]
        while self._accept("."):
            parts.append(self._identifier())
        if len(parts) == 3 and parts[0] == "awsdatacatalog":
            parts = parts[1:]
        if len(parts) > 2:
            raise NotOfferedError(
                f"Catalog {parts[0]} is not offered by the local Athena; there is AwsDataCatalog alone"
            )
        return Name(parts[0] if len(parts) == 2 else None, parts[-1])

    def _string(self) -> str:
        if self._token.kind not in ("string", "quoted"):
            raise self._mismatch("<string>")
        return re.sub(r"\\(u[0-9a-fA-F]{4}|[0-3][0-7]{2}|.)", _unescape, self._next().value)

    def _done[T](self, statement: T) -> T:
        if self._token.kind != "end":
            raise self._mismatch("<EOF>")
        return statement

    def _listed[T](self, item: Callable[[], T]) -> list[T]:
        self._expect("(")
        items = [item()]
        while self._accept(","):
            items.append(item())
        self._expect(")")
        return items

    def _in_place(self, start: int, end: int) -> str:
        """A part of the statement behind blanks instead of what stands before it, so that positions stay."""
        return re.sub(r"[^\n]", " ", self._sql[:start]) + self._sql[start:end]

    def statement(self) -> Statement:
        word = self._token.text.upper()
        match word:
            case "SELECT" | "WITH" | "VALUES" | "(" | "TABLE":
                return Select(self._text)
            case "EXPLAIN":
                return Explain(self._text)
            case "INSERT":
                self._expect("INSERT", "INTO")
                return Insert(self._name(), self._text)
            case "DELETE" | "UPDATE" | "MERGE":
                return Refused(_ROWS)
            case "UNLOAD":
                return self._unload()
            case "CREATE":
                return self._create()
            case "DROP":
                return self._drop()
            case "ALTER":
                return self._alter()
            case "MSCK":
                self._expect("MSCK", "REPAIR", "TABLE")
                return self._done(RepairTable(self._name()))
            case "SHOW":
                return self._show()
            case "DESCRIBE" | "DESC":
                self._next()
                if (
                    self._is("INPUT")
                    or self._is("OUTPUT")
                    or self._accept("EXTENDED")
                    or self._accept("FORMATTED")
                ):
                    raise NotOfferedError(f"{word} with options is not offered by the local Athena")
                self._accept("TABLE")
                return self._done(Describe(self._name()))
            case "OPTIMIZE" | "VACUUM":
                raise NotOfferedError(ICEBERG)
            case "PREPARE" | "EXECUTE" | "DEALLOCATE":
                raise NotOfferedError(f"{word} is not offered by the local Athena; use ExecutionParameters")
        raise self._mismatch(
            "'ALTER', 'CREATE', 'DELETE', 'DESC', 'DESCRIBE', 'DROP', 'EXPLAIN', 'INSERT', 'MERGE', 'MSCK',"
            " 'SHOW', 'UNLOAD', 'UPDATE', <query>"
        )

    def _unload(self) -> Unload:
        self._expect("UNLOAD", "(")
        start, depth = self._token.start, 1
        while depth:
            if self._token.kind == "end":
                raise self._mismatch("')'")
            text = self._next().text
            depth += (text == "(") - (text == ")")
        query = self._in_place(start, self._tokens[self._at - 1].start)
        self._expect("TO")
        location = self._string()
        self._expect("WITH")
        return self._done(Unload(query, location, self._properties()))

    def _properties(self) -> Properties:
        """``(name = value, …)`` with values as Trino writes them."""

        def value() -> str | int | bool | list[str]:
            if self._accept("ARRAY"):
                self._expect("[")
                items = [] if self._is("]") else [self._string()]
                while self._accept(","):
                    items.append(self._string())
                self._expect("]")
                return items
            if self._token.kind == "number":
                return int(self._next().text)
            if self._is("TRUE") or self._is("FALSE"):
                return self._next().text.upper() == "TRUE"
            return self._string()

        def pair() -> tuple[str, str | int | bool | list[str]]:
            name = self._identifier()
            self._expect("=")
            return name, value()

        return dict(self._listed(pair))

    def _string_properties(self) -> dict[str, str]:
        """``('name' = 'value', …)`` as Hive writes them."""

        def pair() -> tuple[str, str]:
            name = self._string()
            self._expect("=")
            return name, self._string()

        return dict(self._listed(pair))

    def _create(self) -> Statement:
        self._expect("CREATE")
        if self._is("OR", "REPLACE", "VIEW") or self._is("VIEW"):
            return ChangeView(self._text)
        if self._accept("DATABASE") or self._accept("SCHEMA"):
            return self._create_database()
        if self._accept("EXTERNAL"):
            self._expect("TABLE")
            return self._create_table()
        if not self._accept("TABLE"):
            raise self._mismatch("'DATABASE', 'EXTERNAL', 'OR', 'SCHEMA', 'TABLE', 'VIEW'")
        if_not_exists = self._accept("IF", "NOT", "EXISTS")
        name = self._name()
        if self._is("("):
            if re.search(r"'table_type'\s*=\s*'iceberg'", self._text, re.IGNORECASE):
                raise NotOfferedError(ICEBERG)
            raise StatementError(
                "line 1:8: no viable alternative at input 'CREATE TABLE'. Expecting: 'EXTERNAL'"
            )
        properties = self._properties() if self._accept("WITH") else {}
        self._expect("AS")
        return CreateTableAs(
            name, if_not_exists, properties, self._in_place(self._token.start, len(self._text))
        )

    def _create_database(self) -> CreateDatabase:
        if_not_exists = self._accept("IF", "NOT", "EXISTS")
        name = self._identifier()
        comment = self._string() if self._accept("COMMENT") else None
        location = self._string() if self._accept("LOCATION") else None
        properties = self._string_properties() if self._accept("WITH", "DBPROPERTIES") else {}
        return self._done(CreateDatabase(name, if_not_exists, comment, location, properties))

    def _create_table(self) -> CreateTable:
        if_not_exists = self._accept("IF", "NOT", "EXISTS")
        name = self._name()
        columns = self._listed(self._column)
        comment = self._string() if self._accept("COMMENT") else None
        partitions = self._listed(self._column) if self._accept("PARTITIONED", "BY") else []
        if self._is("CLUSTERED"):
            raise NotOfferedError("CLUSTERED BY is not offered by the local Athena")
        serde: str | None = None
        serde_properties: dict[str, str] = {}
        if self._accept("ROW", "FORMAT"):
            if self._one_of("SERDE", "DELIMITED") == "SERDE":
                serde = self._string()
                if self._accept("WITH", "SERDEPROPERTIES"):
                    serde_properties = self._string_properties()
            else:
                serde_properties = self._delimiters()
        input_format, output_format, default_serde = _FORMATS["TEXTFILE"]
        if self._accept("STORED", "AS"):
            if self._accept("INPUTFORMAT"):
                input_format = self._string()
                self._expect("OUTPUTFORMAT")
                output_format = self._string()
            else:
                input_format, output_format, default_serde = _FORMATS[self._one_of(*_FORMATS)]
        location = self._string() if self._accept("LOCATION") else None
        properties = self._string_properties() if self._accept("TBLPROPERTIES") else {}
        if properties.get("table_type", "").upper() == "ICEBERG":
            raise NotOfferedError(ICEBERG)
        return self._done(
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
                if self._accept(*words, "BY"):
                    properties[key] = self._string()
                    break
            else:
                if not self._accept("NULL", "DEFINED", "AS"):
                    return properties
                properties["serialization.null.format"] = self._string()

    def _column(self) -> Column:
        name = self._identifier()
        kind = self._type()
        return Column(name, kind, self._string() if self._accept("COMMENT") else None)

    def _type(self) -> str:
        """A type of Hive, as Glue writes it: lower-case and without spaces."""
        if self._token.kind != "word":
            raise self._mismatch("<type>")
        name = self._token.text.lower()
        if name in ("array", "map", "struct"):
            self._next()
            self._expect("<")
            parts = [self._field() if name == "struct" else self._type()]
            while self._accept(","):
                parts.append(self._field() if name == "struct" else self._type())
            if name != "struct" and len(parts) != (1 if name == "array" else 2):
                raise self._mismatch(f"the {'element' if name == 'array' else 'key and value'} of the {name}")
            self._expect(">")
            return f"{name}<{','.join(parts)}>"
        name = "int" if name == "integer" else name
        if name not in _TYPES:
            raise self._mismatch("<type>")
        self._next()
        if name in ("decimal", "char", "varchar") and self._is("("):
            numbers = self._listed(self._number)
            return f"{name}({','.join(numbers)})"
        return name

    def _number(self) -> str:
        if self._token.kind != "number":
            raise self._mismatch("<integer>")
        return self._next().text

    def _field(self) -> str:
        name = self._identifier()
        self._expect(":")
        kind = self._type()
        if self._accept("COMMENT"):
            self._string()
        return f"{name}:{kind}"

    def _drop(self) -> Statement:
        self._expect("DROP")
        if self._is("VIEW"):
            return ChangeView(self._text)
        what = self._one_of("TABLE", "DATABASE", "SCHEMA")
        if_exists = self._accept("IF", "EXISTS")
        if what == "TABLE":
            return self._done(DropTable(self._name(), if_exists))
        name = self._identifier()
        cascade = self._accept("CASCADE") or (self._accept("RESTRICT") and False)
        return self._done(DropDatabase(name, if_exists, cascade))

    def _alter(self) -> Statement:
        self._expect("ALTER")
        if not self._accept("TABLE"):
            raise NotOfferedError("Of the ALTER statements only ALTER TABLE is offered by the local Athena")
        name = self._name()
        if self._accept("ADD", "COLUMNS"):
            return self._done(AddColumns(name, tuple(self._listed(self._column))))
        if self._accept("ADD"):
            if_not_exists = self._accept("IF", "NOT", "EXISTS")
            added = []
            while self._accept("PARTITION"):
                values = self._partition()
                added.append((values, self._string() if self._accept("LOCATION") else None))
            if not added:
                raise self._mismatch("'COLUMNS', 'IF', 'PARTITION'")
            return self._done(AddPartitions(name, if_not_exists, tuple(added)))
        if self._accept("DROP"):
            if_exists = self._accept("IF", "EXISTS")
            self._expect("PARTITION")
            dropped = [self._partition()]
            while self._accept(","):
                self._expect("PARTITION")
                dropped.append(self._partition())
            return self._done(DropPartitions(name, if_exists, tuple(dropped)))
        if self._accept("SET", "TBLPROPERTIES"):
            return self._done(SetProperties(name, self._string_properties()))
        if self._accept("SET", "LOCATION"):
            return self._done(SetLocation(name, self._string()))
        if self._is("PARTITION") or self._is("RENAME") or self._is("REPLACE") or self._is("CHANGE"):
            raise NotOfferedError(
                f"ALTER TABLE … {self._token.text.upper()} is not offered by the local Athena"
            )
        raise self._mismatch("'ADD', 'DROP', 'SET'")

    def _partition(self) -> dict[str, str]:
        def pair() -> tuple[str, str]:
            name = self._identifier()
            self._expect("=")
            return name, self._next().text if self._token.kind == "number" else self._string()

        return dict(self._listed(pair))

    def _show(self) -> Statement:
        self._expect("SHOW")
        if self._is("CREATE", "VIEW"):
            return ShowView(self._text)
        if self._accept("CREATE", "TABLE"):
            return self._done(ShowCreateTable(self._name()))
        if self._accept("DATABASES") or self._accept("SCHEMAS"):
            self._accept("LIKE")
            return self._done(ShowDatabases(None if self._token.kind == "end" else self._string()))
        if self._is("TABLES") or self._is("VIEWS"):
            views_only = self._next().text.upper() == "VIEWS"
            database = self._identifier() if self._accept("IN") or self._accept("FROM") else None
            self._accept("LIKE")
            pattern = None if self._token.kind == "end" else self._string()
            return self._done(ShowTables(database, pattern, views_only))
        if self._accept("PARTITIONS"):
            return self._done(ShowPartitions(self._name()))
        if self._accept("COLUMNS"):
            self._one_of("IN", "FROM")
            name = self._name()
            if self._accept("IN") or self._accept("FROM"):
                name = Name(self._identifier(), name.table)
            return self._done(ShowColumns(name))
        if self._accept("TBLPROPERTIES"):
            name = self._name()
            wanted = self._listed(self._string)[0] if self._is("(") else None
            return self._done(ShowProperties(name, wanted))
        raise self._mismatch(
            "'COLUMNS', 'CREATE', 'DATABASES', 'PARTITIONS', 'SCHEMAS', 'TABLES', 'TBLPROPERTIES', 'VIEWS'"
        )


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "0": "\0", "Z": "\x1a"}


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 5:
        return chr(int(code[1:], 16))
    if len(code) == 3:
        return chr(int(code, 8))
    return _ESCAPES.get(code, code)
