"""The tasks of `compliance`, on a lake in this process and the stand-in of X."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests as http
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from include.compliance import asking, misplaced, removal, requests, tombstones
from include.compliance.removal import buried_lately
from include.lake import layout, storage
from include.lake.athena import UnreadDataError
from include.lake.pseudonyms import Pseudonyms
from include.operators import compliance as tasks
from include.operators import coverage
from include.operators.compliance import AskComplianceOperator
from include.operators.coverage import CoverageAlarmError, ReportCoverageOperator
from include.settings import Settings, settings
from include.training import hours
from include.window import Window
from include.x.client import api_client
from include.x.compliance import Compliance, ComplianceAction
from include.x.snowflake import moment
from local.x_api.app import XApi
from tests.credentials import CONTROL, CREDENTIALS
from tests.local.support_x_api import CORPUS, TOKEN, Service
from tests.unit import support_hour as hour
from tests.unit.support_hour import BUCKET, KEY, WINDOW, line, tweet, tweet_id

PSEUDONYMS = Pseudonyms(KEY)
GONE, STAYS = tweet_id(10), tweet_id(20)
TWEETS: dict[str, Any] = {"kind": "tweets", "number": 0, "shards": 1}
DRY = {"request": None, "dry_run": True}
WET = {"request": None, "dry_run": False}
BY_HAND = SimpleNamespace(run_type="manual")


class Clock:
    """The wall's clock, and what a test adds to it."""

    ahead = timedelta()

    def __call__(self) -> float:
        return time.time() + self.ahead.total_seconds()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def x(tmp_path: Path, clock: Clock) -> Iterator[Service]:
    started = Service(XApi(CORPUS, tmp_path, CREDENTIALS, clock=clock))
    yield started
    started.stop()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, x: Service, clock: Clock) -> Iterator[Any]:
    monkeypatch.setenv("OPINION_BUCKET", BUCKET)
    settings.cache_clear()
    with hour.lake() as made:
        monkeypatch.setattr(tasks, "client", lambda service: made if service == "s3" else None)
        monkeypatch.setattr(tasks, "secret", lambda _: KEY.decode())
        monkeypatch.setattr(tasks, "x_client", lambda: api_client(Settings(x_api_url=x.url), TOKEN))
        monkeypatch.setattr(tasks, "now", lambda: datetime.fromtimestamp(clock(), UTC))
        # What Athena answers is another test's (tests/local/test_sql_compliance.py).
        monkeypatch.setattr(asking, "ids", lambda *_: [str(GONE), str(STAYS)])
        monkeypatch.setattr(misplaced, "find", lambda *_: {})
        yield made
    settings.cache_clear()


class Store(dict[str, Any]):
    """Airflow's store of a task's state."""

    def set(self, key: str, value: Any, **_: Any) -> None:
        self[key] = value


class Ask:
    """The task `ask` of one shard, through its tries and clearings."""

    def __init__(self) -> None:
        self.store = Store()
        self.cleared = 0

    def execute(self) -> TaskDeferred:
        with pytest.raises(TaskDeferred) as caught:
            AskComplianceOperator(task_id="ask", shard=TWEETS).execute(self.context)
        return caught.value

    def answer(self, deferred: TaskDeferred) -> dict[str, int]:
        """Goes on when the watch of the trigger has seen the end."""
        assert deferred.method_name == "finish"
        until_seen(deferred)
        operator = AskComplianceOperator(task_id="ask", shard=TWEETS)
        return operator.finish(self.context, {}, **(deferred.kwargs or {}))

    @property
    def context(self) -> Any:
        return {"ti": SimpleNamespace(max_tries=3 + self.cleared), "task_state_store": self.store}


def until_seen(deferred: TaskDeferred) -> None:
    watch = deferred.trigger._made()
    deadline = time.monotonic() + 60
    while watch.look().event is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def redact(x: Service, **kinds: dict[str, str]) -> None:
    answer = http.post(f"{x.url}/_local/redactions", json=kinds, headers=CONTROL, timeout=5)
    assert answer.status_code == 201


