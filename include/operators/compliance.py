"""The tasks of `compliance`: ask X, find what must go, remove it from every layer, and record it.

XCom, logs and rendered fields hold names of requests, hours and counts: an id is only ever in memory.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, TriggerRule, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.operators.coverage import is_dry_run
from include.operators.inputs import client, failed_tasks, now, pulled, secret, x_client
from include.operators.polling import PollingTrigger, Seen, Watch
from include.settings import Settings, settings
from include.window import Window

if TYPE_CHECKING:
    import tweepy
    from airflow.sdk import Context

    from include.compliance.asking import Shard
    from include.compliance.removal import Removal
    from include.compliance.requests import RemovalRequest
    from include.lake.pseudonyms import Pseudonyms
    from include.x.compliance import Compliance, ComplianceJob, Kind

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,63}$"
"""What the name of a request looks like, for a Param's JSON schema."""

REQUESTS = "requests"
"""The XCom key of what `find` found: each request with its hours, and those that are purged again."""

MOST_PARTS = 500
"""Mapped tasks of a run at most, or a few more; Airflow allows 1,024."""
_HOURS_PER_PART = 24
_JOB, _STATE_KEY = "job", "compliance"
_SLEPT = 60
"""Seconds up to which a wait is slept through: a task that resumes too soon counts as lost."""
_RATE_LIMIT_S = 900.0

log = logging.getLogger(__name__)


def _is_dry(dag_run: Any, params: dict[str, Any] | None) -> bool:
    return is_dry_run({"dag_run": dag_run, "params": params or {}})


def _pseudonyms() -> Pseudonyms:
    from include.lake.pseudonyms import Pseudonyms

    return Pseudonyms(secret(settings().pseudonym_secret).encode())


def _removal(request: RemovalRequest, *, dry_run: bool) -> Removal:
    from include.compliance.removal import Removal

    key = secret(settings().pseudonym_secret).encode()
    return Removal(client("s3"), settings(), key, request, dry_run=dry_run)


