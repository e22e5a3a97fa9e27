"""Measures how fresh the pages are while `live` labels the open hour, and that it leaves the same lake.

``python -m local.proof.live_test --posts 50 --minutes 30`` starts the whole pipeline on the stand-ins,
afresh, with real-time endpoints (`OPINION_LIVE_ENDPOINTS`), has X deliver so many posts a second, and reads
the data of the page Opinion over time as an open page does. Each post's way is told apart into named waits
(`local.proof.freshness`). Then it waits for the end of an hour that `live` has labeled, and has the hour's
scheduled run do all of it alone, without the objects and the answers that are there: the lake must be the
same, row for row.

It writes ``.run/live-test.json`` and ends with status 1 if the lake differs, a post is never shown, or 95 %
of the posts take longer than `OPINION_LIVE_MINUTES` and 90 seconds. `coverage` is left out: it would buy what
X had before the test began.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import requests

from include.insights import aggregate
from include.labeling.answers import sent
from include.labeling.shards import STAGE
from include.lake import layout, storage
from include.window import Window
from include.x import snowflake
from local.proof.bench import PLENTY_OF_POSTS, ROOT
from local.proof.freshness import WAITS, Freshness, Hour, Landing, Sight, Version, measure
from local.proof.report import named_table, save, table, write_section
from local.proof.soak import corpus_rate
from local.run import Run, end_on_signals, started
from local.world import RunError, RunOptions

PAGE = "opinion-over-time"
VISUAL = "net_sentiment"
"""Its rows have the tweets with a sentiment (``n``) of every topic and hour."""
GOAL_SECONDS = 90
"""What 95 % of the posts may take beyond `live_minutes`."""
LOOK_SECONDS = 1.0
SETTLES_SECONDS = 900.0
"""How long after the measured time its last posts may take to be shown: an hour may end meanwhile."""
ARRIVES = 30.0
"""What was created before a time is in raw so many seconds later."""


class LiveTestError(RuntimeError):
    """The test could not be run."""


@dataclass
class Watch:
    """What is published and shown meanwhile, noted by two threads from `watching` on, until `stop`."""

    run: Run
    versions: dict[Hour, list[Version]] = field(default_factory=lambda: defaultdict(list))
    aggregates: list[Sight] = field(default_factory=list)
    pages: list[Sight] = field(default_factory=list)
    unanswered: int = 0
    """Readings of the page that the server could not answer: an open page tries again later, too."""
    threads: list[Future[None]] = field(default_factory=list)
    begun: float = field(default_factory=time.time)
    _done: threading.Event = field(default_factory=threading.Event)
    _etags: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises what ended a thread."""
        for thread in self.threads:
            if thread.done():
                thread.result()

    def repeat(self, look: Callable[[], None], seconds: float) -> None:
        """Looks every so many seconds."""
        while not self._done.is_set():
            begun = time.monotonic()
            look()
            self._done.wait(max(0.0, begun + seconds - time.monotonic()))

    def stop(self) -> None:
        """Notes nothing more; raises what a thread has met."""
        self._done.set()
        for thread in self.threads:
            thread.result()

    @cached_property
    def s3(self) -> Any:
        """A client of the lake."""
        return client(self.run, "s3")

    def look(self) -> None:
        """Notes the objects that have been replaced since the last look."""
        s3, bucket = self.s3, self.run.world.settings.bucket
        now = Window.containing(datetime.now(UTC))
        for window in (now.previous, now):
            for topic in self.run.world.topics:
                if found := self._changed(s3, layout.labeled_key(topic, window)):
                    shown = pq.read_table(io.BytesIO(found.body), columns=["tweet_id", "sentiment"])
                    ids = shown.filter(pc.is_valid(shown["sentiment"]))["tweet_id"].to_pylist()
                    listed = datetime.fromisoformat(found.metadata["listed-at"]).timestamp()
                    version = Version(listed, found.written, frozenset(ids))
                    self.versions[topic, window.label].append(version)
        for day in sorted({now.previous.date, now.date}):
            if found := self._changed(s3, layout.aggregate_key(day)):
                counts: dict[Hour, int] = defaultdict(int)
                for row in aggregate.read(s3, bucket, day).to_pylist():
                    counts[row["topic"], f"{row['hour']:%Y-%m-%dT%H}"] += row["judged"]
                self.aggregates.append(Sight(found.written, dict(counts)))

    def settle(self, windows: Sequence[Window], since: float) -> None:
        """Waits until the page shows, of some hours, what was listed at ``since`` or later.

        Raises `LiveTestError` after `SETTLES_SECONDS`.
        """
        deadline = time.monotonic() + SETTLES_SECONDS
        for window in windows:
            if window.end.timestamp() <= since:
                self.run.dag_runs.wait_for("transform", scheduled_run(self.run, window))
            while not self.shows(window, since):
                self.run.world.processes.check()
                self.check()
                if time.monotonic() > deadline:
                    raise LiveTestError(f"the page does not show {window} as it is in the lake")
                time.sleep(LOOK_SECONDS)

    def freshness(self, windows: Sequence[Window], begun: float, ended: float) -> Freshness:
        """How long the posts that were created in ``[begun, ended)`` have waited, which must be settled."""
        posts = landings(self.run, windows, begun, ended)
        return measure(posts, self.versions, self.aggregates, self.pages)

    def read_page(self) -> None:
        """Reads the page's data as a browser does that has it open."""
        airflow = self.run.airflow
        if not airflow.session.headers.get("Authorization"):
            airflow.call("GET", "/version")
        answer = airflow.session.get(
            f"{airflow.url}/x-opinion/data/{PAGE}", params={"unmeasured": "true"}, timeout=120
        )
        if answer.status_code >= requests.codes.internal_server_error:
            self.unanswered += 1
            return
        answer.raise_for_status()
        (visual,) = (each for each in answer.json()["visuals"] if each["id"] == VISUAL)
        names = [column["name"] for column in visual["columns"]]
        rows = [dict(zip(names, row, strict=True)) for row in visual["rows"]]
        counts = {(row["topic"], row["hour"][: len("2026-11-20T05")]): row["n"] for row in rows}
        self.pages.append(Sight(time.time(), counts))

    def shows(self, window: Window, since: float) -> bool:
        """Whether the page shows, of every topic, what was listed at ``since`` or later.

        Of an hour that was over then, that is what is there now: a scheduled run that finds nothing new
        replaces nothing.
        """
        last = self.pages[-1].counts if self.pages else {}
        for topic in self.run.world.topics:
            versions = self.versions[topic, window.label]
            if window.end.timestamp() <= since:
                key = layout.labeled_key(topic, window)
                standing = storage.current(self.s3, self.run.world.settings.bucket, key)
                wanted = versions[-1:] if standing and self._etags.get(key) == standing.etag else []
            else:
                wanted = [version for version in versions if version.listed >= since]
            if not any(last.get((topic, window.label), 0) >= len(version.shown) for version in wanted):
                return False
        return True

    def _changed(self, s3: Any, key: str) -> _Found | None:
        """An object that is another one than at the last look."""
        bucket = self.run.world.settings.bucket
        head = storage.current(s3, bucket, key)
        if head is None or self._etags.get(key) == head.etag:
            return None
        try:
            body = storage.read(s3, bucket, key, head.etag)
        except storage.StorageError:
            return None  # replaced meanwhile: the next look sees the newer one
        self._etags[key] = head.etag
        return _Found(body, head.metadata, head.last_modified.timestamp())