def created(x: Service) -> int:
    return x.api.requests["compliance.create"]


def everything(s3: Any) -> str:
    """All that the lake says, with the keys."""
    found = storage.list_objects(s3, BUCKET, "").objects
    return "\n".join(f"{each.key} {text(s3, each.key)}" for each in found)


def text(s3: Any, key: str) -> str:
    if key.endswith(".parquet"):
        return str(hour.parquet(s3, key).to_pylist())
    if key.endswith(".gz"):
        return b"\n".join(storage.read_lines(s3, BUCKET, key)).decode()
    return storage.read(s3, BUCKET, key).decode()


def test_what_x_reports_is_kept_as_a_confirmed_request_that_names_no_id(s3: Any, x: Service) -> None:
    redact(x, tweets={str(GONE): "deleted"})
    ask = Ask()
    deferred = ask.execute()
    assert ask.answer(deferred) == {"deleted": 1}
    (request,) = requests.pending(s3, BUCKET)
    assert request.confirmed
    assert request.tweets == {WINDOW: {PSEUDONYMS.marker(GONE): ComplianceAction.DELETE}}
    assert str(GONE) not in everything(s3)
    assert str(GONE) not in json.dumps([ask.store, deferred.kwargs, deferred.trigger.serialize()])


def test_two_answers_of_a_day_are_one_request(s3: Any, x: Service) -> None:
    redact(x, tweets={str(GONE): "scrub_geo"})
    first = Ask()
    first.answer(first.execute())
    redact(x, tweets={str(GONE): "deleted", str(STAYS): "suspended"})
    second = Ask()
    # The same ids on the same day: X's answer is the one that it gave.
    second.answer(second.execute())
    assert created(x) == 1
    (request,) = requests.pending(s3, BUCKET)
    assert request.tweets_count == 1


def test_a_retry_goes_on_with_the_job_and_a_cleared_task_finds_it(s3: Any, x: Service) -> None:
    ask = Ask()
    ask.execute()
    deferred = ask.execute()
    ask.cleared += 1
    again = ask.execute()
    assert deferred.kwargs == again.kwargs
    assert created(x) == 1
    ask.answer(again)


def test_another_job_under_way_at_x_is_waited_for(s3: Any, x: Service, clock: Clock) -> None:
    client = api_client(Settings(x_api_url=x.url), TOKEN)
    Compliance(client).jobs("tweets")
    client.create_compliance_job("tweets", name="a stranger's")  # never uploaded
    ask = Ask()
    deferred = ask.execute()
    assert deferred.method_name == "try_again"
    assert deferred.trigger._made().look().event is None
    clock.ahead = timedelta(minutes=16)
    until_seen(deferred)
    ask.answer(ask.execute())


