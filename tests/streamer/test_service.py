"""The streamer against a stand-in of X that fails in X's ways, and a Firehose that may stall."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests

from include.settings import Settings
from include.x.topics import load
from streamer import reconnect, steward
from streamer.reconnect import CONNECTS, CONNECTS_SECONDS
from streamer.service import EXIT_REJECTED, EXIT_STOPPED, Options, Streamer
from streamer.spool import Spool
from tests.credentials import CONTROL, CREDENTIALS, written
from tests.ports import free_ports
from tests.streamer.support_firehose import DEAGGREGATING

if TYPE_CHECKING:
    from types_boto3_firehose import FirehoseClient

    from include.x.budget import PostsLedger

ROOT = Path(__file__).parents[2]


def until(met: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := met():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


class X:
    """The stand-in of X as a process, and its switchboard."""

    def __init__(self, folder: Path) -> None:
        written(folder)
        self.url = f"http://127.0.0.1:{free_ports()}"
        port = self.url.rpartition(":")[2]
        self._log = (folder / "x_api.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.x_api", "--port", port, "--state", str(folder), "--rate", "108000"],
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
        )
        until(self._answers, "X's stand-in", 60)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/_local/health", timeout=2).ok
        except requests.RequestException:
            return False

    def fault(self, kind: str, **options: Any) -> None:
        answer = requests.post(
            f"{self.url}/_local/faults", json={"kind": kind, **options}, headers=CONTROL, timeout=5
        )
        assert answer.ok, answer.text

    def no_faults(self) -> None:
        requests.delete(f"{self.url}/_local/faults", headers=CONTROL, timeout=5)

    def rules(self) -> list[dict[str, str]]:
        answer = requests.get(
            f"{self.url}/2/tweets/search/stream/rules",
            headers={"Authorization": f"Bearer {CREDENTIALS.x_bearer_token}"},
            timeout=5,
        )
        found: list[dict[str, str]] = answer.json().get("data", [])
        return found

    def requests(self) -> Counter[str]:
        return Counter(
            requests.get(f"{self.url}/_local/journal", headers=CONTROL, timeout=5).json()["requests"]
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[X]:
    opened = X(tmp_path_factory.mktemp("x"))
    yield opened
    opened.close()


@pytest.fixture
def x(world: X) -> Iterator[X]:
    world.no_faults()
    yield world
    world.no_faults()


def quotes(payload: dict[str, Any]) -> bool:
    return any(other["type"] == "quoted" for other in payload["data"].get("referenced_tweets", ()))


class Firehose:
    """Takes everything, unless it is told to stall."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.open = threading.Event()
        self.open.set()

    def put_record_batch(self, DeliveryStreamName: str, Records: list[dict[str, bytes]]) -> Any:  # noqa: N803
        self.open.wait(30)
        self.lines += [json.loads(line) for record in Records for line in record["Data"].splitlines()]
        return {"FailedPutCount": 0, "RequestResponses": [{"RecordId": "1"} for _ in Records]}

    def describe_delivery_stream(self, **_: Any) -> Any:
        return {"DeliveryStreamDescription": DEAGGREGATING}

    def tweets(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "kind" not in line]

    def quarantined(self, reason: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("kind") == "quarantine" and line["reason"] == reason]

    def reasons(self) -> Counter[str]:
        return Counter(line["reason"] for line in self.lines if line.get("kind") == "quarantine")

    def events(self) -> list[tuple[str, str | None]]:
        return [(line["event"], line["reason"]) for line in self.lines if line.get("kind") == "session"]


