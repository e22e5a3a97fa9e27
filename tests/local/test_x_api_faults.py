"""The stand-in of X when it fails on request, as clients see it; every fault ends as it was told."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import tweepy
from moto import mock_aws

from include.coverage.judge import GapState
from include.coverage.plan import Recovery
from include.coverage.recover import RecoveryOutcome, recover
from include.coverage.stretch import Stretch
from include.lake.layout import recovered_key
from include.settings import Settings
from include.window import HOUR, Window
from include.x.budget import PostsLedger, month_of
from include.x.client import RequestRejectedError, api_client
from include.x.search import Search
from include.x.topics import Collection, Topics
from local.faults import FaultError
from local.x_api import stream as stream_module
from local.x_api.app import XApi
from local.x_api.lines import Journal, Line
from local.x_api.selection import Selection
from tests.credentials import CONTROL, CREDENTIALS
from tests.local.support_x_api import APPLES, CORPUS, QUIET, TOKEN, TOPICS, Service, clock

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Reading:
    """What came over one connection: whole lines, the rest behind the last of them, and the error."""

    status: int = 0
    lines: list[bytes] = field(default_factory=list)
    rest: bytes = b""
    error: Exception | None = None
    arrivals: list[float] = field(default_factory=list)
    """Seconds from the start to each line's arrival."""

    @property
    def posts(self) -> list[dict[str, Any]]:
        return [post for post in map(parsed, self.lines) if post and "data" in post]

    @property
    def ids(self) -> list[int]:
        return [int(post["data"]["id"]) for post in self.posts]


def parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("data") not in ({}, 5) else None


def read(
    service: Service,
    enough: Callable[[Reading], bool] = lambda _: False,
    seconds: float = 60,
    encoding: str = "identity",
) -> Reading:
    """Reads the stream until it ends, there is enough, or the time is over."""
    reading, started = Reading(), time.monotonic()
    try:
        with requests.get(
            f"{service.url}/2/tweets/search/stream",
            headers={**HEADERS, "Accept-Encoding": encoding},
            stream=True,
            timeout=seconds,
        ) as answer:
            reading.status = answer.status_code
            for chunk in answer.iter_content(chunk_size=None):
                *lines, reading.rest = (reading.rest + chunk).split(b"\r\n")
                reading.lines += lines
                reading.arrivals += [time.monotonic() - started] * len(lines)
                if enough(reading) or time.monotonic() - started > seconds:
                    break
    except requests.RequestException as error:
        reading.error = error
    until(lambda: all(entry.disconnected_at or entry.haunting for entry in service.api.stream.connections))
    return reading


def posts(count: int) -> Callable[[Reading], bool]:
    return lambda reading: len(reading.posts) >= count


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fault(service: Service, **wanted: Any) -> dict[str, Any]:
    answer = requests.post(f"{service.url}/_local/faults", json=wanted, headers=CONTROL, timeout=5)
    assert answer.status_code == 201, answer.text
    added: dict[str, Any] = answer.json()["data"][0]
    return added


def pass_time(service: Service, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the faults' clock go on by so much: what lasts shorter is over."""
    monkeypatch.setattr(service.api.faults, "_clock", lambda: time.time() + seconds)


def states(service: Service) -> list[tuple[str, int]]:
    listed = requests.get(f"{service.url}/_local/faults", headers=CONTROL, timeout=5).json()["data"]
    return [(entry["state"], entry["struck"]) for entry in listed]


def journal(service: Service) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    offset = "0"
    while True:
        answer = requests.get(
            f"{service.url}/_local/journal/lines",
            params={"offset": offset, "limit": "7"},
            headers=CONTROL,
            timeout=5,
        )
        if not answer.content:
            return entries
        entries += map(json.loads, answer.text.splitlines())
        offset = answer.headers["x-next-offset"]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(XApi(CORPUS, tmp_path, CREDENTIALS, clock=clock))
    rules = {"add": [{"value": APPLES, "tag": "apples"}]}
    requests.post(f"{started.url}/2/tweets/search/stream/rules", json=rules, headers=HEADERS, timeout=5)
    yield started
    started.stop()


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Service]:
    started = Service(XApi(QUIET, tmp_path, CREDENTIALS))
    rules = {"add": [{"value": "apple", "tag": "apples"}]}
    requests.post(f"{started.url}/2/tweets/search/stream/rules", json=rules, headers=HEADERS, timeout=5)
    yield started
    started.stop()


