"""`provision` tells a pool that does not limit SageMaker's jobs from one that does, and says what to run."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import boto3
import pytest
from airflow.cli.cli_parser import get_parser
from airflow.sdk.exceptions import AirflowFailException
from botocore.stub import Stubber

from include.operators import provision
from include.provision import pool
from include.provision.pool import AirflowApiError, ApiReader, fault, over_http, through_mwaa
from local.endpoints import Endpoints
from tests.credentials import CREDENTIALS

GOOD = {"name": "sagemaker", "slots": 4, "include_deferred": True}
BAD = [
    (None, "There is no pool 'sagemaker'"),
    ({**GOOD, "slots": 0}, "has no slots"),
    ({**GOOD, "slots": -1}, "has no limit"),
    ({**GOOD, "include_deferred": False}, "does not count deferred tasks"),
]


class Airflow(BaseHTTPRequestHandler):
    """As much of Airflow's API as a pool needs; whoever logs in as `reader` may read it."""

    pool: Mapping[str, Any] | None = GOOD

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        login = json.load(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
        right = self.path == "/auth/token" and login == {"username": "reader", "password": "secret"}
        self._answer(201 if right else 401, {"access_token": "token"} if right else {"detail": "Invalid"})

    def do_GET(self) -> None:
        if self.headers["Authorization"] != "Bearer token":
            self._answer(401, {"detail": "Not authenticated"})
        elif self.path == "/api/v2/pools/sagemaker" and self.pool is not None:
            self._answer(200, self.pool)
        else:
            self._answer(404, {"detail": "The Pool was not found"})

    def _answer(self, status: int, content: Mapping[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Airflow) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def remedy(sentence: str) -> Any:
    """The command that a sentence says to run, as Airflow's own command line understands it."""
    command = sentence.split("`")[1]
    return get_parser().parse_args(shlex.split(command)[1:])


def test_a_pool_that_counts_deferred_tasks_is_right() -> None:
    assert fault("sagemaker", lambda _: GOOD) is None


def test_a_name_is_one_part_of_the_path() -> None:
    asked: list[str] = []
    fault("jobs / week", lambda path: asked.append(path))
    assert asked == ["/pools/jobs%20%2F%20week"]


@pytest.mark.parametrize(("made", "reason"), BAD)
def test_what_is_wrong_is_said_with_the_command_that_mends_it(
    made: Mapping[str, Any] | None, reason: str
) -> None:
    found = fault("sagemaker", lambda _: made)
    assert found
    assert reason in found
    command = remedy(found)
    assert (command.pool, command.slots, command.include_deferred) == ("sagemaker", 4, True)


@pytest.mark.parametrize(("username", "password"), [("reader", "secret"), (None, "token")])
def test_the_pool_is_read_with_a_login_or_a_token(
    address: str, monkeypatch: pytest.MonkeyPatch, username: str | None, password: str
) -> None:
    read = over_http(address, username, password)
    assert read("/pools/sagemaker") == GOOD
    monkeypatch.setattr(Airflow, "pool", None)
    assert read("/pools/sagemaker") is None


@pytest.mark.parametrize(("username", "password"), [("reader", "wrong-secret"), (None, "wrong-secret")])
def test_a_rejection_is_no_missing_pool_and_names_no_password(
    address: str, username: str | None, password: str
) -> None:
    with pytest.raises(AirflowApiError, match="answered 401") as rejected:
        over_http(address, username, password)("/pools/sagemaker")
    assert password not in str(rejected.value)


def test_an_airflow_that_is_down_is_named() -> None:
    with pytest.raises(AirflowApiError, match=r"127\.0\.0\.1:9 does not answer"):
        over_http("http://127.0.0.1:9", "reader", "secret")("/pools/sagemaker")


def test_mwaa_is_asked_through_its_own_api() -> None:
    mwaa = boto3.client("mwaa", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    asked = {"Name": "x-opinion", "Path": "/pools/sagemaker", "Method": "GET"}
    rejection = "RestApiClientException"
    with Stubber(mwaa) as stub:
        stub.add_response("invoke_rest_api", {"RestApiStatusCode": 200, "RestApiResponse": GOOD}, asked)
        for status in (404, 403):
            stub.add_client_error("invoke_rest_api", rejection, modeled_fields={"RestApiStatusCode": status})
        read = through_mwaa(mwaa, "x-opinion")
        assert read("/pools/sagemaker") == GOOD
        assert read("/pools/sagemaker") is None
        with pytest.raises(AirflowApiError, match="InvokeRestApi of x-opinion, GET /pools/sagemaker"):
            read("/pools/sagemaker")


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (
            Endpoints(8080, CREDENTIALS).airflow_connection(),
            ("http://127.0.0.1:8080", "admin", "known"),
        ),
        ({"host": "api.example.org", "password": "t"}, ("https://api.example.org", None, "t")),
        ({"host": "api", "schema": "http", "port": 80, "password": "t"}, ("http://api:80", None, "t")),
    ],
)
def test_the_connection_says_whom_to_ask_and_as_whom(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], expected: tuple[str, str | None, str]
) -> None:
    asked: list[tuple[str | None, ...]] = []
    monkeypatch.setattr(pool, "over_http", lambda *told: asked.append(told))
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_DEFAULT", json.dumps({"conn_type": "http", **connection}))
    provision._airflow_api()
    address, username, password = expected
    assert asked == [(address, username, CREDENTIALS.password if password == "known" else password)]


def test_without_a_connection_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_AIRFLOW_DEFAULT", raising=False)
    assert provision._airflow_api() is None


def checked(monkeypatch: pytest.MonkeyPatch, read: ApiReader | None) -> list[str]:
    monkeypatch.setattr(provision, "_airflow_api", lambda: read)
    found: list[str] = provision.pool.function()
    return found


def test_the_task_fails_for_good_with_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(monkeypatch, lambda _: GOOD) == []
    with pytest.raises(AirflowFailException, match="airflow pools set sagemaker 4"):
        checked(monkeypatch, lambda _: None)


def test_without_a_connection_the_task_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert checked(monkeypatch, None) == []
    assert "was not checked: there is no connection airflow_default" in caplog.text
