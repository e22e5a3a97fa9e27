"""The tasks of `insights`: aggregates of the days that changed, their check, and QuickSight's ingestions.

The methods import what needs botocore, to keep the parsing of DAG files fast.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.operators.inputs import account, client, now, skip_without_quicksight, topics
from include.operators.links import NotedLink, address, athena
from include.operators.polling import PollingTrigger, Seen, Watch
from include.operators.quality import checking
from include.settings import settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.insights.ingestion import IngestionDecision, SpiceDataSet

_SOON = 5.0
"""Seconds that a task waits in the worker: the scheduler treats one that resumes too soon as dead."""
_PATIENCE = 10.0


def gathered_at(changes: Iterable[datetime], seconds: int) -> datetime | None:
    """When to stop gathering changes; None for a run that was not started by changes."""
    first = min(changes, default=None)
    return first + timedelta(seconds=seconds) if first else None


class GatherChangesOperator(BaseOperator):
    """Waits until ``settings().gather_seconds`` after the first change that started this run.

    Changes in the meantime start another run, which finds nothing left to do. A manual run does not wait.
    Returns how many changes there were.
    """

    ui_color = "#c7e3f7"

    def execute(self, context: Context) -> int:
        """Continues, or waits in the triggerer."""
        events = [event for found in context["triggering_asset_events"].values() for event in found]
        until = gathered_at((event.timestamp for event in events), settings().gather_seconds)
        left = (until - now()).total_seconds() if until else 0.0
        if until and left > _SOON:
            self.log.info("changes=%d gathering until %s", len(events), until.isoformat())
            self._wait(until, len(events))
        time.sleep(max(left, 0.0))
        return len(events)

    def go_on(self, _context: Context, event: Any, changes: int) -> int:  # noqa: ARG002 - Airflow's signature
        """The time is over."""
        return changes

    def _wait(self, until: datetime, changes: int) -> NoReturn:
        self.defer(trigger=DateTimeTrigger(until), method_name="go_on", kwargs={"changes": changes})


@task
def views(ti: Any = None) -> list[str]:
    """Creates or replaces the views of ``sql/views/``; returns their names."""
    from include.lake.views import create_views

    return create_views(athena(ti))


@task
def days() -> list[str]:
    """The days whose aggregate is not made from the lake's current objects."""
    from include.insights.aggregate import changed_days

    return changed_days(client("s3"), settings(), topics().names)


@task
def aggregate(day: str, ti: Any = None) -> dict[str, Any]:
    """Selects a day on Athena and replaces its aggregate; returns counts."""
    from include.insights.aggregate import refresh

    return refresh(athena(ti), client("s3"), settings(), topics().names, day).to_json()


@task
def check(aggregated: list[dict[str, Any]], ti: Any = None) -> list[dict[str, Any]]:
    """The suite ``opinion`` on every day that was aggregated."""
    from include.quality.checks import check_opinion

    found = [each["day"] for each in aggregated]
    with checking(ti, "opinion", max(found)):
        results = check_opinion(athena(ti), client("s3"), settings(), topics().names, found)
    return [result.summary() for result in results]


@task(trigger_rule="none_failed")
def data_sets() -> list[str]:
    """The ids of QuickSight's data sets; skipped where QuickSight is not used."""
    from include.insights.quicksight import data_set_ids

    skip_without_quicksight()
    return list(data_set_ids(settings()))


class IngestionWatch(Watch):
    """Watches an ingestion; its end is the event ``{"state": ..., "rows": ..., "error": ...}``."""

    def __init__(self, data_set: str, ingestion: str) -> None:
        self._data_set = data_set
        self._account = account()
        self._ingestion = ingestion

    def look(self) -> Seen:
        """Asks QuickSight once."""
        from include.insights.ingestion import UNDER_WAY

        outcome = _data_set(self._data_set, self._account).outcome(self._ingestion)
        return Seen(None if outcome.state in UNDER_WAY else vars(outcome))

    def stop(self) -> None:
        """Cancels the ingestion."""
        _data_set(self._data_set, self._account).cancel(self._ingestion)


class DashboardLink(NotedLink):
    """The dashboard that shows the data set of an ingestion."""

    name = "QuickSight dashboard"


