"""Clients that know nothing of the local Athena: awswrangler and Airflow's operator; and its restart."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.support_athena import OUTPUT, LocalAthena
from tests.local.support_aws import CREDENTIALS, LocalAws

pytestmark = pytest.mark.trino

ENVIRONMENT = {name.upper(): value for name, value in CREDENTIALS.items() if name != "region_name"}


@pytest.fixture
def environment(athena: LocalAthena, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        **ENVIRONMENT,
        "AWS_ENDPOINT_URL": athena.aws.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def database(athena: LocalAthena) -> str:
    return athena.database()


@pytest.mark.parametrize("approach", [{"ctas_approach": True}, {"unload_approach": True}, {}])
def test_awswrangler_reads_typed_rows_in_each_of_its_ways(
    athena: LocalAthena, database: str, environment: None, approach: dict[str, Any]
) -> None:
    import awswrangler

    frame = awswrangler.athena.read_sql_query(
        "SELECT * FROM (VALUES (bigint '1', 'a', timestamp '2026-11-20 05:00:00.123', date '2026-11-20',"
        " 0.5e0), (bigint '2', NULL, NULL, NULL, NULL)) AS t (n, name, at, day, share) ORDER BY n",
        database=database,
        s3_output=f"s3://athena-tests/{uuid.uuid4().hex}/",
        **{"ctas_approach": False, **approach},
    )
    assert frame["n"].tolist() == [1, 2]
    assert frame["name"].fillna("none").tolist() == ["a", "none"]
    assert str(frame["at"][0]) == "2026-11-20 05:00:00.123000"
    assert frame["day"][0] == date(2026, 11, 20)
    assert frame["share"][0] == 0.5
    assert athena.rows("SHOW TABLES", database) == []


def test_awswrangler_sees_an_empty_result_and_a_failure(
    athena: LocalAthena, database: str, environment: None
) -> None:
    import awswrangler

    output = f"s3://athena-tests/{uuid.uuid4().hex}/"
    empty = awswrangler.athena.read_sql_query(
        "SELECT * FROM (VALUES 1) AS t (n) WHERE n > 1", database=database, s3_output=output
    )
    assert list(empty.columns) == ["n"]
    assert len(empty) == 0
    with pytest.raises(awswrangler.exceptions.QueryFailed, match="TABLE_NOT_FOUND: line 1:15: Table"):
        awswrangler.athena.read_sql_query(
            "SELECT * FROM nope", database=database, s3_output=output, ctas_approach=False
        )


def operator(database: str, query: str, **parameters: Any) -> Any:
    from airflow.providers.amazon.aws.operators.athena import AthenaOperator

    return AthenaOperator(
        task_id="query",
        query=query,
        database=database,
        output_location=OUTPUT,
        aws_conn_id=None,
        sleep_time=1,
        log_query=False,
        **parameters,
    )


def test_airflows_operator_runs_a_query_and_fails_with_its_reason(
    athena: LocalAthena, database: str, environment: None
) -> None:
    identity = operator(database, "SELECT 1").execute({})
    assert athena.end(identity)["Status"]["State"] == "SUCCEEDED"
    with pytest.raises(Exception, match="TABLE_NOT_FOUND"):
        operator(database, "SELECT * FROM nope").execute({})


def test_airflows_operator_stops_its_query_when_it_is_killed(
    athena: LocalAthena, database: str, environment: None
) -> None:
    sequence = "UNNEST(sequence(1, 10000))"
    query = operator(
        database,
        f"SELECT count(*) FROM {sequence} a(x), {sequence} b(y), {sequence} c(z)",
        max_polling_attempts=1,
    )
    with pytest.raises(Exception, match=r"RUNNING|QUEUED|max"):
        query.execute({})
    query.on_kill()
    assert athena.end(query.query_execution_id)["Status"]["State"] == "CANCELLED"


def test_airflows_operator_defers(athena: LocalAthena, database: str, environment: None) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as deferred:
        operator(database, "SELECT 1", deferrable=True).execute({})
    trigger: Any = deferred.value.trigger

    async def event() -> Any:
        return await anext(trigger.run())

    payload = asyncio.run(event()).payload
    assert payload["status"] == "success"
    assert athena.end(payload["value"])["Status"]["State"] == "SUCCEEDED"


def test_the_history_survives_a_restart_and_what_ran_has_failed(tmp_path: Path) -> None:
    """No Trino answers here, so the query waits in the queue until the server is killed."""
    aws = LocalAws(tmp_path, "--trino-url", "http://127.0.0.1:9").start()
    try:
        client = aws.client("athena")
        aws.client("s3").create_bucket(Bucket="results")
        aws.client("glue").create_database(DatabaseInput={"Name": "d"})
        client.create_work_group(
            Name="w", Configuration={"ResultConfiguration": {"OutputLocation": "s3://results/"}}
        )
        shown = client.start_query_execution(QueryString="SHOW DATABASES", WorkGroup="w")["QueryExecutionId"]
        deadline = time.monotonic() + 60
        while client.get_query_execution(QueryExecutionId=shown)["QueryExecution"]["Status"]["State"] in (
            "QUEUED",
            "RUNNING",
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        waiting = client.start_query_execution(QueryString="SELECT 1", WorkGroup="w")["QueryExecutionId"]
        with pytest.raises(ClientError, match="Current state: QUEUED"):
            client.get_query_results(QueryExecutionId=waiting)
        aws.restart(signal.SIGKILL)
        status = client.get_query_execution(QueryExecutionId=waiting)["QueryExecution"]["Status"]
        assert status["State"] == "FAILED"
        assert status["AthenaError"]["Retryable"] is True
        rows = client.get_query_results(QueryExecutionId=shown)["ResultSet"]["Rows"]
        assert rows == [{"Data": [{"VarCharValue": "d"}]}]
        assert set(client.list_query_executions(WorkGroup="w")["QueryExecutionIds"]) == {shown, waiting}
    finally:
        aws.stop()