class Ledger:
    """The ledger of posts in memory."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], int] = {}

    def record(self, month: str, writer: str, posts: int) -> None:
        self.entries[month, writer] = posts

    def entry(self, month: str, writer: str) -> int:
        return self.entries.get((month, writer), 0)

    def used(self, month: str) -> int:
        return sum(posts for (entered, _), posts in self.entries.items() if entered == month)


class Running:
    """A streamer in threads of this process."""

    def __init__(self, x: X, folder: Path, most_bytes: int = 10**9) -> None:
        self.x = x
        self.topics_file = folder / "topics.yaml"
        if not self.topics_file.exists():
            text = (ROOT / "include" / "topics.yaml").read_text(encoding="utf-8")
            # The ledger of another month or machine must not matter here.
            text = text.replace("monthly_posts: 100000", "monthly_posts: 900000000")
            self.topics_file.write_text(text, encoding="utf-8")
        self.firehose: Any = Firehose()
        self.ledger: Any = Ledger()
        self.spool = Spool(folder / "spool", most_bytes)
        settings = Settings(x_api_url=x.url, topics_file=self.topics_file)
        self.streamer = Streamer(
            settings,
            load(self.topics_file),
            CREDENTIALS.x_bearer_token,
            "session-1",
            self.spool,
            cast("FirehoseClient", self.firehose),
            cast("PostsLedger", self.ledger),
            Options("127.0.0.1", 0, 0.2),
        )
        self.exit_status: int | None = None
        self._last: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.exit_status = self.streamer.run()

    def status(self, name: str) -> Any:
        return (self._last or self.streamer.status())[name]

    def receives(self, more: int = 10) -> None:
        goal = self.status("received") + more
        until(lambda: self.status("received") >= goal, f"{more} lines more")

    def ended(self) -> int:
        self._thread.join(20)
        assert self.exit_status is not None
        self._last = self.streamer.status()
        self.spool.close()
        return self.exit_status

    def stopped(self) -> None:
        """Ends it; then all that was received has been delivered."""
        self.streamer.stop()
        assert self.ended() == EXIT_STOPPED
        received = sum(line.get("kind") in (None, "quarantine") for line in self.firehose.lines)
        assert received == self.status("received")


@pytest.fixture
def start(x: X, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    monkeypatch.setattr(steward, "STEWARD_SECONDS", 0.2)
    started: list[Running] = []

    def begin(**options: Any) -> Running:
        started.append(Running(x, tmp_path, **options))
        return started[-1]

    yield begin
    for running in started:
        if running.exit_status is None:
            running.firehose.open.set()
            running.streamer.stop()
            running.ended()


def test_a_keyword_changes_while_the_stream_runs_and_leaves_no_hole(start: Any, x: X) -> None:
    running = start()
    running.receives(40)
    before = running.status("rule_hash")
    text = running.topics_file.read_text(encoding="utf-8")
    running.topics_file.write_text(text.replace("en: [russia,", "en: [siberia, russia,"), encoding="utf-8")
    until(lambda: running.status("rule_hash") != before, "the new rules")
    running.receives(40)
    running.stopped()
    tweets = running.firehose.tweets()
    hashes = [line["ingest"]["rule_hash"] for line in tweets]
    assert set(hashes) == {before, running.status("rule_hash")}
    assert hashes == sorted(hashes, key=lambda found: found != before), "the old ones first"
    times = [datetime.fromisoformat(line["ingest"]["received_at"]).timestamp() for line in tweets]
    assert max(later - sooner for sooner, later in pairwise(times)) < 3
    assert running.status("connects") == 1
    assert {event for event, _ in running.firehose.events()} >= {"start", "connect", "rules", "stop"}
    assert any("siberia" in rule["value"] for rule in x.rules())


def test_a_topics_file_that_cannot_be_used_changes_nothing_and_is_a_warning(start: Any) -> None:
    running = start()
    running.receives(5)
    before, text = running.status("rule_hash"), running.topics_file.read_text(encoding="utf-8")
    running.topics_file.write_text("topics: [\n")
    until(lambda: "topics_file" in running.status("warnings"), "the warning")
    running.receives(5)
    assert running.status("rule_hash") == before
    running.topics_file.write_text(text, encoding="utf-8")
    until(lambda: not running.status("warnings"), "the end of the warning")
    running.stopped()


def test_when_delivery_stalls_intake_goes_on_to_the_spools_limit_and_comes_back(start: Any) -> None:
    running = start(most_bytes=60_000)
    running.receives(5)
    running.firehose.open.clear()
    until(lambda: running.status("state") == "spool_full", "the limit")
    assert running.status("spool_bytes") >= 60_000
    assert not running.status("connected")
    received = running.status("received")
    time.sleep(0.5)
    assert running.status("received") == received
    running.firehose.open.set()
    until(lambda: running.status("connected"), "the new connection")
    running.receives(5)
    running.stopped()
    events = running.firehose.events()
    outage = events.index(("disconnect", "spool_full"))
    assert events[outage + 1][0] == "connect"


def test_a_disk_that_cannot_be_written_ends_intake_on_purpose_and_loses_nothing(start: Any) -> None:
    running = start()
    running.receives(5)
    running.firehose.open.clear()  # or else delivery makes room
    running.spool._database._writer.execute("PRAGMA max_page_count=1")
    until(lambda: running.status("state") == "spool_unwritable", "the obstacle")
    assert "spool_unwritable" in running.status("warnings")
    running.spool._database._writer.execute("PRAGMA max_page_count=1000000")
    running.firehose.open.set()
    until(lambda: running.status("connected"), "the new connection")
    running.receives(5)
    running.stopped()
    assert ("disconnect", "spool_unwritable") in running.firehose.events()


def test_every_kind_of_broken_line_goes_to_quarantine_and_the_stream_goes_on(start: Any, x: X) -> None:
    running = start()
    for kind in ("garbage", "cut-line", "bad-utf8", "untagged", "unmatched", "duplicates"):
        x.fault(kind, times=6)
    running.receives(80)
    assert running.status("connects") == 1
    running.stopped()
    reasons = running.firehose.reasons()
    assert set(reasons) == {"malformed_json", "not_a_payload", "unknown_topic"}
    assert running.status("quarantined") == dict(reasons)
    # Our own evaluation finds the topic of every whole tweet, unless only the text that it quotes names one.
    # One of the stand-in's garbage lines is a payload without text.
    unknown = [json.loads(line["line"]) for line in running.firehose.quarantined("unknown_topic")]
    assert [payload for payload in unknown if not quotes(payload)] == [{"data": {}}]
    assert running.status("attributed") + len(unknown) - 1 >= 12
    for line in running.firehose.tweets():
        assert line["matching_rules"][0]["tag"] in ("ukraine", "russia")


def test_rules_that_x_lost_are_put_back_under_the_running_connection(
    start: Any, x: X, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steward, "RECONCILE_SECONDS", 0.5)
    running = start()
    running.receives(5)
    x.fault("rules-lost", times=1)
    until(lambda: len(x.rules()) == 2, "the rules")
    running.receives(10)
    assert running.status("connects") == 1
    running.stopped()


def test_without_rules_x_rejects_and_they_are_put_back(start: Any, x: X) -> None:
    x.fault("http", status=409, on="stream", times=1)
    running = start()
    running.receives(5)
    assert running.status("connects") == 2
    running.stopped()


def test_a_zombie_of_ours_is_freed_and_a_foreign_connection_waited_for(
    start: Any, x: X, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnect, "_LIMITED_FIRST", 0.3)
    freed = x.requests()["connections.delete"]
    running = start()
    running.receives(5)
    x.fault("zombie", seconds=60)
    x.fault("close", times=1)
    until(lambda: x.requests()["connections.delete"] == freed + 1, "the zombie's end")
    running.receives(5)
    x.no_faults()
    time.sleep(3.2)  # another's connection is told from ours by its time
    x.fault("zombie", seconds=60, foreign=True)
    x.fault("close", times=1)
    until(lambda: running.status("state") == "too_many_connections", "a wait")
    x.no_faults()
    running.receives(5)
    assert x.requests()["connections.delete"] == freed + 1, "a foreign connection is left alone"
    running.stopped()


def test_a_line_that_drips_forever_counts_as_silence(
    start: Any, x: X, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    running.receives(5)
    monkeypatch.setattr(steward, "SILENCE_SECONDS", 1.0)
    x.fault("slow-drip", rate=20.0, seconds=4)
    until(lambda: running.status("disconnects").get("no_line"), "the cut")
    monkeypatch.undo()
    running.receives(5)
    running.stopped()


def test_connects_of_earlier_processes_count_toward_the_limit(start: Any, x: X, tmp_path: Path) -> None:
    before = Spool(tmp_path / "spool", 10**9)
    oldest = int((time.time() - CONNECTS_SECONDS) * 1000) + 20_000
    for number in range(CONNECTS - 1):
        before.notes.add_connect(oldest + number)
    before.close()
    running = start()
    running.receives()
    x.fault("close")
    until(lambda: running.status("connects") == 2, "X is asked again", 60)
    running.receives()
    connects = running.spool.notes.connects_since(0)
    assert connects[CONNECTS] - connects[0] >= CONNECTS_SECONDS * 1000
    running.stopped()


def test_a_token_that_is_rejected_later_ends_the_streamer_and_what_it_has_is_delivered(
    start: Any, x: X
) -> None:
    running = start()
    running.receives(5)
    x.fault("http", status=401, on="stream")
    x.fault("close", times=1)
    assert running.ended() == EXIT_REJECTED
    assert running.firehose.events()[-1] == ("stop", "exit 3")
    assert len(running.firehose.tweets()) == running.status("received")


def test_a_lower_budget_lowers_the_sample_under_the_running_connection(start: Any, x: X) -> None:
    running = start()
    running.receives(20)
    running.streamer._steward._pacer._memory.long_hours += 1.0
    running.streamer._steward._pacer._memory.long_posts += 5e9
    until(lambda: running.status("sample") < 100, "a lower sample")
    running.receives(5)
    sample = running.status("sample")
    running.stopped()
    assert running.status("connects") == 1
    assert all(f"sample:{sample}" in rule["value"] for rule in x.rules())
    assert ("sample", f"100 to {sample} percent") in running.firehose.events()
    stamped = [line["ingest"]["sample"] for line in running.firehose.tweets()]
    assert set(stamped) == {100, sample}
    beats = [line["sample"] for line in running.firehose.lines if line.get("kind") == "heartbeat"]
    assert set(beats) == {100, sample}


def test_a_silent_topic_is_counted_at_x_and_the_deaf_connection_replaced(
    start: Any, x: X, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    running.receives(60)
    monkeypatch.setattr(steward, "count", lambda *_, **__: 50)
    monkeypatch.setattr("streamer.quiet.SHORTEST_SECONDS", 0.5)
    monkeypatch.setattr("streamer.quiet._GAPS", 20.0)
    x.fault("keep-alives-only", seconds=30)
    until(lambda: running.status("disconnects").get("deaf"), "the cut")
    assert "quiet" in running.status("warnings")
    x.no_faults()
    running.receives(5)
    running.stopped()


def test_a_heartbeat_tells_all_that_coverage_asks_for(start: Any) -> None:
    running = start()
    running.receives(10)
    running.stopped()
    beat = [line for line in running.firehose.lines if line.get("kind") == "heartbeat"][-1]
    assert set(beat) == {
        *("kind", "at", "session", "watermark", "connected", "last_byte_at", "last_tweet_at", "last_tweets"),
        *("received", "spooled", "pending", "delivered", "rule_hash", "sample"),
    }
    assert set(beat["last_tweets"]) == {"ukraine", "russia"}
    assert beat["last_tweet_at"] == max(beat["last_tweets"].values())
    assert beat["received"] == beat["spooled"] == beat["delivered"]
    month = f"{datetime.now(UTC):%Y-%m}"
    assert running.ledger.used(month) >= beat["received"]
