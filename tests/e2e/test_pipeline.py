"""The whole path on a real scheduler: what `make run` promises, also when things are cleared and broken.

The tests run in the file's order on one lake; each leaves it whole.
"""

import contextlib
import csv
import gzip
import json
import os
import re
import signal
import stat
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pyarrow.parquet as pq
import pytest
import requests

from include.lake import layout
from include.training import hours as trained_hours
from include.window import Window
from include.x.search import SEARCH_DELAY
from include.x.snowflake import lowest_id, moment
from local import audit
from local.dag_runs import window_of
from local.processes import answers
from local.proof.live_test import ARRIVES, Watch, models
from local.run import Run
from tests.e2e.pages import check_pages, check_rectified, judge_by_keyboard

pytestmark = pytest.mark.scheduler

Row = dict[str, Any]


class Lake:
    """The pipeline's lake as a reader of S3 sees it, and the runs that make it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.bucket = run.world.settings.bucket
        environment = run.world.endpoints.aws_environment()
        session = boto3.Session(
            environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
        )
        self.s3 = session.client("s3", endpoint_url=run.world.endpoints.url("aws"))
        self.sagemaker = session.client("sagemaker", endpoint_url=run.world.endpoints.url("aws"))

    def keys(self, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def lines(self, prefix: str) -> list[bytes]:
        return [line for key in self.keys(prefix) for line in gzip.decompress(self.read(key)).splitlines()]

    def put_lines(self, key: str, lines: list[bytes]) -> None:
        body = gzip.compress(b"".join(line + b"\n" for line in lines))
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def labeled(self, topic: str, window: Window) -> list[Row]:
        rows: list[Row] = pq.read_table(BytesIO(self.read(layout.labeled_key(topic, window)))).to_pylist()
        return rows

    def rows(self, windows: list[Window]) -> list[Row]:
        return [
            row
            for window in windows
            for topic in self.run.world.topics
            for row in self.labeled(topic, window)
        ]

    def table(self, prefix: str) -> list[Row]:
        """The rows of all Parquet objects under a prefix."""
        return [
            row for key in self.keys(prefix) for row in pq.read_table(BytesIO(self.read(key))).to_pylist()
        ]

    def raw_ids(self, topic: str, window: Window) -> set[str]:
        found = set()
        for line in self.lines(layout.raw_prefix(topic, window)):
            try:
                found.add(json.loads(line)["data"]["id"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def quarantined(self, topic: str, window: Window) -> list[Row]:
        return [json.loads(line) for line in self.lines(layout.quarantine_prefix(topic, window))]

    def heartbeats(self, since: datetime) -> list[Row]:
        """The streamer's heartbeats, from the hour before ``since`` on, oldest first."""
        windows = Window.between(since - timedelta(hours=1), datetime.now(UTC))
        records = [
            json.loads(line) for window in windows for line in self.lines(layout.heartbeats_prefix(window))
        ]
        return sorted((each for each in records if each["kind"] == "heartbeat"), key=lambda each: each["at"])

    def ledger(self, topic: str, window: Window) -> Row:
        rows = pq.read_table(BytesIO(self.read(layout.coverage_key(window.date)))).to_pylist()
        return next(row for row in rows if (row["topic"], row["hour"]) == (topic, window.label))

    def jobs(self, window: Window) -> set[str]:
        """The SageMaker jobs of an hour: they carry its label in their names."""
        pages = self.sagemaker.get_paginator("list_transform_jobs").paginate(NameContains=window.label)
        return {job["TransformJobName"] for page in pages for job in page["TransformJobSummaries"]}

    def scheduled_run(self, window: Window) -> str:
        for run in self.run.airflow.runs("transform"):
            start = run["data_interval_start"]
            if run["run_type"] == "scheduled" and datetime.fromisoformat(start) == window.start:
                return str(run["dag_run_id"])
        raise AssertionError(f"{window} has no scheduled run")

    def clear(self, run_id: str, *tasks: str) -> None:
        """Clears some tasks of a transform run, or all, as a person does in the UI, and waits."""
        self.clear_only(run_id, *tasks)
        self.run.dag_runs.wait_for("transform", run_id)

    def clear_only(self, run_id: str, *tasks: str, dag_id: str = "transform") -> None:
        request: Row = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
        if tasks:
            request["task_ids"] = list(tasks)
        self.run.airflow.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=request)

    def state(self, *prefixes: str) -> dict[str, str]:
        """The ETag of every object under the prefixes."""
        found: dict[str, str] = {}
        for prefix in prefixes:
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            found |= {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}
        return found

    def predicted(self) -> bool:
        """Whether every labeled hour was predicted as it is now."""
        noted = trained_hours.read_predicted(self.s3, self.bucket)
        return noted.hours == trained_hours.labeled(self.s3, self.bucket)

    def cover(self, *windows: Window) -> str:
        """One run of coverage, and the runs of transform for these hours that it asked for.

        Returns what it found, hour by hour: the ledger has it only until the next run, which a quarter of an
        hour that begins meanwhile brings.
        """
        run_id = self.run.dag_runs.run("coverage", "coverage", {"dry_run": False})
        self.run.dag_runs.rest("coverage")
        path = f"/dags/coverage/dagRuns/{quote(run_id, safe='')}/taskInstances/plan/xcomEntries/return_value"
        found = str(self.run.airflow.call("GET", path)["value"])
        for run in self.run.airflow.runs("transform", state=["queued", "running"]):
            if window_of(run) in {window.label for window in windows}:
                self.run.dag_runs.wait_for("transform", run["dag_run_id"])
        return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_the_student_predicts_every_tweet_that_has_a_sentiment(lake: Lake, hours: list[Window]) -> None:
    figures = lake.run.summary.figures
    assert (figures["training"]["version"], figures["training"]["alias"]) == (1, "champion")
    judged = {row["tweet_id"] for row in lake.rows(hours) if row["sentiment"]}
    predicted = [
        row["tweet_id"]
        for key in lake.keys("predictions/model=v1/")
        for row in pq.read_table(BytesIO(lake.read(key))).to_pylist()
    ]
    assert len(predicted) == len(set(predicted)) == figures["predictions"]
    assert set(predicted) >= judged
    assert all(figures["jobs"].values()), figures["jobs"]


