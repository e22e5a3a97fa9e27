"""No web page gets through any of the local servers, nor anybody without the world's credentials.

Each `Door` is one request that changes or tells something, as its rightful client sends it.
"""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Page, Response

from local.aws.trino import token
from local.databricks import mlflow
from local.processes import Processes, answers
from local.x_api.app import XApi
from streamer.health import HealthServer, Watched
from tests.browser import browser
from tests.credentials import CONTROL, CREDENTIALS, LOGIN, written
from tests.local.support_athena import LocalAthena
from tests.local.support_databricks import LocalDatabricks, task, work
from tests.local.support_x_api import QUIET, Service
from tests.ports import free_ports

pytestmark = pytest.mark.trino

EVIL = "evil.example"
BASIC = {"Authorization": "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode()}
JSON = {"Content-Type": "application/json"}
OBJECT, CONTENT = "models/sentiment/digest.tar.gz", b"the model"


@dataclass(frozen=True)
class Door:
    """A request that works, with the headers that let it in apart from the rest.

    ``state`` is what it changes; for one that only reads, None.
    """

    name: str
    url: str
    method: str
    opened: int
    """The status of the answer to the rightful client."""
    key: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    state: Callable[[], Any] | None = None
    shut: tuple[int, ...] = (401,)
    """The status without the key, and with a wrong one."""
    knows_hosts: bool = True
    """Whether the server itself looks at ``Host`` and ``Origin``; else its key alone keeps pages out."""

    @property
    def origin(self) -> str:
        """The server's address."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path(self) -> str:
        """What follows the server's address."""
        return self.url.removeprefix(self.origin)

    def ask(self, **headers: str) -> requests.Response:
        """Sends the request with its key, and with ``headers`` in the place of its own."""
        return self.send({**self.key, **headers})

    def send(self, headers: dict[str, str]) -> requests.Response:
        return requests.request(
            self.method, self.url, headers={**self.headers, **headers}, data=self.body, timeout=30
        )


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory, athena: LocalAthena) -> Iterator[list[Door]]:
    """One server of each kind."""
    with ExitStack() as stack:
        yield [
            *_aws(athena),
            _trino(athena),
            *_x(stack, tmp_path_factory.mktemp("x")),
            *_databricks(stack, tmp_path_factory.mktemp("databricks")),
            _mlflow(stack, tmp_path_factory.mktemp("mlflow")),
            _streamer(stack),
        ]


def _aws(athena: LocalAthena) -> list[Door]:
    s3, endpoint, bucket = athena.aws.client("s3", signature_version="s3v4"), athena.aws.endpoint, "doors"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=OBJECT, Body=CONTENT)

    def put(key: str) -> str:
        address: str = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": key})
        return address

    def objects() -> list[tuple[str, str]]:
        return [(entry["Key"], entry["ETag"]) for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]

    def faults() -> Any:
        return requests.get(f"{endpoint}/_local/firehose/faults", headers=CONTROL, timeout=5).json()

    fault = json.dumps({"kind": "s3-down", "seconds": 0.1})
    return [
        # Whoever has a signed address needs nothing else; a page that has one is rejected all the same.
        Door("S3, presigned", put("new"), "PUT", 200, body="replaced", state=objects),
        Door(
            *("Firehose's faults", f"{endpoint}/_local/firehose/faults", "POST", 201, CONTROL),
            **{"body": fault, "state": faults},
        ),
        Door("QuickSight's pages", f"{endpoint}/_local/quicksight/dashboards/x", "GET", 404, BASIC),
    ]


def _trino(athena: LocalAthena) -> Door:
    return Door(
        "Trino",
        f"{athena.trino_url}/v1/statement",
        "POST",
        200,
        {"Authorization": f"Bearer {token(CREDENTIALS)}"},
        {"X-Forwarded-Proto": "https", "X-Trino-User": "athena"},
        "SELECT 1",
        knows_hosts=False,
    )


def _x(stack: ExitStack, folder: Path) -> list[Door]:
    service = Service(XApi(QUIET, folder, CREDENTIALS))
    stack.callback(service.stop)
    bearer = {"Authorization": f"Bearer {CREDENTIALS.x_bearer_token}"}
    rules = f"{service.url}/2/tweets/search/stream/rules"
    fault = json.dumps({"kind": "http", "seconds": 0.1})
    return [
        Door(
            *("X's rules", rules, "POST", 201, bearer, JSON, json.dumps({"add": [{"value": "tea"}]})),
            state=lambda: requests.get(rules, headers=bearer, timeout=5).json().get("data", []),
        ),
        Door(
            *("X's faults", f"{service.url}/_local/faults", "POST", 201, CONTROL, JSON, fault),
            state=service.api.faults.to_json,
        ),
        Door("X's journal", f"{service.url}/_local/journal", "GET", 200, CONTROL),
    ]


