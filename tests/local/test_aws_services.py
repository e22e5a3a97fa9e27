"""The other services: what they keep, what they lack, and Airflow's own clients against them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from include.settings import Settings
from local.aws.bootstrap import bootstrap
from tests.credentials import AWS_ENVIRONMENT, CREDENTIALS
from tests.local.support_aws import ROOT, LocalAws


@pytest.fixture
def environment(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a process of the pipeline finds in its environment."""
    for name, value in {
        "AIRFLOW_HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": aws.endpoint,
        **AWS_ENVIRONMENT,
    }.items():
        monkeypatch.setenv(name, value)


def table(name: str) -> dict[str, object]:
    return {
        "Name": name,
        "PartitionKeys": [{"Name": "dt", "Type": "string"}],
        "Parameters": {"projection.enabled": "true"},
        "StorageDescriptor": {
            "Columns": [{"Name": "n", "Type": "bigint"}, {"Name": "m", "Type": "bigint"}],
            "Location": "s3://lake/t/",
        },
    }


def statistics(column: str, distinct: int) -> dict[str, object]:
    return {
        "ColumnName": column,
        "ColumnType": "bigint",
        "AnalyzedTime": datetime(2026, 11, 20, tzinfo=UTC),
        "StatisticsData": {
            "Type": "LONG",
            "LongColumnStatisticsData": {"NumberOfNulls": 0, "NumberOfDistinctValues": distinct},
        },
    }


def test_column_statistics_are_kept_and_given_back(aws: LocalAws) -> None:
    glue = aws.client("glue")
    database = f"d_{uuid.uuid4().hex}"
    glue.create_database(DatabaseInput={"Name": database})
    glue.create_table(DatabaseName=database, TableInput=table("t"))
    partition = {"Values": ["2026-11-20"], "StorageDescriptor": {"Location": "s3://lake/t/dt=2026-11-20/"}}
    glue.create_partition(DatabaseName=database, TableName="t", PartitionInput=partition)
    named = {"DatabaseName": database, "TableName": "t"}
    for level, where in (("table", named), ("partition", {**named, "PartitionValues": ["2026-11-20"]})):
        update = getattr(glue, f"update_column_statistics_for_{level}")
        get = getattr(glue, f"get_column_statistics_for_{level}")
        delete = getattr(glue, f"delete_column_statistics_for_{level}")
        assert update(**where, ColumnStatisticsList=[statistics("n", 1), statistics("m", 2)])["Errors"] == []
        update(**where, ColumnStatisticsList=[statistics("n", 3)])
        found = get(**where, ColumnNames=["n", "m", "none"])
        assert found["ColumnStatisticsList"] == [statistics("n", 3), statistics("m", 2)]
        assert [error["ColumnName"] for error in found["Errors"]] == ["none"]
        delete(**where, ColumnName="n")
        assert [
            entry["ColumnName"] for entry in get(**where, ColumnNames=["n", "m"])["ColumnStatisticsList"]
        ] == ["m"]
        delete(**where, ColumnName="n")
    with pytest.raises(ClientError) as error:
        glue.get_column_statistics_for_table(DatabaseName=database, TableName="none", ColumnNames=["n"])
    assert error.value.response["Error"]["Code"] == "EntityNotFoundException"


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_every_services_state_survives_the_end_of_the_server(
    new_aws: Callable[..., LocalAws], by: signal.Signals
) -> None:
    aws = new_aws()
    settings = Settings()
    bootstrap(aws.endpoint, settings, CREDENTIALS, connections={"x_api": {"conn_type": "http"}})
    glue = aws.client("glue")
    glue.create_database(DatabaseInput={"Name": "d"})
    glue.create_table(DatabaseName="d", TableInput=table("t"))
    glue.update_table(DatabaseName="d", TableInput={**table("t"), "Description": "second"})
    glue.update_column_statistics_for_table(
        DatabaseName="d", TableName="t", ColumnStatisticsList=[statistics("n", 3)]
    )
    cloudwatch = aws.client("cloudwatch")
    cloudwatch.put_metric_data(Namespace="x", MetricData=[{"MetricName": "posts", "Value": 3.0}])
    written = aws.state / "services" / "cloudwatch.pickle"
    deadline = time.monotonic() + 60
    while by == signal.SIGKILL and not written.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    firehose = aws.client("firehose").describe_delivery_stream(DeliveryStreamName=settings.delivery_stream)
    before = glue.get_table(DatabaseName="d", Name="t")["Table"]
    aws.restart(by)
    assert glue.get_table(DatabaseName="d", Name="t")["Table"] == before
    found = glue.get_column_statistics_for_table(DatabaseName="d", TableName="t", ColumnNames=["n"])
    assert found["ColumnStatisticsList"] == [statistics("n", 3)]
    vault = aws.client("secretsmanager")
    assert (
        vault.get_secret_value(SecretId=settings.x_token_secret)["SecretString"] == CREDENTIALS.x_bearer_token
    )
    assert json.loads(vault.get_secret_value(SecretId="airflow/connections/x_api")["SecretString"]) == {
        "conn_type": "http"
    }
    after = aws.client("firehose").describe_delivery_stream(DeliveryStreamName=settings.delivery_stream)
    assert after["DeliveryStreamDescription"] == firehose["DeliveryStreamDescription"]
    assert [metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace="x")["Metrics"]] == ["posts"]
    role = aws.client("iam").get_role(RoleName=f"{settings.delivery_stream}-firehose")["Role"]
    assert role["Arn"] == "arn:aws:iam::123456789012:role/x-opinion-firehose"