def test_training_and_insights_cleared_whole_change_nothing(lake: Lake) -> None:
    """Insights is paused from here on: no other test is about it, and it would run after each. Coverage and
    transform are paused meanwhile: an hour may end.
    """
    layers = ("predictions/", "aggregates/opinion/", "training/champion")
    airflow = lake.run.airflow
    for dag in ("coverage", "transform", "insights"):
        lake.run.dag_runs.rest(dag)
    airflow.pause("insights", False)
    (trained,) = airflow.runs("train")
    refreshed = next(run for run in airflow.runs("insights") if run["state"] == "success")

    def run_again() -> None:
        for dag, run in (("train", trained), ("insights", refreshed)):
            lake.clear_only(run["dag_run_id"], dag_id=dag)
            lake.run.dag_runs.wait_for(dag, run["dag_run_id"])

    if not lake.predicted():
        # An hour has ended since the training.
        run_again()
    before, cleared = lake.state(*layers), datetime.now(UTC)
    run_again()
    airflow.pause("insights", True)
    for dag in ("coverage", "transform"):
        airflow.pause(dag, False)
    assert lake.state(*layers) == before
    for task in airflow.task_instances("train", trained["dag_run_id"]):
        assert datetime.fromisoformat(task["start_date"]) > cleared, f"{task['task_id']} did not run again"


@pytest.mark.usefixtures("watch")
def test_the_pages_show_what_athena_says(pipeline: Run) -> None:
    check_pages(pipeline)