@dataclass(frozen=True)
class _Found:
    body: bytes
    metadata: Mapping[str, str]
    written: float


def client(run: Run, service: str) -> Any:
    """A boto3 client of the run's AWS."""
    environment = run.world.endpoints.aws_environment()
    session: Any = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )
    return session.client(service, endpoint_url=environment["AWS_ENDPOINT_URL"])


@contextmanager
def watching(run: Run, page_seconds: float) -> Iterator[Watch]:
    """Notes what is published every second, and what the page shows every ``page_seconds``, until left.

    Raises on leaving what a thread has met.
    """
    watch = Watch(run)
    with ThreadPoolExecutor(2) as pool:
        watch.threads = [
            pool.submit(watch.repeat, watch.look, LOOK_SECONDS),
            pool.submit(watch.repeat, watch.read_page, page_seconds),
        ]
        try:
            yield watch
        finally:
            watch.stop()


def landings(run: Run, windows: Sequence[Window], begun: float, ended: float) -> dict[int, Landing]:
    """The streamed posts in raw that were created in ``[begun, ended)``."""
    s3, bucket = client(run, "s3"), run.world.settings.bucket
    found: dict[int, Landing] = {}
    for prefix in (layout.raw_prefix(topic, window) for window in windows for topic in run.world.topics):
        for entry in sorted(storage.objects(s3, bucket, prefix), key=lambda entry: entry.last_modified):
            landed = entry.last_modified.timestamp()
            for line in storage.read_lines(s3, bucket, entry.key):
                post = json.loads(line)
                own = int(post["data"]["id"])
                created = snowflake.milliseconds(own) / 1000
                if post["ingest"]["source"] == "stream" and begun <= created < ended:
                    received = datetime.fromisoformat(post["ingest"]["received_at"]).timestamp()
                    found.setdefault(own, Landing(created, received, landed))
    return found