@task
def collect(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The shards of the lake's ids that X is asked about; none if the run is for one request."""
    from include.compliance import asking

    if (params or {}).get("request"):
        return []
    found = _readable(lambda: asking.shards(client("s3"), client("athena"), settings(), now()))
    log.info("shards to ask X about: %d", len(found))
    return [shard.to_json() for shard in found]


def _readable[T](ask: Callable[[], T]) -> T:
    """What ``ask`` returns; damaged objects on which its query fails are set aside before.

    Coverage sets aside those of the topics in use, and X is asked about all that the lake holds.
    """
    from include.coverage import damage
    from include.lake import layout, storage
    from include.lake.athena import UnreadDataError

    while True:  # Athena names one at a time
        try:
            return ask()
        except UnreadDataError as error:
            log.error("damaged objects are looked for: %s", error)
            s3, bucket = client("s3"), settings().bucket
            suspects = damage.named(error, bucket)
            if not suspects:
                layers = (layout.RAW_PREFIX, layout.QUARANTINE_PREFIX)
                held = [each for layer in layers for each in storage.objects(s3, bucket, layer)]
                suspects = list(damage.find(s3, bucket, held))
            if not damage.set_aside(s3, bucket, suspects):
                raise


class ComplianceJobWatch(Watch):
    """Watches a compliance job of X; the event is that it has ended, however."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def look(self) -> Seen:
        """Asks X once."""
        from include.x.compliance import UNFINISHED

        return _looked(lambda compliance: compliance.status(self._job_id) not in UNFINISHED)


class ComplianceTurnWatch(Watch):
    """Waits until X is at no job of a type: it takes one at a time."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def look(self) -> Seen:
        """Asks X once."""
        from include.x.compliance import UNFINISHED

        return _looked(
            lambda compliance: all(job.status not in UNFINISHED for job in compliance.jobs(self._kind))
        )


def _looked(ended: Any) -> Seen:
    import tweepy

    from include.x.compliance import Compliance

    try:
        return Seen({}) if ended(Compliance(x_client())) else Seen()
    except tweepy.TooManyRequests as error:
        return Seen(again_after=_until_reset(error))


def _until_reset(error: tweepy.TooManyRequests) -> float:
    """Seconds until X's rate limit is over, by its own word."""
    at = error.response.headers.get("x-rate-limit-reset", "")
    return max(1.0, float(at) - time.time()) if at.isdecimal() else _RATE_LIMIT_S


class AskComplianceOperator(BaseOperator):
    """Asks X about one shard, and keeps what must go as a request; returns how often X gave which reason.

    A retry goes on with the job that was begun; a cleared task asks again, unless X has answered lately.
    """

    template_fields = ("shard",)

    def __init__(self, *, shard: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = shard

    def execute(self, context: Context) -> dict[str, int]:
        """Submits the job, or finds it, and waits for its end in the triggerer."""
        import tweepy

        from include.x.client import RequestRejectedError
        from include.x.compliance import Compliance, JobUnderWayError

        compliance, shard = Compliance(x_client()), self._shard()
        try:
            job = self._begun(context, compliance) or self._submit(compliance, shard)
        except RequestRejectedError as error:
            raise AirflowFailException(str(error)) from error  # waiting does not help
        except JobUnderWayError:
            self._wait(PollingTrigger.of(ComplianceTurnWatch, {"kind": shard.kind}))
        except tweepy.TooManyRequests as error:
            seconds = _until_reset(error)
            log.info("X's rate limit lasts %.0f s", seconds)
            self._wait(TimeDeltaTrigger(timedelta(seconds=seconds)))
        self._keep(context, job.id)
        self._wait(PollingTrigger.of(ComplianceJobWatch, {"job_id": job.id}), "finish", job_id=job.id)

    def finish(self, context: Context, event: Any, job_id: str) -> dict[str, int]:  # noqa: ARG002
        """Reads the answer; raises `ComplianceError`, for another attempt, where there is none."""
        from include.compliance import asking, requests
        from include.x.compliance import Compliance, ComplianceError

        compliance, shard, at = Compliance(x_client()), self._shard(), now()
        try:
            result = compliance.result(compliance.job(job_id))
            request, reasons = asking.request_of(_pseudonyms(), shard.kind, result, at)
        except ComplianceError:
            self._keep(context, None)
            raise
        requests.add(client("s3"), settings().bucket, request)
        asking.answered(client("s3"), settings().bucket, shard, at)
        log.info("X answered kind=%s job=%s gone=%d", shard.kind, job_id, sum(reasons.values()))
        return reasons

    def try_again(self, context: Context, event: Any) -> dict[str, int]:  # noqa: ARG002 - Airflow's signature
        """Tries again to submit the job."""
        return self.execute(context)

    def _shard(self) -> Shard:
        from include.compliance.asking import Shard

        return Shard(**self.shard)

    def _submit(self, compliance: Compliance, shard: Shard) -> ComplianceJob:
        from include.compliance import asking

        at = now()
        ids = _readable(lambda: asking.ids(client("s3"), client("athena"), settings(), shard))
        return compliance.submit(shard.kind, ids, shard.label(f"{at:%Y-%m-%d}"), at)

    def _begun(self, context: Context, compliance: Compliance) -> ComplianceJob | None:
        """The job of an earlier try of this task, while it is still good for something."""
        from include.x.compliance import ComplianceError

        kept: Any = context["task_state_store"].get(_STATE_KEY) or {}
        if kept.get("generation") != context["ti"].max_tries or not kept.get(_JOB):
            return None
        try:
            job = compliance.job(kept[_JOB])
        except ComplianceError as error:
            log.info("another job is made: %s", error)
            return None
        # One whose ids have not arrived is found again by its name, and gets them.
        return job if job.status != "created" and job.is_usable(now()) else None

    @staticmethod
    def _keep(context: Context, job_id: str | None) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        # Airflow increases max_tries whenever a task is cleared; automatic retries do not change it.
        state: dict[str, Any] = {"generation": context["ti"].max_tries, _JOB: job_id}
        context["task_state_store"].set(_STATE_KEY, state, retention=NEVER_EXPIRE)

    def _wait(self, trigger: Any, method: str = "try_again", **kwargs: Any) -> NoReturn:
        self.defer(trigger=trigger, method_name=method, kwargs=kwargs)


@task(trigger_rule=TriggerRule.ALL_DONE)
def find(ti: Any = None, dag_run: Any = None, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The hours of each request, in parts; the tombstones stand then, unless the run is a dry one.

    A run for one request confirms it, unless it is a dry one. Hours that were removed from lately are gone
    through again, for a request of their own.
    """
    from include.compliance import misplaced, requests
    from include.compliance.removal import buried_lately

    given = params or {}
    dry_run = _is_dry(dag_run, params)
    s3, bucket, name = client("s3"), settings().bucket, given.get("request")
    try:
        if name and not dry_run:
            requests.confirm(s3, bucket, name)
        todo = [requests.find(s3, bucket, name)] if name else _confirmed(requests.pending(s3, bucket))
    except requests.RequestError as error:
        raise AirflowFailException(str(error)) from error
    removals = [_removal(request, dry_run=dry_run) for request in todo]
    for removal in removals:
        removal.bury()
    # Asked once, for all requests, when the tombstones of all stand.
    elsewhere = cache(
        lambda: _readable(partial(misplaced.find, s3, client("athena"), settings(), _pseudonyms()))
    )
    found: list[dict[str, Any]] = []
    for request, removal in zip(todo, removals, strict=True):
        lines = elsewhere() if request.tweets_count else {}
        hours = _readable(partial(removal.hours, client("athena"), lines))
        if not dry_run:
            requests.remember_hours(s3, bucket, request.name, hours)
        found.append(_found_of(request, hours))
        log.info("request=%s hours=%d dry_run=%s", request.name, len(hours), dry_run)
    if not dry_run:
        # After the hours: labels made meanwhile leave out users' tweets, and their hour is buried instead.
        lately = buried_lately(s3, bucket, now())
        if lately:
            lately |= misplaced.bury(s3, bucket, _pseudonyms(), lately, elsewhere())
        again = sorted({window.label for window in lately}.difference(*(each["hours"] for each in found)))
        if again:
            # With any other request they would be left out where a run beside this one ends it.
            request = requests.RemovalRequest.again(now(), map(Window.parse, again))
            requests.add(s3, bucket, request)
            found.append({**_found_of(request, []), "again": again})
        log.info("hours of lately=%d", len(again))
    ti.xcom_push(REQUESTS, found)
    return _parts(found)


def _found_of(request: RemovalRequest, hours: Sequence[Window]) -> dict[str, Any]:
    """A request for XCom: what it asked for when its ``hours`` were looked for, and these."""
    digest = request.with_hours(hours).digest
    labels = [window.label for window in hours]
    return {"request": request.name, "digest": digest, "hours": labels, "again": []}


def _confirmed(pending: Sequence[RemovalRequest]) -> list[RemovalRequest]:
    return [request for request in pending if request.confirmed]


def _parts(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What one mapped task removes each: some hours of one request."""
    total = sum(len(each["hours"]) + len(each["again"]) for each in found)
    size = max(_HOURS_PER_PART, -(-total // MOST_PARTS))
    parts = []
    for each in found:
        hours = sorted([*each["hours"], *each["again"]])
        parts += [
            {"request": each["request"], "hours": hours[start : start + size]}
            for start in range(0, len(hours), size)
        ]
    return parts


@task
def remove(part: dict[str, Any], dag_run: Any = None, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Removes from all layers of some hours; counts only."""
    request = _open(part["request"])
    dry_run = _is_dry(dag_run, params)
    return _removal(request, dry_run=dry_run).from_hours(map(Window.parse, part["hours"])).to_json()


def _open(name: str) -> RemovalRequest:
    """An open request; skips the task where a run beside this one has carried it out."""
    from include.compliance import requests

    try:
        return requests.find(client("s3"), settings().bucket, name)
    except requests.RequestError as error:
        raise AirflowSkipException(str(error)) from error


def _found(ti: Any) -> list[dict[str, Any]]:
    """What `find` found; skips the task where that is nothing."""
    found: list[dict[str, Any]] = ti.xcom_pull(task_ids="find", key=REQUESTS) or []
    if not found:
        raise AirflowSkipException("there is no request to carry out")
    return found


@task(trigger_rule=TriggerRule.ALL_DONE)
def remove_rest(
    ti: Any = None, dag_run: Any = None, params: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Removes from what lies by no hour of the tweets; counts only."""
    from include.compliance import requests

    dry_run = _is_dry(dag_run, params)
    reports = []
    for each in _found(ti):
        try:
            request = requests.find(client("s3"), settings().bucket, each["request"])
        except requests.RequestError as error:
            log.info("%s", error)  # a run beside this one has carried it out, and no other one
            continue
        hours = map(Window.parse, [*each["hours"], *each["again"]])
        reports.append(_removal(request, dry_run=dry_run).from_rest(hours, now()).to_json())
    return reports


@task(trigger_rule=TriggerRule.ALL_DONE)
def delta_holds(ti: Any = None, dag_run: Any = None, params: dict[str, Any] | None = None) -> int:
    """How many hours of the requests the Delta table holds; skips what follows if that is none."""
    from include.training import hours

    if _is_dry(dag_run, params):
        raise AirflowSkipException("a dry run changes no table")
    wanted = {label for each in _found(ti) for label in each["hours"]}
    again = {label for each in _found(ti) for label in each["again"]}
    s3, bucket = client("s3"), settings().bucket
    synced = hours.find_synced(s3, bucket)
    held = {hours.parse(hour)[1].label for hour in synced.hours} & wanted if synced else set()
    if synced and again:
        # Those whose labels have not changed since are in Delta as they are. Rows that the last sync took out
        # are in its old files still, which the next one deletes.
        outcome = hours.find_outcome(s3, bucket, "sync") or {}
        is_old = bool(outcome.get("rows_removed"))
        left = synced.hours if is_old else hours.changed_since(synced.hours, hours.labeled(s3, bucket))
        held |= {hours.parse(hour)[1].label for hour in left} & again
    if not held:
        raise AirflowSkipException("the Delta table holds no hour of the requests")
    return len(held)


def delta_parameters(configured: Settings) -> dict[str, str]:
    """The parameters of the step `sync`."""
    from include.operators.training import table_parameters

    return {"bucket": configured.bucket, **table_parameters(configured)}


class WaitForDeltaHistory(BaseOperator):
    """Waits until VACUUM may delete the files that `sync` has just replaced."""

    def execute(self, context: Context) -> None:  # noqa: ARG002 - Airflow's signature
        """Waits in the triggerer, a short time here."""
        seconds = settings().training_history_seconds + 1
        if seconds <= _SLEPT:
            time.sleep(seconds)
            return
        log.info("the old files of the Delta table may be deleted in %d s", seconds)
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=seconds)), method_name="over")

    def over(self, context: Context, event: Any) -> None:
        """The time is over."""


@task(trigger_rule=TriggerRule.ALL_DONE)
def record(ti: Any = None, dag_run: Any = None, params: dict[str, Any] | None = None) -> str:
    """Ends the requests in the ledger, and fails if a task failed: then they stay open.

    A request to which something was added meanwhile stays open too: the next run carries out the rest.

    Returns what was removed, or would be, by layer, hour and topic.
    """
    from include.compliance import requests
    from include.compliance.removal import count_beside

    failed = failed_tasks(ti)
    dry_run = _is_dry(dag_run, params)
    reports = [*pulled(ti, "remove"), *(each for some in pulled(ti, "remove_rest") for each in some)]
    text = described(reports, dry_run=dry_run)
    log.info("%s", text)
    # Asking is another matter: what X was not asked about today is no part of a request yet.
    if not [name for name in failed if not name.startswith(("collect", "ask"))] and not dry_run:
        rows = pulled(ti, "delta.sync")
        removed = rows[0].get("rows_removed", 0) if rows else 0
        for each in ti.xcom_pull(task_ids="find", key=REQUESTS) or []:
            try:
                request = requests.find(client("s3"), settings().bucket, each["request"])
            except requests.RequestError as error:
                log.info("%s", error)
                continue
            at = now()
            is_done = request.digest == each["digest"]
            # Rows of the table are counted once, though several requests may share them.
            _removal(request, dry_run=False).record([count_beside("delta", removed)], at if is_done else None)
            removed = 0
            if is_done and requests.end(client("s3"), settings().bucket, request.name, request.digest):
                log.info("done request=%s after=%s", request.name, at - request.requested_at)
            else:
                log.warning("request=%s may ask for more than at the start: it stays open", request.name)
    if failed:
        raise AirflowFailException(f"tasks failed: {', '.join(failed)}")
    return text


def described(reports: Sequence[Mapping[str, Any]], *, dry_run: bool) -> str:
    """What was removed, or would be, in words: counts by layer, hour and topic."""
    totals: Counter[tuple[str, str, str, str]] = Counter()
    for report in reports:
        for each in report["counts"]:
            totals[each["layer"], each["hour"] or "", each["topic"], each["action"]] += each["removed"]
    lines = [
        f"  {layer} {hour or 'by no hour'} {topic}: {number} {action}"
        for (layer, hour, topic, action), number in sorted(totals.items())
        if number
    ]
    begins = "Would be removed" if dry_run else "Removed"
    return "\n".join([f"{begins}, lines and rows by layer, hour and topic:", *(lines or ["  nothing"])])