class TestEnds:
    def test_an_operational_disconnect_is_told_and_then_the_stream_ends(self, quiet: Service) -> None:
        fault(quiet, kind="operational-disconnect", times=2)
        for _ in range(2):
            reading = read(quiet)
            assert reading.error is None
            (error,) = json.loads(reading.lines[-1])["errors"]
            assert error["disconnect_type"] == "UpstreamOperationalDisconnect"
        assert states(quiet) == [("ended", 2)]
        assert journal(quiet)[-1]["kind"] == "message"

    def test_a_clean_close_says_nothing(self, quiet: Service) -> None:
        fault(quiet, kind="close")
        reading = read(quiet)
        assert (reading.status, reading.error, reading.rest) == (200, None, b"")
        assert set(reading.lines) <= {b""}

    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    def test_a_reset_comes_in_the_middle_of_a_post(self, service: Service, encoding: str) -> None:
        fault(service, kind="reset", after=0.5)
        reading = read(service, encoding=encoding)
        assert isinstance(reading.error, requests.RequestException)
        assert "reset" in str(reading.error)
        self.check_cut(service, reading)

    def test_the_stream_can_end_in_good_order_in_the_middle_of_a_post(self, service: Service) -> None:
        fault(service, kind="end-in-tweet", after=0.5)
        reading = read(service)
        assert reading.error is None
        assert reading.rest.startswith(b'{"data":')
        self.check_cut(service, reading)

    def test_a_gzip_stream_is_cut_before_its_trailer(self, service: Service) -> None:
        fault(service, kind="gzip-cut")
        assert read(service, posts(2)).error is None
        assert states(service) == [("active", 0)]
        reading = read(service, encoding="gzip")
        assert reading.error is None
        assert parsed(reading.rest) is None
        self.check_cut(service, reading)

    @staticmethod
    def check_cut(service: Service, reading: Reading) -> None:
        last = service.api.stream.connections[-1].id
        *sent, cut = [
            entry for entry in journal(service) if entry["kind"] == "post" and entry["connection"] == last
        ]
        assert not cut["whole"]
        assert [int(entry["id"]) for entry in sent] == reading.ids
        assert all(entry["whole"] for entry in sent)
        assert states(service) == [("ended", 1)]
        assert len(read(service, posts(2)).ids) >= 2


class TestLines:
    @pytest.mark.parametrize(
        ("kind", "seen"),
        [
            ("cut-line", lambda line: line.startswith(b'{"data":') and parsed(line) is None),
            ("garbage", lambda line: line != b"" and not line.startswith(b'{"data":{"')),
            ("bad-utf8", lambda line: b"\xff\xfe\xc3" in line),
            ("untagged", lambda line: b'"matching_rules":[{"id"' in line and b'"tag":"apples"' not in line),
            ("unmatched", lambda line: line != b"" and b"matching_rules" not in line),
        ],
    )
    def test_just_the_requested_number_of_lines_is_spoiled(
        self, service: Service, kind: str, seen: Callable[[bytes], bool]
    ) -> None:
        fault(service, kind=kind, times=3)
        reading = read(service, posts(12))
        assert sum(map(seen, reading.lines)) == 3
        assert states(service) == [("ended", 3)]
        harmed = [entry for entry in journal(service) if not entry["whole"]]
        assert len(harmed) == (3 if kind in ("cut-line", "bad-utf8") else 0)

    def test_garbage_is_what_was_asked_for(self, service: Service) -> None:
        fault(service, kind="garbage", times=3, lines=["<html>", "{"])
        reading = read(service, posts(5))
        assert [line for line in reading.lines if parsed(line) is None and line] == [
            b"<html>",
            b"{",
            b"<html>",
        ]

    def test_posts_come_twice(self, service: Service) -> None:
        fault(service, kind="duplicates", times=4)
        ids = read(service, posts(12)).ids
        assert [ids.count(post_id) for post_id in dict.fromkeys(ids)][:6] == [2, 2, 2, 2, 1, 1]

    def test_posts_come_out_of_order_and_none_is_lost(self, service: Service) -> None:
        # So many posts are mixed that they hardly come in order by chance.
        fault(service, kind="disorder", seconds=6, spread=3)
        reading = read(service, lambda found: bool(found.arrivals) and found.arrivals[-1] > 10)
        assert reading.ids != sorted(reading.ids)
        first, last = min(reading.ids), max(reading.ids)
        wanted = [
            line.id for line in service.api.stream.lines(first, last + 1, Selection.read({})) if line.id
        ]
        assert sorted(reading.ids) == wanted

    def test_a_new_connection_gets_again_what_was_sent(self, service: Service) -> None:
        before = read(service, posts(10)).ids
        fault(service, kind="redelivery", back=600)
        assert set(before) < set(read(service, lambda reading: set(before) < set(reading.ids)).ids)
        assert states(service) == [("ended", 1)]


