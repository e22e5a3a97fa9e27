"""The pages' routes on Airflow's own server: who may see and do what, and what they answer."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from x_opinion.app import CACHE_SECONDS, PAGES, STATIC, create_app, version
from x_opinion.cache import Cache
from x_opinion.coverage import NOT_JUDGED, grid
from x_opinion.inputs import get_desk, get_lake, get_now, get_objects
from x_opinion.lake import Lake, LakeError
from x_opinion.opinion import LONGEST_DAYS

from include.audit.desk import Desk
from include.compliance import requests as removal_requests
from include.compliance import tombstones
from include.lake import storage
from include.lake.athena import AthenaError, AthenaTimeoutError, UnreadDataError
from include.lake.layout import (
    AUDIT_JUDGED_PREFIX,
    REQUESTS_PREFIX,
    TOMBSTONES_OF_USERS_KEY,
    request_key,
    tombstones_key,
)
from include.settings import Settings
from include.x.compliance import ComplianceAction
from tests.plugins import support_lake
from tests.plugins.support_addresses import QUALITY
from tests.plugins.support_lake import (
    ALARM,
    BROKEN,
    EMPTY,
    HALF_PREDICTED,
    HOURS,
    LABELED_HOUR,
    NEVER_MADE,
    NOW,
    RULES_CHANGED,
    SAMPLE_CHANGED,
    SEARCHED,
    TOPICS,
    UNLABELED,
    RecordedLake,
    counts,
)
from tests.plugins.support_server import PLUGIN, Server
from tests.unit import support_hour

VOLUME = "volume"


@pytest.fixture
def lake() -> RecordedLake:
    return RecordedLake()


@pytest.fixture(scope="module")
def drawn() -> Iterator[Desk]:
    """Of each topic 40 tweets are drawn; drawing them for every test would take minutes."""
    with support_hour.lake() as s3:
        yield support_lake.desk(s3, support_hour.BUCKET)


@pytest.fixture
def desk(drawn: Desk) -> Iterator[Desk]:
    """The same, of which nobody has judged any, and nobody asked to remove any."""
    yield drawn
    for prefix in (AUDIT_JUDGED_PREFIX, REQUESTS_PREFIX):
        for found in storage.list_objects(drawn.s3, drawn.bucket, prefix).objects:
            storage.delete(drawn.s3, drawn.bucket, found.key)


class Clock:
    """Time as the application's cache sees it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def app(metadata_database: None, clock: Clock) -> FastAPI:
    """The application alone."""
    from airflow.api_fastapi.app import create_auth_manager

    create_auth_manager()
    return create_app(Cache(CACHE_SECONDS, entries=64, clock=clock))


@pytest.fixture
def client(app: FastAPI, clock: Clock, lake: RecordedLake, desk: Desk) -> Iterator[TestClient]:
    """The application as an admin sees it, with a lake of the test's own."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user

    clock.now += 2 * CACHE_SECONDS  # nothing is kept from one test to the next
    app.dependency_overrides |= {
        get_user: lambda: SimpleAuthManagerUser(username="admin", role="admin"),
        get_lake: lambda: lake,
        get_desk: lambda: desk,
        get_objects: lambda: support_lake.objects(desk.s3, desk.bucket),
        get_now: lambda: NOW,
    }
    yield TestClient(app)
    app.dependency_overrides.clear()


@pytest.mark.parametrize("user", ["admin", "reader"])
def test_every_role_sees_the_pages(server: Server, user: str) -> None:
    session = server.session(user)
    for page, (title, _) in PAGES.items():
        answer = session.get(f"{PLUGIN}/{page}")
        assert answer.status_code == 200
        assert f"<h1>{title}</h1>" in answer.text
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_a_banner_says_what_the_settings_say_of_the_source(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in PAGES:
        assert 'class="banner"' not in client.get(f"/{page}").text
    for module in ("app", "quality"):
        configured = Settings(source_notice="<b>invented</b> & $page")
        monkeypatch.setattr(f"x_opinion.{module}.settings", lambda configured=configured: configured)
    for page in (*PAGES, *(address.removeprefix("/") for address in QUALITY)):
        text = client.get(f"/{page}").text
        assert 'role="note">&lt;b&gt;invented&lt;/b&gt; &amp; $page</p>' in text


def test_the_periods_events_are_told_and_so_is_a_file_that_is_rejected(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "events.csv"
    configured = Settings(events_file=file)
    monkeypatch.setattr("x_opinion.opinion.settings", lambda: configured)
    old = NOW - timedelta(days=40)
    file.write_text(f"date,title,link\n{NOW:%Y-%m-%d},A vote,\n{old:%Y-%m-%d},Long ago,\n")
    found = shown(client)
    assert found["events"] == [{"day": f"{NOW:%Y-%m-%d}", "title": "A vote", "link": ""}]
    file.write_text("date,title,link\nyesterday,A vote,\n")
    found = shown(client, topic="russia")
    assert found["events"] == []
    assert "line 2: 'yesterday' is not a day" in found["events_problem"]
    assert found["tiles"], "the charts are shown all the same"


RUNS = "/api/v2/dags/coverage/dagRuns"
BACKFILL = {
    "logical_date": None,
    "conf": {"start": "2026-11-20T05", "end": "2026-11-20T09", "dry_run": False},
}


@pytest.mark.parametrize(
    ("user", "status"), [(None, 401), ("reader", 403), ("editor", 200), ("operator", 200), ("admin", 200)]
)
def test_a_backfill_is_offered_to_those_who_may_start_one(
    server: Server, user: str | None, status: int
) -> None:
    admin = server.session("admin")
    before = admin.get(RUNS).json()["total_entries"]
    rights = server.session(user).get(f"{PLUGIN}/data/rights")
    answer = server.session(user).post(RUNS, json=BACKFILL)
    assert answer.status_code == status, answer.text
    if user is None:
        assert rights.status_code == 401
    else:
        assert rights.json()["backfill"] == (status == 200)
    assert admin.get(RUNS).json()["total_entries"] == before + (status == 200)
    if status == 200:
        assert answer.json()["conf"] == BACKFILL["conf"]


def test_a_backfill_is_started_once_under_its_id(server: Server) -> None:
    wanted = {**BACKFILL, "dag_run_id": "run__2026-11-20T05__2026-11-20T09__20261120T100000"}
    answers = [server.session(user).post(RUNS, json=wanted).status_code for user in ("editor", "admin")]
    assert answers == [200, 409]


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_a_post_that_another_site_can_send_without_asking_starts_nothing(
    server: Server, media: str | None
) -> None:
    """These media types need no preflight: the login's cookie alone is no leave to start a run."""
    admin = server.session("admin")
    before = admin.get(RUNS).json()["total_entries"]
    headers = {"Origin": "http://evil.example", **({"Content-Type": media} if media else {})}
    answer = admin.post(RUNS, data=json.dumps(BACKFILL).encode(), headers=headers)
    assert answer.status_code == 422, answer.text
    assert admin.get(RUNS).json()["total_entries"] == before


