"""The project's client of batch compliance against the stand-in: a job from its ids to what must go."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import tweepy

from include.settings import Settings
from include.x.client import RequestRejectedError, api_client
from include.x.compliance import (
    Compliance,
    ComplianceAction,
    ComplianceError,
    ComplianceJob,
    Gone,
    JobUnderWayError,
    Kind,
)
from local.x_api.app import XApi
from tests.credentials import CONTROL, CREDENTIALS
from tests.local.support_x_api import APPLES, CORPUS, TOKEN, Service


class Clock:
    """The wall's clock, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> float:
        return time.time() + self.ahead.total_seconds()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self(), UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(tmp_path: Path, clock: Clock) -> Iterator[Service]:
    started = Service(XApi(CORPUS, tmp_path, CREDENTIALS, clock=clock))
    yield started
    started.stop()


@pytest.fixture
def client(service: Service) -> tweepy.Client:
    return api_client(Settings(x_api_url=service.url), TOKEN)


@pytest.fixture
def compliance(client: tweepy.Client) -> Compliance:
    return Compliance(client)


def redact(service: Service, kind: Kind, **reasons: str) -> None:
    gone = {own.removeprefix("_"): reason for own, reason in reasons.items()}
    answer = requests.post(f"{service.url}/_local/redactions", json={kind: gone}, headers=CONTROL, timeout=5)
    assert answer.status_code == 201


