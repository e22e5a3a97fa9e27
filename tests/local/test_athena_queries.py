"""What boto3 sees of the local Athena: statements, results, states."""

from __future__ import annotations

import gzip
import json
import time
import uuid
from html import unescape

import pytest
import requests
from botocore.exceptions import ClientError

from tests.credentials import LOGIN
from tests.local.support_athena import OUTPUT, LocalAthena

pytestmark = pytest.mark.trino

DAY = "2026-11-20"


@pytest.fixture(scope="module")
def database(athena: LocalAthena) -> str:
    """A database with a projected JSON table `posts`: three posts of one day, two topics, one broken line."""
    name = athena.database()
    lines = {
        "a": b'{"data":{"id":"1","text":"say \\"hi\\"\\nagain"},"n":1}\nbroken\n'
        b'{"data":{"id":"2","text":""},"n":2}\n',
        "b": b'{"data":{"id":"3"},"n":3}\n',
    }
    for topic, content in lines.items():
        key = f"{name}/posts/topic={topic}/dt={DAY}/x.json.gz"
        athena.s3.put_object(Bucket="athena-tests", Key=key, Body=gzip.compress(content))
    athena.run(
        f"""-- posts
        CREATE EXTERNAL TABLE IF NOT EXISTS posts (
          data struct<id: string, text: string>, n bigint COMMENT 'it''s'
        )
        PARTITIONED BY (topic string, dt string)
        ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
        WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true')
        LOCATION 's3://athena-tests/{name}/posts/'
        TBLPROPERTIES (
          'projection.enabled' = 'true',
          'projection.topic.type' = 'enum', 'projection.topic.values' = 'a,b,c',
          'projection.dt.type' = 'date', 'projection.dt.format' = 'yyyy-MM-dd',
          'projection.dt.range' = '2026-11-18,2026-11-21'
        )""",
        name,
    )
    return name


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    detail = error.value.response["Error"]
    return detail["Code"], detail["Message"]


def test_a_projected_json_table_is_read_and_a_broken_line_is_a_row_of_nulls(
    athena: LocalAthena, database: str
) -> None:
    rows = athena.rows(
        f"SELECT data.id, data.text, n, topic FROM posts WHERE dt = '{DAY}' ORDER BY n", database
    )
    assert rows == [
        ["id", "text", "n", "topic"],
        ["1", 'say "hi"\nagain', "1", "a"],
        ["2", "", "2", "a"],
        ["3", None, "3", "b"],
        [None, None, None, "a"],
    ]


def test_an_execution_tells_states_times_statistics_and_where_its_result_lies(
    athena: LocalAthena, database: str
) -> None:
    execution = athena.run(f"SELECT n AS number, 'x' FROM posts WHERE dt = '{DAY}' AND n = 1", database)
    identity = execution["QueryExecutionId"]
    assert execution["StatementType"] == "DML"
    assert execution["SubstatementType"] == "SELECT"
    assert execution["QueryExecutionContext"] == {"Database": database}
    assert execution["WorkGroup"] == "primary"
    status = execution["Status"]
    assert status["SubmissionDateTime"] <= status["CompletionDateTime"]
    statistics = execution["Statistics"]
    assert statistics["DataScannedInBytes"] > 0
    assert 0 < statistics["EngineExecutionTimeInMillis"] <= statistics["TotalExecutionTimeInMillis"]
    location = execution["ResultConfiguration"]["OutputLocation"]
    assert location == f"{OUTPUT}{identity}.csv"
    assert athena.read(location) == b'"number","_col1"\n"1","x"\n'
    assert [column["Name"] for column in json.loads(athena.read(f"{location}.metadata"))] == [
        "number",
        "_col1",
    ]
    columns = athena.athena.get_query_results(QueryExecutionId=identity)["ResultSet"]["ResultSetMetadata"]
    assert [(column["Name"], column["Type"]) for column in columns["ColumnInfo"]] == [
        ("number", "bigint"),
        ("_col1", "varchar"),
    ]