def test_an_audit_that_people_have_judged_rectifies_what_the_pages_show(
    pipeline: Run, lake: Lake, hours: list[Window], tmp_path: Path
) -> None:
    """Ten tweets are judged by keyboard, the rest by a file; of every five labels people confirm four."""
    period = {"first_day": hours[0].date, "last_day": hours[-1].date, "tweets": 60}
    lake.run.dag_runs.run_by_hand("audit", "tweets drawn", period)
    drawn = lake.table("audit/drawn/")
    # An hour may have ended since the run began, so there may be more than its hours.
    assert {row["tweet_id"] for row in drawn} <= {row["tweet_id"] for row in lake.table("labeled/")}
    judge_by_keyboard(pipeline, 10)
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("tweet_id", "judgment"))
        for number, row in enumerate(drawn):
            writer.writerow((row["tweet_id"], row["sentiment"] if number % 5 else "Neutral"))
    assert f"{len(drawn)} of {len(drawn)} drawn tweets judged" in audit.run(
        pipeline.world.options.run_dir, labels, "file"
    )
    check_rectified(pipeline)
    lake.run.dag_runs.run_by_hand("drift", "drift measured")
    measured = lake.table("aggregates/drift/")
    assert {row["topic"] for row in measured} == set(lake.run.world.topics)
    assert {row["dimension"] for row in measured} >= {"engine", "language", "source", "negative", "positive"}
    # All that the pipeline has are the audited days.
    assert not any(row["drifted"] for row in measured)


def test_meanwhile_the_pages_have_shown_the_open_hour_once_and_endpoints_have_labeled_it(
    pipeline: Run, watch: Watch
) -> None:
    """The posts of the first half minute since the watch began: `make live-test` measures how soon.

    A page that counts a tweet twice counts more than the lake has, and `freshness` raises. From here on live
    and coverage are paused, but for the runs that a test asks for.
    """
    ended = watch.begun + ARRIVES
    windows = list(Window.between(*(datetime.fromtimestamp(at, UTC) for at in (watch.begun, ended))))
    until(lambda: time.time() >= ended + ARRIVES)
    pipeline.dag_runs.run("live", "open hour labeled again")
    for dag in ("live", "coverage"):
        pipeline.dag_runs.rest(dag)
    watch.settle(windows, ended + ARRIVES)
    watch.stop()
    found = watch.freshness(windows, watch.begun, ended)
    assert found.posts
    assert not found.unseen
    assert models(pipeline, windows)["endpoint"]["tweets"]


@pytest.fixture(scope="module")
def lake(pipeline: Run) -> Lake:
    return Lake(pipeline)


@pytest.fixture(scope="module")
def hours(pipeline: Run) -> list[Window]:
    return pipeline.dag_runs.closed_windows()


def conserved(lake: Lake, hours: list[Window]) -> None:
    for window in hours:
        for topic in lake.run.world.topics:
            labeled = [str(row["tweet_id"]) for row in lake.labeled(topic, window)]
            quarantined = {row["tweet_id"] for row in lake.quarantined(topic, window)} - {None}
            assert len(labeled) == len(set(labeled)), f"{topic} {window}: a tweet stands twice"
            assert not quarantined & set(labeled)
            assert lake.raw_ids(topic, window) == quarantined | set(labeled), f"{topic} {window}"


def test_the_summary_adds_up_and_counts_what_x_has(pipeline: Run, hours: list[Window]) -> None:
    assert pipeline.summary.problems == []
    figures = pipeline.summary.figures
    assert {(row["hour"], row["topic"]) for row in figures["hours"]} >= {
        (window.label, topic) for window in hours for topic in pipeline.world.topics
    }
    at_x = {topic: ids_at_x(pipeline, topic, hours) for topic in pipeline.world.topics}
    for row in figures["hours"]:
        window = Window.parse(row["hour"])
        if window in hours:
            expected = [tweet for tweet in at_x[row["topic"]] if moment(tweet) in window]
            assert row["raw"] == len(expected) > 0
            assert row["recovered"] == row["raw"]
            assert row["verdict"] == "complete"