def test_a_failed_job_is_not_continued(
    s3: Any, x: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ids", lambda *_: ["12345678901234567890"])  # longer than an id may be
    ask = Ask()
    deferred = ask.execute()
    with pytest.raises(Exception, match="ended as failed"):
        ask.answer(deferred)
    assert requests.pending(s3, BUCKET) == []
    monkeypatch.setattr(asking, "ids", lambda *_: [str(GONE)])
    ask.answer(ask.execute())
    assert created(x) == 2


def test_where_x_rejects_the_task_fails_at_once(s3: Any, x: Service) -> None:
    x.api.faults.add({"kind": "http", "status": 403, "on": "compliance"})
    with pytest.raises(AirflowFailException, match="may not use this endpoint"):
        AskComplianceOperator(task_id="ask", shard=TWEETS).execute(Ask().context)


def test_x_s_rate_limit_is_waited_for(s3: Any, x: Service) -> None:
    x.api.faults.add({"kind": "http", "status": 429, "on": "compliance"})
    assert Ask().execute().method_name == "try_again"


@pytest.mark.parametrize("told", ["HIVE_CURSOR_ERROR: s3://lake/{}: cut", "HIVE_CURSOR_ERROR: cut"])
def test_damaged_objects_on_which_the_query_fails_are_set_aside_first(
    s3: Any, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    key = hour.put_raw(s3, "poland", [line(tweet(GONE))])
    whole = storage.read(s3, BUCKET, key)

    def shards(*_: Any) -> list[asking.Shard]:
        try:
            storage.verify(s3, BUCKET, key)
        except storage.CorruptObjectError as error:
            raise UnreadDataError(told.format(key)) from error
        return [asking.Shard(**TWEETS)]

    monkeypatch.setattr(asking, "shards", shards)
    s3.put_object(Bucket=BUCKET, Key=key, Body=whole[:-5])
    assert tasks.collect.function() == [TWEETS]
    assert storage.read(s3, BUCKET, f"{layout.DAMAGED_PREFIX}{key}") == whole[:-5]
    monkeypatch.setattr(asking, "shards", lambda *_: (_ for _ in ()).throw(UnreadDataError("another cause")))
    with pytest.raises(UnreadDataError, match="another cause"):
        tasks.collect.function()


class TaskInstance:
    """Keeps XComs by task, as Airflow would."""

    dag_id, run_id = "compliance", "run"

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str, str], list[Any]] = {}
        self.states: dict[str, str] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms["find", key] = [value]

    def xcom_pull(self, task_ids: Any, key: str = "return_value") -> Any:
        if isinstance(task_ids, str):
            return next(iter(self.xcoms.get((task_ids, key), [])), None)
        return [each for task in task_ids for each in self.xcoms.get((task, key), [None])]

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        return {self.run_id: self.states}


def run(params: dict[str, Any], run_type: str = "manual", delta: dict[str, Any] | None = None) -> Any:
    """The tasks from `find` on, as the DAG wires them; returns the task instance and what `record` says."""
    ti, dag_run = TaskInstance(), SimpleNamespace(run_type=run_type)
    given: dict[str, Any] = {"dag_run": dag_run, "params": params}
    parts = tasks.find.function(ti=ti, **given)
    ti.xcoms["remove", "return_value"] = [tasks.remove.function(part, **given) for part in parts]
    try:
        ti.xcoms["remove_rest", "return_value"] = [tasks.remove_rest.function(ti=ti, **given)]
    except AirflowSkipException:
        ti.states["remove_rest"] = "skipped"
    if delta:
        ti.xcoms["delta.sync", "return_value"] = [delta]
    return ti, tasks.record.function(ti=ti, **given)


def asked_for(s3: Any) -> str:
    """A person's request for one tweet; its name."""
    request = requests.asked_for(PSEUDONYMS, "a person asks", datetime.now(UTC), [str(GONE)], [])
    requests.add(s3, BUCKET, request)
    return request.name


def collected(s3: Any) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(GONE)), line(tweet(STAYS))])


def test_a_dry_run_counts_and_removes_nothing(s3: Any) -> None:
    collected(s3)
    name = asked_for(s3)
    before = everything(s3)
    ti, told = run({"request": name, "dry_run": True})
    assert told.splitlines() == [
        "Would be removed, lines and rows by layer, hour and topic:",
        f"  raw {WINDOW.label} ukraine: 1 delete",
    ]
    assert everything(s3) == before
    assert str(GONE) not in json.dumps(list(ti.xcoms.values()))