def test_results_come_in_pages_whose_first_holds_the_header(athena: LocalAthena) -> None:
    sql = "SELECT x, 'a\n\"b\",c' AS y, CAST(NULL AS varchar) AS z FROM UNNEST(sequence(1, 2345)) AS t(x)"
    identity = athena.run(sql)["QueryExecutionId"]
    pages = list(
        athena.athena.get_paginator("get_query_results").paginate(
            QueryExecutionId=identity, PaginationConfig={"PageSize": 1000}
        )
    )
    assert [len(page["ResultSet"]["Rows"]) for page in pages] == [1000, 1000, 346]
    rows = [row["Data"] for page in pages for row in page["ResultSet"]["Rows"]]
    assert rows[0][0] == {"VarCharValue": "x"}
    assert rows[-1][1:] == [{"VarCharValue": 'a\n"b",c'}, {}]
    assert sorted(int(row[0]["VarCharValue"]) for row in rows[1:]) == list(range(1, 2346))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "line 1:1: mismatched input 'SELEC'"),
        ("SELECT *\nFORM posts", "line 2:1: mismatched input 'FORM'"),
        ("CREATE TABLE t AS\nSELECT 1 AS", "line 2:12: mismatched input '<EOF>'"),
        (
            "UNLOAD (SELECT 1 FRM x) TO 's3://athena-tests/u/' WITH (format = 'JSON')",
            "line 1:22: mismatched input 'x'",
        ),
        ("SELECT 1; SELECT 2", "Only one sql statement is allowed. Got: SELECT 1; SELECT 2"),
        ("CREATE TABLE t (a int) TBLPROPERTIES ('table_type' = 'ICEBERG')", "Iceberg tables are not offered"),
    ],
)
def test_what_is_malformed_or_not_offered_is_rejected_at_once(
    athena: LocalAthena, sql: str, message: str
) -> None:
    with pytest.raises(ClientError) as rejection:
        athena.start(sql)
    assert code(rejection)[0] == "InvalidRequestException"
    assert code(rejection)[1].startswith(message)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (
            "SELECT * FROM nope",
            "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.{database}.nope' does not exist",
        ),
        ("SELECT nope FROM posts", "COLUMN_NOT_FOUND: line 1:8: Column 'nope' cannot be resolved"),
        (
            "CREATE TABLE t AS\n SELECT nope AS a FROM posts",
            "COLUMN_NOT_FOUND: line 2:9: Column 'nope' cannot be resolved",
        ),
        ("SELECT 1 / 0", "DIVISION_BY_ZERO: Division by zero"),
        (
            "DELETE FROM posts WHERE n = 1",
            "NOT_SUPPORTED: Modifying Hive table rows is only supported for transactional",
        ),
        (
            "UPDATE posts SET n = 1",
            "NOT_SUPPORTED: Modifying Hive table rows is only supported for transactional",
        ),
        (
            "CREATE TABLE t WITH (table_type = 'ICEBERG') AS SELECT 1 a",
            "NOT_SUPPORTED: Iceberg tables are not offered",
        ),
        (
            "CREATE TABLE t WITH (color = 'red') AS SELECT 1 a",
            "INVALID_TABLE_PROPERTY: Table property 'color'",
        ),
        (
            "CREATE TABLE t AS SELECT timestamp '2026-11-20 05:00:00 UTC' AS a",
            "NOT_SUPPORTED: Unsupported Hive type",
        ),
        ("DROP TABLE nope", "FAILED: SemanticException [Error 10001]: Table not found {database}.nope"),
        ("CREATE DATABASE {database}", "FAILED: Execution Error, return code 1"),
        (
            "CREATE EXTERNAL TABLE posts (a int) LOCATION 's3://athena-tests/x/'",
            "FAILED: Execution Error, return code 1",
        ),
        ("SHOW PARTITIONS nope", "FAILED: SemanticException [Error 10001]: Table not found {database}.nope"),
    ],
)
def test_what_cannot_be_carried_out_fails_with_its_reason(
    athena: LocalAthena, database: str, sql: str, reason: str
) -> None:
    execution = athena.end(athena.start(sql.format(database=database), database))
    assert execution["Status"]["State"] == "FAILED"
    assert execution["Status"]["StateChangeReason"].startswith(reason.format(database=database))
    assert execution["Status"]["AthenaError"]["ErrorCategory"] == 2
    with pytest.raises(ClientError, match="Final query state: FAILED"):
        athena.athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])
    address = f"{athena.aws.endpoint}/_local/athena/queries/{execution['QueryExecutionId']}"
    page = unescape(requests.get(address, auth=LOGIN, timeout=10).text)
    assert execution["Status"]["StateChangeReason"] in page
    assert sql.format(database=database) in page
    assert "TotalExecutionTimeInMillis" in page


