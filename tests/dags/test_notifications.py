"""What people are told, and that it arrives: by real receivers of each kind."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from email.message import Message as Mail
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from include.insights.shifts import Shift
from include.lake.layout import drift_key
from include.lake.schemas import DRIFT
from include.operators import coverage, drift, notifications
from include.operators.coverage import CoverageAlarmError, ReportCoverageOperator
from include.operators.notifications import Message, NotificationError, Notify
from include.settings import Settings, settings
from include.x.budget import PostsLedger
from tests.dags.support_links import TaskInstance
from tests.local.support_aws import CREDENTIALS, LocalAws
from tests.receivers import Webhook, mailbox, webhook

if TYPE_CHECKING:
    from airflow.sdk import Context

ROOT = Path(__file__).parents[2]
BUCKET = "told"
MESSAGE = Message(
    "an hour is late", "It is {{ late }} & <b>sad</b>.", "look at it.", "an-hour-is-late", "http://a/b"
)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    server = LocalAws(tmp_path_factory.mktemp("aws")).start()
    server.client("s3").create_bucket(Bucket=BUCKET)
    yield server
    assert server.stop() == 0


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as received:
        yield received


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, aws: LocalAws, hook: Webhook) -> Iterator[Any]:
    """Sets who is told, with connections to what runs here."""
    connection = {"conn_type": "http", "host": f"{hook.url}/services/T0/s3cret-path"}
    monkeypatch.setenv("AIRFLOW_CONN_HOOK", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS["aws_secret_access_key"])
    monkeypatch.setenv("OPINION_BUCKET", BUCKET)

    def tell(*channels: str) -> None:
        monkeypatch.setenv("OPINION_NOTIFY", json.dumps(channels))
        settings.cache_clear()

    yield tell
    settings.cache_clear()


def test_nobody_is_told_unless_the_settings_say_who(hook: Webhook) -> None:
    assert settings().notify == ()
    Notify(lambda _: MESSAGE).notify({})
    assert hook.received == []
    assert notifications.late_alert() is None


def test_a_channel_that_nobody_knows_is_rejected() -> None:
    for channel in ("carrier-pigeon", "slack:", "mailto:nobody", "sns:alarms", "https://hooks.example/T0"):
        with pytest.raises(ValidationError, match="notify"):
            Settings(notify=(channel,))


def test_slack_gets_the_text_alone_and_a_webhook_its_parts_too(told: Any, hook: Webhook) -> None:
    told("slack:hook", "webhook:hook")
    notifications.send(MESSAGE)
    (path, slack), (_, parts) = hook.received
    assert path == "/services/T0/s3cret-path"
    assert slack == {"text": MESSAGE.text}
    assert parts == MESSAGE.to_json()
    # As it was written: a message is no template.
    assert "{{ late }}" in slack["text"]
    assert slack["text"].endswith("http://a/b")


def test_an_sns_topic_passes_a_message_on_to_its_subscribers(told: Any, aws: LocalAws, hook: Webhook) -> None:
    sns = aws.client("sns")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"{hook.url}/sns")
    told(f"sns:{topic}")
    notifications.send(MESSAGE)
    ((path, content),) = hook.received
    assert path == "/sns"
    assert (content["Subject"], content["Message"]) == (MESSAGE.subject, MESSAGE.text)


def test_a_mail_shows_the_message_as_it_was_written(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with mailbox() as (port, mails):
        extra = {"from_email": "opinion@example.org", "disable_ssl": True, "disable_tls": True}
        smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp))
        told("mailto:team@example.org")
        notifications.send(MESSAGE)
        asyncio.run(notifications.send_later(MESSAGE))
    assert [(mail["To"], mail["Subject"]) for mail in mails] == [("team@example.org", MESSAGE.subject)] * 2
    assert "&lt;b&gt;sad&lt;/b&gt;" in _content(mails[0])


def _content(mail: Mail) -> str:
    payloads = (part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart())
    return b"".join(payload for payload in payloads if isinstance(payload, bytes)).decode()


def test_from_the_triggerer_the_same_is_told(told: Any, aws: LocalAws, hook: Webhook) -> None:
    sns = aws.client("sns")
    topic = sns.create_topic(Name="late")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"{hook.url}/sns")
    told("webhook:hook", f"sns:{topic}")
    run = {"dag_id": "transform", "dag_run_id": "scheduled__x", "data_interval_start": "2026-11-20T05:00:00Z"}
    asyncio.run(notifications.hour_late({"dag_run": run}))
    contents = dict(hook.received)
    assert set(contents) == {"/services/T0/s3cret-path", "/sns"}
    text = contents["/services/T0/s3cret-path"]["text"]
    assert "The hour from 2026-11-20T05:00:00Z was not labeled within 90 minutes" in text
    assert contents["/sns"]["Message"] == text


def test_a_channel_that_does_not_answer_keeps_no_other_from_the_message(
    told: Any, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GONE", json.dumps({"conn_type": "http", "host": "http://127.0.0.1:9"}))
    told("webhook:gone", "slack:hook")
    with pytest.raises(NotificationError, match="webhook:gone"):
        notifications.send(MESSAGE)
    with pytest.raises(NotificationError, match="webhook:gone"):
        asyncio.run(notifications.send_later(MESSAGE))
    assert len(hook.received) == 2


def test_a_message_that_is_not_taken_fails_no_task_and_stands_in_the_log(
    told: Any, hook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    told("slack:hook")
    hook.status = 404
    with caplog.at_level(logging.ERROR):
        Notify(lambda _: MESSAGE)({})
    assert "not sent by slack:hook" in caplog.text
    # The address of a webhook is as good as its password.
    assert "s3cret-path" not in caplog.text


def test_what_is_told_once_is_told_again_only_for_another_key(told: Any, hook: Webhook) -> None:
    told("slack:hook")
    for key in ("2026-11", "2026-11", "2026-12"):
        notifications.send_once(MESSAGE, key)
    assert len(hook.received) == 2


def test_a_message_that_nobody_took_is_sent_again(told: Any, hook: Webhook) -> None:
    told("slack:hook")
    hook.status = 500
    with pytest.raises(NotificationError):
        notifications.send_once(MESSAGE, "a key of its own")
    hook.status = 200
    notifications.send_once(MESSAGE, "a key of its own")
    assert len(hook.received) == 2


def _report(**xcoms: Any) -> str:
    """Runs coverage's `report` after tasks that pushed ``xcoms`` and did not fail."""
    ti = SimpleNamespace(
        dag_id="coverage",
        run_id="run",
        get_task_states=lambda dag_id, run_ids: {"run": {"plan": "success"}},
        xcom_pull=lambda task_ids, key="return_value": xcoms.get(key),
    )
    context: Any = {"ti": ti, "dag_run": SimpleNamespace(run_type="scheduled"), "params": {}}
    return ReportCoverageOperator(task_id="report", plan="plan", decide="decide").execute(context)