def contents(run: Run, windows: Sequence[Window]) -> dict[str, Any]:
    """The rows of every labeled object, and the lines of every quarantine object, of some hours."""
    s3, bucket = client(run, "s3"), run.world.settings.bucket
    found: dict[str, Any] = {}
    for key in _published(run, windows):
        body = storage.read(s3, bucket, key)
        is_table = key.endswith(".parquet")
        found[key] = pq.read_table(io.BytesIO(body)).to_pylist() if is_table else gzip.decompress(body)
    return found


def scheduled_alone(run: Run, windows: Sequence[Window]) -> None:
    """Has the scheduled runs of closed hours label them with no object and no answer of an earlier run."""
    s3, bucket = client(run, "s3"), run.world.settings.bucket
    work = [
        entry.key for window in windows for entry in storage.objects(s3, bucket, layout.work_prefix(window))
    ]
    for key in (*_published(run, windows), *work):
        s3.delete_object(Bucket=bucket, Key=key)
    for window in windows:
        run_id = scheduled_run(run, window)
        run.airflow.clear("transform", run_id)
        run.dag_runs.wait_for("transform", run_id)


def scheduled_run(run: Run, window: Window) -> str:
    """The id of an hour's scheduled run; waits for it where the hour has just ended."""
    deadline = time.monotonic() + SETTLES_SECONDS
    while time.monotonic() < deadline:
        for found in run.airflow.runs("transform"):
            start = found["data_interval_start"]
            if found["run_type"] == "scheduled" and start and datetime.fromisoformat(start) == window.start:
                return str(found["dag_run_id"])
        time.sleep(LOOK_SECONDS)
    raise LiveTestError(f"{window} has no scheduled run")


def _published(run: Run, windows: Sequence[Window]) -> list[str]:
    return [
        key
        for window in windows
        for topic in run.world.topics
        for key in (layout.labeled_key(topic, window), layout.quarantine_key(topic, window, STAGE))
    ]


