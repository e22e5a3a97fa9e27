"""twarc 2.14 as it is against the stand-in: only the address is put in."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from twarc.client2 import Twarc2

from include.x.client import XSession
from include.x.snowflake import lowest_id
from local.x_api.app import XApi
from local.x_api.post import Post
from local.x_api.query import parse
from local.x_api.search import ALL, RECENT, Search
from local.x_api.synthetic import Synthetic
from tests.credentials import CONTROL, CREDENTIALS
from tests.local.support_x_api import APPLES, CORPUS, TOKEN, TOPICS, Service, clock


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(XApi(CORPUS, tmp_path, CREDENTIALS, clock=clock))
    yield started
    started.stop()


@pytest.fixture
def twarc(service: Service, monkeypatch: pytest.MonkeyPatch) -> Twarc2:
    monkeypatch.setattr("twarc.client2.requests.Session", functools.partial(XSession, service.url))
    return Twarc2(bearer_token=TOKEN)


def test_rules_and_the_stream(service: Service, twarc: Twarc2) -> None:
    added = twarc.add_stream_rules([{"value": APPLES, "tag": "apples"}])
    assert added["meta"]["summary"]["created"] == 1
    assert [rule["tag"] for rule in twarc.get_stream_rules()["data"]] == ["apples"]
    stop = threading.Event()
    found = []
    for payload in twarc.stream(event=stop, record_keepalive=True):
        found += [payload] if payload != "keep-alive" else []
        if len(found) >= 5:
            stop.set()
    assert all(payload["matching_rules"][0]["tag"] == "apples" for payload in found)
    assert all(payload["__twarc"]["url"].startswith(service.url) for payload in found)
    deleted = twarc.delete_stream_rule_ids([added["data"][0]["id"]])
    assert deleted["meta"]["summary"]["deleted"] == 1


def test_it_goes_on_after_an_end_of_the_stream(service: Service, twarc: Twarc2) -> None:
    twarc.add_stream_rules([{"value": APPLES, "tag": "apples"}])
    service.api.faults.add({"kind": "close", "after": 1})
    stop = threading.Event()
    for count, _ in enumerate(twarc.stream(event=stop), 1):
        if len(service.api.stream.connections) == 2 and count > 5:
            stop.set()
    assert service.api.stream.connections[0].disconnect_reason == "closed"


def test_search_and_counts_agree_page_by_page(twarc: Twarc2) -> None:
    end = datetime.fromtimestamp(clock(), UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
    start = end - timedelta(hours=2)
    pages = list(twarc.search_recent(APPLES, start_time=start, end_time=end, max_results=100))
    ids = [post["id"] for page in pages for post in page["data"]]
    assert len(pages) > 2
    (counted,) = twarc.counts_recent(APPLES, start_time=start, end_time=end, granularity="minute")
    assert counted["meta"]["total_tweet_count"] == len(ids) == len(set(ids))
    (whole,) = twarc.counts_all(APPLES, start_time=start, end_time=end, granularity="hour")
    assert whole["meta"]["total_tweet_count"] == len(ids)
    assert len(next(twarc.search_all(APPLES, start_time=start, end_time=end))["data"]) == 100


def test_a_compliance_job_from_its_creation_to_its_result(service: Service, twarc: Twarc2) -> None:
    found = next(twarc.search_recent(APPLES, max_results=10))["data"]
    kept, gone = found[0]["id"], found[1]["id"]
    redacted = requests.post(
        f"{service.url}/_local/redactions", json={"tweets": {gone: "deleted"}}, headers=CONTROL, timeout=5
    )
    assert redacted.json() == {"redacted": 1}
    job = twarc.compliance_job_create("tweets", "weekly")["data"]
    assert (job["status"], job["name"], job["type"]) == ("created", "weekly", "tweets")
    with pytest.raises(ValueError, match="409"):
        twarc.compliance_job_create("tweets", "another")
    requests.put(job["upload_url"], data=f"{kept}\n{gone}\n".encode(), timeout=5)
    deadline = time.monotonic() + 60
    while twarc.compliance_job_get(job["id"])["data"]["status"] != "complete":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [listed["id"] for listed in twarc.compliance_job_list("tweets", "complete")["data"]] == [job["id"]]
    assert twarc.compliance_job_list("users", None) == {}
    # Upload and download are plain requests in twarc's command too.
    (line,) = map(json.loads, requests.get(job["download_url"], timeout=5).text.splitlines())
    assert (line["id"], line["action"], line["reason"]) == (gone, "delete", "deleted")
    assert {"created_at", "redacted_at"} <= set(line)
    around = {"since_id": int(found[-1]["id"]) - 1, "until_id": int(found[0]["id"]) + 1}
    (later,) = twarc.search_recent(APPLES, **around)
    assert [post["id"] for post in later["data"]] == [post["id"] for post in found if post["id"] != gone]


def test_an_upload_needs_the_jobs_own_address_and_ids(service: Service, twarc: Twarc2) -> None:
    job = twarc.compliance_job_create("users", None)["data"]
    strange = job["upload_url"].replace("/submission", "x/submission")
    assert requests.put(strange, data=b"1", timeout=5).status_code == 403
    assert requests.get(job["download_url"], timeout=5).status_code == 404
    assert requests.put(job["upload_url"], data=b"no id\n", timeout=5).status_code == 200
    assert requests.put(job["upload_url"], data=b"1\n", timeout=5).status_code == 403
    time.sleep(0.1)
    assert twarc.compliance_job_get(job["id"])["data"]["status"] == "failed"


SPARSE = Synthetic(TOPICS, 40, 1, clock)


class Counted:
    """The corpus, and how many posts it was asked for."""

    def __init__(self) -> None:
        self.given = 0

    def posts(self, lowest: int, below: int, newest_first: bool = False) -> Iterator[Post]:
        for post in SPARSE.posts(lowest, below, newest_first):
            self.given += 1
            yield post


def test_counts_of_seven_days_are_counted_once() -> None:
    corpus = Counted()
    search = Search(corpus, clock)
    parameters = {"query": APPLES, "granularity": "day"}
    first = search.counts(RECENT, parameters)
    given, corpus.given = corpus.given, 0
    again = search.counts(RECENT, {**parameters, "granularity": "minute"})
    assert corpus.given < given / 40
    assert abs(again["meta"]["total_tweet_count"] - first["meta"]["total_tweet_count"]) < 30
    day = first["data"][1]
    lowest, below = (lowest_id(datetime.fromisoformat(day[edge])) for edge in ("start", "end"))
    query = parse(APPLES, RECENT.dialect)
    assert day["tweet_count"] == sum(map(query.matches, SPARSE.posts(lowest, below)))


def test_counts_of_all_come_by_31_days() -> None:
    search = Search(SPARSE, clock)
    now = datetime.fromtimestamp(clock(), UTC)
    parameters = {
        "query": APPLES,
        "granularity": "day",
        "start_time": (now - timedelta(days=40)).isoformat(),
        "end_time": (now - timedelta(minutes=1)).isoformat(),
    }
    first = search.counts(ALL, parameters)
    second = search.counts(ALL, {**parameters, "next_token": first["meta"]["next_token"]})
    assert "next_token" not in second["meta"]
    assert second["data"][-1]["end"] == first["data"][0]["start"]
    assert first["meta"]["total_tweet_count"] > 0
    assert second["meta"]["total_tweet_count"] == 0
