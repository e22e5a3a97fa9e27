"""The tasks of `costs` against stand-ins of everything that they ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from include import prices
from include.costs import usage
from include.lake import layout
from include.operators import costs
from include.operators.costs import MEASURED_SERVICES, UsageError
from include.settings import Settings, settings
from include.window import Window
from include.x.budget import PostsLedger, month_of
from include.x.topics import load
from local.aws.standalone import provision_lake
from tests.credentials import AWS_ENVIRONMENT
from tests.dags.support_links import TaskInstance
from tests.local.support_athena import LocalAthena
from tests.local.support_databricks import TOKEN, LocalDatabricks, task
from tests.receivers import Webhook, webhook

pytestmark = pytest.mark.trino

BUCKET = "costs-operators"
NOW = datetime.now(UTC)
BY_HAND: Any = SimpleNamespace(run_after=NOW, run_type="manual")


class Instance(TaskInstance):
    """A task instance of a run, some of whose tasks have failed."""

    dag_id, run_id, task_id = "costs", "run", "report"

    def __init__(self, **states: str) -> None:
        super().__init__()
        self.states = states

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        return {run_ids[0]: self.states}


@pytest.fixture(scope="module")
def lake(athena: LocalAthena) -> None:
    """Tables and views over an empty bucket."""
    settings = Settings(bucket=BUCKET, database=BUCKET.replace("-", "_"), workgroup=BUCKET)
    athena.s3.create_bucket(Bucket=BUCKET)
    provision_lake(athena.aws.client, settings, load(settings.topics_file))


@pytest.fixture(scope="module")
def databricks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabricks]:
    started = LocalDatabricks(tmp_path_factory.mktemp("databricks")).start()
    yield started
    assert started.stop() == 0


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as received:
        yield received


@pytest.fixture(autouse=True)
def environment(
    athena: LocalAthena,
    lake: None,
    databricks: LocalDatabricks,
    hook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    connection = {"conn_type": "databricks", "host": "http://127.0.0.1", "schema": "http"}
    for name, value in {
        "AWS_ENDPOINT_URL": athena.aws.endpoint,
        **AWS_ENVIRONMENT,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({"conn_type": "aws"}),
        "AIRFLOW_CONN_HOOK": json.dumps({"conn_type": "http", "host": hook.url}),
        "AIRFLOW_CONN_DATABRICKS_DEFAULT": json.dumps(
            {**connection, "port": databricks.port, "password": TOKEN}
        ),
        "OPINION_BUCKET": BUCKET,
        "OPINION_DATABASE": BUCKET.replace("-", "_"),
        "OPINION_WORKGROUP": BUCKET,
        "OPINION_NOTIFY": '["webhook:hook"]',
        "OPINION_MONTHLY_COST_LIMIT": "3",
        "OPINION_QUICKSIGHT_PRINCIPALS": '["arn"]',
        "OPINION_QUICKSIGHT_READERS": "2",
    }.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


def measure(service: str) -> dict[str, int]:
    found: dict[str, int] = costs.measure.function(service, ti=Instance(), dag_run=BY_HAND)
    return found


def kept(athena: LocalAthena, service: str) -> dict[tuple[str, str], float]:
    rows = usage.read(athena.s3, BUCKET, NOW.date(), service)
    assert all(row["usd"] is not None for row in rows), "the list has every price"
    return {(row["stage"], row["item"]): row["quantity"] for row in rows}


def test_every_service_is_measured_where_it_answers_and_the_month_is_reported(
    athena: LocalAthena, databricks: LocalDatabricks, hook: Webhook
) -> None:
    PostsLedger(athena.s3, BUCKET).record(month_of(NOW), "stream-0123456789abcdef", 800)
    raw = f"{layout.raw_prefix('ukraine', Window.containing(NOW))}x-opinion-1-a.json"
    athena.s3.put_object(Bucket=BUCKET, Key=raw, Body=b'{"data": {}}\n' * 3)
    # They fail, as there is no wheel; a failed run has used its machine, too.
    for name in ("train.model", "compliance.delta", "somebody.else"):
        run = databricks.submit(task("only", "values"), run_name=name)
        databricks.wait(run, "TERMINATED", "INTERNAL_ERROR")
    for service in MEASURED_SERVICES:
        assert NOW.date().isoformat() in measure(service)
    assert kept(athena, "x") == {("collect", "post"): 800}
    assert kept(athena, "firehose")["collect", "ingestion"] == 3 * 5_120 / 1e9
    assert kept(athena, "athena")["query", "scanned"] >= 1e7 / 1e12
    assert kept(athena, "s3")["raw", "writes"] == 0.001
    assert kept(athena, "quicksight").keys() == {("show", "reader")}
    assert kept(athena, "sagemaker") == {}
    used = kept(athena, "databricks")
    assert used.keys() == {
        (dag, item) for dag in ("train", "compliance") for item in ("m5d.xlarge", "jobs compute")
    }
    assert all(0 < hours < 0.1 for hours in used.values())
    reported = costs.report.function(ti=Instance(), dag_run=BY_HAND)
    # QuickSight of the days that nobody has measured before, too.
    assert 4.2 <= reported["dollars"] < 5.5
    ((_, message),) = hook.received
    assert message["subject"].endswith(f"projected in {NOW:%Y-%m}, $3 allowed")
    assert "not a bill" in message["happened"]
    costs.report.function(ti=Instance(), dag_run=BY_HAND)
    assert len(hook.received) == 1, "once a month"


def test_a_service_that_was_not_measured_fails_the_report(athena: LocalAthena) -> None:
    with pytest.raises(UsageError, match=r"measure\[4\]"):
        costs.report.function(ti=Instance(**{"measure[4]": "failed"}), dag_run=BY_HAND)


def test_the_prices_kept_are_those_of_the_list(athena: LocalAthena) -> None:
    measure("quicksight")
    (row,) = usage.read(athena.s3, BUCKET, NOW.date(), "quicksight")
    listed = prices.load(settings().prices_file).of("quicksight", "reader")
    assert (row["usd"], row["price_date"], row["unit"]) == (listed.usd, listed.date.isoformat(), listed.unit)