def ids_at_x(pipeline: Run, topic: str, hours: list[Window]) -> set[int]:
    """What X itself finds for the topic's stream rule."""
    base = pipeline.world.endpoints.url("x_api")
    session = requests.Session()
    session.headers["Authorization"] = (
        f"Bearer {pipeline.world.endpoints.describe()['x_api']['bearer_token']}"
    )
    rules = session.get(f"{base}/2/tweets/search/stream/rules", timeout=10).json()["data"]
    parameters = {
        "query": next(rule["value"] for rule in rules if rule["tag"] == topic),
        "start_time": f"{hours[0].start:%Y-%m-%dT%H:%M:%SZ}",
        "end_time": f"{hours[-1].end:%Y-%m-%dT%H:%M:%SZ}",
        "max_results": "500",
    }
    ids: set[int] = set()
    while True:
        time.sleep(1.05)  # X allows one such search a second
        answer = session.get(f"{base}/2/tweets/search/all", params=parameters, timeout=30)
        assert answer.ok, answer.text
        page = answer.json()
        ids |= {int(tweet["id"]) for tweet in page.get("data", [])}
        if "next_token" not in page["meta"]:
            return ids
        parameters["next_token"] = page["meta"]["next_token"]


def test_a_page_that_airflow_takes_for_its_own_cannot_guess_the_login(pipeline: Run) -> None:
    # Its host name was made to mean this machine; so it sees what Airflow answers.
    address = f"{pipeline.world.endpoints.url('airflow')}/auth/token"
    rebound = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}
    guess = {"username": "admin", "password": "admin"}
    assert requests.post(address, headers=rebound, timeout=30, json=guess).status_code == 401
    assert requests.post(address, headers=rebound, timeout=30, data=guess).status_code == 401
    right = requests.post(address, json=pipeline.world.endpoints.login, timeout=30)
    assert right.status_code == 201
    dags = f"{pipeline.world.endpoints.url('airflow')}/api/v2/dags"
    assert requests.get(dags, headers=rebound, timeout=30).status_code == 401


def test_catch_up_labels_every_hour_by_its_scheduled_run(lake: Lake, hours: list[Window]) -> None:
    assert len(hours) == 4
    for window in hours:
        run = lake.run.airflow.run("transform", lake.scheduled_run(window))
        assert (run["state"], run["run_type"]) == ("success", "scheduled")
    conserved(lake, hours)
    rows = lake.rows(hours)
    assert {row["sentiment"] for row in rows} >= {"Negative", "Neutral", "Positive"}
    assert all((row["sentiment"] is None) == (row["unlabeled_reason"] is not None) for row in rows)


TRANSLATED = {"de", "ru", "uk"}
"""What the pipeline's translator has a model for."""


def test_other_languages_are_translated_and_the_sentiment_model_gets_the_translation(
    lake: Lake, hours: list[Window]
) -> None:
    rows = lake.rows(hours)
    assert {row["lang"] for row in rows} > {*TRANSLATED, "en"}
    for row in rows:
        translated = row["lang"] in TRANSLATED
        assert (row["translated_text"] is not None) == translated, row["lang"]
        assert row["translation_engine"].startswith("opus-mt-" if translated else "none")
    asked = {}
    for key in lake.keys("work/"):
        if "/sentiment/input-" in key:
            for line in lake.read(key).splitlines():
                question = json.loads(line)
                asked[int(question["id"])] = question["text"], question["lang"]
    for row in rows:
        if row["sentiment"]:
            original = row["text"], row["lang"]
            translation = row["translated_text"], "en"
            assert asked[row["tweet_id"]] == (translation if row["lang"] in TRANSLATED else original)


