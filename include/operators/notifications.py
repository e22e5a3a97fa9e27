"""Notifies people of what needs them: by SNS, Slack, any webhook or e-mail, as set in `OPINION_NOTIFY`.

Start with `Notify` (a callback or a notifier of an operator) and `send`. A message contains counts, names of
topics and hours, and links; never a tweet's text or author.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import BaseNotifier
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from botocore.exceptions import BotoCoreError, ClientError

from include.operators.inputs import client, now
from include.settings import settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.insights.shifts import Shift

_SECONDS = 10
"""How long one channel may take."""
_SUBJECT_LENGTH = 99
"""SNS accepts subjects of fewer than 100 ASCII characters (its API reference, `Publish`)."""

RUNBOOK = "docs/runbook.md"
"""The page with a section for each kind of message."""

log = logging.getLogger(__name__)


class NotificationError(RuntimeError):
    """One or more channels failed to deliver a message; the others delivered it."""


@dataclass(frozen=True)
class Message:
    """A notification: what happened, what to do, and where. ``section`` is the runbook's."""

    subject: str
    happened: str
    action: str
    section: str
    link: str | None = None

    @property
    def text(self) -> str:
        """The message as plain text."""
        lines = [self.subject, "", self.happened, "", f"What to do: {self.action}"]
        lines.append(f"Runbook: {RUNBOOK}#{self.section}")
        return "\n".join([*lines, self.link] if self.link else lines)

    def to_json(self) -> dict[str, str | None]:
        """The body for a webhook; ``text`` is the whole message."""
        return {
            "subject": self.subject,
            "happened": self.happened,
            "action": self.action,
            "section": self.section,
            "link": self.link,
            "text": self.text,
        }


def _notifier(channel: str, message: Message) -> BaseNotifier:
    """Airflow's notifier for one entry of `OPINION_NOTIFY`; the providers are imported only here."""
    kind, _, target = channel.partition(":")
    if kind == "sns":
        from airflow.providers.amazon.aws.notifications.sns import SnsNotifier

        subject = message.subject.encode("ascii", "replace").decode()[:_SUBJECT_LENGTH]
        return SnsNotifier(
            aws_conn_id=settings().aws_conn_id,
            target_arn=target,
            region_name=target.split(":")[3],
            subject=subject,
            message=message.text,
        )
    if kind == "mailto":
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        body = f"<pre>{html.escape(message.text)}</pre>"
        return SmtpNotifier(to=target, subject=message.subject, html_content=body)
    from airflow.providers.http.notifications.http import HttpNotifier

    # Slack rejects unknown fields.
    content = {"text": message.text} if kind == "slack" else message.to_json()
    return HttpNotifier(
        http_conn_id=target,
        json=content,
        headers={"Content-Type": "application/json"},
        extra_options={"timeout": _SECONDS},
    )


def _hide_address(channel: str) -> None:
    """Keeps a webhook's path, which is a secret, out of the provider's log."""
    from airflow.sdk import BaseHook
    from airflow.sdk.log import mask_secret

    kind, _, target = channel.partition(":")
    if kind in ("slack", "webhook"):
        path = urlsplit(BaseHook.get_connection(target).host or "").path
        if path.strip("/"):
            mask_secret(path)


def send(message: Message) -> None:
    """Sends ``message`` by every channel; raises `NotificationError` at the end if one failed."""
    failed = []
    for channel in settings().notify:
        try:
            # Not called as a function, which would render the message as a template.
            _hide_address(channel)
            _notifier(channel, message).notify({})
        except Exception as error:
            # Without the traceback: it may contain the webhook's address, which is a secret.
            log.error("notification not sent channel=%s error=%s", channel, type(error).__name__)
            failed.append(f"{channel} ({type(error).__name__})")
    _raise(failed)