def _set(monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    """A collection that is older than its month, with a budget of 3,000 posts."""
    monkeypatch.setattr(coverage, "now", lambda: now)
    monkeypatch.setenv("OPINION_COLLECTION_START", "2031-03-01T00:00:00Z")
    monkeypatch.setenv("OPINION_MONTHLY_POSTS", "3000")


def test_people_are_told_once_a_month_that_its_posts_will_exceed_the_budget(
    told: Any, aws: LocalAws, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, datetime(2031, 4, 11, tzinfo=UTC))
    ledger = PostsLedger(aws.client("s3"), BUCKET)
    told("webhook:hook")
    ledger.record("2031-04", "stream-a", 1000)
    assert _report(return_value="the plan") == "the plan"
    assert hook.received == []
    ledger.record("2031-04", "search-b", 1)
    for _ in range(2):
        _report(return_value="the plan")
    ((_, message),) = hook.received
    assert message["subject"] == "budget: 3,003 posts projected in 2031-04, 3,000 allowed"
    assert "($15.0" in message["happened"]


def test_a_budget_of_which_nobody_can_be_told_fails_no_task(
    told: Any, aws: LocalAws, hook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _set(monkeypatch, datetime(2031, 5, 11, tzinfo=UTC))
    told("webhook:hook")
    hook.status = 500
    PostsLedger(aws.client("s3"), BUCKET).record("2031-05", "stream-a", 9000)
    with caplog.at_level(logging.ERROR):
        assert _report(return_value="the plan") == "the plan"
    assert "not sent by webhook:hook" in caplog.text
    hook.status = 200
    _report(return_value="the plan")
    assert len(hook.received) == 1 + 1  # the one that was rejected, and the one that was taken


def test_people_are_told_once_a_day_of_the_same_problem(told: Any, hook: Webhook) -> None:
    """Coverage fails every quarter of an hour while X is down."""
    told("webhook:hook")
    ti = SimpleNamespace(dag_id="coverage", run_id="run", task_id="report")
    callback = Notify(notifications.coverage_failed, notifications.coverage_alarm_key)

    def fail(**xcoms: Any) -> None:
        with pytest.raises(CoverageAlarmError) as raised:
            _report(**xcoms)
        context: Any = {"ti": ti, "exception": raised.value}
        callback.notify(context)

    fail(unplanned="X's rate limit lasts 812 s more; <Connection object at 0x7f00aa>")
    fail(unplanned="X's rate limit lasts 33 s more; <Connection object at 0x7e1200>")
    assert len(hook.received) == 1
    for hour in ("2026-11-20T05", "2026-11-20T06"):
        fail(alarms=[f"{hour} ukraine: transform was rerun 2 times"])
    assert len(hook.received) == 3


def test_people_are_told_once_of_a_drift_away_from_the_same_audit(
    told: Any, aws: LocalAws, hook: Webhook
) -> None:
    told("webhook:hook")
    run = SimpleNamespace(run_after=datetime(2026, 11, 30, 5, 30, tzinfo=UTC), run_type="scheduled")
    row = {
        "topic": "ukraine",
        "dimension": "language",
        "stability_index": 0.41,
        "noise": 0.01,
        "tolerated": 0.25,
        "drifted": 1,
        "audit_month": "2026-10-01",
        "audited_days": 7,
        "audited_tweets": 9_000,
        "recent_days": 7,
        "recent_tweets": 8_000,
    }

    def check(*rows: dict[str, Any]) -> dict[str, Any]:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=DRIFT), sink)
        aws.client("s3").put_object(Bucket=BUCKET, Key=drift_key("2026-11-29"), Body=sink.getvalue())
        ti = TaskInstance()
        ti.dag_id, ti.run_id, ti.task_id = "drift", "run", "check"  # pyrefly: ignore[missing-attribute]
        result: dict[str, Any] = drift.check.function(list(rows), ti=ti, dag_run=run)
        assert ("quality_result", "drift/2026-11-29") in ti.pushed
        return result

    steady = {**row, "dimension": "source", "drifted": 0, "stability_index": 0.001}
    assert check(steady)["failed"] == 0
    assert hook.received == []
    assert [check(row, steady)["failed"], check(row, steady)["failed"]] == [1, 1]
    ((_, content),) = hook.received
    assert "ukraine: the mix of languages has changed since the audit of 2026-10" in content["happened"]
    assert "source" not in content["happened"]
    assert content["link"].endswith("/dags/drift/runs/run/tasks/check")
    check({**row, "audit_month": "2026-11-01"}, steady)
    assert len(hook.received) == 2


