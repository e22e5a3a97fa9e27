"""Coverage's reruns and approvals on a real scheduler, over a small `transform` that can be held.

Only what is measured is made up: the ledger's rows are written here, and nothing is searched. Where it can
be started, PostgreSQL keeps Airflow's metadata, as in deployments; the end-to-end tests use SQLite.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy

from include.coverage import ledger
from include.coverage.judge import Measures
from include.coverage.ledger import CoverageRow
from include.coverage.plan import Recovery, scheduled_run_id, window_run_id
from include.coverage.stretch import Stretch
from include.lake.verdict import Verdict
from include.window import HOUR, Window
from local import airflow_server, postgresql
from local.airflow_server import AirflowClient
from local.endpoints import SERVICES, Endpoints
from local.parameters import POSTGRESQL
from local.processes import Processes
from tests.credentials import AWS_ENVIRONMENT, CREDENTIALS
from tests.local.support_aws import LocalAws
from tests.ports import free_ports
from tests.postgresql import can_start, needs_postgresql
from tests.receivers import Webhook, webhook

pytestmark = pytest.mark.scheduler

BUCKET = "scheduler-lake"
NO_OBJECTS = hashlib.sha256().hexdigest()[:16]
"""The digest of an hour in which nothing lies."""
NOW = Window.containing(datetime.now(UTC))
"""The hour in which the tests begin; it may end before they do."""
START = Window(NOW.start - 4 * HOUR)
"""The first hour that the schedule runs."""
BEFORE_START = Window(START.start - HOUR)
SKIPPED, HELD, FINISHED = (Window(START.start + hours * HOUR) for hours in (1, 2, 3))

TRANSFORM = f"""
import os, time
import pendulum
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task
from include.window import Window

with DAG(
    dag_id="transform",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=pendulum.parse("{START.start.isoformat()}"),
    catchup=True,
    params={{"window": Param(None, type=["null", "string"])}},
):

    @task
    def hold(**context):
        label = context["params"]["window"]
        window = Window.parse(label) if label else Window.containing(context["data_interval_start"])
        while os.path.exists(os.path.join(os.environ["HOLDS"], window.label)):
            time.sleep(0.2)
        return window.label

    hold()
"""

COVERAGE = """
from datetime import timedelta
from airflow.sdk import DAG, Param, TriggerRule, XComArg, task
from include.operators.coverage import (
    RECOVERIES,
    ApproveRecoveriesOperator,
    DecideRerunsOperator,
    ReportCoverageOperator,
    RerunTransformOperator,
    SelectRecoveriesOperator,
)
from include.operators.notifications import (
    Notify, approval_key, approval_waits, coverage_failed, coverage_alarm_key
)

hour = {"type": ["null", "string"]}
params = {
    "start": Param(None, **hour), "end": Param(None, **hour), "dry_run": Param(True, type="boolean"),
    "recoveries": Param([], type="array"),
}


@task
def plan(**context):
    context["ti"].xcom_push(RECOVERIES, [])
    return "the plan"


@task
def planned(**context):
    context["ti"].xcom_push(RECOVERIES, context["params"]["recoveries"])
    return "the plan"


@task
def recover(recovery):
    return recovery


with DAG(dag_id="reruns", params=params):
    decide = DecideRerunsOperator(
        task_id="decide", rerun_dag_id="transform", plan="plan", recover="recover",
        trigger_rule=TriggerRule.ALL_DONE,
    )
    rerun = RerunTransformOperator.partial(task_id="rerun", trigger_dag_id="transform", retries=0)
    report = ReportCoverageOperator(
        task_id="report", plan="plan", decide="decide", retries=0, trigger_rule=TriggerRule.ALL_DONE,
        on_failure_callback=Notify(coverage_failed, coverage_alarm_key),
    )
    plan() >> decide
    rerun.expand_kwargs(decide.output) >> report