def _databricks(stack: ExitStack, folder: Path) -> list[Door]:
    server = LocalDatabricks(folder).start()
    stack.callback(server.stop)
    bearer = {"Authorization": f"Bearer {CREDENTIALS.databricks_token}"}
    job = json.dumps({"name": "job", **work(task("only", "echo"))})
    listed = f"{server.url}/api/2.2/jobs/list"
    return [
        Door(
            *("Databricks' jobs", f"{server.url}/api/2.2/jobs/create", "POST", 200, bearer, JSON, job),
            state=lambda: requests.get(listed, headers=bearer, timeout=5).json(),
            shut=(401, 403),
        ),
        Door("Databricks' pages", f"{server.url}/jobs/1/runs/1", "GET", 404, BASIC),
    ]


def _mlflow(stack: ExitStack, folder: Path) -> Door:
    port = free_ports()
    url = f"http://127.0.0.1:{port}"
    written(folder)
    processes = stack.enter_context(Processes(folder / "logs", folder / "processes.json"))
    server = processes.start("mlflow", mlflow.command(port, folder), mlflow.environment())
    server.wait_until(lambda: answers(f"{url}/health"), 120)
    api = f"{url}/api/2.0/mlflow/experiments"
    created = json.dumps({"name": f"experiment-{uuid.uuid4().hex}"})
    found = {"max_results": 100}
    return Door(
        *("MLflow", f"{api}/create", "POST", 200, BASIC, JSON, created),
        state=lambda: len(
            requests.post(f"{api}/search", json=found, headers=BASIC, timeout=10).json()["experiments"]
        ),
    )


def _streamer(stack: ExitStack) -> Door:
    server = HealthServer("127.0.0.1", 0, Watched(lambda: {"received": 7}, lambda: None, lambda: None))
    stack.callback(server.close)
    return Door("the streamer's status", f"http://127.0.0.1:{server.port}/status", "GET", 200)


def _unchanged(doors: list[Door]) -> Callable[[], None]:
    """What fails if any state is another by then."""
    before = [door.state() if door.state else None for door in doors]

    def check() -> None:
        assert [door.state() if door.state else None for door in doors] == before

    return check


def test_another_host_is_rejected(doors: list[Door]) -> None:
    unchanged = _unchanged(doors)
    for door in doors:
        for host in (EVIL, f"{EVIL}:{urlsplit(door.url).port}", "192.0.2.1", ""):
            if door.knows_hosts:
                assert door.ask(Host=host).status_code in (400, 403), (door.name, host)
            else:
                assert door.send({"Host": host}).status_code in (400, 401, 403), (door.name, host)
    unchanged()


