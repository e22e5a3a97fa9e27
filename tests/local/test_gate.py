"""What a stand-in shows a browser that opens its bare address, and whom else that changes nothing for."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from include.web_guard import WebGuard
from local.front_page import front_page
from local.gate import Gate

FRONT = front_page("A <service>", "It answers.", {"Health": "/health?a=1&b=2"})
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def client() -> TestClient:
    guard = WebGuard.bound_to("127.0.0.1", [])
    gate = Gate(PlainTextResponse("the service"), guard, {}, front=FRONT)
    return TestClient(gate, base_url="http://127.0.0.1:8082")


def test_a_browser_is_shown_what_a_stand_in_is(client: TestClient) -> None:
    answer = client.get("/", headers=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>A &lt;service&gt;</h1>" in answer.text
    assert 'href="/health?a=1&amp;b=2"' in answer.text
    assert client.head("/", headers=BROWSER).content == b""


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/", {"Accept": "application/json"}),
        ("/", {**BROWSER, "Authorization": "AWS4-HMAC-SHA256 Credential=x"}),
        ("/?Action=ListQueues", BROWSER),
        ("/bucket", BROWSER),
    ],
)
def test_clients_of_the_service_reach_the_service(
    client: TestClient, path: str, headers: dict[str, str]
) -> None:
    assert client.get(path, headers=headers).text == "the service"
    assert client.post("/", headers=BROWSER).text == "the service"


def test_a_foreign_page_is_shown_nothing(client: TestClient) -> None:
    assert client.get("/", headers={**BROWSER, "Host": "evil.example"}).status_code == 403