def test_another_site_gets_no_leave_to_post(server: Server) -> None:
    asked = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = server.session("admin").request("OPTIONS", RUNS, headers=asked)
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_pages_are_in_the_navigation(server: Server) -> None:
    plugins = server.session("admin").get("/api/v2/plugins").json()["plugins"]
    [ours] = [plugin for plugin in plugins if plugin["name"] == "x_opinion"]
    assert [view["name"] for view in ours["external_views"]] == [title for title, _ in PAGES.values()]
    for view in ours["external_views"]:
        assert view["destination"] == "nav"
        for address in (view["href"], view["icon"], view["icon_dark_mode"]):
            assert not address.startswith(("/", "http")), "addresses are relative to Airflow's own"
            assert server.session("admin").get(f"/{address}").status_code == 200


def test_no_page_names_another_host() -> None:
    for path in [STATIC.parent / "page.html", *STATIC.glob("*.*")]:
        assert not re.search(r"https?://|src=\"//", path.read_text(encoding="utf-8")), path.name


def test_what_others_made_is_what_the_list_says() -> None:
    listed = dict(
        re.findall(
            r"^\| `([\w.]+)` .* `?([0-9a-f]{64})`? \|$", (STATIC / "vendor" / "README.md").read_text(), re.M
        )
    )
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (STATIC / "vendor").iterdir()
        if path.suffix in (".js", ".json")
    }
    assert listed == found


def test_browsers_keep_static_files_until_one_changes(client: TestClient) -> None:
    fresh = client.get(f"/static/{version()}/coverage.js")
    assert "immutable" in fresh.headers["Cache-Control"]
    assert "javascript" in fresh.headers["Content-Type"]
    assert client.get("/static/000000000000/coverage.js").headers["Cache-Control"] == "no-cache"
    again = client.get(f"/static/{version()}/coverage.js", headers={"If-None-Match": fresh.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "nothing.js"])
