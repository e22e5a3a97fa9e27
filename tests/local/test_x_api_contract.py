"""The stand-in of X API v2 as its clients meet it: tweepy over real connections, and the rejections."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import tweepy

from include.x.client import XSession
from include.x.snowflake import LOW_BITS, lowest_id, milliseconds
from local.x_api import stream as stream_module
from local.x_api.app import XApi
from local.x_api.limits import LIMITS, RateLimits
from local.x_api.post import Post
from local.x_api.problems import Problem
from local.x_api.rules import CAP
from local.x_api.search import RECENT, Search
from tests.credentials import CONTROL, CREDENTIALS, written
from tests.local.support_x_api import APPLES, CORPUS, QUIET, TOKEN, Collector, Service, clock
from tests.ports import free_ports


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(XApi(CORPUS, tmp_path, CREDENTIALS, clock=clock))
    yield started
    started.stop()


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Service]:
    started = Service(XApi(QUIET, tmp_path, CREDENTIALS))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def rejecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """For tests that change nothing."""
    started = Service(XApi(QUIET, tmp_path_factory.mktemp("x"), CREDENTIALS))
    yield started
    started.stop()


class TestToken:
    @pytest.mark.parametrize("token", [None, "bad", ""])
    @pytest.mark.parametrize("path", ["search/recent?query=a", "search/stream", "search/stream/rules"])
    def test_without_the_bearer_token_everything_is_401(
        self, rejecting: Service, path: str, token: str | None
    ) -> None:
        answer = rejecting.get(f"/2/tweets/{path}", token=token)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {
            "title": "Unauthorized",
            "detail": "Unauthorized",
            "type": "about:blank",
            "status": 401,
        }

    def test_tweepy_says_unauthorized(self, rejecting: Service) -> None:
        with pytest.raises(tweepy.Unauthorized):
            rejecting.client("bad").search_recent_tweets("apple")

    def test_an_unknown_route_is_404_in_x_form(self, rejecting: Service) -> None:
        answer = rejecting.get("/2/tweets/sample/stream10")
        assert answer.status_code == 404
        assert answer.json()["title"] == "Not Found"


class TestRules:
    def test_tweepy_adds_lists_and_deletes_rules(self, quiet: Service) -> None:
        client = quiet.streaming()
        added = client.add_rules([tweepy.StreamRule(APPLES, tag="apples"), tweepy.StreamRule("pear")])
        assert added.meta["summary"] == {"created": 2, "not_created": 0, "valid": 2, "invalid": 0}
        listed = client.get_rules()
        assert [(rule.value, rule.tag) for rule in listed.data] == [(APPLES, "apples"), ("pear", None)]
        assert [rule.id for rule in listed.data] == [rule.id for rule in added.data]
        assert listed.meta["result_count"] == 2
        assert [rule.value for rule in client.get_rules(ids=[added.data[1].id]).data] == ["pear"]
        deleted = client.delete_rules([added.data[0].id, "12345"])
        assert deleted.meta["summary"] == {"deleted": 1, "not_deleted": 1}
        assert deleted.errors[0]["errors"][0]["message"] == "Rule does not exist"
        assert [rule.value for rule in client.get_rules().data] == ["pear"]

    def test_a_dry_run_answers_and_changes_nothing(self, quiet: Service) -> None:
        client = quiet.streaming()
        answer = client.add_rules([tweepy.StreamRule(APPLES), tweepy.StreamRule("(")], dry_run=True)
        assert [rule.value for rule in answer.data] == [APPLES]
        assert answer.meta["summary"]["invalid"] == 1
        assert client.get_rules().data is None
        rule = client.add_rules(tweepy.StreamRule(APPLES)).data[0]
        client.delete_rules(rule.id, dry_run=True)
        assert len(client.get_rules().data) == 1

    def test_invalid_and_duplicate_rules_are_told_apart_and_good_ones_made(self, quiet: Service) -> None:
        client = quiet.streaming()
        first = client.add_rules(tweepy.StreamRule("apple")).data[0]
        answer = client.add_rules(
            [
                tweepy.StreamRule(value)
                for value in ("apple", "lang:en", "a" * 1025, "pear sample:101", "pear")
            ]
        )
        assert [rule.value for rule in answer.data] == ["pear"]
        kinds = [error["type"].rpartition("/")[2] for error in answer.errors]
        assert kinds == ["duplicate-rules", "invalid-rules", "invalid-rules", "invalid-rules"]
        assert answer.errors[0]["id"] == first.id
        assert answer.errors[1]["details"] == [
            "is/has/lang cannot be used as a standalone operator (at position 1)"
        ]

    def test_rules_beyond_the_cap_are_rejected(self, quiet: Service) -> None:
        client = quiet.streaming()
        client.add_rules([tweepy.StreamRule(f"word{number}") for number in range(CAP - 1)])
        answer = client.add_rules([tweepy.StreamRule("apple"), tweepy.StreamRule("pear")])
        assert [rule.value for rule in answer.data] == ["apple"]
        assert answer.errors[0]["type"] == "https://api.twitter.com/2/problems/rule-cap"
        counts = quiet.get("/2/tweets/search/stream/rules/counts").json()["data"]
        assert counts["client_app_rules_count"]["rule_count"] == CAP

    @pytest.mark.parametrize(
        "body", ["", "[]", "{}", '{"add": []}', '{"add": [{"tag": "a"}]}', '{"delete": {"ids": ["x"]}}']
    )
    def test_a_body_of_another_form_is_400(self, rejecting: Service, body: str) -> None:
        answer = requests.post(
            f"{rejecting.url}/2/tweets/search/stream/rules",
            data=body,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        )
        assert answer.status_code == 400
        assert answer.json()["title"] == "Invalid Request"


class TestStream:
    def test_without_rules_it_is_409(self, quiet: Service) -> None:
        answer = quiet.get("/2/tweets/search/stream")
        assert answer.status_code == 409
        assert answer.json()["connection_issue"] == "RuleConfigurationIssue"

    def test_it_delivers_just_what_search_finds_later(self, service: Service) -> None:
        client = service.streaming()
        rules = client.add_rules(
            [
                tweepy.StreamRule(APPLES, tag="apples"),
                tweepy.StreamRule("apple lang:en -is:retweet", tag="en"),
            ]
        ).data
        client.wanted = 40
        client.filter(
            tweet_fields=["created_at", "lang", "geo"],
            expansions=["author_id", "geo.place_id"],
            user_fields=["location"],
            place_fields=["country_code"],
        )
        assert len(client.lines) >= 40
        tags = {rule.id: rule.tag for rule in rules}
        for line in client.lines:
            data = line["data"]
            assert {"id", "text", "edit_history_tweet_ids", "created_at", "lang", "author_id"} <= set(data)
            assert "public_metrics" not in data
            assert line["includes"]["users"][0]["id"] == data["author_id"]
            assert (
                {"id", "name", "username"}
                <= set(line["includes"]["users"][0])
                <= {
                    "id",
                    "name",
                    "username",
                    "location",
                }
            )
            if "geo" in data:
                assert set(line["includes"]["places"][0]) == {"id", "full_name", "country_code"}
            assert all(tags[rule["id"]] == rule["tag"] for rule in line["matching_rules"])
        both = [line for line in client.lines if len(line["matching_rules"]) == 2]
        assert both
        assert all(line["data"]["lang"] == "en" for line in both)

        ids = [
            int(line["data"]["id"]) for line in client.lines if line["matching_rules"][0]["tag"] == "apples"
        ]
        later = Search(CORPUS, lambda: clock() + 60)
        found: list[int] = []
        parameters = {
            "query": APPLES,
            "since_id": str(min(ids) - 1),
            "until_id": str(max(ids) + 1),
            "max_results": "100",
        }
        while True:
            page = later.page(RECENT, parameters)
            found += [int(data["id"]) for data in page["data"]]
            if "next_token" not in page["meta"]:
                break
            parameters["next_token"] = page["meta"]["next_token"]
        assert found == sorted(ids, reverse=True)

    def test_without_fields_a_post_is_id_text_and_edit_history(self, service: Service) -> None:
        client = service.streaming()
        client.add_rules(tweepy.StreamRule("apple"))
        client.filter()
        line = client.lines[0]
        assert set(line) == {"data", "matching_rules"}
        assert set(line["data"]) == {"id", "text", "edit_history_tweet_ids"}
        assert set(line["matching_rules"][0]) == {"id"}

    def test_it_is_gzip_only_when_asked(self, service: Service) -> None:
        service.streaming().add_rules(tweepy.StreamRule("apple"))
        for asked, given in (("gzip", "gzip"), ("identity", None)):
            with requests.get(
                f"{service.url}/2/tweets/search/stream",
                headers={"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": asked},
                stream=True,
                timeout=10,
            ) as answer:
                assert answer.headers.get("content-encoding") == given
                lines = (line for line in answer.iter_lines(chunk_size=65536) if line)
                assert json.loads(next(lines))["data"]["id"]
            self.until_closed(service)

    def test_silence_is_broken_by_keep_alives(self, quiet: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        assert stream_module.KEEP_ALIVE_SECONDS == 20
        monkeypatch.setattr(stream_module, "KEEP_ALIVE_SECONDS", 0.4)
        client = quiet.streaming()
        client.add_rules(tweepy.StreamRule("apple"))
        thread = client.filter(threaded=True)
        self.until(lambda: client.keep_alives >= 3)
        quiet.api.stream.end_all("test")
        thread.join(60)
        assert not thread.is_alive()

    def test_a_second_connection_is_rejected_until_the_first_is_gone(self, quiet: Service) -> None:
        first, second = quiet.streaming(), quiet.streaming()
        first.add_rules(tweepy.StreamRule("apple"))
        thread = first.filter(threaded=True)
        self.until(lambda: quiet.api.stream.active)
        answer = quiet.get("/2/tweets/search/stream")
        assert answer.status_code == 429
        assert answer.json() == {
            "title": "ConnectionException",
            "detail": "This stream is currently at the maximum allowed connection limit.",
            "connection_issue": "TooManyConnections",
            "type": "https://api.twitter.com/2/problems/streaming-connection",
        }
        killed = requests.delete(
            f"{quiet.url}/2/connections/filtered_stream",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        )
        assert killed.json()["data"]["successful_kills"] == 1
        thread.join(5)
        assert first.lines[-1]["errors"][0]["title"] == "operational-disconnect"
        self.until_closed(quiet)
        thread = second.filter(threaded=True)
        self.until(lambda: quiet.api.stream.active)
        assert [entry["status"] for entry in self.connections(quiet)] == ["open", "closed"]
        quiet.api.stream.end_all("test")
        thread.join(5)

    def test_rules_added_meanwhile_hold_at_once(self, service: Service) -> None:
        client = service.streaming()
        client.add_rules(tweepy.StreamRule("nothing-is-like-this", tag="none"))
        client.wanted = 3
        thread = client.filter(threaded=True)
        self.until(lambda: service.api.stream.active)
        service.streaming().add_rules(tweepy.StreamRule(APPLES, tag="apples"))
        thread.join(30)
        assert {rule["tag"] for line in client.lines for rule in line["matching_rules"]} == {"apples"}

    def test_the_journal_counts_what_was_sent(self, service: Service) -> None:
        client = service.streaming()
        client.add_rules(tweepy.StreamRule(APPLES))
        client.wanted = 5
        client.filter()
        self.until_closed(service)
        journal = service.get("/_local/journal", token=CREDENTIALS.control_token).json()
        assert journal["posts"]["streamed"] >= 5
        assert journal["connections"][0]["disconnect_reason"] == "client_disconnect"
        assert journal["requests"]["stream"] == 1

    @staticmethod
    def connections(service: Service) -> list[dict[str, str]]:
        listed = service.get("/2/connections", status="all").json()["data"]
        return [{"status": "closed" if "disconnected_at" in entry else "open"} for entry in listed]

    @classmethod
    def until_closed(cls, service: Service) -> None:
        cls.until(lambda: not service.api.stream.active)

    @staticmethod
    def until(condition: Any) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)


class TestSearch:
    def test_pages_are_newest_first_and_hold_every_post_once(self, service: Service) -> None:
        end = datetime.fromtimestamp(clock(), UTC).replace(microsecond=0) - timedelta(minutes=2)
        start = end - timedelta(hours=2)
        pages = list(
            tweepy.Paginator(
                service.client().search_recent_tweets,
                APPLES,
                start_time=start,
                end_time=end,
                max_results=100,
                tweet_fields=["created_at"],
                expansions=["author_id"],
            )
        )
        ids = [tweet.id for page in pages for tweet in page.data]
        assert len(pages) > 2
        assert ids == sorted(set(ids), reverse=True)
        assert all(lowest_id(start) <= tweet_id < lowest_id(end) for tweet_id in ids)
        for page in pages:
            assert page.meta["result_count"] == len(page.data)
            assert (int(page.meta["newest_id"]), int(page.meta["oldest_id"])) == (
                page.data[0].id,
                page.data[-1].id,
            )
            assert {user.id for user in page.includes["users"]} == {tweet.author_id for tweet in page.data}

        counted = service.client().get_recent_tweets_count(
            APPLES, start_time=start, end_time=end, granularity="hour"
        )
        assert counted.meta["total_tweet_count"] == counted.meta["total_post_count"] == len(ids)
        assert [bucket["end"] for bucket in counted.data[:-1]] == [
            bucket["start"] for bucket in counted.data[1:]
        ]
        for bucket in counted.data:
            low, high = (lowest_id(datetime.fromisoformat(bucket[edge])) for edge in ("start", "end"))
            assert bucket["tweet_count"] == sum(low <= tweet_id < high for tweet_id in ids)

        ends = service.client().search_recent_tweets(
            APPLES, since_id=ids[20], until_id=ids[9], max_results=100
        )
        assert [tweet.id for tweet in ends.data] == ids[10:20]

    def test_a_query_that_nothing_meets_gives_an_empty_page(self, rejecting: Service) -> None:
        assert rejecting.get("/2/tweets/search/recent", query="apple").json() == {"meta": {"result_count": 0}}

    def test_fields_and_expansions_can_be_named_as_those_of_posts_or_of_tweets(
        self, service: Service
    ) -> None:
        newest = service.client().search_recent_tweets("apple OR pear", max_results=10).data[0]
        asked = {"query": "apple OR pear", "until_id": str(newest.id), "max_results": "100"}
        old = asked | {
            "tweet.fields": "created_at,note_tweet,referenced_tweets",
            "expansions": "referenced_tweets.id,referenced_tweets.id.author_id,edit_history_tweet_ids",
        }
        new = asked | {
            "post.fields": "created_at,note_post,referenced_posts",
            "expansions": "referenced_posts.id,referenced_posts.id.author_id,edit_history_post_ids",
        }
        of_tweets, of_posts = (
            service.get("/2/tweets/search/recent", **parameters).json() for parameters in (old, new)
        )
        assert of_posts == of_tweets
        assert of_posts["includes"]["tweets"]
        assert any("referenced_tweets" in post for post in of_posts["data"])
        # As xdk 0.10.6 names them: without ".id".
        short = service.get("/2/tweets/search/recent", **(new | {"expansions": "referenced_posts"})).json()
        assert short["includes"]["tweets"] == of_tweets["includes"]["tweets"]

    def test_without_times_it_ends_thirty_seconds_ago(self, service: Service) -> None:
        newest = service.client().search_recent_tweets("apple OR pear", max_results=10).data[0]
        assert 30 <= clock() - milliseconds(newest.id) / 1000 < 300

    @pytest.mark.parametrize(
        ("parameters", "parameter", "message"),
        [
            ({}, "query", "The `query` query parameter can not be empty"),
            ({"query": " "}, "query", "Invalid 'query':' '. 'query' must be a non-empty string"),
            ({"query": "a" * 513}, "query", "length [513] is not between 1 and 512"),
            ({"query": "apple sample:10"}, "query", "Reference to invalid operator 'sample'"),
            ({"query": "(apple"}, "query", "There were errors processing your request: missing ')'"),
            ({"query": "apple", "max_results": "9"}, "max_results", "[9] is not between 10 and 100"),
            ({"query": "apple", "max_results": "101"}, "max_results", "[101] is not between 10 and 100"),
            ({"query": "apple", "tweet.fields": "id,nope"}, "tweet.fields", "[nope] is not one of ["),
            ({"query": "apple", "post.fields": "id,nope"}, "post.fields", "[nope] is not one of ["),
            ({"query": "apple", "post.fields": "note_tweet"}, "post.fields", "[note_tweet] is not one of ["),
            ({"query": "apple", "expansions": "author"}, "expansions", "[author] is not one of ["),
            ({"query": "apple", "nope": "1"}, "nope", "The query parameter [nope] is not one of ["),
            ({"query": "apple", "since_id": "12"}, "since_id", "must be a tweet id created after"),
            ({"query": "apple", "until_id": "x"}, "until_id", "[x] does not match"),
            ({"query": "apple", "next_token": "zzz"}, "next_token", "does not belong to this query"),
            (
                {"query": "apple", "sort_order": "relevancy"},
                "sort_order",
                "[relevancy] is not one of [recency]",
            ),
            ({"query": "apple", "start_time": "yesterday"}, "start_time", "is not a valid RFC3339 date-time"),
            ({"query": "apple", "start_time": "2020-01-01T00:00:00Z"}, "start_time", "must be on or after"),
            (
                {"query": "apple", "end_time": "2999-01-01T00:00:00Z"},
                "end_time",
                "a minimum of 10 seconds prior",
            ),
        ],
    )
    def test_a_bad_parameter_is_400_and_named(
        self, rejecting: Service, parameters: dict[str, str], parameter: str, message: str
    ) -> None:
        answer = rejecting.get("/2/tweets/search/recent", **parameters)
        assert answer.status_code == 400
        body = answer.json()
        assert body["type"] == "https://api.twitter.com/2/problems/invalid-request"
        assert parameter in body["errors"][0]["parameters"]
        assert message in body["errors"][0]["message"]

    def test_full_archive_search_takes_longer_queries_and_pages_but_one_a_second(
        self, quiet: Service
    ) -> None:
        parameters = {"query": "apple " + "a" * 600, "max_results": "500"}
        assert quiet.get("/2/tweets/search/all", **parameters).status_code == 200
        rejected = quiet.get("/2/tweets/search/all", **parameters)
        assert rejected.status_code == 429
        assert rejected.json()["title"] == "Too Many Requests"

    def test_tweepy_raises_bad_request(self, rejecting: Service) -> None:
        with pytest.raises(tweepy.BadRequest):
            rejecting.client().search_recent_tweets("lang:en")


class TestLimits:
    @pytest.mark.parametrize("endpoint", sorted(LIMITS))
    def test_above_the_limit_it_is_429_until_the_window_ends(self, endpoint: str) -> None:
        now = [1000.0]
        limits = RateLimits(lambda: now[0])
        limit = LIMITS[endpoint][-1]
        for number in range(limit.requests):
            left = int(limits.take(endpoint)["x-rate-limit-remaining"])
            assert endpoint.endswith("all") or left == limit.requests - number - 1
        now[0] += limit.seconds - 1
        with pytest.raises(Problem) as rejected:
            limits.take(endpoint)
        assert rejected.value.status == 429
        assert rejected.value.headers["x-rate-limit-remaining"] == "0"
        assert rejected.value.headers["x-rate-limit-reset"] == str(1000 + limit.seconds)
        now[0] += 1
        limits.take(endpoint)

    def test_every_answer_tells_the_limit(self, quiet: Service) -> None:
        for path, limit in (("search/recent", 450), ("search/stream/rules", 450), ("counts/recent", 300)):
            headers = quiet.get(f"/2/tweets/{path}", query="apple").headers
            assert headers["x-rate-limit-limit"] == str(limit)
            assert headers["x-rate-limit-remaining"] == str(limit - 1)
            assert 0 < int(headers["x-rate-limit-reset"]) - time.time() <= 901


class TestProcess:
    """The program itself: ``python -m local.x_api``."""

    ROOT = Path(__file__).parents[2]

    def start(self, state: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
        written(state)
        port = free_ports()
        command = [
            sys.executable,
            "-m",
            "local.x_api",
            "--port",
            str(port),
            "--state",
            str(state),
            *arguments,
        ]
        environment = {**os.environ, "PYTHONPATH": str(self.ROOT)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        return process, f"http://127.0.0.1:{port}"

    def wait(self, process: subprocess.Popen[str], url: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                return requests.get(f"{url}/_local/status", headers=CONTROL, timeout=1).json()
            except requests.ConnectionError:
                time.sleep(0.05)
        raise AssertionError("the process did not become healthy")

    def test_sigterm_ends_it_even_with_a_stream_open_and_rules_outlive_it(self, tmp_path: Path) -> None:
        process, url = self.start(tmp_path)
        try:
            assert self.wait(process, url)["source"] == "synthetic"
            client = Collector(url, TOKEN)
            client.wanted = 10**6
            added = client.add_rules(tweepy.StreamRule(APPLES, tag="apples")).data
            thread = client.filter(threaded=True)
            while not requests.get(f"{url}/_local/status", headers=CONTROL, timeout=1).json()["connections"]:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            log = process.communicate(timeout=60)[1]
            assert process.returncode == 0
            thread.join(5)
            assert client.lines[-1]["errors"][0]["title"] == "operational-disconnect"
            assert TOKEN not in log
        finally:
            process.kill()
        process, url = self.start(tmp_path)
        try:
            assert self.wait(process, url)["rules"] == 1
            assert Collector(url, TOKEN).get_rules().data == added
        finally:
            process.kill()
            process.communicate()

    def test_an_archive_is_served_and_described(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        entries = [
            {
                "data": {
                    "id": str(lowest_id(datetime(2022, 5, 17, 12, minute, tzinfo=UTC))),
                    "text": f"apple {minute}",
                }
            }
            for minute in range(3)
        ]
        path.write_text("\n".join(["no json", *map(json.dumps, entries)]))
        before = datetime.now(UTC)
        process, url = self.start(tmp_path / "state", "--archive", str(path))
        try:
            described = self.wait(process, url)["archive"]
            assert (described["tweets"], described["skipped"]) == (3, 1)
            last = datetime.fromisoformat(described["last"])
            assert before - timedelta(seconds=1) <= last <= datetime.now(UTC)
            client = tweepy.Client(TOKEN)
            client.session = XSession(url)
            found = client.search_recent_tweets(
                "apple", since_id=lowest_id(datetime.now(UTC) - timedelta(hours=1))
            )
            assert {tweet.text for tweet in found.data} >= {"apple 0", "apple 1"}
        finally:
            process.kill()
            process.communicate()

    @pytest.mark.parametrize("content", [b"", b"no json\n"])
    def test_an_empty_archive_ends_it_with_status_2_and_one_sentence(
        self, tmp_path: Path, content: bytes
    ) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(content)
        process, _ = self.start(tmp_path / "state", "--archive", str(path))
        log = process.communicate(timeout=60)[1]
        assert process.returncode == 2
        *progress, sentence = log.splitlines()
        assert all("archive being read" in line for line in progress)
        assert "holds no tweets" in sentence

    def test_bad_topics_end_it_with_status_2_and_their_line(self, tmp_path: Path) -> None:
        path = tmp_path / "topics.yaml"
        path.write_text("topics: 7\n")
        process, _ = self.start(tmp_path / "state", "--topics", str(path))
        log = process.communicate(timeout=60)[1]
        assert process.returncode == 2
        assert "topics.yaml:1" in log


class HalfEmoji:
    """A corpus whose every post of the last seconds ends in half an emoji, which UTF-8 cannot hold."""

    def posts(self, lowest: int, below: int, newest_first: bool = False) -> Iterator[Post]:
        step = 250 << LOW_BITS
        ids = range(-(-lowest // step) * step, below, step)[-20:]
        for own in reversed(ids) if newest_first else ids:
            yield Post({"id": str(own), "text": "apple \ud83d"}, {"users": [{"id": "\ude00", "name": "n"}]})


class TestTextBeyondUtf8:
    @pytest.fixture
    def halves(self, tmp_path: Path) -> Iterator[Service]:
        started = Service(XApi(HalfEmoji(), tmp_path, CREDENTIALS))
        yield started
        started.stop()

    def test_the_stream_goes_on_and_sends_it_escaped(self, halves: Service) -> None:
        halves.client().request("POST", "/2/tweets/search/stream/rules", json={"add": [{"value": "apple"}]})
        collector = halves.streaming()
        collector.wanted = 3
        collector.filter()
        assert [line["data"]["text"] for line in collector.lines] == ["apple \ud83d"] * 3
        assert collector.statuses == []

    def test_search_answers_and_sends_it_escaped(self, halves: Service) -> None:
        answer = halves.get("/2/tweets/search/recent", query="apple")
        assert answer.status_code == 200
        assert rb"apple \ud83d" in answer.content
        assert len(answer.json()["data"]) == 10

    def test_a_rule_keeps_all_but_that_character(self, halves: Service) -> None:
        body = {"add": [{"value": "apple", "tag": "half \ud83d"}]}
        added = halves.client().request("POST", "/2/tweets/search/stream/rules", json=body)
        assert added.json()["data"][0]["tag"] == "half \ufffd"

    def test_a_body_that_is_nested_too_deeply_is_no_json(self, halves: Service) -> None:
        answer = requests.post(
            f"{halves.url}/2/tweets/search/stream/rules",
            data=b"[" * 100_000,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        )
        assert answer.status_code == 400