def test_a_run_for_a_request_confirms_it_removes_and_ends_it(s3: Any) -> None:
    collected(s3)
    name = asked_for(s3)
    ti, told = run({"request": name, "dry_run": False}, delta={"rows_removed": 7})
    assert f"  raw {WINDOW.label} ukraine: 1 delete" in told.splitlines()
    assert str(GONE) not in everything(s3)
    assert str(STAYS) in everything(s3)
    assert str(GONE) not in json.dumps(list(ti.xcoms.values()))
    assert requests.pending(s3, BUCKET) == []
    (ledger,) = storage.list_objects(s3, BUCKET, layout.REMOVALS_PREFIX).objects
    rows = hour.parquet(s3, ledger.key).to_pylist()
    assert all(row["done_at"] > row["requested_at"] for row in rows)
    counts = {row["layer"]: row["removed"] for row in rows}
    assert counts == {"raw": 1, "delta": 7, "audit": 0, "athena-results": 0}
    # Cleared afterward: the request was carried out, and nothing is done twice.
    with pytest.raises(AirflowFailException, match="no open request"):
        run({"request": name, "dry_run": False})
    assert rows == hour.parquet(s3, ledger.key).to_pylist()


def test_the_schedule_leaves_alone_what_nobody_has_confirmed(s3: Any) -> None:
    collected(s3)
    name = asked_for(s3)
    before = everything(s3)
    run(WET | {"dry_run": True}, "scheduled")
    assert everything(s3) == before
    requests.confirm(s3, BUCKET, name)
    run(WET | {"dry_run": True}, "scheduled")
    assert str(GONE) not in everything(s3)