def test_no_author_s_id_leaves_raw(lake: Lake, hours: list[Window]) -> None:
    for topic in lake.run.world.topics:
        authors = {
            json.loads(line)["data"]["author_id"] for line in lake.lines(layout.raw_prefix(topic, hours[0]))
        }
        assert not authors & {str(row["author_id"]) for row in lake.labeled(topic, hours[0])}


@pytest.fixture(scope="module")
def killed_at(pipeline: Run, lake: Lake) -> datetime:
    """The streamer is killed without warning; other tests pass the time until it is started again."""
    streamer = next(process for process in pipeline.world.processes.running if process.name == "streamer")
    os.killpg(streamer.popen.pid, signal.SIGKILL)
    pipeline.world.processes.stop(streamer)
    return datetime.now(UTC)


def test_every_task_cleared_alone_and_all_at_once_gives_the_same_lake(
    lake: Lake, hours: list[Window], killed_at: datetime
) -> None:
    window, run_id = hours[2], lake.scheduled_run(hours[2])
    before, jobs = lake.rows(hours), lake.jobs(window)
    assert jobs
    tasks = [task["task_id"] for task in lake.run.airflow.task_instances("transform", run_id)]
    assert len(tasks) >= 8
    for task in tasks:
        lake.clear(run_id, task)
        assert lake.rows([window]) == [row for row in before if window.start <= row_time(row) < window.end], (
            task
        )
    lake.clear(run_id)
    assert lake.rows(hours) == before
    assert lake.jobs(window) == jobs, "a SageMaker job ran twice for the same input"


def row_time(row: Row) -> datetime:
    return utc(row["ts"])


def utc(naive: datetime) -> datetime:
    return naive.replace(tzinfo=UTC)


def test_a_deleted_labeled_object_is_found_and_replaced(lake: Lake, hours: list[Window]) -> None:
    window, topic = hours[1], lake.run.world.topics[0]
    before = lake.labeled(topic, window)
    lake.s3.delete_object(Bucket=lake.bucket, Key=layout.labeled_key(topic, window))
    assert f"{window} {topic}: unlabeled: " in lake.cover(window)
    assert lake.labeled(topic, window) == before
    lake.cover()
    assert lake.ledger(topic, window)["verdict"] == "complete"


def test_what_is_broken_in_raw_is_quarantined_with_its_reason(lake: Lake, hours: list[Window]) -> None:
    window, (topic, other) = hours[3], lake.run.world.topics[:2]
    good = json.loads(lake.lines(layout.raw_prefix(topic, window))[0])
    both = crafted(good, window, 1, matching_rules=[{"id": "1", "tag": topic}, {"id": "2", "tag": other}])
    mute = crafted(good, window, 2)
    del mute["data"]["text"]
    lines = [json.dumps(tweet).encode() for tweet in (good, both, mute)]
    lake.put_lines(
        f"{layout.raw_prefix(topic, window)}late-arrival.gz", [*lines, b'{"data": {"id": "12', lines[0]]
    )
    before = lake.labeled(topic, window)
    lake.cover(window)
    assert lake.labeled(topic, window) == before
    reasons = {row["reason"]: row["tweet_id"] for row in lake.quarantined(topic, window)}
    assert reasons["overlap"] == both["data"]["id"]
    assert reasons["missing_text"] == mute["data"]["id"]
    assert "malformed_json" in reasons
    conserved(lake, hours)


def crafted(tweet: Row, window: Window, number: int, **changes: Any) -> Row:
    """A copy of a payload under an id of its own inside the hour."""
    copy: Row = json.loads(json.dumps(tweet)) | changes
    at = window.start + timedelta(minutes=30, milliseconds=number)
    copy["data"]["id"] = str(lowest_id(at))
    copy["data"]["created_at"] = f"{at:%Y-%m-%dT%H:%M:%S}.000Z"
    return copy