def test_a_view_stands_in_glue_and_is_replaced(athena: LocalAthena, database: str) -> None:
    for expression, total in (("sum(n)", "6"), ("sum(n) * 2", "12")):
        execution = athena.run(
            f"CREATE OR REPLACE VIEW v AS SELECT {expression} AS total FROM posts", database
        )
        assert execution["StatementType"] == "DDL"
        assert execution["ResultConfiguration"]["OutputLocation"].endswith(".txt")
        assert athena.rows("SELECT total FROM v", database) == [["total"], [total]]
    assert athena.glue.get_table(DatabaseName=database, Name="v")["Table"]["TableType"] == "VIRTUAL_VIEW"
    assert athena.rows("SHOW VIEWS", database) == [["v"]]
    athena.run("DROP VIEW v", database)
    assert athena.rows("SHOW VIEWS", database) == []


def test_a_ctas_writes_partitioned_objects_and_names_them_in_its_manifest(
    athena: LocalAthena, database: str
) -> None:
    execution = athena.run(
        "CREATE TABLE c"
        " WITH (format = 'PARQUET', write_compression = 'SNAPPY', partitioned_by = ARRAY['topic'])"
        f" AS SELECT n, topic FROM posts WHERE dt = '{DAY}' AND n IS NOT NULL",
        database,
    )
    assert (execution["StatementType"], execution["SubstatementType"]) == ("DDL", "CREATE_TABLE_AS_SELECT")
    output = execution["ResultConfiguration"]["OutputLocation"]
    assert output == f"{OUTPUT}tables/{execution['QueryExecutionId']}"
    manifest = execution["Statistics"]["DataManifestLocation"]
    assert manifest == f"{output}-manifest.csv"
    files = athena.read(manifest).decode().splitlines()
    assert {file.removeprefix(f"{output}/").split("/")[0] for file in files} == {"topic=a", "topic=b"}
    assert all(athena.read(file)[:4] == b"PAR1" for file in files)
    assert athena.rows("SELECT topic, sum(n) FROM c GROUP BY 1 ORDER BY 1", database)[1:] == [
        ["a", "3"],
        ["b", "3"],
    ]
    inserted = athena.run("INSERT INTO c SELECT 10, 'z'", database)
    assert (inserted["StatementType"], inserted["SubstatementType"]) == ("DML", "INSERT")
    assert len(athena.read(inserted["Statistics"]["DataManifestLocation"]).splitlines()) == 1
    result = athena.athena.get_query_results(QueryExecutionId=inserted["QueryExecutionId"])
    assert result["UpdateCount"] == 1
    assert athena.rows("SHOW PARTITIONS c", database) == [["topic=a"], ["topic=b"], ["topic=z"]]
    athena.run("DROP TABLE c", database)
    assert athena.read(files[0])


def test_a_ctas_goes_where_it_says_unless_something_is_there(athena: LocalAthena, database: str) -> None:
    location = f"s3://athena-tests/{database}/elsewhere/"
    sql = f"CREATE TABLE e WITH (format = 'JSON', external_location = '{location}') AS SELECT 1 AS a"
    files = athena.read(athena.run(sql, database)["Statistics"]["DataManifestLocation"]).decode().split()
    assert [file.startswith(location) for file in files] == [True]
    athena.run("DROP TABLE e", database)
    assert athena.fails(sql, database).startswith("HIVE_PATH_ALREADY_EXISTS: Target directory for table")


@pytest.mark.parametrize(
    ("properties", "content"),
    [
        ("format = 'JSON', compression = 'NONE'", b'{"n":3,"topic":"b"}\n'),
        ("format = 'TEXTFILE', field_delimiter = ',', compression = 'NONE'", b"3,b\n"),
    ],
)
def test_unload_writes_objects_and_leaves_no_table(
    athena: LocalAthena, database: str, properties: str, content: bytes
) -> None:
    target = f"s3://athena-tests/{database}/{uuid.uuid4().hex}/"
    before = athena.rows("SHOW DATABASES")
    execution = athena.run(
        f"UNLOAD (SELECT n, topic FROM posts WHERE dt = '{DAY}' AND n = 3) TO '{target}' WITH ({properties})",
        database,
    )
    assert (execution["StatementType"], execution["SubstatementType"]) == ("DML", "UNLOAD")
    (file,) = athena.read(execution["Statistics"]["DataManifestLocation"]).decode().split()
    assert file.startswith(target)
    assert athena.read(file) == content
    assert athena.rows("SHOW DATABASES") == before


