"""The tasks of `insights` against a local AWS whose QuickSight waits for an Athena that is not up yet."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization

from include.insights.ingestion import UNDER_WAY, IngestionError, SpiceDataSet
from include.lake.athena import AthenaError
from include.operators import insights as operators
from include.operators import polling, provision
from include.operators.insights import GatherChangesOperator, IngestDataSetOperator
from include.operators.links import AthenaLink, address, athena
from include.operators.polling import PollingTrigger
from include.settings import settings
from tests.credentials import AWS_ENVIRONMENT, LOGIN
from tests.dags.support_links import TaskInstance
from tests.local.support_aws import LocalAws

BUCKET = "insights-operators"
ACCOUNT = "123456789012"
DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    # A port that is taken and that nobody answers on: queries wait for a Trino that never comes.
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    server = LocalAws(tmp_path_factory.mktemp("aws"), "--trino-url", address).start()
    server.client("s3").create_bucket(Bucket=BUCKET)
    server.client("athena").create_work_group(
        Name="insights",
        Configuration={"ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/athena-results/"}},
    )
    yield server
    assert server.stop() == 0
    nobody.close()


@pytest.fixture(autouse=True)
def environment(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "AWS_ENDPOINT_URL": aws.endpoint,
        **AWS_ENVIRONMENT,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({"conn_type": "aws"}),
        "OPINION_BUCKET": BUCKET,
        "OPINION_WORKGROUP": "insights",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(polling, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(operators, "_PATIENCE", 0.3)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def quicksight(aws: LocalAws) -> Any:
    return aws.client("quicksight")


@pytest.fixture
def data_set(aws: LocalAws, quicksight: Any) -> Callable[..., str]:
    """Makes a data set of the test's own, without an ingestion under way."""

    def create(workgroup: str = "insights") -> str:
        name = uuid.uuid4().hex
        source = quicksight.create_data_source(
            AwsAccountId=ACCOUNT,
            DataSourceId=name,
            Name=name,
            Type="ATHENA",
            DataSourceParameters={"AthenaParameters": {"WorkGroup": workgroup}},
        )
        quicksight.create_data_set(
            AwsAccountId=ACCOUNT,
            DataSetId=name,
            Name=name,
            ImportMode="SPICE",
            PhysicalTableMap={
                "table": {
                    "CustomSql": {
                        "DataSourceArn": source["Arn"],
                        "Name": name,
                        "SqlQuery": "SELECT 1 AS n",
                        "Columns": [{"Name": "n", "Type": "INTEGER"}],
                    }
                }
            },
        )
        for each in listed(quicksight, name):
            SpiceDataSet(quicksight, ACCOUNT, name).cancel(each["IngestionId"])
        return name

    return create


def listed(quicksight: Any, data_set: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = quicksight.list_ingestions(AwsAccountId=ACCOUNT, DataSetId=data_set)[
        "Ingestions"
    ]
    return found


def ours(quicksight: Any, data_set: str) -> dict[str, str]:
    return {
        each["IngestionId"]: each["IngestionStatus"]
        for each in listed(quicksight, data_set)
        if each["IngestionId"].startswith("lake-")
    }


def change_the_lake(aws: LocalAws) -> None:
    key = "aggregates/opinion/dt=2026-11-20/opinion.parquet"
    aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=uuid.uuid4().bytes)


def task(data_set: str) -> IngestDataSetOperator:
    return IngestDataSetOperator(task_id="ingest", data_set=data_set)


def deferred_by(data_set: str) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        task(data_set).execute(TaskInstance().context)
    return caught.value


def trigger_of(deferred: TaskDeferred) -> PollingTrigger:
    assert isinstance(deferred.trigger, PollingTrigger)
    return deferred.trigger


def event_of(deferred: TaskDeferred) -> dict[str, Any]:
    async def first() -> Any:
        return (await anext(trigger_of(deferred).run())).payload

    payload: dict[str, Any] = asyncio.run(first())
    return payload


def resume(deferred: TaskDeferred, data_set: str) -> Any:
    """The rest of a deferred task, in another process as it were."""
    return getattr(task(data_set), deferred.method_name)(
        TaskInstance().context, event=event_of(deferred), **deferred.kwargs or {}
    )


