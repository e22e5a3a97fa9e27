"""A process reads its AWS connection once, and again after a while, as it may have been changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied
from moto import mock_aws

from include.operators import inputs
from include.operators.sagemaker import TransformJobWatch


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The connections that were read, one entry for each time."""
    found: list[str] = []
    read = BaseHook.get_connection

    def counted(conn_id: str) -> Any:
        found.append(conn_id)
        return read(conn_id)

    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://?region_name=eu-west-1")
    monkeypatch.setattr(AwsBaseHook, "get_connection", staticmethod(counted))
    yield found
    inputs._connection.cache_clear()


class Clock:
    """The process's clock: it stands still until it is moved."""

    now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("include.operators.inputs.time.monotonic", found.monotonic)
    return found


def test_the_clients_of_a_process_share_one_reading_of_its_connection(reads: list[str]) -> None:
    s3 = inputs.client("s3")
    assert s3.meta.region_name == "eu-west-1"
    assert inputs.client("sagemaker").meta.region_name == "eu-west-1"
    assert inputs.client("s3") is s3
    assert reads == ["aws_default"]


def test_a_changed_connection_is_read_after_a_while(
    reads: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs.client("s3")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://?region_name=eu-north-1")
    assert inputs.client("s3").meta.region_name == "eu-west-1"
    clock.now += inputs.CONNECTION_SECONDS
    assert inputs.client("s3").meta.region_name == "eu-north-1"
    assert len(reads) == 2


def test_a_connection_that_was_not_found_is_soon_looked_for_again(
    reads: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")  # as where a secrets backend does not answer
    assert inputs.client("s3").meta.region_name == "us-east-1"
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://?region_name=eu-west-1")
    clock.now += 15
    assert inputs.client("s3").meta.region_name == "eu-west-1"


def test_a_failure_to_read_a_connection_is_not_kept(
    reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(AwsBaseHook, "get_connection", Mock(side_effect=AirflowSecretsBackendAccessDenied))
        with pytest.raises(AirflowSecretsBackendAccessDenied):
            inputs.client("s3")
    assert inputs.client("s3").meta.region_name == "eu-west-1"


def test_a_role_is_assumed_again_before_its_credentials_expire(
    reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # botocore renews what expires within a quarter of an hour, so these at each use.
    role = {"role_arn": "arn:aws:iam::123456789012:role/lake", "assume_role_kwargs": {"DurationSeconds": 900}}
    connection = {"conn_type": "aws", "login": "key", "password": "secret", "extra": role}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    with mock_aws():
        sts = inputs.client("sts")
        sessions = {sts.get_caller_identity()["UserId"] for _ in range(3)}
    assert len(sessions) == 3
    assert reads == ["aws_default"]


def test_a_watch_uses_a_changed_connection_at_its_next_look(
    reads: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Mock(return_value=("InProgress", ""))
    monkeypatch.setattr("include.labeling.jobs.watch", asked)
    watch = TransformJobWatch("job")
    watch.look()
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://?region_name=eu-north-1")
    clock.now += inputs.CONNECTION_SECONDS
    watch.look()
    regions = [call.args[0].meta.region_name for call in asked.call_args_list]
    assert regions == ["eu-west-1", "eu-north-1"]


def test_threads_that_ask_at_once_get_one_client(reads: list[str]) -> None:
    inputs.client("s3")
    with ThreadPoolExecutor(8) as pool:
        clients = set(pool.map(inputs.client, ["athena"] * 8))
    assert len(clients) == 1
    assert reads == ["aws_default"]