async def send_later(message: Message) -> None:
    """As `send`, from the triggerer."""
    channels = settings().notify
    notifiers = [_notifier(channel, message) for channel in channels]
    outcomes = await asyncio.gather(
        *(asyncio.wait_for(notifier.async_notify({}), _SECONDS) for notifier in notifiers),
        return_exceptions=True,
    )
    failed = []
    for channel, outcome in zip(channels, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            log.error("notification not sent channel=%s error=%s", channel, type(outcome).__name__)
            failed.append(f"{channel} ({type(outcome).__name__})")
    _raise(failed)


def _raise(failed: Sequence[str]) -> None:
    if failed:
        raise NotificationError(
            f"not sent by {', '.join(failed)}; check OPINION_NOTIFY and the connections that it names"
        )


def send_once(message: Message, key: str) -> None:
    """As `send`, unless a message with that ``key`` was sent before.

    A marker among the lake's work files records it, so it may be sent again once these have expired.
    """
    from include.lake.layout import notified_key
    from include.lake.storage import current, put

    if not settings().notify:
        return
    s3, bucket = client("s3"), settings().bucket
    marker = notified_key(hashlib.sha256(key.encode()).hexdigest()[:16])
    if current(s3, bucket, marker) is None:
        send(message)
        put(s3, bucket, marker, now().isoformat().encode())


def try_once(message: Message, key: str | None) -> None:
    """As `send_once`, or as `send` without a ``key``; an error is logged and not raised."""
    from include.lake.storage import StorageError

    try:
        if key is None:
            send(message)
        else:
            send_once(message, key)
    except (NotificationError, StorageError, BotoCoreError, ClientError) as error:
        log.error("%s", error)


class Notify(BaseNotifier):
    """A callback that sends the message that ``compose`` makes from the context, if any.

    It never fails the task or run: a channel's failure is an error in the log. With ``key``, a message is
    sent once for each value that it returns.
    """

    def __init__(
        self,
        compose: Callable[[Context], Message | None],
        key: Callable[[Context], str] | None = None,
    ) -> None:
        super().__init__()
        self.compose = compose
        self.key = key

    def notify(self, context: Context) -> None:
        """Composes and sends."""
        if not settings().notify:
            return
        message = self.compose(context)
        if message is None:
            return
        try_once(message, None if self.key is None else self.key(context))


def _base_url() -> str:
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback="")).rstrip("/")


def run_link(dag_id: str, run_id: str, task_id: str | None = None) -> str:
    """The page of a run, or of one of its tasks, in Airflow's UI."""
    link = f"{_base_url()}/dags/{dag_id}/runs/{quote(run_id)}"
    return f"{link}/tasks/{task_id}" if task_id else link


_ACTIONS: Mapping[str, str] = {
    "transform": "read the task's log, fix the cause, and clear the failed task; no model is paid for twice.",
    "live": "read the task's log and fix the cause; the next run starts afresh.",
    "train": "read the task's log, fix the cause, clear the failed task; finished steps do not run again.",
    "insights": "read the task's log, fix the cause, and clear the failed task.",
    "provision": "read the task's log, fix the cause, start the DAG again; it changes only what differs.",
}
_ANY_ACTION = "read the task's log, fix the cause, and clear the failed task."


def run_failed(context: Context) -> Message:
    """A run of a DAG has failed."""
    # A context for a run without task instances has only these two.
    dag_id, run_id = context["dag"].dag_id, str(context["run_id"])
    failed = _failed_tasks(context, dag_id, run_id)
    where = f"It failed in {', '.join(failed)}." if failed else f"Airflow says: {context.get('reason')}."
    return Message(
        subject=f"{dag_id}: a run has failed",
        happened=f"The run {run_id} of {dag_id} has failed. {where}",
        action=_ACTIONS.get(dag_id, _ANY_ACTION),
        section="a-run-has-failed",
        link=run_link(dag_id, run_id, failed[0] if failed else None),
    )


def live_key(context: Context) -> str:
    """One message per hour for runs of `live`: the next one fails a few minutes later for the same reason."""
    return f"{context['dag'].dag_id} {now():%Y-%m-%dT%H}"


def _failed_tasks(context: Context, dag_id: str, run_id: str) -> list[str]:
    """The ids of the failed tasks, in order, without those that failed only because of an upstream task."""
    ti: Any = context.get("ti")
    if ti is None:
        return []
    states = ti.get_task_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
    # A mapped task's id includes its index.
    failed = {name.partition("[")[0] for name, state in states.items() if state == "failed"}
    return sorted(failed)


def coverage_failed(context: Context) -> Message:
    """Coverage found a problem that no rerun fixes, or one of its tasks failed."""
    ti: Any = context["ti"]
    return Message(
        subject="coverage: a person has to look",
        happened=str(context.get("exception") or "The task ended without an error message."),
        action="open the page Coverage; fix the cause of the alarm; start coverage manually without dry_run.",
        section="coverage-raises-an-alarm",
        link=run_link(ti.dag_id, ti.run_id, ti.task_id),
    )


