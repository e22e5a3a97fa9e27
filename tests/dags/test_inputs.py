"""A process reads its AWS connection once, and again after a while, as it may have been changed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.sdk import BaseHook

from include.operators import inputs


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


def test_the_clients_of_a_process_share_one_reading_of_its_connection(reads: list[str]) -> None:
    s3 = inputs.client("s3")
    assert s3.meta.region_name == "eu-west-1"
    assert inputs.client("sagemaker").meta.region_name == "eu-west-1"
    assert inputs.client("s3") is s3
    assert reads == ["aws_default"]


def test_a_changed_connection_is_read_after_a_while(
    reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("include.operators.inputs.time.monotonic", lambda: now)
    inputs.client("s3")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://?region_name=eu-north-1")
    assert inputs.client("s3").meta.region_name == "eu-west-1"
    now += inputs.CONNECTION_SECONDS
    assert inputs.client("s3").meta.region_name == "eu-north-1"
    assert len(reads) == 2


def test_threads_that_ask_at_once_get_one_client(reads: list[str]) -> None:
    inputs.client("s3")
    with ThreadPoolExecutor(8) as pool:
        clients = set(pool.map(inputs.client, ["athena"] * 8))
    assert len(clients) == 1
    assert reads == ["aws_default"]