with DAG(dag_id="approvals", params=params):
    recoveries = XComArg(planned().operator, key=RECOVERIES)
    select = SelectRecoveriesOperator(task_id="select", recoveries=recoveries)
    report = ReportCoverageOperator(
        task_id="report", plan="planned", decide="decide", retries=0, trigger_rule=TriggerRule.ALL_DONE
    )
    recover.expand(recovery=select.output) >> report
    approve = ApproveRecoveriesOperator(
        task_id="approve", subject="May these be recovered?", recoveries=recoveries,
        response_timeout=timedelta(minutes=10),
        notifiers=Notify(approval_waits, approval_key),
    )
    recover.override(task_id="recover_approved").expand(recovery=approve.output)
"""


TOLD = """
import os, time
from datetime import timedelta
from airflow.sdk import DAG, task
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from include.operators.notifications import Notify, hour_late, run_failed


@task
def fine():
    pass


@task
def broken():
    raise ValueError("as the test wants it")


@task
def slow():
    while os.path.exists(os.path.join(os.environ["HOLDS"], "late")):
        time.sleep(0.2)


with DAG(dag_id="fails", on_failure_callback=Notify(run_failed)):
    fine() >> broken() >> fine.override(task_id="after")()

with DAG(
    dag_id="late",
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=1),
        callback=AsyncCallback(hour_late),
    ),
):
    slow()