def ended(compliance: Compliance, job: ComplianceJob) -> ComplianceJob:
    deadline = time.monotonic() + 60
    while (found := compliance.job(job.id)).status != "complete":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def not_uploaded(
    compliance: Compliance, ids: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> ComplianceJob:
    """The job of an attempt that died before its upload."""
    with monkeypatch.context() as broken:
        broken.setattr(Compliance, "_upload", lambda _, job, __: job)
        return compliance.submit("tweets", ids, "daily", clock.now())


def created(service: Service) -> int:
    return service.api.requests["compliance.create"]


def test_a_job_names_what_must_go_and_why(service: Service, compliance: Compliance, clock: Clock) -> None:
    redact(service, "tweets", _11="deleted", _12="scrub_geo", _13="suspended", _99="deleted")
    job = compliance.submit("tweets", ["13", "11", "12", "10", "11"], "daily", clock.now())
    assert set(compliance.result(ended(compliance, job))) == {
        Gone("11", ComplianceAction.DELETE, "deleted"),
        Gone("12", ComplianceAction.SCRUB_GEO, "scrub_geo"),
        Gone("13", ComplianceAction.DELETE, "suspended"),
    }


def test_users_are_asked_about_by_jobs_of_their_own(
    service: Service, compliance: Compliance, clock: Clock
) -> None:
    redact(service, "users", _7="protected", _8="deactivated")
    redact(service, "tweets", _9="deleted")
    # X takes one job of each type at a time: this one does not wait for the other.
    compliance.submit("tweets", ["1"], "daily", clock.now())
    job = compliance.submit("users", ["7", "8", "9"], "daily", clock.now())
    assert [(gone.id, gone.reason) for gone in compliance.result(ended(compliance, job))] == [
        ("7", "protected"),
        ("8", "deactivated"),
    ]


def test_a_retry_adopts_the_job_in_whatever_state_it_is(
    service: Service, compliance: Compliance, client: tweepy.Client, clock: Clock
) -> None:
    first = compliance.submit("tweets", ["1", "2"], "daily", clock.now())
    again = compliance.submit("tweets", ["2", "1"], "daily", clock.now())
    ended(compliance, first)
    later = compliance.submit("tweets", ["1", "2"], "daily", clock.now())
    assert {first.id, again.id, later.id} == {first.id}
    assert created(service) == 1
    # The next day the same ids are asked about again.
    assert compliance.submit("tweets", ["1", "2"], "tomorrow", clock.now()).id != first.id


def test_a_retry_uploads_what_an_attempt_did_not(
    service: Service,
    compliance: Compliance,
    client: tweepy.Client,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redact(service, "tweets", _1="deleted")
    died = not_uploaded(compliance, ["1"], clock, monkeypatch)
    assert died.status == "created"
    job = compliance.submit("tweets", ["1"], "daily", clock.now())
    assert (job.id, created(service)) == (died.id, 1)
    assert [gone.id for gone in compliance.result(ended(compliance, job))] == ["1"]


def test_an_upload_that_breaks_is_sent_again(
    service: Service,
    compliance: Compliance,
    client: tweepy.Client,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redact(service, "tweets", _1="deleted")
    put, breaks = client.session.put, [True, True]

    def cut_short(*arguments: object, **named: object) -> requests.Response:
        if breaks:
            breaks.pop()
            raise requests.ConnectionError("cut short")
        return put(*arguments, **named)

    monkeypatch.setattr(client.session, "put", cut_short)
    job = compliance.submit("tweets", ["1"], "daily", clock.now())
    assert [gone.id for gone in compliance.result(ended(compliance, job))] == ["1"]
    assert created(service) == 1


def test_an_upload_whose_answer_is_lost_is_not_sent_again(
    compliance: Compliance, client: tweepy.Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = client.session.put

    def answer_lost(*arguments: object, **named: object) -> requests.Response:
        put(*arguments, **named)
        raise requests.ConnectionError("the answer is lost")

    monkeypatch.setattr(client.session, "put", answer_lost)
    assert ended(compliance, compliance.submit("tweets", ["1"], "daily", clock.now())).status == "complete"


def test_the_signed_addresses_are_given_no_token(
    compliance: Compliance, client: tweepy.Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str | None, bool]] = []
    send = client.session.send

    def spy(request: requests.PreparedRequest, **named: object) -> requests.Response:
        given.append((request.method, "Authorization" in request.headers))
        return send(request, **named)

    monkeypatch.setattr(client.session, "send", spy)
    job = ended(compliance, compliance.submit("tweets", ["1"], "daily", clock.now()))
    list(compliance.result(job))
    assert {token for method, token in given if method == "PUT"} == {False}
    assert given[-1] == ("GET", False)


def test_an_upload_that_is_cut_short_counts_for_nothing(
    service: Service,
    compliance: Compliance,
    client: tweepy.Client,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redact(service, "tweets", _2="deleted")
    job = not_uploaded(compliance, ["1", "2"], clock, monkeypatch)
    address = urlsplit(job.upload_url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=5) as connection:
        head = f"PUT {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 4\r\n\r\n"
        connection.sendall(head.encode() + b"1\n")
    again = compliance.submit("tweets", ["1", "2"], "daily", clock.now())
    assert again.id == job.id
    assert [gone.id for gone in compliance.result(ended(compliance, again))] == ["2"]


def test_another_job_of_the_type_is_waited_for(
    service: Service, compliance: Compliance, clock: Clock
) -> None:
    ours = compliance.submit("tweets", ["1"], "daily", clock.now())
    with pytest.raises(JobUnderWayError, match="another compliance job for tweets"):
        compliance.submit("tweets", ["2"], "daily", clock.now())
    ended(compliance, ours)
    assert compliance.submit("tweets", ["2"], "daily", clock.now()).id != ours.id


def test_a_job_that_was_never_uploaded_expires_and_another_takes_its_place(
    service: Service, compliance: Compliance, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = not_uploaded(compliance, ["1"], clock, monkeypatch)
    clock.ahead = timedelta(minutes=16)
    with pytest.raises(ComplianceError, match="ended as expired"):
        compliance.job(died.id)
    assert compliance.submit("tweets", ["1"], "daily", clock.now()).id != died.id


def test_a_result_is_had_for_a_week(service: Service, compliance: Compliance, clock: Clock) -> None:
    job = ended(compliance, compliance.submit("tweets", ["1"], "daily", clock.now()))
    clock.ahead = timedelta(days=7)
    with pytest.raises(
        ComplianceError, match=r"answers 400 for the result of compliance job \d+: it is kept"
    ):
        list(compliance.result(job))
    assert compliance.submit("tweets", ["1"], "daily", clock.now()).id != job.id


def test_a_result_with_an_unknown_reason_counts_as_a_deletion(
    service: Service, compliance: Compliance, clock: Clock, tmp_path: Path
) -> None:
    job = ended(compliance, compliance.submit("tweets", ["1"], "daily", clock.now()))
    (result,) = tmp_path.glob(f"compliance/{job.id}/result.ndjson")
    result.write_text('{"id":"1","action":"delete","reason":"withheld"}\n{"id":"2"}\n')
    assert [(gone.action, gone.reason) for gone in compliance.result(job)] == [
        (ComplianceAction.DELETE, "withheld"),
        (ComplianceAction.DELETE, "unknown"),
    ]
    for cut in ('{"id":"1","act', '["1"]', '{"id":"x1"}'):
        result.write_text('{"id":"1"}\n' + cut)
        with pytest.raises(ComplianceError, match=r"line 2 of the result .* names no id"):
            list(compliance.result(job))


def test_waiting_does_not_help_where_x_rejects(service: Service, clock: Clock) -> None:
    stranger = Compliance(api_client(Settings(x_api_url=service.url), "wrong"))
    with pytest.raises(RequestRejectedError, match="does not accept the token"):
        stranger.submit("tweets", ["1"], "daily", clock.now())
    service.api.faults.add({"kind": "http", "status": 403, "on": "compliance"})
    with pytest.raises(RequestRejectedError, match="may not use this endpoint"):
        Compliance(api_client(Settings(x_api_url=service.url), TOKEN)).job("1")


def test_a_post_whose_place_was_removed_is_searched_without_it(
    service: Service, client: tweepy.Client
) -> None:
    fields = {"tweet_fields": ["geo"], "expansions": ["geo.place_id"], "max_results": 100}
    found = client.search_recent_tweets(f"({APPLES}) has:geo", **fields)
    place = found["data"][0]["id"]
    assert "geo" in found["data"][0]
    redact(service, "tweets", **{f"_{place}": "scrub_geo"})
    (again,) = client.search_recent_tweets(
        APPLES, since_id=int(place) - 1, until_id=int(place) + 1, **fields
    )["data"]
    assert again["id"] == place
    assert "geo" not in again