def test_nothing_beside_the_static_files_is_served(client: TestClient, name: str) -> None:
    for address in (f"/static/{version()}/{name}", f"/icons/{name}"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert "airflow" not in answer.text


def shown(client: TestClient, page: str = "opinion-over-time", **query: Any) -> dict[str, Any]:
    answer = client.get(f"/data/{page}", params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_the_figures_are_those_of_the_rows(client: TestClient) -> None:
    expected = {topic: [0.0, 0.0] for topic in TOPICS}
    first = NOW - timedelta(days=6)
    for topic in TOPICS:
        for language in ("en", "de"):
            for country in ("--", "US", "DE", "PL", "IS"):
                for ago in range(HOURS):
                    if NOW - timedelta(hours=ago) < first:
                        continue
                    weight = 2 if ago <= 20 else 1
                    negative, _, positive = counts(topic, language, country, ago)
                    expected[topic][0] += weight * positive
                    expected[topic][1] += weight * negative
    # Of Ukraine people have judged a sample: it is rectified to 40 to 30 %.
    expected["ukraine"] = [0.4, 0.3]
    tiles = {tile["id"]: tile for tile in shown(client)["tiles"]}
    for topic, (for_it, against) in expected.items():
        tile = tiles[f"positive_to_negative-{topic}"]
        assert tile["audit"] == (topic == "ukraine")
        assert tile["value"] == pytest.approx(for_it / against)
        assert tile["low"] < tile["value"] < tile["high"]
        assert tile["n"] > 0


def test_nothing_is_said_to_be_of_the_future(client: TestClient) -> None:
    found = shown(client)
    now = found["read_at"].replace("+00:00", "Z")
    assert found["as_of"] == dict.fromkeys(TOPICS, now), "the open hour has tweets until now"


def test_a_period_is_compared_with_the_same_number_of_days_just_before(
    client: TestClient, lake: RecordedLake
) -> None:
    today, yesterday, day_before = (f"{NOW - timedelta(days=ago):%Y-%m-%d}" for ago in range(3))
    plain = shown(client, **{"from": yesterday, "to": yesterday})
    assert "before" not in plain
    former = shown(client, **{"from": day_before, "to": day_before})
    asked = lake.asked
    found = shown(client, compare="true", **{"from": yesterday, "to": yesterday})
    assert lake.asked == asked, "both were read a moment ago"
    assert found["tiles"] == plain["tiles"]
    assert (found["before"]["from"], found["before"]["to"]) == (former["from"], former["to"])
    for tile, own in zip(former["tiles"], found["tiles"], strict=True):
        told = found["before"]["tiles"][tile["id"]]
        assert {name: told[name] for name in ("value", "low", "high", "n")} == {
            name: tile[name] for name in ("value", "low", "high", "n")
        }
        if tile["format"] == "percent":
            assert told["change"] == pytest.approx(own["value"] - tile["value"])
            assert told["change_low"] < told["change"] < told["change_high"]
    assert found["before"]["tiles"]["net_sentiment-russia"]["audit"] == 0

    found = shown(client, compare="true", **{"from": today, "to": today})
    assert found["before"]["to"] == (NOW + timedelta(hours=1) - timedelta(days=1)).isoformat(), (
        "the same hours"
    )


@pytest.mark.parametrize(
    ("ago", "kind"),
    [(RULES_CHANGED, "rules"), (SAMPLE_CHANGED, "sample"), (SEARCHED, "search"), (None, None)],
)
def test_changes_other_than_opinion_between_the_periods_are_reported(
    client: TestClient, ago: int | None, kind: str | None
) -> None:
    day = "2007-01-03" if ago is None else f"{NOW - timedelta(hours=ago):%Y-%m-%d}"
    found = shown(client, compare="true", **{"from": day, "to": day})
    assert kind in found["before"]["differs"] if kind else found["before"]["differs"] == []


def test_a_period_without_tweets_is_nothing_to_compare_with(client: TestClient) -> None:
    first, last = (f"{NOW - timedelta(days=ago):%Y-%m-%d}" for ago in (6, 0))
    before = shown(client, compare="true", **{"from": first, "to": last})["before"]
    assert (before["tiles"], before["differs"]) == ({}, [])


def test_a_period_before_which_there_was_no_x_is_not_compared(client: TestClient) -> None:
    asked = {"compare": "true", "from": "2006-03-22", "to": "2006-03-24"}
    assert client.get("/data/opinion-over-time", params=asked).status_code == 422


def test_filters_narrow_what_is_shown(client: TestClient, lake: RecordedLake) -> None:
    everything = shown(client)
    titles = {"ukraine", "russia"}
    assert {row[1] for row in everything["visuals"][0]["rows"]} == titles
    one = shown(client, topic="ukraine")
    assert {row[1] for row in one["visuals"][0]["rows"]} == {"ukraine"}
    german = shown(client, language="de")
    tweets = next(tile["value"] for tile in german["tiles"] if tile["id"] == VOLUME)
    assert tweets < next(tile["value"] for tile in everything["tiles"] if tile["id"] == VOLUME)
    with_unmeasured = shown(client, unmeasured=True)
    assert next(tile["value"] for tile in with_unmeasured["tiles"] if tile["id"] == VOLUME) > tweets
    assert {row["value"]: row["measured"] for row in everything["languages"]} == {
        "en": True,
        "de": True,
        "uk": False,
    }
    assert everything["engines"] == ["ngram"]
    assert lake.asked == 1, "filters are answered from the rows that were read"


def test_a_day_that_is_aggregated_again_is_read_again_at_once(client: TestClient, lake: RecordedLake) -> None:
    for aggregate, asked in (("first", 1), ("first", 1), ("second", 2), ("second", 2)):
        lake.aggregate = aggregate
        assert client.get("/data/opinion-over-time").status_code == 200
        assert lake.asked == asked


def test_a_language_that_one_of_two_models_was_measured_on_is_offered_once(
    client: TestClient, lake: RecordedLake
) -> None:
    lake.relabel("de", "russia", "e5")
    found = shown(client, unmeasured=True)
    assert [row["value"] for row in found["languages"]].count("de") == 1
    assert {row["value"]: row["measured"] for row in found["languages"]}["de"] is True
    assert sorted(found["engines"]) == ["e5", "ngram"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"topic": "cats"}, "no topic cats"),
        ({"from": "2026-11-20", "to": "2026-11-19"}, "ends before it starts"),
        ({"from": "2026-01-01", "to": "2026-11-19"}, "at most"),
        ({"from": "yesterday"}, "date"),
        ({"to": "9999-12-31"}, "cannot hold posts"),
        ({"from": "0001-01-01"}, "cannot hold posts"),
    ],
)
def test_what_makes_no_sense_is_rejected_with_the_reason(
    client: TestClient, query: dict[str, str], reason: str
) -> None:
    answer = client.get("/data/opinion-over-time", params=query)
    assert answer.status_code == 422
    assert reason in answer.text


@pytest.mark.parametrize("day", ["0001-01-01", "2006-03-20", "9999-12-31"])
@pytest.mark.parametrize("address", ["/data/coverage?from={}", "/quality/raw/{}", "/quality/raw/{}T05"])
def test_a_day_without_posts_is_rejected_in_a_sentence(client: TestClient, address: str, day: str) -> None:
    answer = client.get(address.format(day))
    assert answer.status_code == 422
    assert "choose a day from 2006-03-21 to" in answer.json()["detail"]


