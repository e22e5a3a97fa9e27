"""The tasks of `coverage`: measure and plan, recover, measure again, rerun, report, and ask a person."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from include.operators.inputs import client, failed_tasks, now, pulled, secret, topics, x_client
from include.operators.links import AthenaLink, athena
from include.settings import settings
from include.window import Window, WindowError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.coverage.measure import Measurement
    from include.coverage.plan import Recovery, Runs

RECOVERIES, PLAN, ALARMS, UNPLANNED = "recoveries", "plan", "alarms", "unplanned"
"""XCom keys: the planned recoveries, the plan as text, new alarms, and why nothing could be planned."""
PROPOSAL, OUTCOMES = "proposal", "outcomes"
"""XCom keys that the page Coverage reads: what `plan` proposes, also in a dry run, and the result."""

_ACTIVE = ["queued", "running"]

log = logging.getLogger(__name__)


class CoverageAlarmError(AirflowException):
    """A problem that reruns do not fix, or a failed task of this run: a person has to look.

    ``problem`` identifies the problem, even when counts and times in the text change.
    """

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(text)
        self.problem = problem


def _no_answer() -> tuple[type[Exception], ...]:
    """The errors of a request for X's counts that do not fail the task."""
    import requests
    import tweepy

    from include.x.client import RequestRejectedError, TokenError
    from include.x.search import PatienceError, SearchError

    return (
        *(tweepy.TweepyException, requests.RequestException),
        *(RequestRejectedError, TokenError, PatienceError, SearchError),
        *(KeyError, TypeError, ValueError),
    )


def _lasting(text: str) -> str:
    """A text without the numbers and addresses that change while the problem stays the same."""
    return re.sub(r"0x[0-9a-f]+|[0-9]+", "#", text)


def _is_active(ti: Any, dag_id: str, window: Window) -> bool:
    from include.coverage.plan import run_ids

    return bool(ti.get_dr_count(dag_id=dag_id, run_ids=run_ids(window), states=_ACTIVE))


def _runs(ti: Any, dag_id: str, windows: Sequence[Window]) -> dict[Window, Runs]:
    """The runs of each hour, as recorded by the scheduler."""
    from include.coverage.plan import Runs, scheduled_run_id

    next_scheduled = ti.get_dag(dag_id).next_dagrun
    return {
        window: Runs(
            scheduled=ti.get_dr_count(dag_id=dag_id, run_ids=[scheduled_run_id(window)]) > 0,
            active=_is_active(ti, dag_id, window),
            next_scheduled=next_scheduled,
        )
        for window in windows
    }


def is_dry_run(context: Context) -> bool:
    """Whether nothing may be changed: the Param's value for a manual run, never for a scheduled one."""
    return context["dag_run"].run_type != "scheduled" and bool(context["params"]["dry_run"])


