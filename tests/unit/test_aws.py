"""One configuration for every AWS client, and what it tries again."""

from __future__ import annotations

import ast
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from annotated_types import Le
from botocore.config import Config

from include import aws
from include.coverage import damage
from include.settings import Settings
from streamer.firehose import firehose_client

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def test_what_a_caller_configures_wins_and_the_rest_stays() -> None:
    plain = aws.client("athena").meta.config
    assert plain.retries == {"mode": "standard", "total_max_attempts": aws.ATTEMPTS}
    own = aws.client("athena", config=Config(retries={"total_max_attempts": 2})).meta.config
    assert (vars(own)["retries"]["total_max_attempts"], own.connect_timeout) == (2, plain.connect_timeout)
    assert vars(firehose_client().meta.config)["retries"]["total_max_attempts"] == 1


def test_every_thread_that_shares_a_client_has_a_connection_of_its_own() -> None:
    async def of_the_pages() -> int:
        return int(anyio.to_thread.current_default_thread_limiter().total_tokens)

    limits = Settings.model_fields["live_instances"].metadata
    (of_endpoints,) = (each.le for each in limits if isinstance(each, Le) and isinstance(each.le, int))
    threads = (of_endpoints, damage._READERS, anyio.run(of_the_pages))
    assert max(threads) <= aws.client("s3").meta.config.max_pool_connections


def test_nobody_makes_a_client_of_another_configuration() -> None:
    folders = ("dags", "include", "plugins", "streamer")
    modules = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    importing = {
        str(path.relative_to(ROOT))
        for path in modules
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(name.name == "boto3" for name in node.names)
    }
    # Spark's executors have nothing of this package: what they need of its configuration travels to them.
    assert importing == {"include/aws.py", "include/training/predict.py"}