def test_a_cleared_task_joins_its_ingestion_instead_of_paying_twice(
    quicksight: Any, data_set: Callable[..., str]
) -> None:
    name = data_set()
    first, second = deferred_by(name), deferred_by(name)
    assert trigger_of(first).arguments["ingestion"] == trigger_of(second).arguments["ingestion"]
    assert (first.kwargs or {})["result"]["reused"] is False
    assert (second.kwargs or {})["result"]["reused"] is True
    (state,) = ours(quicksight, name).values()
    assert state in UNDER_WAY


def test_killing_a_deferred_task_cancels_its_ingestion_and_the_next_try_is_another(
    quicksight: Any, data_set: Callable[..., str]
) -> None:
    name = data_set()
    deferred = deferred_by(name)
    asyncio.run(trigger_of(deferred).on_kill())
    assert list(ours(quicksight, name).values()) == ["CANCELLED"]
    with pytest.raises(IngestionError, match=r"is CANCELLED: INGESTION_CANCELED: "):
        resume(deferred, name)
    assert (
        trigger_of(deferred_by(name)).arguments["ingestion"]
        == trigger_of(deferred).arguments["ingestion"] + "-2"
    )


def test_a_run_whose_joined_ingestion_is_canceled_starts_its_own(data_set: Callable[..., str]) -> None:
    name = data_set()
    first, joined = deferred_by(name), deferred_by(name)
    asyncio.run(trigger_of(first).on_kill())
    with pytest.raises(TaskDeferred) as caught:
        resume(joined, name)
    assert trigger_of(caught.value).arguments["ingestion"] == trigger_of(first).arguments["ingestion"] + "-2"


def test_killing_a_task_that_has_not_deferred_yet_cancels_its_ingestion(
    quicksight: Any, data_set: Callable[..., str]
) -> None:
    name = data_set()
    operator = task(name)
    operator.on_kill()  # there is nothing yet
    with pytest.raises(TaskDeferred):
        operator.execute(TaskInstance().context)
    operator.on_kill()
    operator.on_kill()
    assert list(ours(quicksight, name).values()) == ["CANCELLED"]


def test_a_triggerer_that_ends_leaves_the_ingestion_alone(
    quicksight: Any, data_set: Callable[..., str]
) -> None:
    name = data_set()
    deferred = deferred_by(name)

    async def cut_off() -> None:
        waiting = asyncio.ensure_future(anext(trigger_of(deferred).run()))
        await asyncio.sleep(0.4)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await trigger_of(deferred).cleanup()

    asyncio.run(cut_off())
    (state,) = ours(quicksight, name).values()
    assert state in UNDER_WAY