NOT_A_PAGES_FAULT = (200, 304, 400, 404, 405, 422)
KNOWN_BAD = (
    *("", "0", "-1", "1e999", "NaN", "null", "\x00", "%00", "2026-02-30", "2026-11-20T05", "2026-11-20T99"),
    *(
        "9999-12-31",
        "0001-01-01",
        "-0001-01-01",
        "10000-01-01",
        "٢٠٢٦-١١-٢٠",
        "../..",
        "a" * 5000,
        "[]",
        "true",
    ),
    *("99999999999999999999", "' OR 1=1 --", "${first_day}", "\ud7ff", "💥", "+00:00"),
)
ANY = st.one_of(st.sampled_from(KNOWN_BAD), st.text(max_size=30), st.dates().map(str), st.integers().map(str))
ROUTES = [route for route in create_app().routes if isinstance(route, APIRoute)]


def path_of(route: APIRoute, value: Callable[[], str]) -> str:
    path = route.path
    for parameter in route.dependant.path_params:
        given = quote(value(), safe="")
        path = path.replace(f"{{{parameter.alias}}}", given).replace(f"{{{parameter.alias}:path}}", given)
    return path


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.path))
@pytest.mark.parametrize("value", KNOWN_BAD)
def test_no_single_value_is_the_servers_fault(client: TestClient, route: APIRoute, value: str) -> None:
    path = path_of(route, iter(("opinion-over-time", "2026-11-20")).__next__)
    for parameter in route.dependant.query_params:
        answer = client.get(path, params={parameter.alias: value})
        assert answer.status_code in NOT_A_PAGES_FAULT, (route.path, parameter.alias, answer.text)
    answer = client.get(path_of(route, lambda: value))
    assert answer.status_code in NOT_A_PAGES_FAULT, (route.path, answer.text)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.path))
@given(data=st.data())
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_input_is_the_servers_fault(client: TestClient, route: APIRoute, data: st.DataObject) -> None:
    path = path_of(route, lambda: data.draw(ANY | st.sampled_from(["raw", "2026-11-20", *PAGES, version()])))
    names = [parameter.alias for parameter in route.dependant.query_params]
    query = data.draw(st.lists(st.tuples(st.sampled_from(names), ANY), max_size=5)) if names else []
    answer = client.get(path, params=query)
    assert answer.status_code in NOT_A_PAGES_FAULT, (path, query, answer.text)


def test_a_quality_result_is_a_page_of_counts(client: TestClient) -> None:
    answer = client.get("/quality/raw/2026-11-20T05")
    assert answer.status_code == 200
    assert "<h1>Suite raw of 2026-11-20T05</h1>" in answer.text
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    links = re.findall(r'href="([^"]*)"', answer.text)
    assert links == ["../", "2026-11-19T23", "2026-11-20T08", "../../coverage"]
    missing = client.get("/quality/raw/2026-11-20T06")
    assert missing.status_code == 404
    assert "no result of the suite raw" in missing.json()["detail"]
    for address in ("/quality/raw/yesterday", "/quality/..%2Fraw/2026-11-20T05", "/quality/Raw/2026-11-20"):
        assert client.get(address).status_code in (404, 422)


def test_the_index_leads_to_every_quality_result(client: TestClient) -> None:
    answer = client.get("/quality/")
    assert answer.status_code == 200
    links = re.findall(r'href="([^"]*)"', answer.text)
    assert links == [
        *("../coverage", "raw/2026-11-20T05", "raw/2026-11-20T08", "raw/2026-11-19T23"),
        "opinion/2026-11-19",
    ]


def test_there_are_no_other_pages(client: TestClient) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/data/nothing").status_code == 404


@pytest.mark.parametrize(
    "page", [page for page, (_, script) in PAGES.items() if script in ("opinion", "coverage")]
)
def test_without_tables_the_page_says_what_makes_them(client: TestClient, page: str) -> None:
    answer = client.get(f"/data/{page}", params={"from": f"{NEVER_MADE}-01-01", "to": f"{NEVER_MADE}-01-07"})
    assert answer.status_code == 404
    assert answer.json()["title"] == "No data yet"
    assert "Run the DAGs" in answer.json()["detail"]


@pytest.mark.parametrize(
    "page", [page for page, (_, script) in PAGES.items() if script in ("opinion", "coverage")]
)
def test_a_lake_that_fails_is_told_and_asked_again(client: TestClient, lake: RecordedLake, page: str) -> None:
    query = {"from": f"{BROKEN}-01-01", "to": f"{BROKEN}-01-07"}
    for attempt in (1, 2):
        answer = client.get(f"/data/{page}", params=query)
        assert answer.status_code == 502
        assert "The query failed" in answer.json()["detail"]
        assert lake.asked == attempt


JAVA = "statement 'one' ended as FAILED: HIVE_CANNOT_OPEN_SPLIT: java.io.FileNotFoundException: s3://x/y"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnreadDataError(JAVA), "The query failed"),
        (AthenaError("statement 'one' ended as FAILED: secret.java:7"), "The query failed"),
        (AthenaTimeoutError("statement 'one' took longer"), "longer than 60 seconds"),
    ],
)
def test_what_a_failed_query_says_goes_to_the_log_and_not_to_readers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: AthenaError, told: str
) -> None:
    athena = Mock(tables=Mock(side_effect=error))
    monkeypatch.setattr("x_opinion.lake.client", lambda _: None)
    monkeypatch.setattr("x_opinion.lake.Athena", lambda *_, **__: athena)
    with pytest.raises(LakeError, match=told) as caught:
        Lake().select({"one": "SELECT 1"})
    assert "java" not in str(caught.value)
    assert "statement" not in str(caught.value)
    assert str(error) in caplog.text