def test_two_runs_of_one_hour_beside_each_other_lose_nothing(lake: Lake, hours: list[Window]) -> None:
    window, topic = hours[1], lake.run.world.topics[0]
    good = json.loads(lake.lines(layout.raw_prefix(topic, window))[0])
    first, second = (crafted(good, window, number) for number in (11, 12))
    airflow = lake.run.airflow
    lake.put_lines(f"{layout.raw_prefix(topic, window)}first.gz", [json.dumps(first).encode()])
    beside = airflow.trigger("transform", {"window": window.label})
    lake.put_lines(f"{layout.raw_prefix(topic, window)}second.gz", [json.dumps(second).encode()])
    scheduled = lake.scheduled_run(window)
    lake.clear_only(scheduled)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda run: lake.run.dag_runs.wait_for("transform", run), (beside, scheduled)))
    ids = {str(row["tweet_id"]) for row in lake.labeled(topic, window)}
    assert {first["data"]["id"], second["data"]["id"]} <= ids
    conserved(lake, hours)


def test_a_streamer_that_was_killed_leaves_an_outage_that_is_recovered(
    pipeline: Run, lake: Lake, killed_at: datetime
) -> None:
    time.sleep(max(0.0, 70 - (datetime.now(UTC) - killed_at).total_seconds()))
    last_sign = next(
        datetime.fromisoformat(each["last_byte_at"])
        for each in reversed(lake.heartbeats(killed_at))
        if each["last_byte_at"] and datetime.fromisoformat(each["at"]) < killed_at
    )
    begun = datetime.now(UTC)
    pipeline.services.start_streamer()
    until(lambda: answers(f"{pipeline.world.endpoints.url('streamer')}/readyz"))
    connected = datetime.now(UTC)
    # Judged is up to the watermark less a margin, and recovered what X's search finds already.
    margin = max(SEARCH_DELAY, timedelta(seconds=pipeline.world.settings.delivery_margin_seconds))
    until(lambda: datetime.fromisoformat(lake.heartbeats(killed_at)[-1]["watermark"]) >= connected + margin)
    lake.cover()
    second = timedelta(seconds=1)  # X's clock tells whole ones
    lateness = timedelta(seconds=pipeline.world.settings.lateness_seconds)
    # An hour may have begun just before the kill: then the outage does in the hour before.
    hours = list(Window.between(killed_at - lateness - second, connected))
    for topic in pipeline.world.topics:
        found = {
            (utc(gap["gap_from"]), utc(gap["gap_to"]), gap["state"], window)
            for window in hours
            for gap in lake.ledger(topic, window)["gaps"]
            if utc(gap["gap_to"]) > killed_at - lateness
        }
        assert {state for _, _, state, _ in found} == {"filled"}
        # What X posted in the last moments before may have been on its way.
        assert last_sign - lateness - second <= min(start for start, *_ in found) <= killed_at - lateness
        assert begun - second <= max(end for _, end, *_ in found) <= connected
        for start, end, _, window in found:
            key = layout.recovered_key(topic, window, start, end)
            ids = [int(json.loads(line)["data"]["id"]) for line in lake.lines(key)]
            assert all(lowest_id(start) <= tweet < lowest_id(end) for tweet in ids)


def test_a_changed_model_labels_the_hours_that_are_cleared(
    pipeline: Run, lake: Lake, hours: list[Window]
) -> None:
    window, untouched, topic = hours[3], hours[0], pipeline.world.topics[0]
    before, others = lake.labeled(topic, window), lake.labeled(topic, untouched)
    code = pipeline.world.options.run_dir / "model" / "code" / "inference.py"
    code.write_text(code.read_text() + SWAP)
    pipeline.dag_runs.run("provision", "provision")
    lake.clear(lake.scheduled_run(window))
    after = lake.labeled(topic, window)
    # Both answers, but for the last digit: tweets may be in other batches.
    swapped = pytest.approx([row["p_positive"] for row in before], abs=2e-6)
    assert [row["p_negative"] for row in after] == swapped
    assert not engines(after) & engines(before)
    assert lake.labeled(topic, untouched) == others