def test_a_run_killed_after_some_parts_is_continued(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    collected(s3)
    hour.put_raw(s3, "russia", [line(tweet(GONE, ("russia",)))])
    name = asked_for(s3)
    with monkeypatch.context() as killed:
        killed.setattr(tasks.remove_rest, "function", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run({"request": name, "dry_run": False})
    assert [each.name for each in requests.pending(s3, BUCKET)] == [name]
    run({"request": name, "dry_run": False})
    assert str(GONE) not in everything(s3)
    (ledger,) = storage.list_objects(s3, BUCKET, layout.REMOVALS_PREFIX).objects
    removed = [row["removed"] for row in hour.parquet(s3, ledger.key).to_pylist() if row["layer"] == "raw"]
    assert removed == [1, 1]


def test_a_request_stays_open_where_a_task_failed_and_not_where_only_asking_did(s3: Any) -> None:
    requests.confirm(s3, BUCKET, name := asked_for(s3))
    ti = TaskInstance()
    given: dict[str, Any] = {"ti": ti, "dag_run": SimpleNamespace(run_type="scheduled"), "params": DRY}
    tasks.find.function(**given)
    ti.states = {"remove[0]": "failed", "find": "success"}
    with pytest.raises(AirflowFailException, match=r"tasks failed: remove\[0\]"):
        tasks.record.function(**given)
    assert [each.name for each in requests.pending(s3, BUCKET)] == [name]
    ti.states = {"ask[1]": "failed", "collect": "success"}
    with pytest.raises(AirflowFailException, match=r"ask\[1\]"):
        tasks.record.function(**given)
    assert requests.pending(s3, BUCKET) == []


def test_databricks_is_started_only_for_hours_that_the_table_holds(s3: Any) -> None:
    name = asked_for(s3)
    ti = TaskInstance()
    given: dict[str, Any] = {"dag_run": BY_HAND, "params": {"request": name, "dry_run": False}}
    tasks.find.function(ti=ti, **given)
    with pytest.raises(AirflowSkipException, match="holds no hour"):
        tasks.delta_holds.function(ti=ti, **given)
    hours.write_synced(s3, BUCKET, hours.Synced({f"ukraine/{WINDOW.label}": "etag"}))
    assert tasks.delta_holds.function(ti=ti, **given) == 1
    with pytest.raises(AirflowSkipException, match="dry run"):
        tasks.delta_holds.function(ti=ti, dag_run=BY_HAND, params={"request": name, "dry_run": True})


def test_databricks_is_started_for_a_recently_purged_hour_whose_labels_have_changed(s3: Any) -> None:
    """As where a run of transform had left a user's tweets out before the removal looked for them."""
    ti = TaskInstance()
    ti.xcom_push(tasks.REQUESTS, [{"request": "r", "digest": "", "hours": [], "again": [WINDOW.label]}])
    given: dict[str, Any] = {"ti": ti, "dag_run": BY_HAND, "params": WET}
    etag = storage.put(s3, BUCKET, layout.labeled_key("ukraine", WINDOW), b"labels")
    hours.write_synced(s3, BUCKET, hours.Synced({f"ukraine/{WINDOW.label}": "another"}))
    assert tasks.delta_holds.function(**given) == 1
    for unchanged in (etag, hours.BLOCKED + etag):
        hours.write_synced(s3, BUCKET, hours.Synced({f"ukraine/{WINDOW.label}": unchanged}))
        with pytest.raises(AirflowSkipException, match="holds no hour"):
            tasks.delta_holds.function(**given)


def test_old_files_of_the_table_keep_an_hour_of_lately_though_its_labels_have_not_changed(s3: Any) -> None:
    """As where the training's sync has deleted the rows: the next sync deletes the files."""
    ti = TaskInstance()
    ti.xcom_push(tasks.REQUESTS, [{"request": "r", "digest": "", "hours": [], "again": [WINDOW.label]}])
    given: dict[str, Any] = {"ti": ti, "dag_run": BY_HAND, "params": WET}
    etag = storage.put(s3, BUCKET, layout.labeled_key("ukraine", WINDOW), b"labels")
    hours.write_synced(s3, BUCKET, hours.Synced({f"ukraine/{WINDOW.label}": etag}))
    hours.write_outcome(s3, BUCKET, "sync", {"rows_removed": 1})
    assert tasks.delta_holds.function(**given) == 1
    hours.write_outcome(s3, BUCKET, "sync", {"rows_removed": 0})
    with pytest.raises(AirflowSkipException, match="holds no hour"):
        tasks.delta_holds.function(**given)


def test_an_hour_of_lately_is_not_done_before_the_tables_old_files_are_deleted(s3: Any) -> None:
    collected(s3)
    run({"request": asked_for(s3), "dry_run": False})
    etag = storage.put(s3, BUCKET, layout.labeled_key("ukraine", WINDOW), b"labels without the tweet")
    hours.write_synced(s3, BUCKET, hours.Synced({f"ukraine/{WINDOW.label}": "labels with it"}))
    ti = TaskInstance()
    given: dict[str, Any] = {"dag_run": SimpleNamespace(run_type="scheduled"), "params": DRY}
    tasks.find.function(ti=ti, **given)
    assert tasks.delta_holds.function(ti=ti, **given) == 1
    hours.write_synced(s3, BUCKET, hours.Synced({f"ukraine/{WINDOW.label}": etag}))
    ti.states = {"delta.sync": "success", "vacuum.sync": "failed"}
    with pytest.raises(AirflowFailException, match=r"vacuum\.sync"):
        tasks.record.function(ti=ti, **given)
    # A training has run since, and had nothing to delete; and the next run finds no hour of lately.
    hours.write_outcome(s3, BUCKET, "sync", {"rows_removed": 0})
    assert len(requests.pending(s3, BUCKET)) == 1
    ti = TaskInstance()
    tasks.find.function(ti=ti, **given)
    assert tasks.delta_holds.function(ti=ti, **given) == 1


def test_what_is_buried_while_hours_are_looked_for_is_gone_through_with_them(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests.confirm(s3, BUCKET, name := asked_for(s3))
    meanwhile = WINDOW.next

    def look(*_: Any) -> set[Window]:
        tombstones.bury_markers(s3, BUCKET, meanwhile, {"marker": ComplianceAction.DELETE})
        return set()

    user = requests.asked_for(PSEUDONYMS, "a person asks", datetime.now(UTC), [], ["77"])
    requests.add(s3, BUCKET, user)
    requests.confirm(s3, BUCKET, user.name)
    monkeypatch.setattr(removal, "_hours_of_users", look)
    ti = TaskInstance()
    parts = tasks.find.function(ti=ti, dag_run=SimpleNamespace(run_type="scheduled"), params=DRY)
    first, second, again = ti.xcom_pull("find", tasks.REQUESTS)
    assert ({first["request"], second["request"]}, again["again"]) == ({name, user.name}, [meanwhile.label])
    # Each hour once: what a request has buried itself is no other's.
    assert sorted(hour for part in parts for hour in part["hours"]) == [WINDOW.label, meanwhile.label]


def test_the_tombstones_of_all_requests_stand_before_misplaced_lines_are_asked_for_once(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes a line after that reads them, and whoever has read none has written it before."""
    far = tweet_id(-5 * 3600)
    later = requests.asked_for(PSEUDONYMS, "another", datetime.now(UTC), [str(far)], ["77"])
    requests.add(s3, BUCKET, later)
    for name in (asked_for(s3), later.name):
        requests.confirm(s3, BUCKET, name)
    own = Window.containing(moment(far))
    stood = []

    def asked(*_: Any) -> misplaced.Misplaced:
        stones = tombstones.read_each(s3, BUCKET, PSEUDONYMS, [WINDOW, own])
        stood.append((stones[WINDOW].of(GONE, None), stones[own].of(far, None), len(stones[own].users)))
        return {own: {PSEUDONYMS.marker(far): {WINDOW.next}}}

    monkeypatch.setattr(misplaced, "find", asked)
    monkeypatch.setattr(removal, "_hours_of_users", lambda *_: set())
    ti = TaskInstance()
    tasks.find.function(ti=ti, dag_run=SimpleNamespace(run_type="scheduled"), params=DRY)
    assert stood == [(ComplianceAction.DELETE, ComplianceAction.DELETE, 1)]
    found = {each["request"]: each["hours"] for each in ti.xcom_pull("find", tasks.REQUESTS)}
    assert found[later.name] == [own.label, WINDOW.next.label]


@pytest.mark.parametrize("number", [1, 5])
def test_damaged_objects_are_set_aside_until_the_query_can_read_all(
    s3: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Athena names the first that it meets."""
    keys = [f"{layout.quarantine_prefix('ukraine', WINDOW)}{each}.gz" for each in range(number)]
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(b'{"tweet_id": "5"}\n')[:-5])

    def asked(*_: Any) -> misplaced.Misplaced:
        for key in keys:
            try:
                storage.verify(s3, BUCKET, key)
            except storage.CorruptObjectError as error:
                raise UnreadDataError(f"HIVE_CURSOR_ERROR: s3://{BUCKET}/{key}: cut") from error
        return {}

    monkeypatch.setattr(misplaced, "find", asked)
    requests.confirm(s3, BUCKET, asked_for(s3))
    tasks.find.function(ti=TaskInstance(), dag_run=SimpleNamespace(run_type="scheduled"), params=DRY)
    aside = [each.key for each in storage.list_objects(s3, BUCKET, layout.DAMAGED_PREFIX).objects]
    assert aside == [f"{layout.DAMAGED_PREFIX}{key}" for key in keys]


def test_hours_of_lately_are_gone_through_again_though_a_run_beside_ends_a_request(s3: Any) -> None:
    collected(s3)
    run({"request": asked_for(s3), "dry_run": False})
    hour.put_raw(s3, "ukraine", [line(tweet(GONE))], name="late.gz")
    other = requests.RemovalRequest.of(
        PSEUDONYMS, "other", "a person asks", datetime.now(UTC), {1 << 40: ComplianceAction.DELETE}, {}
    )
    requests.add(s3, BUCKET, other)
    given: dict[str, Any] = {"dag_run": SimpleNamespace(run_type="scheduled"), "params": DRY}
    ti = TaskInstance()
    theirs, mine = tasks.find.function(ti=ti, **given)
    requests.drop(s3, BUCKET, other.name)
    with pytest.raises(AirflowSkipException, match="no open request other"):
        tasks.remove.function(theirs, **given)
    tasks.remove.function(mine, **given)
    tasks.record.function(ti=ti, **given)
    assert str(GONE) not in everything(s3)
    assert requests.pending(s3, BUCKET) == []


def test_hours_of_lately_are_carried_on_by_the_next_run_where_this_one_is_killed(s3: Any) -> None:
    collected(s3)
    run({"request": asked_for(s3), "dry_run": False})
    given: dict[str, Any] = {"dag_run": SimpleNamespace(run_type="scheduled"), "params": DRY}
    first, second = TaskInstance(), TaskInstance()
    tasks.find.function(ti=first, **given)
    tasks.find.function(ti=second, **given)
    (left,) = requests.pending(s3, BUCKET)
    assert [each["request"] for each in second.xcom_pull("find", tasks.REQUESTS)] == [left.name]
    # Whichever of the two ends it has gone through all of its hours.
    for ti in (first, second):
        (found,) = ti.xcom_pull("find", tasks.REQUESTS)
        assert (found["digest"], [*found["hours"], *found["again"]]) == (left.digest, [WINDOW.label])


def test_hours_of_lately_are_gone_through_again_with_the_next_request(s3: Any) -> None:
    collected(s3)
    run({"request": asked_for(s3), "dry_run": False})
    assert buried_lately(s3, BUCKET, datetime.now(UTC)) == {WINDOW}
    hour.put_raw(s3, "ukraine", [line(tweet(GONE))], name="late.gz")
    other = requests.RemovalRequest.of(PSEUDONYMS, "x-2026-11-21", "X reports it", datetime.now(UTC), {}, {})
    requests.add(s3, BUCKET, other)
    run(WET | {"dry_run": True}, "scheduled")
    assert str(GONE) not in everything(s3)


def test_recently_purged_hours_are_purged_again_without_a_new_request(s3: Any) -> None:
    """As where X does not answer: a run that had read a tweet before may have written it after."""
    collected(s3)
    run({"request": asked_for(s3), "dry_run": False})
    hour.put_raw(s3, "ukraine", [line(tweet(GONE))], name="late.gz")
    run(WET | {"dry_run": True}, "scheduled")
    assert str(GONE) not in everything(s3)
    assert requests.pending(s3, BUCKET) == []


def test_the_hours_of_a_user_are_known_after_a_run_that_was_killed(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first steps have taken the user out of labeled, which alone had told the hours; Delta has not."""
    request = requests.asked_for(PSEUDONYMS, "a person asks", datetime.now(UTC), [], ["829647236"])
    requests.add(s3, BUCKET, request)
    hours.write_synced(s3, BUCKET, hours.Synced({f"ukraine/{WINDOW.label}": "etag"}))
    found = iter([{WINDOW}, set()])
    monkeypatch.setattr(removal, "_hours_of_users", lambda *_: next(found))
    given: dict[str, Any] = {"dag_run": BY_HAND, "params": {"request": request.name, "dry_run": False}}
    tasks.find.function(ti=TaskInstance(), **given)
    ti = TaskInstance()
    (part,) = tasks.find.function(ti=ti, **given)
    assert part["hours"] == [WINDOW.label]
    assert tasks.delta_holds.function(ti=ti, **given) == 1


def test_what_is_added_to_a_request_while_it_is_carried_out_stays_open(s3: Any) -> None:
    """Another run asks X while this one waits for Delta's history."""
    collected(s3)
    at = datetime.now(UTC)

    def of(tweet: int) -> requests.RemovalRequest:
        return requests.RemovalRequest.of(
            PSEUDONYMS, "x-2026-11-21", "X reports it", at, {tweet: ComplianceAction.DELETE}, {}
        )

    requests.add(s3, BUCKET, of(GONE))
    ti = TaskInstance()
    given: dict[str, Any] = {"ti": ti, "dag_run": SimpleNamespace(run_type="scheduled"), "params": DRY}
    tasks.find.function(**given)
    requests.add(s3, BUCKET, of(STAYS))
    tasks.record.function(**given)
    assert [each.name for each in requests.pending(s3, BUCKET)] == ["x-2026-11-21"]
    run(WET | {"dry_run": True}, "scheduled")
    assert requests.pending(s3, BUCKET) == []
    assert str(STAYS) not in everything(s3)


def test_what_is_added_to_a_request_as_it_is_ended_is_not_forgotten(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected(s3)
    name = asked_for(s3)
    more = requests.asked_for(PSEUDONYMS, "more", datetime.now(UTC), [str(STAYS)], [])
    record = removal._record

    def meanwhile(*arguments: Any) -> None:
        record(*arguments)
        if arguments[-1]:  # it is done
            requests.add(s3, BUCKET, replace(more, name=name))

    monkeypatch.setattr(removal, "_record", meanwhile)
    run({"request": name, "dry_run": False})
    assert [each.tweets_count for each in requests.pending(s3, BUCKET)] == [2]


def test_a_request_that_a_run_beside_has_carried_out_keeps_no_other_from_its_end(s3: Any) -> None:
    page, key = gzip.compress(line(tweet(STAYS))), layout.recovery_prefix("ukraine", "d")
    s3.put_object(Bucket=BUCKET, Key=f"{key}page-000000.json.gz", Body=page)
    first = asked_for(s3)
    second = requests.asked_for(PSEUDONYMS, "another", datetime.now(UTC), [str(STAYS)], [])
    requests.add(s3, BUCKET, second)
    for name in (first, second.name):
        requests.confirm(s3, BUCKET, name)
    ti = TaskInstance()
    given: dict[str, Any] = {"ti": ti, "dag_run": SimpleNamespace(run_type="scheduled"), "params": DRY}
    tasks.find.function(**given)
    requests.drop(s3, BUCKET, first)
    ti.xcoms["remove_rest", "return_value"] = [tasks.remove_rest.function(**given)]
    assert str(STAYS) not in everything(s3)
    tasks.record.function(**given)
    assert requests.pending(s3, BUCKET) == []


def test_many_hours_are_divided_into_parts_that_airflow_can_map() -> None:
    found = [{"request": "a", "hours": [f"h{each}" for each in range(800)], "again": ["h"]}] * 40
    parts = tasks._parts(found)
    assert len(parts) <= 2 * tasks.MOST_PARTS
    assert sum(len(part["hours"]) for part in parts) == 40 * 801
    assert [len(part["hours"]) for part in tasks._parts(found[:1])] == [24] * 33 + [9]


def test_coverage_raises_an_alarm_before_the_time_of_a_request_is_over(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = asked_for(s3)
    monkeypatch.setattr(coverage, "client", lambda _: s3)
    report = ReportCoverageOperator(task_id="report", plan="plan", decide="decide")
    ti: Any = SimpleNamespace(
        dag_id="coverage", run_id="run", get_task_states=lambda **_: {}, xcom_pull=lambda **_: None
    )
    context: Any = {"ti": ti, "dag_run": SimpleNamespace(run_type="scheduled"), "params": {"dry_run": True}}
    monkeypatch.setattr(coverage, "now", lambda: datetime.now(UTC) + timedelta(hours=11))
    report.execute(context)
    monkeypatch.setattr(coverage, "now", lambda: datetime.now(UTC) + timedelta(hours=13))
    with pytest.raises(
        CoverageAlarmError, match=f"the removal request {name}, made at .* is not carried out"
    ):
        report.execute(context)
    requests.drop(s3, BUCKET, name)
    report.execute(context)
