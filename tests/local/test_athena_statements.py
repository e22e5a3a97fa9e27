from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.aws.athena import statements as s
from local.aws.athena.parser import parse
from local.aws.athena.results import csv_line, csv_rows, to_text, trino_column

NAME = s.Name(None, "t")


@pytest.mark.parametrize(
    ("sql", "statement"),
    [
        ("SELECT 1 -- a; b", s.Select("SELECT 1")),
        (
            "/* first */ with a as (select 1) select * from a ;",
            s.Select("/* first */ with a as (select 1) select * from a"),
        ),
        ("DROP TABLE IF EXISTS `d`.`T`;", s.DropTable(s.Name("d", "t"), True)),
        ("DROP TABLE AwsDataCatalog.d.t", s.DropTable(s.Name("d", "t"), False)),
        ("CREATE SCHEMA IF NOT EXISTS d", s.CreateDatabase("d", True, None, None, {})),
        ("drop database d cascade", s.DropDatabase("d", False, True)),
        ("MSCK REPAIR TABLE t", s.RepairTable(NAME)),
        ("SHOW TABLES IN d 'a*'", s.ShowTables("d", "a*", False)),
        ("SHOW DATABASES LIKE 'a'", s.ShowDatabases("a")),
        ("DESCRIBE `t`", s.Describe(NAME)),
        (
            "ALTER TABLE t ADD IF NOT EXISTS PARTITION (a='1', b=2) LOCATION 's3://b' PARTITION (a='2', b=3)",
            s.AddPartitions(NAME, True, (({"a": "1", "b": "2"}, "s3://b"), ({"a": "2", "b": "3"}, None))),
        ),
        (
            "ALTER TABLE t DROP PARTITION (a='1'), PARTITION (a='2')",
            s.DropPartitions(NAME, False, ({"a": "1"}, {"a": "2"})),
        ),
        ('ALTER TABLE t SET TBLPROPERTIES ("a"="b")', s.SetProperties(NAME, {"a": "b"})),
        (r"ALTER TABLE t SET LOCATION 's3://b/it\'s'", s.SetLocation(NAME, "s3://b/it's")),
        (r"SELECT '\'", s.Select(r"SELECT '\'")),
        ("ALTER TABLE t ADD COLUMNS (a int)", s.AddColumns(NAME, (s.Column("a", "int"),))),
    ],
)
def test_statements_are_read(sql: str, statement: s.Statement) -> None:
    assert parse(sql) == statement


def test_a_table_is_read_whole() -> None:
    statement = parse(
        """-- a comment
        CREATE EXTERNAL TABLE IF NOT EXISTS d.t (
          a INTEGER COMMENT 'it''s', `b c` array<struct<x:string, y : map<int,decimal(10,2)>>>
        ) COMMENT 'all' PARTITIONED BY (p string)
        ROW FORMAT DELIMITED FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' NULL DEFINED AS ''
        STORED AS TEXTFILE LOCATION 's3://b/t/' TBLPROPERTIES ('k'='v')"""
    )
    assert isinstance(statement, s.CreateTable)
    assert statement.columns == (
        s.Column("a", "int", "it's"),
        s.Column("b c", "array<struct<x:string,y:map<int,decimal(10,2)>>>"),
    )
    assert statement.partitions == (s.Column("p", "string"),)
    assert statement.serde_properties == {
        "serialization.format": "1",
        "field.delim": "\t",
        "escape.delim": "\\",
        "serialization.null.format": "",
    }
    assert (statement.location, statement.comment, statement.properties) == ("s3://b/t/", "all", {"k": "v"})


def test_the_query_of_a_ctas_keeps_its_place() -> None:
    statement = parse("CREATE TABLE t\nWITH (format = 'ORC', partitioned_by = ARRAY['a'])\nAS SELECT 1 a")
    assert isinstance(statement, s.CreateTableAs)
    assert statement.properties == {"format": "ORC", "partitioned_by": ["a"]}
    assert statement.query.splitlines()[2] == "   SELECT 1 a"
    assert not "".join(statement.query.splitlines()[:2]).strip()