def test_a_changed_translator_labels_the_hours_that_are_cleared(
    pipeline: Run, lake: Lake, hours: list[Window]
) -> None:
    """It has no model for German any more: those posts are labeled as they are."""
    window, untouched = hours[2], hours[0]
    before, others = lake.rows([window]), lake.rows([untouched])
    file = pipeline.world.options.run_dir / "opus-mt" / "translator.json"
    described = json.loads(file.read_text())
    del described["languages"]["de"]
    file.write_text(json.dumps(described))
    pipeline.dag_runs.run("provision", "provision")
    lake.clear(lake.scheduled_run(window))
    after = lake.rows([window])
    assert [row["tweet_id"] for row in after] == [row["tweet_id"] for row in before]
    for old, new in zip(before, after, strict=True):
        if old["lang"] == "de":
            assert (new["translated_text"], new["translation_engine"]) == (None, "none")
            assert (new["sentiment"] is None) == (old["sentiment"] is None)
        else:
            assert new["translated_text"] == old["translated_text"]
            assert (new["translation_engine"] == old["translation_engine"]) == (new["lang"] not in TRANSLATED)
    assert lake.rows([untouched]) == others


def engines(rows: list[Row]) -> set[str]:
    return {row["sentiment_engine"] for row in rows} - {None}


SWAP = """

_unswapped = output_fn


def output_fn(prediction, accept):
    import json

    answer = _unswapped(prediction, accept)
    body = answer[0] if isinstance(answer, tuple) else answer
    rows = [json.loads(line) for line in body.splitlines()]
    for row in rows:
        row["p_negative"], row["p_positive"] = row["p_positive"], row["p_negative"]
    return "".join(json.dumps(row) + "\\n" for row in rows)
"""