def test_parameters_are_bound(athena: LocalAthena, database: str) -> None:
    rows = athena.rows(
        "SELECT data.id FROM posts WHERE dt = ? AND n > ? ORDER BY n",
        database,
        ExecutionParameters=[f"'{DAY}'", "1"],
    )
    assert rows == [["id"], ["2"], ["3"]]


def test_partitions_are_found_added_dropped_and_used(athena: LocalAthena) -> None:
    database = athena.database()
    for hour in (5, 6):
        key = f"{database}/p/dt={DAY}/h={hour}/x.csv"
        athena.s3.put_object(Bucket="athena-tests", Key=key, Body=f"{hour}\n".encode())
    athena.run(
        "CREATE EXTERNAL TABLE p (n bigint) PARTITIONED BY (dt string, h int)"
        f" ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' LOCATION 's3://athena-tests/{database}/p'",
        database,
    )
    assert athena.rows("SELECT n FROM p", database) == [["n"]]
    repaired = athena.rows("MSCK REPAIR TABLE p", database)
    assert repaired[1:] == [[f"Repair: Added partition to metastore p:dt={DAY}/h={hour}"] for hour in (5, 6)]
    assert athena.rows("MSCK REPAIR TABLE p", database) == []
    assert athena.rows(f"SELECT n, h FROM p WHERE dt = '{DAY}' AND h > 5", database)[1:] == [["6", "6"]]
    add = f"ALTER TABLE p ADD {{}} PARTITION (dt = 'x', h = 1) LOCATION 's3://athena-tests/{database}/p/dt={DAY}/h=5/'"
    athena.run(add.format("IF NOT EXISTS"), database)
    athena.run(add.format("IF NOT EXISTS"), database)
    assert "AlreadyExistsException" in athena.fails(add.format(""), database)
    assert athena.rows("SELECT n FROM p WHERE dt = 'x'", database)[1:] == [["5"]]
    athena.run("ALTER TABLE p DROP PARTITION (dt = 'x', h = 1)", database)
    assert athena.rows("SHOW PARTITIONS p", database) == [[f"dt={DAY}/h=5"], [f"dt={DAY}/h=6"]]
    athena.run("ALTER TABLE p SET TBLPROPERTIES ('k' = 'v')", database)
    assert athena.rows("SHOW TBLPROPERTIES p('k')", database) == [["v"]]


def test_the_catalog_is_described(athena: LocalAthena, database: str) -> None:
    described = [row[0] for row in athena.rows("DESCRIBE posts", database)]
    assert str(described[1]).split("\t") == ["n".ljust(20), "bigint".ljust(20), "it's".ljust(20)]
    assert "# Partition Information\t \t " in described
    assert ["posts"] in athena.rows("SHOW TABLES", database)
    assert athena.rows("SHOW TABLES 'nothing*'", database) == []
    definition = "\n".join(str(row[0]) for row in athena.rows("SHOW CREATE TABLE posts", database))
    again = athena.database()
    athena.run(definition.replace(f"`{database}.posts`", f"`{again}`.`posts`"), again)
    tables = [athena.glue.get_table(DatabaseName=name, Name="posts")["Table"] for name in (database, again)]
    assert tables[0]["StorageDescriptor"] == tables[1]["StorageDescriptor"]
    table = athena.athena.get_table_metadata(
        CatalogName="AwsDataCatalog", DatabaseName=database, TableName="posts"
    )
    assert [column["Name"] for column in table["TableMetadata"]["PartitionKeys"]] == ["topic", "dt"]
    names = [
        entry["Name"] for entry in athena.athena.list_databases(CatalogName="AwsDataCatalog")["DatabaseList"]
    ]
    assert database in names


def test_explain_validates_without_running(athena: LocalAthena, database: str) -> None:
    execution = athena.run("EXPLAIN (TYPE VALIDATE) SELECT n FROM posts", database)
    assert execution["StatementType"] == "UTILITY"
    assert athena.fails("EXPLAIN SELECT nope FROM posts", database).startswith("COLUMN_NOT_FOUND: line 1:16")