def test_the_query_of_an_unload_ends_at_its_own_parenthesis() -> None:
    statement = parse("UNLOAD (SELECT ')' || \"(\" FROM (VALUES 1)) TO 's3://b/x/' WITH (format = 'JSON')")
    assert isinstance(statement, s.Unload)
    assert statement.query.strip() == "SELECT ')' || \"(\" FROM (VALUES 1)"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "has no statement"),
        (" -- nothing\n;", "has no statement"),
        ("SELECT 1; SELECT 2", "Only one sql statement is allowed. Got: SELECT 1; SELECT 2"),
        ("SELEC 1", "line 1:1: mismatched input 'SELEC'"),
        ("CREATE TABLE t (a int)", "line 1:8: no viable alternative"),
        ("CREATE EXTERNAL TABLE t (a text)", "line 1:28: mismatched input 'text'. Expecting: <type>"),
        ("CREATE EXTERNAL TABLE t\n(a int", "line 2:7: mismatched input '<EOF>'. Expecting: ')'"),
        ("ALTER TABLE t ADD", "line 1:18: mismatched input"),
        ("DROP TABLE t x", "line 1:14: mismatched input 'x'. Expecting: <EOF>"),
        ("INSERT OVERWRITE TABLE t SELECT 1", "Expecting: 'INTO'"),
    ],
)
def test_malformed_statements_are_rejected_with_the_place(sql: str, message: str) -> None:
    with pytest.raises(s.StatementError) as rejection:
        parse(sql)
    assert message in str(rejection.value)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (a int) LOCATION 's3://b/' TBLPROPERTIES ('table_type' = 'ICEBERG')",
        "CREATE EXTERNAL TABLE t (a int) LOCATION 's3://b/' TBLPROPERTIES ('table_type'='iceberg')",
        "OPTIMIZE t REWRITE DATA USING BIN_PACK",
        "VACUUM t",
        "PREPARE p FROM SELECT 1",
        "ALTER TABLE t RENAME TO u",
        "DROP TABLE other.d.t",
    ],
)
def test_what_is_not_offered_says_so(sql: str) -> None:
    with pytest.raises(s.NotOfferedError, match="not offered by the local Athena"):
        parse(sql)


@given(st.lists(st.lists(st.none() | st.text(), min_size=2, max_size=2), max_size=5), st.integers(1, 7))
def test_what_is_written_as_csv_is_read_back_from_blocks_of_any_size(
    rows: list[list[str | None]], size: int
) -> None:
    data = b"".join(csv_line(row) for row in rows)
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    read = list(csv_rows(blocks))
    assert [row for row, _ in read] == rows
    assert (read[-1][1] if read else 0) == len(data)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "bigint", None),
        (True, "boolean", "true"),
        (1e10, "double", "1.0E10"),
        (1.5e-5, "double", "1.5E-5"),
        (0.001, "double", "0.001"),
        (123456.0, "double", "123456.0"),
        ("NaN", "double", "NaN"),
        ("1.50", "decimal(10,2)", "1.50"),
        ("2026-11-20 05:00:00", "timestamp(0)", "2026-11-20 05:00:00.000"),
        ("2026-11-20 05:00:00.5 UTC", "timestamp(1) with time zone", "2026-11-20 05:00:00.500 UTC"),
        ("aGk=", "varbinary", "68 69"),
        ([1, None], "array(integer)", "[1, null]"),
        ({"k": [True]}, "map(varchar, array(boolean))", "{k=[true]}"),
        ([1, "x"], 'row(a bigint, "b c" varchar(3))', "{a=1, b c=x}"),
        ([[1.0]], "row(a row(b double))", "{a={b=1.0}}"),
        (
            [1, "2026-11-20 05:00:00"],
            "row(integer, timestamp(0))",
            "{field0=1, field1=2026-11-20 05:00:00.000}",
        ),
    ],
)
def test_values_are_written_as_athena_writes_them(value: object, kind: str, text: str | None) -> None:
    assert to_text(value, kind) == text


@pytest.mark.parametrize(
    ("trino", "athena"),
    [
        ("bigint", ("bigint", 19, 0)),
        ("real", ("float", 17, 0)),
        ("decimal(10,2)", ("decimal", 10, 2)),
        ("timestamp(3)", ("timestamp", 3, 0)),
        ("timestamp(3) with time zone", ("timestamp with time zone", 3, 0)),
        ("varchar", ("varchar", 2147483647, 0)),
        ("row(a decimal(3,1))", ("row", 0, 0)),
        ("array(varchar(3))", ("array", 0, 0)),
    ],
)
def test_types_are_named_as_athena_names_them(trino: str, athena: tuple[str, int, int]) -> None:
    column = trino_column("c", trino)
    assert (column.Type, column.Precision, column.Scale) == athena