def test_an_empty_lake_has_no_figures(client: TestClient) -> None:
    period = {"from": f"{EMPTY}-01-01", "to": f"{EMPTY}-01-07"}
    found = shown(client, **period)
    assert found["as_of"] == {}
    assert (found["languages"], found["engines"]) == ([], [])
    assert shown(client, "coverage", **period)["empty"] is True


def test_the_grid_says_when_it_was_measured(client: TestClient) -> None:
    found = shown(client, "coverage")
    assert found["measured"]["newest"] == f"{NOW:%Y-%m-%dT%H}:07:00"
    assert found["measured"]["oldest"] < found["measured"]["newest"]
    [cell] = [cell for cell in found["topics"][0]["cells"] if cell and cell["alarm"]]
    assert cell["measured_at"] == f"{NOW - timedelta(hours=ALARM - 1):%Y-%m-%dT%H}:07:00"


def test_a_new_revision_is_read_anew(client: TestClient, lake: RecordedLake) -> None:
    for revision, asked in (("", 1), ("", 1), ("run__a-success", 2), ("run__a-success", 2)):
        shown(client, "coverage", revision=revision)
        assert lake.asked == asked


def test_the_grid_has_every_hour_of_the_week(client: TestClient) -> None:
    found = shown(client, "coverage")
    assert len(found["hours"]) == len(found["runs"]) == 7 * 24
    assert {topic["name"] for topic in found["topics"]} == set(TOPICS)
    letters = [state["letter"] for state in found["states"].values()]
    assert len(letters) == len(set(letters)), "a letter has one meaning"
    for topic in found["topics"]:
        cells = dict(zip(found["hours"], topic["cells"], strict=True))

        def cell(ago: int, cells: dict[str, Any] = cells) -> dict[str, Any]:
            found: dict[str, Any] = cells[f"{NOW - timedelta(hours=ago):%Y-%m-%dT%H}"]
            return found

        assert cell(UNLABELED)["states"] == {
            "raw": "complete",
            "labeled": "unlabeled",
            "predicted": "unlabeled",
        }
        assert cell(UNLABELED + 1)["states"]["predicted"] == "predicted"
        assert cell(UNLABELED - 1)["states"]["predicted"] == "not predicted"
        assert cell(HALF_PREDICTED)["states"]["predicted"] == "not predicted"
        assert cell(ALARM)["alarm"] == "the same tweets are still missing"
        assert all(cell is None for hour, cell in cells.items() if hour > f"{NOW:%Y-%m-%dT%H}")
        assert set(cell(HOURS)["states"].values()) == {NOT_JUDGED}, "what nobody has judged is not whole"


def test_an_hour_before_the_collection_is_no_hour_without_a_verdict() -> None:
    first, day = datetime(2026, 11, 1, tzinfo=UTC), timedelta(days=1)
    shown = grid([], [{"name": "tea"}], first, first + 2 * day, first + 3 * day, first + day)
    cells = shown["topics"][0]["cells"]
    assert cells[:24] == [None] * 24
    assert all(cell["states"]["raw"] == NOT_JUDGED for cell in cells[24:])


def test_an_hours_runs_are_all_those_of_its_name(client: TestClient) -> None:
    found = shown(client, "coverage", **{"from": "2026-11-20", "days": 1})
    assert found["runs"][5] == (
        "scheduled__2026-11-20T06:00:00+00:00|backfill__2026-11-20T06:00:00+00:00|window__2026-11-20T05"
    )


def test_ten_people_cost_one_query(metadata_database: None) -> None:
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user

    create_auth_manager()
    slow = RecordedLake(seconds=0.3)
    app = create_app()
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="admin", role="admin")
    app.dependency_overrides[get_lake] = lambda: slow
    app.dependency_overrides[get_now] = lambda: NOW

    async def look() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as browser:
            return list(await asyncio.gather(*(browser.get("/data/opinion-over-time") for _ in range(10))))

    answers = asyncio.run(look())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert slow.asked == 1


POINT = {"topic": "ukraine", "hour": LABELED_HOUR.label}


@pytest.fixture
def lakes_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """X cannot be reached: the lake's text is shown."""
    monkeypatch.setattr("x_opinion.examples.settings", lambda: Settings(tweet_embed_url=""))