def task_seconds(run: Run, since: datetime) -> dict[str, list[float]]:
    """The seconds of each task of `live`, and between tasks, in the runs that did something; p50 and p95."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for found in run.airflow.runs("live", state=["success"]):
        tasks = [
            task
            for task in run.airflow.task_instances("live", found["dag_run_id"])
            if task["state"] == "success" and datetime.fromisoformat(task["start_date"]) >= since
        ]
        if not any(task["task_id"] == "publish" for task in tasks):
            continue
        for task in tasks:
            seconds[task["task_id"]].append(task["duration"])
        begun, ended = (datetime.fromisoformat(found[name]) for name in ("start_date", "end_date"))
        whole = (ended - begun).total_seconds()
        seconds["between tasks"].append(whole - sum(task["duration"] for task in tasks))
        seconds["the whole run"].append(whole)
    return {
        name: [round(float(value), 1) for value in np.percentile(found, (50, 95))]
        for name, found in seconds.items()
    }


@dataclass(frozen=True)
class Measured:
    """What was seen while it lasted."""

    freshness: Freshness
    tasks: Mapping[str, Sequence[float]]
    windows: Sequence[Window]
    unanswered: int


def measured(run: Run, minutes: float, tell: Callable[[str], None]) -> Measured:
    """Watches the running pipeline for so long, and then until the page shows all of it."""
    since = datetime.now(UTC)
    begun, ended = time.time(), time.time() + minutes * 60
    with watching(run, run.world.settings.pages_refresh_seconds) as watch:
        told = 0.0
        while (now := time.time()) < ended:
            run.world.processes.check()
            watch.check()
            if now >= told + 30:
                told = now
                tell(_progress(watch, (now - begun) / 60))
            time.sleep(LOOK_SECONDS)
        windows = list(Window.between(since, datetime.fromtimestamp(ended, UTC)))
        watch.settle(windows, ended + ARRIVES)
    return Measured(
        watch.freshness(windows, begun, ended),
        task_seconds(run, since),
        windows,
        watch.unanswered,
    )


def _progress(watch: Watch, minutes: float) -> str:
    runs = sum(len(found) for found in watch.versions.values())
    shown = sum(watch.pages[-1].counts.values()) if watch.pages else 0
    return f"{minutes:5.1f} min  {shown:>8} tweets on the page  {runs:>4} objects published"


def await_closed_hour(run: Run, windows: Sequence[Window]) -> list[Window]:
    """The closed ones of some hours; waits for the first to end where none is, and for their runs."""
    while not (closed := [window for window in windows if window.end <= datetime.now(UTC)]):
        run.world.processes.check()
        time.sleep(LOOK_SECONDS)
    for window in closed:
        run.dag_runs.wait_for("transform", scheduled_run(run, window))
    return closed


def live_test(run: Run, posts: float, minutes: float) -> dict[str, Any]:
    """Runs the whole test in a pipeline whose work has not begun; returns its figures."""
    world, settings = run.world, run.world.settings
    run.dag_runs.run("provision", "tables, workgroup, models and endpoints provisioned")
    for dag_id in ("transform", "insights", "live"):
        run.airflow.pause(dag_id, False)
    with world.step("open hour labeled for the first time"):
        while not run.airflow.runs("live", state=["success"]):
            world.processes.check()
            time.sleep(LOOK_SECONDS)
    with world.step(f"{minutes:g} minutes at {posts:g} posts a second"):
        found = measured(run, minutes, world.console.print)
    p50, p95 = found.freshness.total()
    shown = f"{found.freshness.posts:,} posts, on the page after {p50:g} s (p50) and {p95:g} s (p95)"
    by_wait = found.freshness.by_wait().items()
    waits = ", ".join(f"{name} {half:g} and {most:g}" for name, (half, most) in by_wait)
    world.console.print(f"  {shown}: {waits}")
    with world.step("an hour that live has labeled is over"):
        closed = await_closed_hour(run, found.windows)
    run.dag_runs.rest("live")
    live = models(run, closed)
    with world.step("the same by the scheduled runs alone"):
        before = contents(run, closed)
        scheduled_alone(run, closed)
        same = contents(run, closed) == before
    return {
        "live_minutes": settings.live_minutes,
        "minutes": minutes,
        "posts_per_second": round(found.freshness.posts / minutes / 60, 1),
        "posts": found.freshness.posts,
        "unseen": found.freshness.unseen,
        "p50_s": p50,
        "p95_s": p95,
        "goal_s": settings.live_minutes * 60 + GOAL_SECONDS,
        "same_lake": same,
        "hours_compared": [window.label for window in closed],
        "rows_compared": sum(len(rows) for rows in before.values() if isinstance(rows, list)),
        "models": live,
        "models_alone": models(run, closed),
        "page_refresh_s": settings.pages_refresh_seconds,
        "page_unanswered": found.unanswered,
        "cores": os.cpu_count(),
        "peak_memory_mib": run.peak_memory // 2**20,
        "waits": found.freshness.by_wait(),
        "tasks": found.tasks,
    }


def models(run: Run, windows: Sequence[Window]) -> dict[str, dict[str, int]]:
    """The calls and the tweets that were sent to models about some hours, by mode."""
    found = sent(client(run, "s3"), run.world.settings.bucket, windows)
    return {mode: asdict(each) for mode, each in found.items()}


def faultless(figures: Mapping[str, Any]) -> bool:
    """Whether the lake is the same, every post was shown, and 95 % of them in time."""
    return bool(
        figures["same_lake"]
        and figures["rows_compared"]
        and figures["posts"]
        and not figures["unseen"]
        and figures["p95_s"] <= figures["goal_s"]
    )


def page_section(figures: Mapping[str, Any]) -> str:
    """The figures for the docs."""
    own = ("waits", "tasks", "models", "models_alone")
    plain = {name: value for name, value in figures.items() if name not in own}
    plain["hours_compared"] = ", ".join(figures["hours_compared"])
    for name, which in (("models", ""), ("models_alone", ", scheduled runs alone")):
        for mode, each in figures[name].items():
            plain[f"tweets sent by {mode}{which}"] = f"{each['tweets']} in {each['calls']} calls"
    waits = [(f"`{name}`", meaning, *figures["waits"][name]) for name, meaning in WAITS.items()]
    tasks = [(f"`{name}`" if " " not in name else name, *both) for name, both in figures["tasks"].items()]
    return "\n\n".join(
        [
            named_table(plain),
            "**Where a post waits**\n\n" + table(("Wait", "", "p50, s", "p95, s"), waits),
            "**A run of `live`, task by task**\n\n" + table(("Task", "p50, s", "p95, s"), tasks),
        ]
    )


def main() -> int:
    """Runs the test; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.proof.live_test", description=__doc__)
    parser.add_argument("--posts", type=float, default=50.0, help="a second")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--run-dir", type=Path, default=ROOT / ".run")
    parser.add_argument("--page", type=Path, help="where the tables are written to as well")
    parser.add_argument("--first-port", type=int, default=9760, help="eight neighbors are used")
    given = parser.parse_args()
    folder = given.run_dir.resolve() / "live-test"
    shutil.rmtree(folder, ignore_errors=True)
    os.environ["OPINION_LIVE_ENDPOINTS"] = "true"
    # The hour before is nobody's; at this rate the default budget would have the sample lowered.
    os.environ["OPINION_UNAPPROVED_HOURS"] = "1"
    os.environ["OPINION_MONTHLY_POSTS"] = str(PLENTY_OF_POSTS)
    rate = round(corpus_rate(datetime.now(UTC), given.posts))
    options = RunOptions(hours=0, rate=rate, first_port=given.first_port, run_dir=folder)
    end_on_signals()
    try:
        with started(options) as run:
            figures = live_test(run, given.posts, given.minutes)
    except (RunError, LiveTestError) as error:
        print(f"live-test: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    save(figures, given.run_dir / "live-test.json")
    section = page_section(figures)
    if given.page:
        write_section(given.page, "live-test", section)
    print(section)
    return 0 if faultless(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