class IngestDataSetOperator(BaseOperator):
    """Has QuickSight read a data set again, unless it has exactly this data already.

    Returns ``{"data_set", "ingestion", "rows", "reused"}``. Skips, with the next possible time, if the last
    ingestion is less than ``settings().quicksight_spacing_seconds`` old or QuickSight's limit is reached. An
    ingestion fails where an object is replaced under it, as `live` does every few minutes: once, the task
    starts another. If that fails too, so does the task, with QuickSight's type and message; further ones wait
    for a later run.
    """

    template_fields = ("data_set",)
    operator_extra_links = (DashboardLink(),)
    ui_color = "#d9c7f7"

    def __init__(self, *, data_set: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_set = data_set
        self._running: tuple[SpiceDataSet, str] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Finds or starts the ingestion, and defers unless it ends soon."""
        return self._ingest(context, again=False)

    def _ingest(self, context: Context, *, again: bool) -> dict[str, Any]:
        from include.insights import ingestion
        from include.insights.quicksight import dashboard_url

        shown = address(dashboard_url(settings(), self.data_set), client("quicksight"))
        DashboardLink().note(context["ti"], shown)
        data_set = _data_set(self.data_set, account())
        decision = self._decide(data_set)
        if decision.action is ingestion.Action.START:
            decision = data_set.start(decision)
        if decision.action is ingestion.Action.WAIT:
            raise AirflowSkipException(f"no ingestion of {self.data_set}: {_reason(decision)}")
        result = {
            "data_set": self.data_set,
            "ingestion": decision.identity,
            "reused": decision.action is not ingestion.Action.START,
        }
        self._running = (data_set, decision.identity)
        deadline = time.monotonic() + _PATIENCE
        outcome = data_set.outcome(decision.identity)
        while outcome.state in ingestion.UNDER_WAY:
            if time.monotonic() > deadline:
                self._wait(result, again)
            time.sleep(0.2)
            outcome = data_set.outcome(decision.identity)
        return self.finish(context, vars(outcome), result, again)

    def finish(
        self, context: Context, event: dict[str, Any], result: dict[str, Any], again: bool = False
    ) -> dict[str, Any]:
        """Returns what was read; raises `IngestionError` if the ingestion did not complete.

        If a joined ingestion was canceled, another task did that, and this one starts its own. So it does if
        the ingestion failed, unless that was done ``again`` already. If none may be started soon, the task
        fails without a retry.
        """
        from include.insights.ingestion import COMPLETED, FAILED, Action, IngestionError

        if event["state"] == "CANCELLED" and result["reused"]:
            self.log.info("ingestion=%s was canceled by the task that started it", result["ingestion"])
            return self._ingest(context, again=again)
        if event["state"] != COMPLETED:
            failure = (
                f"ingestion {result['ingestion']} of {self.data_set} is {event['state']}: "
                f"{event['error'] or 'no reason given'}"
            )
            decision = self._decide(_data_set(self.data_set, account()))
            if decision.action is Action.WAIT:
                raise AirflowFailException(f"{failure}; not tried again by this run: {_reason(decision)}")
            if event["state"] == FAILED and not again:
                self.log.warning("another is started: %s", failure)
                return self._ingest(context, again=True)
            raise IngestionError(failure)
        self.log.info("data_set=%s ingestion=%s rows=%d", self.data_set, result["ingestion"], event["rows"])
        return {**result, "rows": event["rows"]}

    def _decide(self, data_set: SpiceDataSet) -> IngestionDecision:
        from include.insights import ingestion

        return ingestion.decide_ingestion(
            f"lake-{ingestion.data_digest(client('s3'), settings())}",
            data_set.ingestions(),
            now(),
            timedelta(seconds=settings().quicksight_spacing_seconds),
            settings().quicksight_ingestions_per_day,
        )

    def on_kill(self) -> None:
        """Cancels the ingestion when the task is killed between starting it and deferring."""
        if self._running is not None:
            data_set, ingestion = self._running
            data_set.cancel(ingestion)

    def _wait(self, result: dict[str, Any], again: bool) -> NoReturn:
        self.defer(
            trigger=PollingTrigger.of(
                IngestionWatch, {"data_set": self.data_set, "ingestion": result["ingestion"]}
            ),
            method_name="finish",
            kwargs={"result": result, "again": again},
        )


def _reason(decision: IngestionDecision) -> str:
    """Why nothing is started now, and from when on it can be."""
    until = f"possible again at {decision.until:%Y-%m-%dT%H:%M:%SZ}" if decision.until else "try later"
    return f"{decision.reason}; {until}"


def _data_set(identity: str, owner: str) -> SpiceDataSet:
    from include.insights.ingestion import SpiceDataSet

    return SpiceDataSet(client("quicksight"), owner, identity)
