"""What coverage's `plan` delivers again, and what its `recover` leaves in the ledger."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom
from moto import mock_aws

from include.coverage import ledger
from include.coverage.judge import Gap, GapState, Measures
from include.coverage.ledger import CoverageRow
from include.coverage.plan import Recovery
from include.coverage.stretch import Stretch
from include.lake import layout, storage
from include.lake.verdict import Verdict
from include.operators import coverage
from include.operators.coverage import ALARMS, PlanCoverageOperator, RecoverStretchOperator
from include.operators.inputs import pulled
from include.settings import settings
from include.window import HOUR, Window

BUCKET = "lake"
WINDOW = Window(Window.containing(datetime.now(UTC)).start - 2 * HOUR)
STRETCH = Stretch(WINDOW.start, WINDOW.start + timedelta(minutes=10))
APPROVED = Recovery(
    "ukraine", WINDOW, STRETCH, 100, 10, "it is older than OPINION_UNAPPROVED_HOURS", approved=True
)


class GoneX:
    """X breaks every connection."""

    def search_recent_tweets(self, *_: Any, **__: Any) -> None:
        raise ConnectionError("gone")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("OPINION_BUCKET", BUCKET)
    monkeypatch.setenv("OPINION_MAX_RECOVERY_ATTEMPTS", "2")
    settings.cache_clear()
    with mock_aws():
        made = boto3.client("s3", region_name="us-east-1")
        made.create_bucket(Bucket=BUCKET)
        monkeypatch.setattr(coverage, "client", lambda _: made)
        monkeypatch.setattr(coverage, "x_client", GoneX)
        monkeypatch.setattr(coverage, "secret", lambda _: "a key")
        gap = Gap(STRETCH, GapState.OPEN, WINDOW.end, approved=False)
        ledger.write(made, BUCKET, [_row(gap)])
        yield made
    settings.cache_clear()


def _row(gap: Gap) -> CoverageRow:
    return CoverageRow(
        topic="ukraine",
        window=WINDOW,
        measures=Measures(),
        alive_s=3000.0,
        judged_until=WINDOW.end,
        verdict=Verdict.OUTAGE,
        evidence="made up",
        evidence_digest="digest",
        inputs_digest="digest",
        measured_at=datetime(2026, 11, 1, tzinfo=UTC),
        gaps=(gap,),
    )


def _fail(s3: Any, recovery: Recovery) -> Gap:
    """Tries the recovery once and returns its gap."""
    ti = SimpleNamespace(dag_id="coverage", run_id="run", try_number=1)
    context: Any = {"ti": ti}
    operator = RecoverStretchOperator(task_id="recover", recovery=recovery.to_json())
    with pytest.raises(ConnectionError):
        operator.execute(context)
    (gap,) = ledger.read_day(s3, BUCKET, WINDOW.date)["ukraine", WINDOW].gaps
    return gap


def test_an_approval_lasts_until_the_attempts_are_used_up(s3: Any) -> None:
    first = _fail(s3, APPROVED)
    assert (first.state, first.approved) == (GapState.OPEN, True)
    assert "what was bought is kept" in str(first.reason)
    second = _fail(s3, APPROVED)
    assert (second.state, second.approved) == (GapState.OPEN, False)
    assert "2 attempts have failed; nothing more is bought until a person approves it" in str(second.reason)


def test_a_recovery_that_needs_no_approval_has_none_in_the_ledger(s3: Any) -> None:
    assert not _fail(s3, replace(APPROVED, approval=None, approved=False)).approved


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_firehose_could_not_deliver_is_delivered_again_and_told_but_not_by_a_dry_run(
    s3: Any, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    monkeypatch.setattr(PlanCoverageOperator, "windows", lambda *_: [])
    heartbeat = json.dumps({"kind": "heartbeat", "at": "2026-11-20T05:00:01.000Z"}).encode()
    envelope = json.dumps({"rawData": base64.b64encode(heartbeat).decode()}).encode()
    failed, damaged = f"{layout.DELIVERY_ERRORS_PREFIX}a", f"{layout.DELIVERY_ERRORS_PREFIX}b.gz"
    s3.put_object(Bucket=BUCKET, Key=failed, Body=envelope)
    s3.put_object(Bucket=BUCKET, Key=damaged, Body=b"no gzip")
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=pushed.__setitem__, get_dag=lambda _: SimpleNamespace(next_dagrun=None))
    dag_run = SimpleNamespace(run_type="manual")
    context: Any = {"ti": ti, "dag_run": dag_run, "params": {"dry_run": dry_run}}
    plan = PlanCoverageOperator(task_id="plan", rerun_dag_id="transform").execute(context)
    left = {found.key for found in storage.objects(s3, BUCKET, layout.DELIVERY_ERRORS_PREFIX)}
    assert left == ({failed, damaged} if dry_run else {damaged})
    assert ("delivered again: 1 to heartbeats" in plan) == (not dry_run)
    assert pushed.get(ALARMS) == (None if dry_run else [f"{damaged} cannot be read whole"])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_what_recoveries_return_is_a_list_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    found = [{"hour": f"2026-11-20T0{each}"} for each in range(number)]
    # As Airflow's API answers: nothing where no instance has returned anything.
    monkeypatch.setattr(XCom, "get_all", lambda **_: found or None)
    facts: dict[str, Any] = {"dag_id": "coverage", "run_id": "run", "task_id": "decide"}
    ti = RuntimeTaskInstance.model_construct(**facts)
    assert pulled(ti, "recover") == found
    if number == 1:
        assert ti.xcom_pull(task_ids="recover") == found[0], "Airflow gives a list now: pulled is not needed"