def test_a_stopped_query_is_canceled_at_trino_too(athena: LocalAthena) -> None:
    identity = athena.start_long()
    with pytest.raises(ClientError, match=r"Query has not yet finished\. Current state: RUNNING"):
        athena.athena.get_query_results(QueryExecutionId=identity)
    athena.athena.stop_query_execution(QueryExecutionId=identity)
    assert athena.end(identity)["Status"]["State"] == "CANCELLED"
    running = (
        "SELECT count(*) FROM system.runtime.queries WHERE state = 'RUNNING' AND query LIKE '%x*y*z%7=3'"
    )
    deadline = time.monotonic() + 60
    while athena.rows(running)[1] != ["0"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_same_token_brings_the_same_execution(athena: LocalAthena) -> None:
    token = uuid.uuid4().hex
    first = athena.start("SELECT 1", ClientRequestToken=token)
    assert athena.start("SELECT 1", ClientRequestToken=token) == first
    with pytest.raises(ClientError) as rejection:
        athena.start("SELECT 2", ClientRequestToken=token)
    assert code(rejection) == ("InvalidRequestException", "Idempotent parameters do not match")


def test_a_workgroup_that_is_enforced_decides_where_results_go(athena: LocalAthena) -> None:
    name = f"w-{uuid.uuid4().hex[:8]}"
    with pytest.raises(ClientError, match=f"WorkGroup {name} is not found"):
        athena.start("SELECT 1", WorkGroup=name)
    athena.athena.create_work_group(
        Name=name,
        Configuration={"ResultConfiguration": {"OutputLocation": "s3://athena-tests/enforced"}},
    )
    with pytest.raises(ClientError, match="already created"):
        athena.athena.create_work_group(Name=name)
    execution = athena.run("SELECT 1", WorkGroup=name)
    assert execution["ResultConfiguration"]["OutputLocation"].startswith("s3://athena-tests/enforced/")
    assert athena.athena.list_query_executions(WorkGroup=name)["QueryExecutionIds"] == [
        execution["QueryExecutionId"]
    ]
    with pytest.raises(ClientError, match="enforces a centralized output location"):
        athena.start(
            "CREATE TABLE t WITH (external_location = 's3://athena-tests/x/') AS SELECT 1 a", WorkGroup=name
        )
    athena.athena.update_work_group(
        WorkGroup=name, ConfigurationUpdates={"EnforceWorkGroupConfiguration": False}, State="ENABLED"
    )
    execution = athena.run("SELECT 1", WorkGroup=name)
    assert execution["ResultConfiguration"]["OutputLocation"].startswith(OUTPUT)
    athena.athena.update_work_group(WorkGroup=name, State="DISABLED")
    with pytest.raises(ClientError, match="is disabled"):
        athena.start("SELECT 1", WorkGroup=name)
    with pytest.raises(ClientError, match="is not empty"):
        athena.athena.delete_work_group(WorkGroup=name)
    athena.athena.delete_work_group(WorkGroup=name, RecursiveDeleteOption=True)


def test_requests_that_athena_rejects_are_rejected(athena: LocalAthena) -> None:
    client = athena.athena
    unknown = str(uuid.uuid4())
    results = {"OutputLocation": OUTPUT}
    for message, call in {
        "No output location provided": lambda: client.start_query_execution(QueryString="SELECT 1"),
        "not a valid S3 path": lambda: athena.start(
            "SELECT 1", ResultConfiguration={"OutputLocation": "/tmp/x"}
        ),
        "Unable to verify/create output bucket no-such-bucket": lambda: athena.start(
            "SELECT 1", ResultConfiguration={"OutputLocation": "s3://no-such-bucket/"}
        ),
        "Catalog hive was not found": lambda: client.start_query_execution(
            QueryString="SELECT 1", QueryExecutionContext={"Catalog": "hive"}, ResultConfiguration=results
        ),
        f"QueryExecution {unknown} was not found": lambda: client.get_query_execution(
            QueryExecutionId=unknown
        ),
        "Query string exceeds": lambda: athena.start("SELECT '" + "é" * 131_072 + "'"),
    }.items():
        with pytest.raises(ClientError, match=message) as rejection:
            call()
        assert code(rejection)[0] == "InvalidRequestException"
    with pytest.raises(ClientError) as rejection:
        client.create_named_query(Name="n", Database="d", QueryString="SELECT 1")
    assert code(rejection)[0] == "UnknownOperationException"
    batch = client.batch_get_query_execution(QueryExecutionIds=[unknown])
    assert [entry["QueryExecutionId"] for entry in batch["UnprocessedQueryExecutionIds"]] == [unknown]