def examples(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/data/examples", params=POINT | query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["tweets"]
    return found


@pytest.mark.usefixtures("lakes_texts")
def test_examples_are_random_tweets_of_the_point_as_the_filters_narrow_it(client: TestClient) -> None:
    several = [tweet for _ in range(20) for tweet in examples(client)]
    assert len(several) == 20 * 5
    assert {tweet["text"].split()[0] for tweet in several} == {"ukraine"}
    assert {tweet["lang"] for tweet in several} == {"en", "de"}, "of measured languages alone"
    assert len({tweet["text"] for tweet in several}) > 15, "each time others"
    assert {tweet["lang"] for tweet in examples(client, language="de", topic="russia")} == {"de"}
    assert {tweet["lang"] for tweet in examples(client, language="uk", unmeasured="true")} == {"uk"}
    assert examples(client, language="uk") == []
    assert examples(client, hour=LABELED_HOUR.previous.label) == []
    assert len(examples(client, hour=f"{LABELED_HOUR.date}T00", hours="24")) == 5


@pytest.mark.usefixtures("lakes_texts")
def test_examples_of_a_country_are_of_the_whole_period(client: TestClient) -> None:
    week = {"hour": f"{NOW - timedelta(days=6):%Y-%m-%d}T00", "hours": str(7 * 24)}
    there = {row["text"] for row in support_lake.labeled_rows("ukraine") if row["country_code"] == "DE"}
    found = [tweet for _ in range(5) for tweet in examples(client, country="DE", **week)]
    assert len(found) == 5 * 5
    assert {tweet["text"] for tweet in found} <= there
    assert {tweet["lang"] for tweet in examples(client, country="DE", language="de", **week)} == {"de"}
    assert examples(client, country="FR", **week) == []


@pytest.mark.usefixtures("lakes_texts")
def test_an_example_is_told_without_its_id_author_and_labels(client: TestClient, lake: RecordedLake) -> None:
    answer = client.get("/data/examples", params=POINT)
    for tweet in answer.json()["tweets"]:
        assert set(tweet) == {"lang", "written_at", "text", "translation"}
    assert not re.search(f"secret-model|Negative|{support_lake.AUTHOR // 100}\\d\\d", answer.text)
    assert answer.headers["Cache-Control"] == "no-store"
    assert lake.forgot == lake.asked, "what Athena keeps of the ids is deleted"


@pytest.mark.usefixtures("lakes_texts")
@pytest.mark.parametrize("of", ["the tweet", "its author"])
def test_what_was_removed_is_no_example_also_while_it_still_lies_in_the_lake(
    client: TestClient, desk: Desk, of: str
) -> None:
    pseudonyms = support_lake.objects(desk.s3, desk.bucket).pseudonyms
    rows = support_lake.labeled_rows("ukraine")
    left, gone = rows[0], rows[1:]
    if of == "the tweet":
        stones = dict.fromkeys((row["tweet_id"] for row in gone), ComplianceAction.DELETE)
        tombstones.bury(desk.s3, desk.bucket, pseudonyms, LABELED_HOUR, stones)
    else:
        until = {ComplianceAction.DELETE: rows[-1]["tweet_id"] + 1}
        tombstones.bury_users(desk.s3, desk.bucket, {row["author_id"]: until for row in gone})
    try:
        for _ in range(5):
            assert {tweet["text"] for tweet in examples(client, unmeasured="true")} <= {left["text"]}
    finally:
        storage.delete(desk.s3, desk.bucket, tombstones_key(LABELED_HOUR))
        storage.delete(desk.s3, desk.bucket, TOMBSTONES_OF_USERS_KEY)
    assert len(examples(client)) == 5


def test_where_x_can_be_reached_x_shows_the_posts_and_the_lake_no_text(client: TestClient) -> None:
    ids = {str(row["tweet_id"]) for row in support_lake.labeled_rows("ukraine")}
    found = examples(client)
    assert {set(tweet) == {"lang", "written_at", "embed"} for tweet in found} == {True}
    for tweet in found:
        address = urlsplit(tweet["embed"])
        assert address.hostname == "platform.twitter.com"
        assert parse_qs(address.query)["id"][0] in ids


def test_a_page_lets_no_frame_in_but_that_of_the_embed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames() -> str:
        policy = client.get("/opinion-over-time").headers["Content-Security-Policy"]
        return dict(part.strip().split(" ", 1) for part in policy.split(";"))["frame-src"]

    assert frames() == "https://platform.twitter.com"
    monkeypatch.setattr("x_opinion.answers.settings", lambda: Settings(tweet_embed_url=""))
    assert frames() == "'none'"


@pytest.mark.usefixtures("lakes_texts")
def test_no_text_gets_into_the_log(
    client: TestClient, desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level("DEBUG", logger="x_opinion"), caplog.at_level("DEBUG", logger="include"):
        assert examples(client)

        def fails(*_: Any) -> None:
            raise storage.StorageError("S3 says no")

        monkeypatch.setattr("x_opinion.examples.tombstones.read", fails)
        assert client.get("/data/examples", params=POINT).status_code == 502
    assert "S3 says no" in caplog.text
    assert not any(row["text"] in caplog.text for row in support_lake.labeled_rows("ukraine"))


@pytest.mark.parametrize(
    "query",
    [
        {"topic": "nothing"},
        {"hour": "2026-11-20"},
        {"hour": "9999-12-31T00"},
        {"hours": "0"},
        {"hours": str(24 * LONGEST_DAYS + 1)},
        {"country": "de' OR 1=1"},
        {"language": "de' OR 1=1"},
    ],
)
def test_a_point_that_makes_no_sense_is_rejected(client: TestClient, query: dict[str, str]) -> None:
    assert client.get("/data/examples", params=POINT | query).status_code == 422


def given_tweets(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/data/audit/tweets", params=query).json()["tweets"]
    return found


def test_a_tweet_is_given_without_its_author_and_labels(client: TestClient) -> None:
    answer = client.get("/data/audit/tweets")
    for tweet in answer.json()["tweets"]:
        assert set(tweet) == {"tweet_id", "topic", "lang", "written_at", "text", "translation"}
    assert len(given_tweets(client)) == 5
    assert "secret-model" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_what_is_given_can_be_narrowed(client: TestClient) -> None:
    found = given_tweets(client, topic="russia", language=["de", "uk"])
    assert {tweet["topic"] for tweet in found} == {"russia"}
    assert {tweet["lang"] for tweet in found} <= {"de", "uk"}
    assert given_tweets(client, topic="nothing") == []


def test_a_judgment_is_kept_at_once_and_can_be_taken_back(client: TestClient, desk: Desk) -> None:
    first = given_tweets(client)
    for _ in range(2):
        wanted = {"tweet_id": first[0]["tweet_id"], "judgment": "Positive"}
        answer = client.post("/data/audit/judgments", json=wanted)
        assert (answer.status_code, answer.json()) == (200, wanted)
    found = client.get("/data/audit/tweets").json()
    assert found["tweets"][0] == first[1]
    assert found["last"] == {**first[0], "judgment": "Positive"}
    client.post("/data/audit/judgments", json={**wanted, "judgment": None})
    assert client.get("/data/audit/tweets").json() == {"tweets": first, "last": None}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"tweet_id": "7", "judgment": "Positive"}, 409),
        ({"tweet_id": 7, "judgment": "Positive"}, 422),
        ({"tweet_id": "7", "judgment": "Great"}, 422),
        ({"tweet_id": "9999999999999999999", "judgment": "Positive"}, 409),
        ({"tweet_id": "7", "judgment": "Positive", "person": "another"}, 422),
        ({"tweet_id": "7"}, 422),
        ([], 422),
    ],
)
def test_a_judgment_that_makes_no_sense_is_rejected(client: TestClient, body: Any, status: int) -> None:
    assert client.post("/data/audit/judgments", json=body).status_code == status


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "", None])
@pytest.mark.parametrize("address", ["/data/audit/judgments", "/data/audit/tweets.csv"])
def test_what_another_site_can_send_judges_nothing(
    client: TestClient, address: str, media: str | None
) -> None:
    tweet_id = given_tweets(client)[0]["tweet_id"]
    bodies = {
        "/data/audit/judgments": json.dumps({"tweet_id": tweet_id, "judgment": "Positive"}),
        "/data/audit/tweets.csv": f"tweet_id,judgment\n{tweet_id},Positive\n",
    }
    headers = {} if media is None else {"Content-Type": media}
    answer = client.post(address, content=bodies[address].encode(), headers=headers)
    assert answer.status_code in (415, 422), answer.text
    assert given_tweets(client)[0]["tweet_id"] == tweet_id