def test_another_origin_is_rejected(doors: list[Door]) -> None:
    unchanged = _unchanged(doors)
    for door in doors:
        for headers in (
            {"Origin": f"http://{EVIL}"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        ):
            answer = door.ask(**headers) if door.knows_hosts else door.send(headers)
            assert answer.status_code in ((403,) if door.knows_hosts else (401,)), (door.name, headers)
            assert "access-control-allow-origin" not in answer.headers, door.name
    unchanged()


def test_a_preflight_is_answered_with_no_permission(doors: list[Door]) -> None:
    asks = {"Origin": f"http://{EVIL}", "Access-Control-Request-Method": "PUT"}
    for door in doors:
        answer = requests.options(door.url, headers=asks, timeout=10)
        assert answer.status_code >= 400, door.name
        assert not [name for name in answer.headers if name.lower().startswith("access-control")], door.name


def test_without_the_key_and_with_a_wrong_one_nobody_is_let_in(doors: list[Door]) -> None:
    unchanged = _unchanged(doors)
    for door in (door for door in doors if door.key):
        scheme = door.key["Authorization"].partition(" ")[0]
        for wrong in ({}, *({"Authorization": f"{scheme} {key}"} for key in ("", "x", "YWRtaW46YWRtaW4="))):
            answer = door.send(wrong)
            assert answer.status_code in door.shut, (door.name, wrong, answer.text)
    unchanged()


def test_a_rejection_comes_in_the_form_of_the_service(doors: list[Door]) -> None:
    by_name = {door.name: door for door in doors}
    s3 = by_name["S3, presigned"].ask(Origin=f"http://{EVIL}")
    assert "<Code>AccessDenied</Code>" in s3.text
    target = {"X-Amz-Target": "Firehose_20150804.PutRecord", "Origin": f"http://{EVIL}"}
    firehose = requests.post(by_name["S3, presigned"].origin, headers=target, data="{}", timeout=5)
    assert (firehose.status_code, firehose.json()["__type"]) == (403, "AccessDenied")
    x = by_name["X's rules"].ask(Origin="null")
    assert (x.headers["content-type"], x.json()["title"]) == ("application/problem+json", "Forbidden")
    assert by_name["Databricks' jobs"].ask(Origin="null").json()["error_code"] == "PERMISSION_DENIED"


HOSTILE = """
async ({url, method, headers, body, simple}) => {
  const told = [];
  const tell = async (kind, work) => {
    try { const answer = await work(); told.push([kind, answer.type, answer.status]); }
    catch (error) { told.push([kind, "failed", 0]); }
  };
  const form = () => { const data = new FormData(); data.append("key", "models/sentiment/digest.tar.gz");
    data.append("file", new Blob(["replaced"]), "digest.tar.gz"); return data; };
  await tell("preflighted", () => fetch(url, {method, headers, body: method === "GET" ? undefined : body}));
  if (simple) {
    await tell("text", () => fetch(url, {method: "POST", mode: "no-cors", body}));
    await tell("form data", () => fetch(simple, {method: "POST", mode: "no-cors", body: form()}));
    await tell("get", () => fetch(url, {mode: "no-cors"}));
    await tell("image", () => new Promise((done) => { const image = new Image();
      image.onload = () => done({type: "image", status: 200});
      image.onerror = () => done({type: "image", status: 0}); image.src = url; }));
    await tell("form", () => new Promise((done) => {
      const frame = document.createElement("iframe"); frame.name = `f${Math.random()}`;
      document.body.append(frame);
      const sent = document.createElement("form");
      Object.assign(sent, {action: simple, method: "POST", target: frame.name});
      sent.enctype = "multipart/form-data";
      for (const [name, value] of [["key", "models/sentiment/digest.tar.gz"], ["file", "replaced"]]) {
        const input = document.createElement("textarea"); input.name = name; input.value = value;
        sent.append(input);
      }
      document.body.append(sent);
      frame.onload = () => done({type: "frame", status: 0}); setTimeout(() => sent.submit());
    }));
  }
  return told;
}
"""


class _Hostile(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<!doctype html><title>hostile</title><body></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def hostile() -> Iterator[int]:
    """The port of a server of hostile pages."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a browser for which the hostile host is this machine, and that protects no local servers."""
    without = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
    with browser(f"--host-resolver-rules=MAP {EVIL} 127.0.0.1", without) as chromium:
        yield chromium.new_page()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", EVIL])
def test_a_hostile_page_of_another_port_reaches_nothing(
    doors: list[Door], hostile: int, page: Page, host: str
) -> None:
    unchanged = _unchanged(doors)
    page.goto(f"http://{host}:{hostile}/")
    for door in doors:
        told, statuses = _attack(page, door, door.url, f"{door.origin}/doors")
        assert {kind for kind, _, _ in told} >= {"preflighted", "text", "form data", "get", "image", "form"}
        assert told[0][1:] == ["failed", 0], (door.name, told)
        # It gets to see no answer: those without a preflight are opaque, and no image is drawn.
        assert {(kind, status) for _, kind, status in told} <= {
            *(("failed", 0), ("opaque", 0), ("image", 0), ("frame", 0))
        }, (door.name, told)
        # They were sent, and rejected: of preflights, blocked images and closed connections it tells nothing.
        assert statuses, door.name
        assert min(statuses) >= 400, (door.name, statuses)
    unchanged()


def test_a_page_whose_host_comes_to_mean_this_machine_reaches_nothing(doors: list[Door], page: Page) -> None:
    unchanged = _unchanged(doors)
    for door in doors:
        rebound = f"http://{EVIL}:{urlsplit(door.url).port}"
        # The page came from elsewhere; since then its host name leads here.
        page.route(f"{rebound}/hostile", lambda route: route.fulfill(content_type="text/html", body="<p>hi"))
        page.goto(f"{rebound}/hostile")
        told, statuses = _attack(page, door, f"{rebound}{door.path}", None)
        (_, kind, status), *_ = told
        # It reads the answer, for the browser takes the server for the page's own: it must tell nothing.
        assert (kind, status) == ("basic", statuses[0]), (door.name, told)
        assert status in ((403,) if door.knows_hosts else (401,)), (door.name, told)
    unchanged()


def _attack(page: Page, door: Door, url: str, simple: str | None) -> tuple[list[list[Any]], list[int]]:
    """What the page is told of its attempts, and the statuses that the server gave."""
    statuses: list[int] = []

    def note(response: Response) -> None:
        if urlsplit(response.url).port == urlsplit(door.url).port:
            statuses.append(response.status)

    # The key helps nobody where the server knows its hosts; elsewhere it is what keeps pages out.
    headers = {**door.headers, **(door.key if door.knows_hosts else {})}
    page.on("response", note)
    told: list[list[Any]] = page.evaluate(
        HOSTILE,
        {"url": url, "method": door.method, "headers": headers, "body": door.body, "simple": simple},
    )
    page.remove_listener("response", note)
    return told, statuses


def test_the_same_requests_work_without_a_page_and_with_the_key(doors: list[Door]) -> None:
    for door in doors:
        before = door.state() if door.state else None
        assert door.ask().status_code == door.opened, door.name
        if door.state:
            assert door.state() != before, door.name