class TestPeriods:
    @pytest.mark.parametrize(("kind", "keep_alives"), [("keep-alives-only", True), ("silence", False)])
    def test_no_posts_come_for_a_while(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, kind: str, keep_alives: bool
    ) -> None:
        monkeypatch.setattr(stream_module, "KEEP_ALIVE_SECONDS", 0.4)
        fault(service, kind=kind, seconds=2)
        reading = read(service, posts(1))
        early = [line for line, at in zip(reading.lines, reading.arrivals, strict=True) if at < 1.8]
        assert not any(early)
        assert (len(early) >= 3) is keep_alives
        assert keep_alives or not early
        assert reading.posts

    def test_bytes_drip_and_then_flow(self, service: Service) -> None:
        fault(service, kind="slow-drip", seconds=2, rate=300)
        reading = read(service, posts(30))
        early = sum(len(line) for line, at in zip(reading.lines, reading.arrivals, strict=True) if at < 1.8)
        assert early < 300 * 2.5
        assert len(reading.posts) >= 30
        assert all(parsed(line) for line in reading.lines if line)

    def test_a_drip_may_be_slower_than_a_byte_a_look(self, service: Service) -> None:
        fault(service, kind="slow-drip", seconds=30, rate=4)
        started = time.monotonic()
        reading = read(service, lambda reading: len(reading.rest) >= 8)
        assert time.monotonic() - started >= 7 / 4
        assert not reading.posts

    def test_the_clock_is_wrong_in_every_header_and_right_again(
        self, quiet: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def told() -> tuple[float, float]:
            headers = quiet.get("/2/tweets/search/stream/rules").headers
            reset = float(headers["x-rate-limit-reset"])
            return parsedate_to_datetime(headers["date"]).timestamp() - time.time(), reset

        right, reset = told()
        fault(quiet, kind="clock-skew", offset=-3600, seconds=300)
        wrong, wrong_reset = told()
        assert abs(right) < 60
        assert abs(wrong + 3600) < 60
        assert wrong_reset == reset - 3600
        pass_time(quiet, 301, monkeypatch)
        assert abs(told()[0]) < 60


class TestVolume:
    def test_a_burst_comes_at_once_and_searches_find_it(self, service: Service) -> None:
        fault(service, kind="burst", count=2000)
        reading = read(service, posts(2000))
        assert len(set(reading.ids)) >= 2000
        made = service.api.stream.lines(min(reading.ids), max(reading.ids) + 1, Selection.read({}))
        assert len(made) >= 2000
        assert set(reading.ids) <= {line.id for line in made}

    def test_posts_have_texts_of_any_size(self, service: Service) -> None:
        fault(service, kind="sizes", bytes=[1, 1000, 2**20])
        reading = read(service, posts(8))
        sizes = [len(post["data"]["text"].encode()) for post in reading.posts]
        assert [size for size in sizes if size in (1, 1000, 2**20)] == [1, 1000, 2**20]

    def test_the_stream_carries_no_more_than_its_rate(self, tmp_path: Path) -> None:
        slow = Service(XApi(CORPUS, tmp_path, CREDENTIALS, clock=clock, posts_per_second=5))
        try:
            rules = {
                "add": [{"value": "apple OR pear OR -has:links apple"}, {"value": "(lang:en OR lang:uk) a"}]
            }
            requests.post(f"{slow.url}/2/tweets/search/stream/rules", json=rules, headers=HEADERS, timeout=5)
            reading = read(slow, posts(15))
            assert len(reading.posts) <= 5 * (reading.arrivals[-1] + 1)
            assert reading.ids == sorted(reading.ids)
        finally:
            slow.stop()


class TestRequests:
    @pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 501, 502, 503, 504])
    def test_a_connect_is_rejected_the_requested_number_of_times(self, quiet: Service, status: int) -> None:
        fault(quiet, kind="http", status=status, times=2)
        for _ in range(2):
            answer = quiet.get("/2/tweets/search/stream")
            assert answer.status_code == status
            assert answer.json()["title"]
            assert "x-rate-limit-reset" not in answer.headers
        assert quiet.get("/2/tweets/search/stream/rules").status_code == 200
        assert read(quiet, lambda reading: bool(reading.lines)).status == 200

    def test_a_429_names_its_reset_time_if_the_fault_sets_one(
        self, quiet: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fault(quiet, kind="http", status=429, reset=42, on="search", seconds=300)
        before = time.time()
        answer = quiet.get("/2/tweets/search/recent", query="apple")
        assert answer.status_code == 429
        assert before + 41 <= int(answer.headers["x-rate-limit-reset"]) <= time.time() + 43
        assert answer.headers["x-rate-limit-remaining"] == "0"
        pass_time(quiet, 301, monkeypatch)
        assert quiet.get("/2/tweets/search/recent", query="apple").status_code == 200

    def test_lost_rules_bar_the_stream_until_there_are_new_ones(self, quiet: Service) -> None:
        fault(quiet, kind="rules-lost")
        assert "data" not in quiet.get("/2/tweets/search/stream/rules").json()
        answer = quiet.get("/2/tweets/search/stream")
        assert (answer.status_code, answer.json()["connection_issue"]) == (409, "RuleConfigurationIssue")
        added = {"add": [{"value": "apple"}]}
        requests.post(f"{quiet.url}/2/tweets/search/stream/rules", json=added, headers=HEADERS, timeout=5)
        assert read(quiet, lambda reading: bool(reading.lines)).status == 200

    @pytest.mark.parametrize("foreign", [False, True])
    def test_a_zombie_bars_the_stream_until_it_is_freed(self, quiet: Service, foreign: bool) -> None:
        fault(quiet, kind="zombie", seconds=60, foreign=foreign)
        if not foreign:
            assert read(quiet, lambda reading: bool(reading.lines)).status == 200
        rejected = quiet.get("/2/tweets/search/stream")
        assert (rejected.status_code, rejected.json()["connection_issue"]) == (429, "TooManyConnections")
        (listed,) = quiet.get("/2/connections").json()["data"]
        assert (listed["client_ip"] == "127.0.0.1") is not foreign
        freed = requests.delete(f"{quiet.url}/2/connections/filtered_stream", headers=HEADERS, timeout=5)
        assert freed.json()["data"]["successful_kills"] == 1
        for _ in range(2):
            assert read(quiet, lambda reading: bool(reading.lines)).status == 200

    def test_a_zombie_goes_by_itself(self, quiet: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        fault(quiet, kind="zombie", seconds=300)
        assert read(quiet, lambda reading: bool(reading.lines)).status == 200
        assert quiet.get("/2/tweets/search/stream").status_code == 429
        pass_time(quiet, 301, monkeypatch)
        assert read(quiet, lambda reading: bool(reading.lines)).status == 200


class TestControl:
    @pytest.mark.parametrize(
        ("wanted", "complaint"),
        [
            ({"kind": "meteor"}, "there is no fault 'meteor', but bad-utf8"),
            ({"kind": "http", "status": 418}, "status is one of 401, 402, 403"),
            ({"kind": "http", "on": "nowhere"}, "on is one of all, compliance"),
            ({"kind": "silence", "times": 1}, "it lasts for seconds"),
            ({"kind": "sizes", "bytes": [0]}, "bytes is a list of whole numbers from 1 to 4194304"),
            ([{"kind": "close"}, {"kind": "close", "nope": 1}], "'nope' is not among after, every"),
        ],
    )
    def test_what_makes_no_sense_is_rejected_and_nothing_is_switched_on(
        self, quiet: Service, wanted: object, complaint: str
    ) -> None:
        answer = requests.post(f"{quiet.url}/_local/faults", json=wanted, headers=CONTROL, timeout=5)
        assert answer.status_code == 400
        assert complaint in answer.json()["detail"]
        assert states(quiet) == []

    def test_faults_come_from_a_file_each_in_its_time(self, quiet: Service, tmp_path: Path) -> None:
        path = tmp_path / "faults.yaml"
        path.write_text("- {kind: close, times: 2, every: 1}\n- {kind: http, status: 500, after: 60}\n")
        started = time.monotonic()
        quiet.api.faults.load(path)
        read(quiet)
        read(quiet)
        assert time.monotonic() - started >= 1
        assert states(quiet) == [("ended", 2), ("waiting", 0)]
        path.write_text("- {kind: clothes}\n")
        with pytest.raises(FaultError, match=r"faults\.yaml: there is no fault 'clothes'"):
            quiet.api.faults.load(path)

    def test_a_fault_can_be_ended_before_its_time(self, quiet: Service) -> None:
        own = fault(quiet, kind="http", seconds=60)["id"]
        assert quiet.get("/2/tweets/search/stream").status_code == 503
        address = f"{quiet.url}/_local/faults"
        assert requests.delete(f"{address}/{own}", headers=CONTROL, timeout=5).json() == {"ended": 1}
        assert requests.delete(f"{address}/{own}", headers=CONTROL, timeout=5).status_code == 404
        assert read(quiet, lambda reading: bool(reading.lines)).status == 200


NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
WINDOW = Window(NOW - 3 * HOUR)
SOUGHT = Topics(Collection(WINDOW.start, 10_000, 100), TOPICS)
DAMAGED_PAGES = ("page-surrogates", "page-repeated", "page-empty", "page-nulls")


def never(seconds: float) -> None:
    raise AssertionError(f"waits {seconds} s for what waiting does not mend")


def x_client(service: Service) -> tweepy.Client:
    """As the pipeline has it, with tweepy's own requests and errors."""
    return api_client(Settings(x_api_url=service.url), TOKEN)


def sold(service: Service) -> int:
    """Posts that search has sent, which X would bill."""
    answer = requests.get(f"{service.url}/_local/journal", headers=CONTROL, timeout=5)
    return int(answer.json()["posts"]["searched"])


class TestSearch:
    """What goes wrong with X's search, through `include.x.search` and its real client."""

    def found(self, service: Service, **options: Any) -> dict[str, dict[str, Any]]:
        records = Search(
            x_client(service), SOUGHT, "apples", WINDOW.start, WINDOW.end, sleep=never, **options
        )
        return {record["data"]["id"]: dict(record) for record in records}

    @pytest.mark.parametrize("kind", DAMAGED_PAGES)
    def test_a_damaged_page_loses_no_post_and_buys_none_twice(self, service: Service, kind: str) -> None:
        whole = self.found(service)
        before = sold(service)
        assert before == len(whole) > 200
        fault(service, kind=kind)
        rejected: list[str] = []
        found = self.found(service, expected=len(whole), reject=lambda reason, _post: rejected.append(reason))
        assert states(service) == [("ended", 1)]
        assert found.keys() == whole.keys()
        assert sold(service) == 2 * before
        assert rejected == []
        json.dumps(list(found.values()), ensure_ascii=False).encode()  # what UTF-8 can hold

    def test_an_empty_page_ends_a_search_that_expects_nothing(self, service: Service) -> None:
        fault(service, kind="page-empty")
        assert self.found(service) == {}

    def test_a_page_that_repeats_itself_forever_is_not_bought_forever(self, service: Service) -> None:
        whole = self.found(service)
        fault(service, kind="page-repeated", seconds=60)
        assert self.found(service).keys() == whole.keys()

    @pytest.mark.parametrize(
        ("wanted", "status", "words"),
        [
            ({"kind": "usage-cap", "on": "search"}, 429, "usage cap"),
            ({"kind": "http", "status": 402, "on": "search"}, 402, "no credits"),
        ],
    )
    def test_what_waiting_does_not_mend_is_rejected_at_once(
        self, service: Service, wanted: dict[str, Any], status: int, words: str
    ) -> None:
        fault(service, **wanted)
        with pytest.raises(RequestRejectedError, match=words) as rejected:
            self.found(service)
        assert rejected.value.status == status
        assert sold(service) == 0
        assert len(self.found(service)) > 200

    def test_a_usage_cap_has_the_shape_of_x(self, service: Service) -> None:
        fault(service, kind="usage-cap", on="counts")
        assert service.get("/2/tweets/search/recent", query=APPLES).status_code == 200
        answer = service.get("/2/tweets/counts/recent", query=APPLES)
        assert answer.status_code == 429
        body = answer.json()
        assert (body["title"], body["period"]) == ("UsageCapExceeded", "Monthly")
        assert body["type"].endswith("/problems/usage-capped")


class TestRecovery:
    """What a recovery buys, keeps and fills under the same faults, attempt after attempt."""

    @pytest.fixture
    def s3(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        with mock_aws():
            client = boto3.client("s3", region_name="us-east-1")
            client.create_bucket(Bucket="lake")
            yield client

    @pytest.mark.parametrize(
        "wanted",
        [{"kind": kind} for kind in (*DAMAGED_PAGES, "usage-cap")],
        ids=lambda wanted: "-".join(map(str, wanted.values())),
    )
    def test_every_post_is_bought_once_and_lies_in_raw_once(
        self, service: Service, s3: Any, wanted: dict[str, Any]
    ) -> None:
        truth = {
            record["data"]["id"]
            for record in Search(x_client(service), SOUGHT, "apples", WINDOW.start, WINDOW.end, sleep=never)
        }
        before = sold(service)
        stretch = Stretch(WINDOW.start, WINDOW.end)
        recovery = Recovery("apples", WINDOW, stretch, sample=100, posts=len(truth))
        settings = Settings(x_api_url=service.url, bucket="lake")
        fault(service, **wanted)

        def attempt(name: str) -> RecoveryOutcome:
            return recover(s3, x_client(service), settings, SOUGHT, recovery, b"a key", name, "a run")

        try:
            outcome = attempt("1")
        except RequestRejectedError:
            outcome = attempt("2")
        assert states(service) == [("ended", 1)]
        assert (outcome.state, outcome.reason) == (GapState.FILLED, None)
        assert sold(service) - before == len(truth)
        assert PostsLedger(s3, "lake").used(month_of(datetime.now(UTC))) == len(truth)
        key = recovered_key("apples", WINDOW, stretch.start, stretch.end)
        lines = gzip.decompress(s3.get_object(Bucket="lake", Key=key)["Body"].read()).splitlines()
        assert sorted(json.loads(line)["data"]["id"] for line in lines) == sorted(truth)


class TestJournal:
    def test_it_holds_every_line_as_it_was_sent(self, service: Service) -> None:
        reading = read(service, posts(10))
        entries = [entry for entry in journal(service) if entry["kind"] == "post"]
        ids = [int(entry["id"]) for entry in entries]
        assert ids[: len(reading.ids)] == reading.ids
        assert all(entry["whole"] and entry["tags"] == ["apples"] for entry in entries)
        wire = [line for line in reading.lines if line]
        assert [entry["bytes"] for entry in entries][: len(wire)] == [len(line) + 2 for line in wire]
        assert {entry["connection"] for entry in entries} == {service.api.stream.connections[0].id}

    def test_it_outlives_the_process_but_for_a_line_that_death_cut(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.ndjson"
        day = 24 * 3_600_000
        first = Journal(path)
        line = Line.post({"data": {"id": "12"}, "matching_rules": [{"id": "1", "tag": "a"}]})
        first.sent(0, "one", [line, line])
        first.searched(day, ["12", "13"])
        first.close()
        with path.open("ab") as file:
            file.write(b'{"at":1,"ki')
        second = Journal(path)
        second.sent(day, "two", [line])
        assert second.consumed() == {"1970-01-01": 1, "1970-01-02": 2}
        page, offset = second.read(0, 2)
        assert page.count(b"\n") == 2
        rest, _ = second.read(offset, 100)
        assert [json.loads(entry)["kind"] for entry in rest.splitlines()] == ["search", "post"]

    def test_what_was_sent_and_found_is_the_usage(self, service: Service) -> None:
        streamed = read(service, posts(5)).ids
        now = clock()
        service.get("/2/tweets/search/recent", query=APPLES, max_results=100)
        entries = journal(service)
        consumed = {int(entry["id"]) for entry in entries if "id" in entry}
        consumed |= {int(found) for entry in entries for found in entry.get("ids", ())}
        assert set(streamed) < consumed
        usage = service.get(
            "/2/usage/tweets", **{"usage.fields": "daily_project_usage", "days": "90"}
        ).json()["data"]
        assert usage["project_usage"] == str(len(consumed))
        (day,) = usage["daily_project_usage"]["usage"]
        assert day == {
            "date": time.strftime("%Y-%m-%dT00:00:00.000Z", time.gmtime(now)),
            "usage": str(len(consumed)),
        }