"""


@dataclass
class World:
    """A scheduler, a ledger, the folder whose files hold runs back, and who is told."""

    airflow: AirflowClient
    s3: Any
    holds: Path
    hook: Webhook
    database: str | None
    """SQLAlchemy's address of Airflow's metadata in PostgreSQL."""

    def until(self, found: Callable[[], Any], seconds: float = 120) -> Any:
        """Waits for a true value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := found():
                return value
            time.sleep(0.5)
        raise AssertionError(f"{found} stayed false for {seconds} s")

    def finish(self, dag_id: str, run_id: str) -> str:
        """Waits for the end of a run and returns its state."""
        return str(
            self.until(
                lambda: (
                    (state := self.airflow.run(dag_id, run_id)["state"]) in ("success", "failed") and state
                )
            )
        )

    def tries(self, window_run: str) -> int:
        """How often the run's task was tried; 0 without such a run."""
        if all(run["dag_run_id"] != window_run for run in self.airflow.runs("transform")):
            return 0
        (instance,) = self.airflow.task_instances("transform", window_run)
        return int(instance["try_number"])

    def write(self, *windows: Window) -> None:
        """Puts rows with two missing tweets into the ledger."""
        ledger.write(self.s3, BUCKET, [row(window) for window in windows])

    def row(self, window: Window) -> CoverageRow:
        """What the ledger says of an hour."""
        return ledger.read_day(self.s3, BUCKET, window.date)["ukraine", window]

    def rerun(self, start: Window, end: Window) -> tuple[str, str]:
        """Has the reruns of ``[start, end)`` decided and made; returns the state and the id of the run."""
        conf = {"dry_run": False, "start": start.label, "end": end.label}
        run_id = self.airflow.trigger("reruns", conf)
        return self.finish("reruns", run_id), run_id

    def result(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task returned."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.airflow.call("GET", path)["value"]

    def states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """The tasks' states."""
        return {one["task_id"]: one["state"] for one in self.airflow.task_instances(dag_id, run_id)}


def row(window: Window) -> CoverageRow:
    return CoverageRow(
        topic="ukraine",
        window=window,
        measures=Measures(raw_ids=2, missing_ids=2),
        alive_s=3600.0,
        judged_until=window.end,
        verdict=Verdict.UNLABELED,
        evidence="made up",
        evidence_digest="digest",
        inputs_digest=NO_OBJECTS,
        measured_at=datetime(2026, 11, 1, tzinfo=UTC),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("scheduler")
    dags, holds = folder / "dags", folder / "holds"
    for made in (dags, holds):
        made.mkdir()
    (dags / "transform.py").write_text(TRANSFORM)
    (dags / "coverage.py").write_text(COVERAGE)
    (dags / "told.py").write_text(TOLD)
    endpoints = Endpoints(free_ports(len(SERVICES)), CREDENTIALS)
    aws = LocalAws(folder / "aws").start()
    on_postgresql = can_start()
    port, password = endpoints.port(POSTGRESQL), CREDENTIALS.password
    address = postgresql.address(port, password) if on_postgresql else None
    environment = airflow_server.environment(folder / "airflow", endpoints, os.environ, address) | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__SECRETS__BACKEND": "",
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
        "AWS_ENDPOINT_URL": aws.endpoint,
        **AWS_ENVIRONMENT,
        "OPINION_BUCKET": BUCKET,
        "OPINION_MAX_RERUNS": "2",
        "OPINION_COLLECTION_START": (NOW.start - timedelta(days=1)).isoformat(),
        "HOLDS": str(holds),
        "OPINION_NOTIFY": json.dumps(["webhook:hook"]),
    }
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    with webhook() as hook, Processes(folder / "logs", folder / "processes.json") as processes:
        environment["AIRFLOW_CONN_HOOK"] = json.dumps({"conn_type": "http", "host": hook.url})
        if on_postgresql:
            server = postgresql.start(processes, port, folder / "postgresql", password, dict(os.environ))
            server.wait_until(lambda: postgresql.is_ready(port), 60)
        airflow_server.migrated(processes, airflow_server.migrate(processes, environment), environment)
        components = airflow_server.start(processes, endpoints, environment)
        components["api-server"].wait_until(lambda: airflow_server.is_healthy(endpoints), 180)
        world = World(AirflowClient(endpoints.url("airflow"), endpoints.login), s3, holds, hook, address)
        for dag in ("transform", "reruns", "approvals", "fails", "late"):
            world.until(partial(world.airflow.has_dag, dag))
            world.airflow.pause(dag, False)
        hours = {scheduled_run_id(hour) for hour in (START, SKIPPED, HELD, FINISHED)}
        world.until(
            lambda: (
                hours
                <= {run["dag_run_id"] for run in world.airflow.runs("transform") if run["state"] == "success"}
            )
        )
        yield world
    assert aws.stop() == 0


def test_every_hour_is_transformed_again_in_its_own_way(world: World) -> None:
    skipped = f"/dags/transform/dagRuns/{quote(scheduled_run_id(SKIPPED), safe='')}"
    world.airflow.call("DELETE", skipped)
    (world.holds / HELD.label).touch()
    held = scheduled_run_id(HELD)
    world.airflow.call(
        "POST", f"/dags/transform/dagRuns/{quote(held, safe='')}/clear", json={"dry_run": False}
    )
    world.until(lambda: world.airflow.task_instances("transform", held)[0]["state"] == "running")

    world.write(BEFORE_START, SKIPPED, HELD, FINISHED)
    state, run_id = world.rerun(BEFORE_START, FINISHED.next)
    assert state == "success"
    assert world.result("reruns", run_id, "report").splitlines()[-7:] == [
        "To transform again:",
        f"  {BEFORE_START}: start a run for the window (window__{BEFORE_START})",
        f"  {SKIPPED}: start a run for the window (window__{SKIPPED})",
        f"  {HELD}: its run is under way",
        f"  {FINISHED}: clear its scheduled run ({scheduled_run_id(FINISHED)})",
        "Alarms:",
        "  nothing",
    ]

    for run in (window_run_id(BEFORE_START), window_run_id(SKIPPED), scheduled_run_id(FINISHED)):
        assert world.finish("transform", run) == "success"
    assert world.result("transform", window_run_id(BEFORE_START), "hold") == BEFORE_START.label
    assert world.result("transform", window_run_id(SKIPPED), "hold") == SKIPPED.label
    assert world.tries(scheduled_run_id(FINISHED)) == 2
    # The held run goes on as it was: tried once by the schedule, once by the test's own clearing.
    assert world.tries(held) == 2
    assert world.airflow.run("transform", held)["state"] == "running"
    assert {window: world.row(window).reruns for window in (BEFORE_START, SKIPPED, HELD, FINISHED)} == {
        BEFORE_START: 1,
        SKIPPED: 1,
        HELD: 0,
        FINISHED: 1,
    }
    (world.holds / HELD.label).unlink()
    assert world.finish("transform", held) == "success"
    assert world.result("transform", held, "hold") == HELD.label


def test_an_hour_that_the_schedule_will_still_reach_is_left_to_it(world: World) -> None:
    world.until(lambda: datetime.now(UTC).minute < 59)  # the hour shall not end under the test
    hour = Window.containing(datetime.now(UTC))
    world.write(hour)
    state, run_id = world.rerun(hour, hour.next)
    assert state == "success"
    assert f"  {hour}: the schedule will run it" in world.result("reruns", run_id, "report").splitlines()
    assert world.tries(window_run_id(hour)) == world.tries(scheduled_run_id(hour)) == 0
    assert world.row(hour).reruns == 0


def test_a_window_is_run_again_and_again_until_an_alarm_ends_it(world: World) -> None:
    day_before = Window(NOW.start - 20 * HOUR)
    world.write(day_before)
    run = window_run_id(day_before)
    for attempt in (1, 2):
        assert world.rerun(day_before, day_before.next)[0] == "success"
        assert world.finish("transform", run) == "success"
        assert world.tries(run) == attempt

    state, alarmed = world.rerun(day_before, day_before.next)
    assert state == "failed"
    assert world.states("reruns", alarmed) == {
        "plan": "success",
        "decide": "success",
        "rerun": "skipped",
        "report": "failed",
    }
    assert world.tries(run) == 2
    assert world.row(day_before).alarm == "transform was rerun 2 times, and the same tweets are still missing"
    assert world.row(day_before).reruns == 2

    # The alarm stands in the ledger; it fails one run, not one every quarter of an hour.
    state, quiet = world.rerun(day_before, day_before.next)
    assert state == "success"
    assert "the same tweets are still missing" in world.result("reruns", quiet, "report")


def test_with_nothing_missing_nothing_is_rerun(world: World) -> None:
    hour = Window(NOW.start - 10 * HOUR)
    ledger.write(world.s3, BUCKET, [replace(row(hour), measures=Measures())])
    state, run_id = world.rerun(hour, hour.next)
    assert state == "success"
    assert world.result("reruns", run_id, "decide") == []
    assert world.states("reruns", run_id)["rerun"] == "skipped"


def test_a_dry_run_leaves_runs_and_ledger_alone(world: World) -> None:
    hour = Window(NOW.start - 12 * HOUR)
    world.write(hour)
    run_id = world.airflow.trigger("reruns", {"start": hour.label, "end": hour.next.label})
    assert world.finish("reruns", run_id) == "success"
    assert world.result("reruns", run_id, "report") == "the plan"
    assert world.tries(window_run_id(hour)) == 0
    assert world.row(hour) == row(hour)


FREE = Recovery("ukraine", NOW, Stretch(NOW.start, NOW.end), 100, 10)
ASKED = replace(FREE, topic="russia", approval="it is older than OPINION_UNAPPROVED_HOURS")
READING_S = 5


def _asked(world: World) -> str:
    """Starts a run with a recovery of each kind and returns its id once a person is asked."""
    run_id = world.airflow.trigger("approvals", {"recoveries": [FREE.to_json(), ASKED.to_json()]})
    world.until(lambda: world.states("approvals", run_id).get("approve") == "awaiting_input")
    return run_id


def _answer(world: World, run_id: str, answer: str) -> dict[str, str]:
    """Answers as a person; returns the states of the run's tasks at its end."""
    path = f"/dags/approvals/dagRuns/{quote(run_id, safe='')}/taskInstances/approve"
    detail = world.airflow.call("GET", f"{path}/-1/hitlDetails")
    assert "russia" in detail["body"]
    assert "ukraine" not in detail["body"]
    assert "In all about 10 posts ($0.05)." in detail["body"]
    # The scheduler fails a task that resumes before it was seen to wait; no person reads as fast as a test.
    # Once it has finished another run, it has seen what was before.
    time.sleep(READING_S)
    assert world.finish("approvals", world.airflow.trigger("approvals", {"recoveries": []})) == "success"
    world.airflow.call(
        "PATCH", f"{path}/-1/hitlDetails", json={"chosen_options": [answer], "params_input": {}}
    )
    assert world.finish("approvals", run_id) == "success"
    return world.states("approvals", run_id)


def test_an_approval_holds_up_neither_the_other_recoveries_nor_the_next_run(world: World) -> None:
    waiting = _asked(world)
    world.until(lambda: world.states("approvals", waiting)["report"] == "success")
    states = world.states("approvals", waiting)
    assert (states["recover"], states["approve"]) == ("success", "awaiting_input")
    assert world.result("approvals", waiting, "select") == [FREE.to_json()]
    assert world.airflow.run("approvals", waiting)["state"] == "running"

    following = world.airflow.trigger("approvals", {"recoveries": [FREE.to_json(), ASKED.to_json()]})
    assert world.finish("approvals", following) == "success"
    assert world.result("approvals", following, "approve") == []  # nobody is asked twice
    states = world.states("approvals", following)
    assert (states["recover"], states["recover_approved"]) == ("success", "skipped")
    assert world.states("approvals", waiting)["approve"] == "awaiting_input"

    assert _answer(world, waiting, "Approve")["recover_approved"] == "success"
    assert world.result("approvals", waiting, "approve") == [replace(ASKED, approved=True).to_json()]


def test_what_a_person_rejects_is_not_recovered(world: World) -> None:
    run_id = _asked(world)
    states = _answer(world, run_id, "Reject")
    assert (states["recover"], states["recover_approved"]) == ("success", "skipped")
    assert world.result("approvals", run_id, "approve") == []


def test_nobody_is_asked_where_nothing_needs_an_approval(world: World) -> None:
    run_id = world.airflow.trigger("approvals", {"recoveries": [FREE.to_json()]})
    assert world.finish("approvals", run_id) == "success"
    assert world.result("approvals", run_id, "approve") == []


def _told(world: World, subject: str) -> list[dict[str, Any]]:
    return [content for _, content in list(world.hook.received) if content["subject"] == subject]


def test_people_are_told_once_of_a_failed_run_with_a_link_to_its_task(world: World) -> None:
    run_id = world.airflow.trigger("fails")
    assert world.finish("fails", run_id) == "failed"
    (message,) = world.until(lambda: _told(world, "fails: a run has failed"))
    assert message["happened"] == f"The run {run_id} of fails has failed. It failed in broken."
    assert message["link"] == f"{world.airflow.url}/dags/fails/runs/{quote(run_id)}/tasks/broken"


def test_people_are_told_of_an_hour_that_is_late(world: World) -> None:
    (world.holds / "late").touch()
    run_id = world.airflow.trigger("late")
    (message,) = world.until(lambda: _told(world, "late: an hour is late"))
    (world.holds / "late").unlink()
    assert message["link"] == f"{world.airflow.url}/dags/late/runs/{quote(run_id)}"
    assert world.finish("late", run_id) == "success"


def test_people_were_told_of_the_approvals_with_the_link_that_answers_them(world: World) -> None:
    """Two runs of the tests above asked about the same recoveries on one day, or, over midnight, on two."""
    message, *again = _told(world, "coverage: recoveries wait for your approval")
    assert len(again) <= 1
    assert "In all about 10 posts ($0.05)." in message["happened"]
    assert message["link"].startswith(f"{world.airflow.url}/dags/approvals/runs/")
    assert "/tasks/approve/required_actions" in message["link"]


def test_people_were_told_of_the_alarm_of_coverage(world: World) -> None:
    (message,) = _told(world, "coverage: a person has to look")
    assert "transform was rerun 2 times, and the same tweets are still missing" in message["happened"]


@needs_postgresql
def test_all_of_this_is_in_postgresql(world: World) -> None:
    assert world.database
    engine = sqlalchemy.create_engine(world.database)
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text("SELECT dag_id, state FROM dag_run")).all()
    engine.dispose()
    assert {("transform", "success"), ("reruns", "success"), ("approvals", "success")} <= set(
        map(tuple, found)
    )