def test_new_data_within_three_quarters_of_an_hour_is_skipped_with_the_next_possible_time(
    aws: LocalAws, quicksight: Any, data_set: Callable[..., str]
) -> None:
    name = data_set()
    before = datetime.now(UTC).replace(microsecond=0)
    deferred_by(name)
    change_the_lake(aws)
    with pytest.raises(AirflowSkipException, match="too recent; possible again at ") as caught:
        task(name).execute(TaskInstance().context)
    until = datetime.strptime(str(caught.value).rpartition(" ")[2], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert before <= until - timedelta(minutes=45) <= datetime.now(UTC)
    assert len(ours(quicksight, name)) == 1


def test_the_days_limit_is_kept_and_quicksights_own_rejection_is_a_skip_too(
    aws: LocalAws, quicksight: Any, data_set: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = data_set()
    for number in range(32):
        quicksight.create_ingestion(AwsAccountId=ACCOUNT, DataSetId=name, IngestionId=f"by-hand-{number}")
        quicksight.cancel_ingestion(AwsAccountId=ACCOUNT, DataSetId=name, IngestionId=f"by-hand-{number}")
    with pytest.raises(AirflowSkipException, match="32 were started in 24 hours; possible again at "):
        task(name).execute(TaskInstance().context)
    monkeypatch.setenv("OPINION_QUICKSIGHT_INGESTIONS_PER_DAY", "99")
    settings.cache_clear()
    rejected = aws.reject("quicksight", "PUT .*/ingestions/", "LimitExceededException", 409, times=2)
    with pytest.raises(AirflowSkipException, match="QuickSight rejects it: Told to"):
        task(name).execute(TaskInstance().context)
    assert aws.struck(rejected) == 1
    aws.mend()
    with pytest.raises(AirflowSkipException, match="QuickSight rejects it: The limit of 32"):
        task(name).execute(TaskInstance().context)


def test_an_ingestion_under_which_an_object_was_replaced_is_followed_by_another(
    aws: LocalAws, quicksight: Any, data_set: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "_PATIENCE", 5)
    name = data_set()
    fault = aws.reject("athena", "StartQueryExecution", "InternalServerException", 400, times=1)
    second = deferred_by(name)
    assert aws.struck(fault) == 1
    assert (second.kwargs or {})["again"] is True
    identity = trigger_of(second).arguments["ingestion"]
    states = ours(quicksight, name)
    assert states[identity] in UNDER_WAY
    assert states[identity.removesuffix("-2")] == "FAILED"


def test_quicksight_that_throttles_is_asked_again(
    aws: LocalAws, quicksight: Any, data_set: Callable[..., str]
) -> None:
    name = data_set()
    fault = aws.reject("quicksight", "PUT .*/ingestions/", "ThrottlingException", 429, times=2)
    assert trigger_of(deferred_by(name)).arguments["ingestion"] in ours(quicksight, name)
    assert aws.struck(fault) == 2


def test_an_asset_that_is_still_being_changed_is_provisioned_all_the_same(
    aws: LocalAws, quicksight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = quicksight.register_user(
        AwsAccountId=ACCOUNT,
        Namespace="default",
        UserName="reader",
        Email="reader@example.com",
        IdentityType="QUICKSIGHT",
        UserRole="READER",
    )
    monkeypatch.setenv("OPINION_QUICKSIGHT_PRINCIPALS", json.dumps([reader["User"]["Arn"]]))
    monkeypatch.setenv("OPINION_DATABASE", "provisioned")
    settings.cache_clear()
    fault = aws.reject("quicksight", "POST .*/data-sets$", "ConflictException", 409, times=2)
    assert "created data set provisioned-opinion" in provision.quicksight.function()
    assert aws.struck(fault) == 2
    assert provision.quicksight.function() == []


def test_a_failure_that_lasts_is_tried_twice_and_then_left_to_a_later_run(
    quicksight: Any, data_set: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "_PATIENCE", 60)
    name = data_set(workgroup="nowhere")
    told = r"is FAILED: SQL_EXCEPTION: .*nowhere.*2 in a row have failed; possible again at "
    with pytest.raises(AirflowFailException, match=told):
        task(name).execute(TaskInstance().context)
    with pytest.raises(AirflowSkipException, match="2 in a row have failed; possible again at "):
        task(name).execute(TaskInstance().context)
    assert list(ours(quicksight, name).values()) == ["FAILED", "FAILED"]


def test_without_the_data_set_it_says_what_to_run() -> None:
    with pytest.raises(IngestionError, match="run the DAG 'provision'"):
        task("unknown").execute(TaskInstance().context)


def test_where_nobody_is_to_see_the_dashboards_there_quicksight_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AirflowSkipException, match="OPINION_QUICKSIGHT_PRINCIPALS"):
        operators.data_sets.function()
    monkeypatch.setenv("OPINION_QUICKSIGHT_PRINCIPALS", '["arn:aws:quicksight:us-east-1:1:user/default/a"]')
    settings.cache_clear()
    assert operators.data_sets.function() == ["x_opinion-opinion", "x_opinion-coverage"]


def started_by(*ago: float) -> Any:
    """The context of a run that changes some seconds ago have started."""
    events = [SimpleNamespace(timestamp=datetime.now(UTC) - timedelta(seconds=each)) for each in ago]
    return {"triggering_asset_events": {"labeled": events[::2], "predicted": events[1::2]}}


def gather() -> GatherChangesOperator:
    return GatherChangesOperator(task_id="gather")


def test_changes_gather_from_the_first_one_on_in_whatever_order_they_are_told() -> None:
    context = started_by(10, 100, 50)
    first = min(event.timestamp for events in context["triggering_asset_events"].values() for event in events)
    with pytest.raises(TaskDeferred) as caught:
        gather().execute(context)
    (_, arguments) = caught.value.trigger.serialize()
    late = arguments["moment"] - (first + timedelta(seconds=settings().gather_seconds))
    assert abs(late) < timedelta(seconds=1)
    assert gather().go_on({}, None, **caught.value.kwargs or {}) == 3


def test_changes_that_have_gathered_while_another_run_was_active_are_not_waited_for() -> None:
    assert gather().execute(started_by(settings().gather_seconds + 1, 1)) == 2


def test_a_manual_run_does_not_wait() -> None:
    assert gather().execute({"triggering_asset_events": {}}) == 0


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        (None, "https://us-east-1.quicksight.aws.amazon.com/sn"),
        ("https://quicksight.example/sn", "https://quicksight.example/sn"),
    ],
)
@pytest.mark.parametrize("data_set", ["x_opinion-opinion", "x_opinion-coverage"])
def test_an_ingestion_leads_to_the_dashboard_that_shows_its_data_set(
    configured: str | None, expected: str, data_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if configured:
        monkeypatch.setenv("OPINION_QUICKSIGHT_URL", configured)
        settings.cache_clear()
    operator, ti = task(data_set), TaskInstance()
    with pytest.raises(IngestionError, match="QuickSight has no data set"):
        # The link is there all the same.
        operator.execute(ti.context)
    (link,) = operator.operator_extra_links
    assert (
        link.get_link(operator, ti_key=cast("Any", ti))
        == f"{expected}/dashboards/x_opinion-opinion-over-time"
    )


def test_a_query_can_be_followed_while_it_runs_and_the_one_that_failed_afterward(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPINION_ATHENA_QUERY_URL", f"{aws.endpoint}/_local/athena/queries/{{query}}")
    settings.cache_clear()
    ti = TaskInstance()
    running: list[str] = []

    def stop_the_first() -> None:
        while len(ti.pushed) < 2:
            time.sleep(0.02)
        running.extend(requests.get(address, auth=LOGIN, timeout=10).text for _, address in ti.pushed)
        first = ti.pushed[0][1].rsplit("/", 1)[-1]
        aws.client("athena").stop_query_execution(QueryExecutionId=first)

    helper = threading.Thread(target=stop_the_first)
    helper.start()
    with pytest.raises(AthenaError, match="CANCELLED"):
        athena(ti).run_all({"one": "SELECT '<one>'", "two": "SELECT 2"}, in_database=False)
    helper.join()
    first, second, failed = (address for _, address in ti.pushed)
    assert failed == first != second
    assert "SELECT &#x27;&lt;one&gt;&#x27;" in running[0]
    assert "QUEUED" in running[0] or "RUNNING" in running[0]
    page = requests.get(failed, auth=LOGIN, timeout=10)
    assert page.status_code == 200
    assert "CANCELLED" in page.text
    assert (
        requests.get(f"{aws.endpoint}/_local/athena/queries/none", auth=LOGIN, timeout=10).status_code == 404
    )


def test_every_task_that_asks_athena_has_its_link() -> None:
    found = {
        f"{dag.dag_id}.{entry['__var']['task_id']}"
        for path in sorted(DAGS.glob("*.py"))
        for dag in DagBag(path).dags.values()
        for entry in DagSerialization.to_dict(dag)["dag"]["tasks"]
        if AthenaLink.name in entry["__var"].get("_operator_extra_links", {})
    }
    asking = ("coverage.plan", "coverage.decide", "insights.views", "insights.aggregate", "insights.check")
    assert found == {*asking, "live.aggregate", "live.check", "provision.lake"}


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws", "eu-central-1", "console.aws.amazon.com"),
        ("aws-cn", "cn-north-1", "console.amazonaws.cn"),
        ("aws-us-gov", "us-gov-west-1", "console.amazonaws-us-gov.com"),
    ],
)
def test_consoles_are_those_of_the_region_and_its_partition(partition: str, region: str, host: str) -> None:
    asked = SimpleNamespace(meta=SimpleNamespace(region_name=region, partition=partition))
    found = address(settings().athena_query_url, asked, query="a b")
    assert found == f"https://{host}/athena/home?region={region}#/query-editor/history/a%20b"