def test_people_are_told_once_of_a_topics_shift_on_a_day(
    told: Any, aws: LocalAws, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    told("webhook:hook")
    monkeypatch.setenv("AWS_DEFAULT_REGION", CREDENTIALS["region_name"])
    run = SimpleNamespace(run_after=datetime(2026, 11, 30, 5, 30, tzinfo=UTC), run_type="scheduled")
    day = date(2026, 11, 29)
    one = Shift("ukraine", day, -0.123, -0.051, 0.032, 28)

    def look(*shifts: Shift) -> Any:
        def found(*given: Any) -> list[Shift]:
            assert given[-1] == day, "the day before the schedule's, also where the run is cleared later"
            return list(shifts)

        monkeypatch.setattr("include.insights.shifts.find", found)
        return drift.shifts.function(ti=TaskInstance(), dag_run=run)

    assert look() == []
    assert hook.received == []
    expected = [{**vars(one), "day": "2026-11-29"}]
    assert [look(one), look(one)] == [expected, expected]
    ((_, content),) = hook.received
    assert "-12.3% on 2026-11-29; the 28 days before it predict -5.1% to +3.2%" in content["happened"]
    assert content["link"].endswith("/plugin/opinion-over-time?from=2026-11-01&to=2026-11-29")
    look(one, replace(one, topic="russia"))
    assert len(hook.received) == 2


def test_a_failed_run_names_its_failed_tasks_and_leads_to_the_first() -> None:
    states = {
        "run": {
            "label": "failed",
            "translate[3]": "failed",
            "publish": "upstream_failed",
            "prepare": "success",
        }
    }
    ti = SimpleNamespace(get_task_states=lambda dag_id, run_ids: states)
    message = notifications.run_failed(
        cast("Context", {"dag": SimpleNamespace(dag_id="transform"), "run_id": "run", "ti": ti})
    )
    assert "It failed in label, translate." in message.happened
    assert message.link is not None
    assert message.link.endswith("/dags/transform/runs/run/tasks/label")


def test_a_run_that_failed_without_a_task_says_airflows_reason() -> None:
    context: Any = {"dag": SimpleNamespace(dag_id="train"), "run_id": "a+b", "reason": "timed_out"}
    message = notifications.run_failed(context)
    assert "Airflow says: timed_out." in message.happened
    assert message.link is not None
    assert message.link.endswith("/dags/train/runs/a%2Bb")


def test_every_message_has_its_section_in_the_runbook() -> None:
    sections = {
        re.sub(r"[^\w -]", "", line.removeprefix("## ").lower()).replace(" ", "-")
        for line in (ROOT / notifications.RUNBOOK).read_text().splitlines()
        if line.startswith("## ")
    }
    source = Path(notifications.__file__).read_text()
    named = {line.split('"')[1] for line in source.splitlines() if line.strip().startswith("section=")}
    assert named
    assert named <= sections