@dataclass(frozen=True)
class Deleted:
    """What is deleted at X: tweets, and a user with all tweets; with the words that name each of them."""

    tweets: list[str]
    user: str
    lines: dict[tuple[str, Window], list[bytes]]
    words: list[str]

    @classmethod
    def chosen(cls, lake: Lake, hours: list[Window], number: int) -> "Deleted":
        """Tweets with texts that are in no other tweet's text, and that no other tweet refers to.

        The streamer must have been stopped: what is collected after the choice may say the same.

        What refers to a tweet is its own author's content, and keeps the id.
        """
        found: dict[str, tuple[Row, bytes, tuple[str, Window]]] = {}
        referred: set[str] = set()
        for window in hours:
            for topic in lake.run.world.topics:
                for line in lake.lines(layout.raw_prefix(topic, window)):
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        data = json.loads(line)["data"]
                        found[data["id"]] = (data, line, (topic, window))
                        referred |= {each["id"] for each in data.get("referenced_tweets", ())}
                        referred |= set(data["edit_history_tweet_ids"]) - {data["id"]}
        texts = [str(data.get("text")) for data, *_ in found.values()]
        authors = Counter(data["author_id"] for data, *_ in found.values())
        free = [
            own
            for own, (data, *_) in found.items()
            if data.get("text")
            and own not in referred
            and sum(str(data["text"]) in other for other in texts) == 1
        ]
        user = next(
            author
            for author, count in authors.most_common()
            if count > 1
            and all(own in free for own, (data, *_) in found.items() if data["author_id"] == author)
        )
        theirs = [own for own in free if found[own][0]["author_id"] == user]
        others = [own for own in free if own not in theirs]
        tweets = others[:: max(1, len(others) // number)][:number]
        gone = [*tweets, *theirs]
        alone = {found[own][0]["author_id"] for own in gone} - {
            data["author_id"] for own, (data, *_) in found.items() if own not in gone
        }
        words = {*gone, *alone, *(found[own][0]["text"] for own in gone)}
        lines: dict[tuple[str, Window], list[bytes]] = defaultdict(list)
        for own in gone:
            lines[found[own][2]].append(found[own][1])
        return cls(tweets, user, dict(lines), sorted(words))


class Scan:
    """Looks for words in everything below a folder, unpacked; X's own state is X's."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self._folder = folder
        sought = {each for word in words for each in (word, json.dumps(word)[1:-1])}
        self._pattern = re.compile(b"|".join(re.escape(each.encode()) for each in sought))
        self._read: dict[Path, tuple[tuple[int, int], set[str]]] = {}
        """What was found in a file, and the change and size that it had then."""

    def holding(self) -> dict[str, set[str]]:
        """Every file that names one of the words, and which; only what has changed is read again."""
        return {
            str(path.relative_to(self._folder)): told
            for path in self._folder.rglob("*")
            if "x_api" not in path.relative_to(self._folder).parts and path.suffix != ".jar"
            if (told := self._told(path))
        }

    def _told(self, path: Path) -> set[str]:
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                return set()
            state = status.st_mtime_ns, status.st_size
            if path not in self._read or self._read[path][0] != state:
                words = self._pattern.findall(_unpacked(path.read_bytes()))
                self._read[path] = state, {each.decode() for each in words}
            return self._read[path][1]
        except FileNotFoundError:
            return set()

    def until_nothing(self) -> None:
        """Waits until no file holds a word: the local S3 keeps a replaced object's file for some seconds."""
        deadline = time.monotonic() + 180
        while found := self.holding():
            assert time.monotonic() < deadline, found
            time.sleep(5)


def _unpacked(body: bytes) -> bytes:
    """What a file says: its own bytes, and what is packed in them."""
    if body[:2] == b"\x1f\x8b":
        with contextlib.suppress(zlib.error):
            return body + zlib.decompressobj(wbits=47).decompress(body)
    if body[:4] == body[-4:] == b"PAR1":
        rows = pq.read_table(BytesIO(body)).to_pylist()
        return body + "\n".join(str(value) for row in rows for value in row.values()).encode()
    return body


def test_what_is_deleted_at_x_is_in_nothing_that_the_run_has_written(
    pipeline: Run, lake: Lake, hours: list[Window]
) -> None:
    world, airflow = pipeline.world, pipeline.airflow
    streamer = next(process for process in world.processes.running if process.name == "streamer")
    world.processes.stop(streamer)
    collected = list(Window.between(hours[0].start, datetime.now(UTC)))
    deleted = Deleted.chosen(lake, collected, 20)
    assert len(deleted.tweets) == 20
    scan = Scan(world.folder, deleted.words)
    assert scan.holding()
    control = {"Authorization": f"Bearer {world.endpoints.describe()['x_api']['control_token']}"}
    gone = {"tweets": dict.fromkeys(deleted.tweets, "deleted"), "users": {deleted.user: "suspended"}}
    redacted = requests.post(
        f"{world.endpoints.url('x_api')}/_local/redactions", json=gone, headers=control, timeout=30
    )
    assert redacted.status_code == 201

    pipeline.dag_runs.run("compliance", "what X reports removed", {"dry_run": False})
    scan.until_nothing()
    conserved(lake, hours)
    ledger = lake.table(layout.REMOVALS_PREFIX)
    assert all(row["done_at"] for row in ledger)
    assert sum(row["removed"] for row in ledger if row["layer"] == "labeled") >= len(deleted.tweets)

    # It stays gone: late objects bring it once more to two hours, and they are run again.
    late = sorted({window for _, window in deleted.lines} & set(hours))[:2]
    assert len(late) == 2
    for (topic, window), lines in deleted.lines.items():
        if window in late:
            lake.put_lines(f"{layout.raw_prefix(topic, window)}late.gz", lines)
    for window in late:
        lake.clear(lake.scheduled_run(window))
    lake.cover(*late)
    scan.until_nothing()
    conserved(lake, hours)
    assert airflow.runs("compliance", state=["queued", "running"]) == []