def test_the_account_is_the_same_whatever_the_credentials(aws: LocalAws) -> None:
    assert aws.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_airflows_secrets_backend_finds_the_connection(aws: LocalAws, environment: None) -> None:
    from airflow.providers.amazon.aws.secrets.secrets_manager import SecretsManagerBackend

    bootstrap(aws.endpoint, Settings(bucket=f"b-{uuid.uuid4().hex}"), CREDENTIALS)
    backend = SecretsManagerBackend(connections_prefix="airflow/connections")
    connection = json.loads(str(backend.get_conn_value("aws_default")))
    assert connection["extra"]["endpoint_url"] == aws.endpoint
    assert backend.get_conn_value("none") is None


def test_airflows_s3_hook_and_sensor_work(aws: LocalAws, environment: None) -> None:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor

    hook = S3Hook(aws_conn_id=None)
    bucket = f"b-{uuid.uuid4().hex}"
    hook.create_bucket(bucket)
    hook.load_string("text", "a/b.txt", bucket)
    assert hook.read_key("a/b.txt", bucket) == "text"
    assert hook.list_keys(bucket, prefix="a/") == ["a/b.txt"]
    for key, present in (("a/*.txt", True), ("a/none", False)):
        sensor = S3KeySensor(
            task_id="s", bucket_key=key, bucket_name=bucket, wildcard_match=True, aws_conn_id=None
        )
        assert sensor.poke({}) is present


def test_a_port_that_is_taken_is_said_in_one_sentence(aws: LocalAws, tmp_path: Path) -> None:
    port = aws.endpoint.rsplit(":", 1)[1]
    run = subprocess.run(
        [sys.executable, "-m", "local.aws", "--port", port, "--state", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert f"127.0.0.1:{port} cannot be bound" in run.stderr
    assert "Traceback" not in run.stderr


def test_state_of_another_version_is_rejected(new_aws: Callable[..., LocalAws]) -> None:
    aws = new_aws()
    aws.client("s3").create_bucket(Bucket="lake")
    aws.stop()
    (aws.state / "services" / "s3.pickle").write_bytes(b"something else")
    run = subprocess.run(
        [sys.executable, "-m", "local.aws", "--port", "0", "--state", str(aws.state)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "delete the state folder" in run.stderr
    assert "Traceback" not in run.stderr
    (aws.state / "services" / "s3.pickle").unlink()
    aws.start()


def test_a_service_answers_with_the_error_that_it_was_told_and_then_as_before(aws: LocalAws) -> None:
    s3, glue = aws.client("s3"), aws.client("glue")
    s3.create_bucket(Bucket="rejecting")
    aws.reject("s3", "PUT /rejecting/a", "SlowDown", 503, message="Please reduce your request rate.")
    fault = aws.reject("glue", "GetDatabase$", "ThrottlingException", times=2)
    s3.put_object(Bucket="rejecting", Key="b", Body=b"")
    with pytest.raises(ClientError, match=r"\(SlowDown\).*reduce your request rate"):
        s3.put_object(Bucket="rejecting", Key="a", Body=b"")
    s3.put_object(Bucket="rejecting", Key="a", Body=b"")
    for _ in range(2):
        with pytest.raises(ClientError, match=r"\(ThrottlingException\)"):
            glue.get_database(Name="none")
    with pytest.raises(ClientError, match=r"\(EntityNotFoundException\)"):
        glue.get_database(Name="none")
    assert aws.struck(fault) == 2


def test_a_bucket_under_sse_kms_gives_an_etag_that_says_nothing_about_the_content(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="encrypted")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket="encrypted", ServerSideEncryptionConfiguration={"Rules": [rule]})
    first, second = (s3.put_object(Bucket="encrypted", Key="a", Body=b"same")["ETag"] for _ in range(2))
    assert first != second
    assert s3.head_object(Bucket="encrypted", Key="a")["ETag"] == second
    assert s3.list_objects_v2(Bucket="encrypted")["Contents"][0]["ETag"] == second
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket="encrypted", Key="a", Body=b"x", IfMatch=first)
    s3.put_object(Bucket="encrypted", Key="a", Body=b"x", IfMatch=second)