def test_a_csv_is_taken_whole_or_not_at_all(client: TestClient, desk: Desk) -> None:
    out = client.get("/data/audit/tweets.csv")
    assert out.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in out.headers["Content-Disposition"]
    assert out.text.count("\r\n") >= 81
    tweets = given_tweets(client)
    good = "tweet_id,judgment\n" + "".join(f"{tweet['tweet_id']},negative\n" for tweet in tweets)
    headers = {"Content-Type": "text/csv"}
    bad = client.post("/data/audit/tweets.csv", content=f"{good}8,Great\n5,Neutral\n", headers=headers)
    assert (bad.status_code, bad.json()["detail"]) == (
        422,
        "row 6: 'Great' is none of Negative, Neutral, Positive, Cannot tell",
    )
    assert given_tweets(client) == tweets
    assert client.post("/data/audit/tweets.csv", content=b"\xff\xfe", headers=headers).status_code == 422
    taken = client.post("/data/audit/tweets.csv", content=good, headers=headers)
    assert taken.json() == {"taken": {"Negative": 5}}
    assert not {tweet["tweet_id"] for tweet in tweets} & {tweet["tweet_id"] for tweet in given_tweets(client)}


def test_who_may_not_judge_sees_results_and_progress_but_no_text(server: Server) -> None:
    session = server.session("reader")
    found = session.get(f"{PLUGIN}/data/audit").json()
    assert found["judges"] is False
    assert sum(one["drawn"] for one in found["progress"]) == 2 * support_lake.DRAWN
    results = session.get(f"{PLUGIN}/data/audit/results").json()["rows"]
    assert {row["audited"] for row in results} == {140, 12, 40}
    assert session.get(f"{PLUGIN}/data/audit/tweets").status_code == 403


def test_a_judged_tweet_goes_to_a_second_person_only_if_two_should_judge_it(server: Server) -> None:
    one, other = server.session("editor"), server.session("operator")
    addresses = (f"{PLUGIN}/data/audit/tweets?topic=russia", f"{PLUGIN}/data/audit/judgments")

    def judge_all(session: Any) -> set[str]:
        judged: set[str] = set()
        while tweets := session.get(addresses[0]).json()["tweets"]:
            for tweet in tweets:
                wanted = {"tweet_id": tweet["tweet_id"], "judgment": "Cannot tell"}
                assert session.post(addresses[1], json=wanted).status_code == 200
                assert tweet["tweet_id"] not in judged
                judged.add(tweet["tweet_id"])
        return judged

    # Other tests judge at the same desk.
    for session in (one, other):
        mine = session.get(f"{PLUGIN}/data/audit/tweets.csv").text
        for row in csv.DictReader(io.StringIO(mine, newline="")):
            if row["judgment"]:
                session.post(addresses[1], json={"tweet_id": row["tweet_id"], "judgment": None})
    first, second = judge_all(one), judge_all(other)
    assert len(first) == support_lake.DRAWN
    assert set() < second < first
    assert judge_all(server.session("admin")) == set()
    progress = one.get(f"{PLUGIN}/data/audit").json()["progress"]
    assert {row["judged"] / row["drawn"] for row in progress if row["topic"] == "russia"} == {1}
    for tweet_id in first | second:
        for session in (one, other):
            session.post(addresses[1], json={"tweet_id": tweet_id, "judgment": None})