class _CoverageOperator(BaseOperator):
    """What the measuring operators share; ``rerun_dag_id`` is the DAG whose runs label the hours."""

    operator_extra_links = (AthenaLink(),)

    def __init__(self, *, rerun_dag_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rerun_dag_id = rerun_dag_id
        self._athena: Any = None

    def windows(self, context: Context) -> list[Window]:
        """The hours that the run covers; fails without a retry if the params name none."""
        from include.coverage.measure import RangeError, collection_start, windows

        started = context["dag_run"].start_date or now()
        params = context["params"]
        scheduled = context["dag_run"].run_type == "scheduled"
        start, end = (None, None) if scheduled else (params["start"], params["end"])
        try:
            return windows(start, end, started, collection_start(settings(), topics()))
        except (RangeError, WindowError) as error:
            raise AirflowFailException(str(error)) from error

    def measure(self, context: Context, windows: Sequence[Window]) -> Measurement:
        """Measures and judges ``windows`` now."""
        from include.coverage.measure import measure

        self._athena = athena(context["ti"])
        active = [window for window in windows if _is_active(context["ti"], self.rerun_dag_id, window)]
        return measure(self._athena, client("s3"), settings(), topics(), windows, active, now())

    def on_kill(self) -> None:
        """Stops the statements in progress."""
        if self._athena is not None:
            self._athena.stop()


class PlanCoverageOperator(_CoverageOperator):
    """Delivers again what Firehose could not, measures, judges, writes the ledger and plans.

    A dry run only measures and plans.

    Returns the plan in words; the recoveries are in the XCom `RECOVERIES`, empty in a dry run.
    """

    def execute(self, context: Context) -> str:
        """Measures, asks X for the cost of the recoveries, and the scheduler for the hours' runs."""
        from include.coverage import ledger
        from include.coverage.damage import set_aside
        from include.coverage.measure import unapproved_start
        from include.coverage.plan import compose, unfilled
        from include.coverage.redelivery import redeliver

        dry_run = is_dry_run(context)
        windows = self.windows(context)
        redelivered = None
        if not dry_run:
            s3, bucket = client("s3"), settings().bucket
            redelivered = redeliver(
                s3, bucket, topics().names, lambda: secret(settings().pseudonym_secret).encode(), now()
            )
        measured = self.measure(context, windows) if windows else None
        rows = measured.rows if measured else ()
        if redelivered:
            alarms = [*redelivered.alarms, *(measured.alarms if measured else ())]
            context["ti"].xcom_push(ALARMS, alarms)
        if measured and not dry_run:
            ledger.write(client("s3"), settings().bucket, rows)
            set_aside(client("s3"), settings().bucket, measured.damaged)
        planned: list[Recovery] = []
        unplanned = None
        if measured and unfilled(rows):
            try:
                planned = self._recoveries(measured, unapproved_start(now(), settings()))
            except _no_answer() as error:
                # Reruns need nothing from X.
                unplanned = str(error) or type(error).__name__
                log.error("recoveries are not planned: %s", unplanned)
        ti = context["ti"]
        plan = compose(
            windows,
            rows,
            planned,
            lambda hours: _runs(ti, self.rerun_dag_id, hours),
            dry_run=dry_run,
            unplanned=unplanned,
            redelivered=str(redelivered) if redelivered and redelivered.counts else "",
        )
        log.info("%s", plan.text)
        ti.xcom_push(UNPLANNED, unplanned)
        ti.xcom_push(PROPOSAL, plan.proposal)
        ti.xcom_push(RECOVERIES, [recovery.to_json() for recovery in plan.recoveries])
        return plan.text

    def _recoveries(self, measured: Measurement, start: datetime) -> list[Recovery]:
        from include.coverage.evidence import sample_at
        from include.coverage.plan import recoveries, unfilled
        from include.coverage.recover import too_many_attempts
        from include.x.budget import PostsLedger, month_of, monthly_posts
        from include.x.search import Counts, never_wait

        every_topic = topics()
        used = PostsLedger(client("s3"), settings().bucket).used(month_of(now()))
        stretches = unfilled(measured.rows)
        counts = Counts(
            x_client(),
            every_topic,
            min(stretch.start for stretch in stretches),
            max(stretch.end for stretch in stretches),
            sleep=never_wait,
        )
        return recoveries(
            measured.rows,
            start,
            monthly_posts(settings(), every_topic) - used,
            lambda topic, stretch: counts.of(topic, stretch.start, stretch.end),
            lambda window: sample_at(window, measured.heartbeats),
            lambda topic, stretch: too_many_attempts(client("s3"), settings(), every_topic, topic, stretch),
        )


class SelectRecoveriesOperator(BaseOperator):
    """Returns those of the planned ``recoveries`` that need no approval."""

    template_fields = ("recoveries",)

    def __init__(self, *, recoveries: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recoveries = recoveries

    def execute(self, context: Context) -> list[dict[str, Any]]:  # noqa: ARG002 - Airflow's signature
        """Leaves out the recoveries that `ApproveRecoveriesOperator` asks about."""
        from include.coverage.plan import Recovery

        planned = map(Recovery.from_json, self.recoveries)
        return [recovery.to_json() for recovery in planned if not recovery.waits]


class ApproveRecoveriesOperator(ApprovalOperator):
    """Asks a person to approve the planned ``recoveries`` that need it; returns the approved ones.

    Returns an empty list at once if there is nothing to approve or another run is asking. Without an answer
    in time, a later run asks again; after a rejection, only once `REJECTED_FOR` has passed.
    """

    template_fields = (*ApprovalOperator.template_fields, "recoveries")

    def __init__(self, *, recoveries: Any, **kwargs: Any) -> None:
        super().__init__(defaults=self.REJECT, **kwargs)
        self.recoveries = recoveries

    def execute(self, context: Context) -> Any:
        """Returns at once, or waits for a person."""
        from include.coverage import approvals
        from include.coverage.plan import Recovery
        from include.x.price import priced

        planned = map(Recovery.from_json, self.recoveries)
        waiting = [recovery for recovery in planned if recovery.waits]
        if not waiting:
            return []
        ti, kind = context["ti"], "scheduled" if context["dag_run"].run_type == "scheduled" else "manual"
        asked = approvals.ask(
            client("s3"),
            settings().bucket,
            kind,
            ti.run_id,
            waiting,
            now(),
            lambda run: bool(ti.get_dr_count(dag_id=ti.dag_id, run_ids=[run], states=_ACTIVE)),
        )
        log.info("recoveries waiting=%d asked=%d", len(waiting), len(asked))
        if not asked:
            return []
        entries = "\n".join(f"- {recovery}" for recovery in asked)
        total = priced(sum(recovery.posts for recovery in asked))
        self.body = f"{entries}\n\nIn all about {total}."
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Handles a person's answer, or that there was none."""
        from include.coverage import approvals
        from include.coverage.plan import Recovery

        answer = HITLOperator.execute_complete(self, context, event)
        approved = answer["chosen_options"] == [self.APPROVE]
        s3, bucket, run = client("s3"), settings().bucket, context["ti"].run_id
        asked = approvals.asked(s3, bucket, run, [Recovery.from_json(one) for one in self.recoveries])
        rejected = not approved and bool(answer["responded_by_user"])
        approvals.answered(s3, bucket, run, now(), rejected=rejected)
        log.info("recoveries asked=%d approved=%s rejected=%s", len(asked), approved, rejected)
        return [replace(one, approved=True).to_json() for one in asked] if approved else []


class RecoverStretchOperator(BaseOperator):
    """Recovers one time range of one topic and records its gap in the ledger: filling, then the result."""

    template_fields = ("recovery",)

    def __init__(self, *, recovery: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recovery = recovery

    def execute(self, context: Context) -> dict[str, Any]:
        """Searches, writes the object, and returns the counts."""
        from include.coverage import ledger
        from include.coverage.judge import GapState
        from include.coverage.plan import Recovery
        from include.coverage.recover import recover, too_many_attempts
        from include.x.client import RequestRejectedError
        from include.x.price import cost

        recovery = Recovery.from_json(self.recovery)
        s3, bucket = client("s3"), settings().bucket
        key = recovery.topic, recovery.window
        asked = recovery.topic, recovery.stretch
        hash_key = secret(settings().pseudonym_secret).encode()

        def mark(state: GapState, reason: str | None, *, approved: bool = recovery.approved) -> None:
            changes = {"state": state, "reason": reason, "approved": approved}
            ledger.change(s3, bucket, key, lambda row: ledger.with_gap(row, recovery.stretch, **changes))

        mark(GapState.FILLING, None)
        attempt = f"{now():%Y%m%dT%H%M%S}-{context['ti'].try_number}"
        owner = f"{context['ti'].dag_id} {context['ti'].run_id}"
        try:
            outcome = recover(s3, x_client(), settings(), topics(), recovery, hash_key, attempt, owner)
        except RequestRejectedError as error:
            mark(GapState.OPEN, str(error))
            raise AirflowFailException(str(error)) from error
        except Exception as error:
            exhausted = too_many_attempts(s3, settings(), topics(), *asked)
            # An approval is valid for one task: after this many failures a person decides again.
            mark(GapState.OPEN, _why(error, exhausted), approved=recovery.approved and exhausted is None)
            raise
        mark(outcome.state, outcome.reason)
        if outcome.state is not GapState.FILLED:
            log.warning("not recovered: %s: %s", recovery, outcome.reason)
        return {
            "topic": recovery.topic,
            "hour": recovery.window.label,
            "stretch": str(recovery.stretch),
            "state": outcome.state.value,
            "bought": outcome.bought,
            "dollars": cost(outcome.bought),
            "kept": outcome.kept,
            "reason": outcome.reason,
        }


def _why(error: Exception, exhausted: str | None) -> str:
    """Why a gap is still open after a failed attempt."""
    reason = f"the last attempt failed with {type(error).__name__}; what was bought is kept"
    return f"{exhausted}; {reason}" if exhausted else reason


class DecideRerunsOperator(_CoverageOperator):
    """Measures the recovered hours again, and decides which hours are transformed again.

    ``plan`` and ``recover`` are the ids of the tasks that plan and recover. Returns what
    `RerunTransformOperator` is expanded over; nothing in a dry run. New alarms are in the XCom `ALARMS`. The
    task is skipped if planning failed.
    """

    def __init__(self, *, plan: str, recover: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.recover = recover

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Measures, writes the ledger and counts the reruns in it."""
        from include.coverage import evidence, ledger
        from include.coverage.plan import describe, reruns, unlabeled

        ti = context["ti"]
        if ti.xcom_pull(task_ids=self.plan, key=RECOVERIES) is None:
            raise AirflowSkipException("there is no plan")
        if is_dry_run(context):
            return []
        windows = self.windows(context)
        s3, bucket = client("s3"), settings().bucket
        former = ledger.read_days(s3, bucket, windows)
        wanted = set(windows)
        known = {key: row for key, row in former.items() if key[1] in wanted}
        outcomes = pulled(ti, self.recover)
        tried = {Window.parse(one["hour"]) for one in outcomes}
        if tried:
            known |= {row.key: row for row in self.measure(context, sorted(tried)).rows}
        rows = tuple(known.values())
        needing = list(unlabeled(rows))
        runs = _runs(ti, self.rerun_dag_id, needing)
        inputs = evidence.list_inputs(s3, bucket, topics().names, needing)
        changed_since = {
            row.window for row in rows if row.key in inputs and row.inputs_digest != inputs[row.key].digest
        }
        steps, changed = reruns(rows, runs, settings().max_reruns, ti.run_id, changed_since)
        replaced = {row.key: row for row in rows} | {row.key: row for row in changed}
        final = list(replaced.values())
        # Only what has changed: another run may have marked the other gaps in the meantime.
        ledger.write(s3, bucket, [row for row in final if former.get(row.key) != row])
        plan = describe(final, [], steps, dry_run=False)
        log.info("%s", plan)
        ti.xcom_push(PLAN, plan)
        ti.xcom_push(ALARMS, self._new_alarms(final, former, changed))
        reran = [{"hour": step.window.label, "way": step.way.value, "run_id": step.run_id} for step in steps]
        ti.xcom_push(OUTCOMES, {"recovered": outcomes, "reruns": reran})
        return [
            {"trigger_run_id": step.run_id, "conf": {"window": step.window.label}}
            for step in steps
            if step.run_id
        ]

    @staticmethod
    def _new_alarms(final: Sequence[Any], former: dict[Any, Any], changed: Sequence[Any]) -> list[str]:
        """Every alarm is logged as an error; those that no rerun fixes are returned if they are new."""
        exhausted = {row.key for row in changed if row.alarm}
        new = []
        for row in final:
            if not row.alarm:
                continue
            text = f"{row.window} {row.topic}: {row.alarm}"
            log.error("alarm %s", text)
            known = former.get(row.key)
            if row.key in exhausted and (known is None or known.alarm != row.alarm):
                new.append(text)
        return new


class RerunTransformOperator(TriggerDagRunOperator):
    """Clears an hour's scheduled run, or starts a run for its window; leaves an active run alone.

    Expanded over what `DecideRerunsOperator` returns.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(logical_date=None, reset_dag_run=True, **kwargs)

    def execute(self, context: Context) -> None:
        """Checks again: clearing a running task would restart it."""
        window = Window.parse((self.conf or {})["window"])
        if _is_active(context["ti"], self.trigger_dag_id, window):
            raise AirflowSkipException(f"a run of {window} has become active since the measurement")
        super().execute(context)


class ReportCoverageOperator(BaseOperator):
    """Ends the run: fails if one of its tasks failed or there is a new alarm, to make it visible.

    ``plan`` and ``decide`` are the ids of the tasks that plan and decide. Returns a report for people.
    """

    def __init__(self, *, plan: str, decide: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.decide = decide

    def execute(self, context: Context) -> str:
        """Notifies of the budget, then reads the other tasks' states and alarms.

        A removal request that is open for too long is an alarm of every run: its time is limited.
        """
        from include.compliance.requests import overdue

        ti = context["ti"]
        if not is_dry_run(context):
            self._tell_of_budget()
        failed = failed_tasks(ti)
        told = (ti.xcom_pull(task_ids=task, key=ALARMS) or [] for task in (self.plan, self.decide))
        alarms = [alarm for some in told for alarm in some]
        if not is_dry_run(context):
            alarms += overdue(client("s3"), settings().bucket, now())
        unplanned = ti.xcom_pull(task_ids=self.plan, key=UNPLANNED)
        problems = [
            *(f"task {task} {state}" for task, state in failed.items()),
            *([f"recoveries are not planned: {unplanned}"] if unplanned else []),
            *alarms,
        ]
        if problems:
            broken = sorted({f"task {task.partition('[')[0]} failed" for task in failed})
            lasting = [*broken, *([_lasting(unplanned)] if unplanned else []), *alarms]
            raise CoverageAlarmError("; ".join(problems), "; ".join(lasting))
        text = ti.xcom_pull(task_ids=self.decide, key=PLAN) or ti.xcom_pull(task_ids=self.plan)
        return str(text)

    @staticmethod
    def _tell_of_budget() -> None:
        """Notifies people once a month if its posts are projected to exceed the budget."""
        from include.coverage.measure import collection_start
        from include.operators.notifications import budget_exceeded, try_once
        from include.x.budget import PostsLedger, PostsLedgerError, month_of, monthly_posts, projected
        from include.x.price import dollars

        if not settings().notify:
            return
        moment, every_topic = now(), topics()
        month, budget = month_of(moment), monthly_posts(settings(), every_topic)
        try:
            used = PostsLedger(client("s3"), settings().bucket).used(month)
        except PostsLedgerError as error:
            log.error("the month's posts are unknown, so no notification of the budget is sent: %s", error)
            return
        posts = projected(used, moment, collection_start(settings(), every_topic))
        if posts is not None and posts > budget:
            try_once(budget_exceeded(month, posts, budget, dollars(posts)), f"budget {month}")