def coverage_alarm_key(context: Context) -> str:
    """One message per day for the same problem."""
    error = context.get("exception")
    return f"coverage {now():%Y-%m-%d} {getattr(error, 'problem', None) or error}"


def approval_waits(context: Context) -> Message:
    """Recoveries wait for approval."""
    operator: Any = context["task"]
    return Message(
        subject="coverage: recoveries wait for your approval",
        happened=str(operator.body),
        action="approve or reject on the page behind the link; without an answer nothing is bought.",
        section="a-recovery-waits-for-approval",
        link=operator.generate_link_to_ui_from_context(context=context, base_url=_base_url() or None),
    )


def approval_key(context: Context) -> str:
    """One message per day for the same recoveries."""
    operator: Any = context["task"]
    return f"approval {now():%Y-%m-%d} {operator.body}"


def budget_exceeded(month: str, projected: int, budget: int, price: str) -> Message:
    """The month's posts are projected to exceed the budget; ``price`` is their price as text."""
    return Message(
        subject=f"budget: {projected:,} posts projected in {month}, {budget:,} allowed",
        happened=f"At this rate {projected:,} posts will be bought from X in {month} ({price}); the budget is"
        f" {budget:,}.",
        action="choose fewer keywords, approve fewer recoveries, or raise the budget in the topics file.",
        section="the-budget-is-projected-to-be-exceeded",
    )


def cost_exceeded(month: str, dollars: float, projected: float, limit: float, link: str) -> Message:
    """The month's costs are projected above the limit; all in US dollars by list prices."""
    return Message(
        subject=f"costs: ${projected:,.0f} projected in {month}, ${limit:,.0f} allowed",
        happened=f"At list prices, usage in {month} comes to ${dollars:,.2f} so far, and to"
        f" ${projected:,.2f} at this rate; the limit is ${limit:,.2f}. This is modeled, not a bill.",
        action="see on the page Costs what costs most; lower the budget of posts, or raise the limit.",
        section="the-costs-are-projected-above-the-limit",
        link=link,
    )


def drift_found(drifted: Sequence[dict[str, Any]], link: str) -> Message:
    """The tweets have drifted away from their audit: rows of the table `drift`."""
    from include.audit.drift import DIMENSIONS

    told = [
        f"{each['topic']}: {DIMENSIONS[each['dimension']]} has changed since the audit of"
        f" {each['audit_month'][:7]} (population stability index {each['stability_index']:.2f})."
        for each in drifted
    ]
    return Message(
        subject="drift: the tweets are no longer those that people audited",
        happened=" ".join(told),
        action="start the DAG audit manually for the last days and judge the drawn tweets.",
        section="the-tweets-have-drifted",
        link=link,
    )


def shift_found(shift: Shift) -> Message:
    """A topic's net sentiment has left the range that the days before it predict."""
    day = shift.day.isoformat()
    query = urlencode({"from": (shift.day - timedelta(days=shift.days)).isoformat(), "to": day})
    return Message(
        subject=f"shift: the net sentiment of {shift.topic} left its expected range on {day}",
        happened=f"The rectified net sentiment of {shift.topic} was {shift.net:+.1%} on {day}; the"
        f" {shift.days} days before it predict {shift.low:+.1%} to {shift.high:+.1%}.",
        action="see on the page behind the link whether rules, sample or models changed, or a gap lies there;"
        " then read some of the day's tweets.",
        section="a-days-sentiment-has-shifted",
        link=f"{_base_url()}/plugin/opinion-over-time?{query}",
    )


async def hour_late(context: dict[str, Any]) -> None:
    """Notifies that an hour is not labeled in time; the callback of `late_alert`, in the triggerer."""
    run = context["dag_run"]
    dag_id, run_id = str(run["dag_id"]), str(run["dag_run_id"])
    hour = str(run.get("data_interval_start") or (run.get("conf") or {}).get("window") or run_id)
    message = Message(
        subject=f"{dag_id}: an hour is late",
        happened=f"The hour from {hour} was not labeled within {settings().late_minutes} minutes after its"
        " run was queued.",
        action="look at the run: which task waits, and for what (a pool, a SageMaker job, Firehose).",
        section="an-hour-is-late",
        link=run_link(dag_id, run_id),
    )
    await send_later(message)


def late_alert() -> DeadlineAlert | None:
    """The deadline of an hour's run, None if no notification is configured.

    Counted from when the run was queued, so the old hours of a catch-up are not late.
    """
    if not settings().notify:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=settings().late_minutes),
        callback=AsyncCallback(hour_late),
    )