TWEET, AUTHOR = "1990000000000000000", "829647236"


def asked_removal(client: TestClient, **changes: Any) -> httpx.Response:
    given = {"reason": "the author asks", "tweets": [TWEET], "users": [AUTHOR]} | changes
    return client.post("/data/removals", json=given)


def test_a_request_to_remove_is_kept_without_its_ids_and_can_be_taken_back(
    client: TestClient, desk: Desk
) -> None:
    made = asked_removal(client)
    assert made.status_code == 200
    found = client.get("/data/removals").json()
    assert found == {
        "read_at": NOW.isoformat(timespec="seconds"),
        "asks": True,
        "open": [made.json()],
    }
    shown = made.json()
    assert (shown["confirmed"], shown["tweets"], shown["users"], shown["overdue"]) == (False, 1, 1, False)
    kept = storage.read(desk.s3, desk.bucket, request_key(shown["name"])).decode()
    for text in (kept, made.text):
        assert TWEET not in text
        assert AUTHOR not in text
    json_only = {"Content-Type": "application/json"}
    assert client.delete(f"/data/removals/{shown['name']}").status_code == 415
    taken = client.delete(f"/data/removals/{shown['name']}", headers=json_only)
    assert taken.status_code == 200
    assert client.get("/data/removals").json()["open"] == []
    assert client.delete(f"/data/removals/{shown['name']}", headers=json_only).status_code == 404


def test_a_confirmed_request_cannot_be_taken_back(client: TestClient, desk: Desk) -> None:
    name = asked_removal(client).json()["name"]
    removal_requests.confirm(desk.s3, desk.bucket, name)
    headers = {"Content-Type": "application/json"}
    assert client.delete(f"/data/removals/{name}", headers=headers).status_code == 409
    removal_requests.drop(desk.s3, desk.bucket, name)


@pytest.mark.parametrize(
    "changes",
    [
        {"tweets": [], "users": []},
        {"tweets": ["@somebody"]},
        {"users": ["1" * 31]},
        {"reason": ""},
        {"tweets": [TWEET] * 1001},
        {"more": 1},
    ],
)
def test_what_is_no_request_to_remove_is_rejected(client: TestClient, changes: dict[str, Any]) -> None:
    assert asked_removal(client, **changes).status_code == 422
    assert client.get("/data/removals").json()["open"] == []


def test_what_another_site_can_send_asks_to_remove_nothing(client: TestClient) -> None:
    body = json.dumps({"reason": "r", "tweets": [TWEET]})
    answer = client.post("/data/removals", content=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert client.get("/data/removals").json()["open"] == []


def test_the_ledger_says_what_was_removed_by_layer_and_when(client: TestClient) -> None:
    rows = client.get("/data/removals/done").json()["rows"]
    assert [(row["layer"], row["removed"], row["hours"]) for row in rows] == [
        ("delta", 11, 0),
        ("raw", 12, 1),
    ]
    assert {row["reason"] for row in rows} == {"X <b>reports</b> it"}
    assert all(row["done_at"] > row["requested_at"] for row in rows)


def test_who_may_not_start_runs_is_not_offered_the_form(server: Server) -> None:
    assert server.session("reader").get(f"{PLUGIN}/data/removals").json()["asks"] is False
    assert server.session("editor").get(f"{PLUGIN}/data/removals").json()["asks"] is True


def test_a_lake_without_its_secret_is_told(client: TestClient) -> None:
    from x_opinion.inputs import get_desk as real

    app: Any = client.app
    del app.dependency_overrides[real]
    answer = client.get("/data/audit")
    assert answer.status_code == 502
    assert answer.json()["title"] == "The lake does not answer"


def test_a_month_s_costs_are_those_of_the_view_and_the_list(client: TestClient) -> None:
    found = client.get("/data/costs").json()
    assert found["dollars"] == pytest.approx(6.408)
    assert (found["days"], found["tweets"], found["unpriced"]) == (1, 2_000, ["ec2 m9.huge"])
    assert found["projected"] == pytest.approx(6.408 * monthrange(NOW.year, NOW.month)[1])
    assert found["per_million"] == pytest.approx(3_204)
    assert found["always_on"] == pytest.approx(2 * 24 * 0.204)
    modeled = {(row["service"], row["stage"]): row["modeled"] for row in found["rows"]}
    assert modeled["x", "collect"] == 0
    assert modeled["ec2", "train"] == 1
    assert all(line["date"] and line["source"] for line in found["prices"])


def test_another_month_has_its_own_costs_and_none_is_rejected(client: TestClient) -> None:
    assert client.get("/data/costs", params={"month": "2026-01"}).json()["rows"] == []
    assert client.get("/data/costs", params={"month": "2026-13"}).status_code == 422
    assert client.get("/data/costs", params={"month": "9999-01"}).status_code == 422
    assert client.get("/data/costs", params={"month": f"{NEVER_MADE}-01"}).status_code == 404
