"""The whole streamer as a process, against X's and AWS' stand-ins."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from local.credentials import CREDENTIALS_FILE
from tests.credentials import AWS_ENVIRONMENT, CONTROL, CREDENTIALS, written
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
TOKEN = CREDENTIALS.x_bearer_token
_HANGS_SECONDS = 500
"""A command that takes longer hangs; how long one takes is not what is tested."""
BUCKET = "x-opinion-lake"


def healthy(address: str) -> bool:
    return requests.get(address, timeout=2).ok


def until(met: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := met():
                return found
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Clouds:
    x_port: int
    aws_port: int
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPINION_")}
        return {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.aws_port}",
            **AWS_ENVIRONMENT,
            "OPINION_X_API_URL": f"http://127.0.0.1:{self.x_port}",
        }

    def client(self, service: str) -> Any:
        return boto3.client(  # pyrefly: ignore[no-matching-overload]
            service,
            endpoint_url=f"http://127.0.0.1:{self.aws_port}",
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS.access_key_id,
            aws_secret_access_key=CREDENTIALS.secret_access_key,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            env={**self.environment, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_HANGS_SECONDS,
        )

    def start(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env={**self.environment, **environment},
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def objects(self, prefix: str) -> Iterator[bytes]:
        s3 = self.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for found in page.get("Contents", ()):
                yield s3.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read()

    def lines(self, prefix: str) -> list[dict[str, Any]]:
        return [
            json.loads(line) for whole in self.objects(prefix) for line in gzip.decompress(whole).splitlines()
        ]


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    folder = tmp_path_factory.mktemp("clouds")
    clouds = Clouds(free_ports(), free_ports(), folder)
    file = str(written(folder))
    clouds.start(
        "x_api",
        *("local.x_api", "--port", str(clouds.x_port), "--state", str(folder / "x")),
        *("--rate", "54000", "--credentials", file),
    )
    aws_state = ("--state", str(folder / "aws"), "--credentials", file)
    clouds.start("aws", "local.aws", "--port", str(clouds.aws_port), *aws_state)
    try:
        for port in (clouds.x_port, clouds.aws_port):
            health = f"http://127.0.0.1:{port}/_local/health"
            until(partial(healthy, health), health)
        prepared = clouds.run(
            *("local.aws.bootstrap", "--endpoint", f"http://127.0.0.1:{clouds.aws_port}"),
            *("--credentials", file, "--buffering-seconds", "1"),
        )
        assert prepared.returncode == 0, prepared.stderr
        yield clouds
    finally:
        for process in clouds.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture(scope="module")
def rules_url(clouds: Clouds) -> str:
    """An X of its own whose rules change, with few posts: it makes every post of an hour to count them."""
    port = free_ports()
    state = str(clouds.folder / "x_rules")
    credentials = ("--credentials", str(clouds.folder / CREDENTIALS_FILE))
    clouds.start(
        "x_rules", "local.x_api", "--port", str(port), "--state", state, "--rate", "600", *credentials
    )
    url = f"http://127.0.0.1:{port}"
    until(lambda: requests.get(f"{url}/_local/health", timeout=2).ok, url)
    return url


def streaming(clouds: Clouds, http_port: int) -> subprocess.Popen[bytes]:
    spool = str(clouds.folder / "spool")
    return clouds.start(
        "streamer",
        *("streamer", "run", "--spool", spool, "--http-port", str(http_port), "--heartbeat-seconds", "1"),
    )


def test_killed_and_stopped_the_streamer_delivers_every_post_that_it_bought(clouds: Clouds) -> None:
    port = free_ports()

    def status() -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(f"http://127.0.0.1:{port}/status", timeout=2).json()
        assert answer["received"] <= answer["delivered"] + answer["pending"], answer
        return answer

    first = streaming(clouds, port)
    until(lambda: status()["received"] >= 60, "60 posts")
    assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=2).text == "ok\n"
    assert (
        "x_opinion_streamer_connected 1" in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=2).text
    )

    second = clouds.run(
        *("streamer", "run", "--spool", str(clouds.folder / "spool"), "--http-port", str(free_ports()))
    )
    assert second.returncode == 4
    assert f"pid {first.pid}" in second.stderr

    rules = clouds.run("streamer", "rules", "plan", "--count-hours", "0").stdout
    assert [line.split()[:2] for line in rules.splitlines()[:2]] == [["keep", "ukraine"], ["keep", "russia"]]

    first.send_signal(signal.SIGKILL)
    first.wait()
    third = streaming(clouds, port)
    until(lambda: status()["received"] >= 40, "40 posts more")
    shown = json.loads(clouds.run("streamer", "status", "--http-port", str(port)).stdout)
    assert shown["state"] == "connected"
    assert shown["connects"] == 1

    third.send_signal(signal.SIGTERM)
    assert third.wait(timeout=60) == 0

    # Firehose may deliver a record twice: the time of receipt tells that from a post that X sent twice.
    bought = sum(json.loads(whole)["posts"] for whole in clouds.objects("posts/"))
    assert bought >= 100

    def arrived() -> set[tuple[str, str, str]]:
        return {
            (line["data"]["id"], line["ingest"]["session"], line["ingest"]["received_at"])
            for line in clouds.lines("raw/")
        }

    until(lambda: len(arrived()) >= bought, f"{bought} posts in raw")
    assert len(arrived()) == bought
    raw = clouds.lines("raw/")
    assert {line["matching_rules"][0]["tag"] for line in raw} == {"ukraine", "russia"}
    assert {line["ingest"]["source"] for line in raw} == {"stream"}
    assert {line["ingest"]["rule_hash"] for line in raw} == {shown["rule_hash"]}

    until(
        lambda: "stop" in {line.get("event") for line in clouds.lines("heartbeats/")},
        "the last session record in the lake",
    )
    about = clouds.lines("heartbeats/")
    killed, stopped = sorted({line["session"] for line in about})
    events = {
        session: [line["event"] for line in about if line["kind"] == "session" and line["session"] == session]
        for session in (killed, stopped)
    }
    assert events[killed] == ["start", "connect"]
    assert events[stopped] == ["start", "connect", "disconnect", "stop"]
    beats = [line for line in about if line["kind"] == "heartbeat" and line["session"] == stopped]
    assert beats[-1]["pending"] == 0
    assert beats[-1]["at"] >= beats[-1]["watermark"] >= max(line["ingest"]["received_at"] for line in raw)
    assert beats[-1]["received"] == Counter(line["ingest"]["session"] for line in raw)[stopped]
    assert all(beat["watermark"] <= beat["at"] for beat in beats)

    logs = (clouds.folder / "streamer.log").read_text()
    assert TOKEN not in logs
    assert all(json.loads(line)["level"] for line in logs.splitlines())


def test_what_a_killed_streamer_left_is_delivered_by_drain_and_never_beside_a_running_one(
    clouds: Clouds,
) -> None:
    folder, port = clouds.folder / "drained", free_ports()
    run = ("streamer", "run", "--spool", str(folder), "--http-port", str(port))
    process = clouds.start("drained", *run, OPINION_DELIVERY_STREAM="absent")

    def left() -> int:
        pending: int = requests.get(f"http://127.0.0.1:{port}/status", timeout=2).json()["pending"]
        return pending

    until(lambda: left() >= 10, "records that no stream takes")
    rejected = clouds.run("streamer", "drain", "--spool", str(folder))
    assert (rejected.returncode, f"pid {process.pid}" in rejected.stderr) == (4, True)
    process.kill()
    process.wait()
    stuck = clouds.run(
        *("streamer", "drain", "--spool", str(folder), "--seconds", "0.5"), OPINION_DELIVERY_STREAM="absent"
    )
    assert stuck.returncode == 1
    assert stuck.stdout.startswith("0 records delivered, ")
    drained = clouds.run("streamer", "drain", "--spool", str(folder))
    assert drained.returncode == 0, drained.stderr
    assert drained.stdout.endswith(" records delivered, 0 left\n")
    assert int(drained.stdout.split()[0]) == int(stuck.stdout.split()[3])


def test_check_tries_everything_and_says_what_to_do(clouds: Clouds) -> None:
    well = clouds.run("streamer", "check")
    assert well.returncode == 0, well.stdout
    assert [line.split()[:2] for line in well.stdout.splitlines()] == [
        ["ok", name] for name in ("token", "clock", "rules", "firehose", "ledger")
    ]
    failed = clouds.run("streamer", "check", X_BEARER_TOKEN="wrong", OPINION_DELIVERY_STREAM="absent")
    assert failed.returncode == 3
    assert "FAILED token     http 401" in failed.stdout
    assert (
        "put a valid bearer token of an app with filtered stream into x-opinion/x-bearer-token"
        in failed.stdout
    )
    assert "infra/delivery_stream.yaml makes it" in failed.stdout
    assert TOKEN not in well.stdout + well.stderr + failed.stdout
    clocks = f"http://127.0.0.1:{clouds.x_port}/_local/faults"
    requests.post(
        clocks, json={"kind": "clock-skew", "offset": 300, "seconds": 60}, headers=CONTROL, timeout=5
    )
    skewed = clouds.run("streamer", "check")
    requests.delete(clocks, headers=CONTROL, timeout=5)
    assert skewed.returncode == 1
    assert "FAILED clock     X's clock is 300 s ahead" in skewed.stdout.replace("299", "300")
    assert "NTP" in skewed.stdout


def test_rules_are_planned_with_xs_verdict_before_they_are_applied(clouds: Clouds, rules_url: str) -> None:
    text = (ROOT / "include" / "topics.yaml").read_text(encoding="utf-8")
    topics = clouds.folder / "changed.yaml"
    topics.write_text(text.replace("en: [russia,", "en: [siberia, russia,"), encoding="utf-8")
    former = clouds.run("streamer", "rules", "apply", "--count-hours", "0", OPINION_X_API_URL=rules_url)
    assert former.stdout.endswith(": applied\n")
    environment = {"OPINION_TOPICS_FILE": str(topics), "OPINION_X_API_URL": rules_url}
    planned = clouds.run("streamer", "rules", "plan", "--count-hours", "1", **environment)
    matched = r"the topics match about [0-9,]+ posts \(\$[0-9,.]+\) a month, by X's counts of the last 1 h"
    assert re.search(matched, planned.stdout)
    assert "the budget is 100,000 posts ($500.00)" in planned.stdout
    assert planned.returncode == 0, planned.stderr
    assert re.findall(r"^(add|delete|keep|rule) ", planned.stdout, re.MULTILINE) == [
        "add",
        "add",
        "delete",
        "delete",
        "rule",
    ]
    assert "characters" in planned.stdout
    applied = clouds.run("streamer", "rules", "apply", **environment)
    assert applied.stdout.endswith(": applied\n")
    again = clouds.run("streamer", "rules", "plan", "--count-hours", "0", **environment).stdout
    assert [line.split()[0] for line in again.splitlines()] == ["keep", "keep", "rule"]


def test_rules_are_planned_at_once_where_x_gives_no_counts(clouds: Clouds, rules_url: str) -> None:
    wanted = {"kind": "http", "status": 429, "reset": 800, "on": "counts"}
    faults = f"{rules_url}/_local/faults"
    requests.post(faults, json=wanted, headers=CONTROL, timeout=5).raise_for_status()
    planned = clouds.run("streamer", "rules", "plan", OPINION_X_API_URL=rules_url)
    assert "posts per month: unknown, X returns no counts (PatienceError)" in planned.stdout
    (fault,) = requests.get(faults, headers=CONTROL, timeout=5).json()["data"]
    assert (fault["state"], fault["struck"]) == ("ended", 1)


def test_the_stream_ends_with_the_last_post_of_the_months_budget(clouds: Clouds) -> None:
    # X has billed also what it sent to a killed streamer: a new spool takes that over.
    def billed() -> int:
        usage = requests.get(
            f"http://127.0.0.1:{clouds.x_port}/2/usage/tweets?days=1&usage.fields=daily_project_usage",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=5,
        ).json()["data"]["daily_project_usage"]["usage"]
        return sum(int(day["usage"]) for day in usage)

    used = max(sum(json.loads(whole)["posts"] for whole in clouds.objects("posts/")), billed())
    text = (ROOT / "include" / "topics.yaml").read_text(encoding="utf-8")
    topics = clouds.folder / "small.yaml"
    topics.write_text(text.replace("monthly_posts: 100000", f"monthly_posts: {used + 5}"), encoding="utf-8")
    port = free_ports()
    streamer = clouds.start(
        "small",
        *("streamer", "run", "--spool", str(clouds.folder / "small"), "--http-port", str(port)),
        OPINION_TOPICS_FILE=str(topics),
    )

    def status() -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(f"http://127.0.0.1:{port}/status", timeout=2).json()
        return answer

    shown = until(lambda: (now := status())["state"] == "budget_exhausted" and now, "the end of the budget")
    bought = shown["posts_bought"]
    assert bought >= 5, "what came in one chunk with the last one is billed too, and kept"
    assert used + bought <= billed()
    assert (shown["received"], shown["connects"]) == (bought, 1)
    assert shown["disconnects"] == {"budget_exhausted": 1}
    streamer.terminate()
    assert streamer.wait(timeout=60) == 0
    assert sum(json.loads(whole)["posts"] for whole in clouds.objects("posts/")) == used + bought


def test_a_token_that_x_rejects_ends_the_streamer_with_a_sentence(clouds: Clouds) -> None:
    rejected = clouds.run(
        *("streamer", "run", "--spool", str(clouds.folder / "other"), "--http-port", str(free_ports())),
        X_BEARER_TOKEN="wrong",
    )
    assert rejected.returncode == 3
    assert "X rejects the token" in rejected.stderr
    assert "Traceback" not in rejected.stderr
    assert clouds.run("streamer", "rules", "plan", X_BEARER_TOKEN="wrong").returncode == 3


def test_wrong_topics_and_a_missing_token_are_told_before_anything_starts(clouds: Clouds) -> None:
    topics = clouds.folder / "topics.yaml"
    topics.write_text("topics: [\n")
    run = ("streamer", "run", "--spool", str(clouds.folder / "unused"))
    wrong = clouds.run(*run, OPINION_TOPICS_FILE=str(topics))
    assert wrong.returncode == 2
    assert "topics.yaml:2: this is not YAML" in wrong.stderr
    missing = clouds.run(*run, OPINION_X_TOKEN_SECRET="absent")
    assert missing.returncode == 2
    assert "Secrets Manager has no secret 'absent'" in missing.stderr
    assert not (clouds.folder / "unused").exists()


def test_without_token_and_region_the_streamer_says_what_to_set() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "streamer", "rules", "plan"],
        env={"PATH": os.environ["PATH"], "AWS_CONFIG_FILE": os.devnull},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 2
    assert "set X_BEARER_TOKEN, or AWS_DEFAULT_REGION" in told.stderr


def test_the_streamer_needs_neither_airflow_nor_the_lakes_heavy_libraries() -> None:
    heavy = "{'airflow', 'numpy', 'pandas', 'pyarrow'}"
    program = f"import sys, streamer.__main__; print({heavy} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout == "set()\n"


def test_status_without_a_streamer_says_so(clouds: Clouds) -> None:
    told = clouds.run("streamer", "status", "--http-port", str(free_ports()))
    assert told.returncode == 1
    assert "no streamer answers at" in told.stderr
