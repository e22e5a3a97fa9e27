"""Both stand-ins and a streamer between them: started afresh, watched, and inspected afterward."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import boto3
import requests

from include.settings import Settings
from include.x.topics import Topics, load
from local.aws.context import REGION
from local.credentials import Credentials
from local.processes import dies_with_parent
from local.proof.reconcile import Evidence, alive, journal, lake_lines, lake_posts, sent_posts

ROOT = Path(__file__).parents[2]
SEED = 1
"""Of the synthetic posts."""
HEARTBEAT_SECONDS = "0.5"
PLENTY_OF_POSTS = 10**9
"""The month's budget: at these rates the topics file's budget would soon lower the sample and the load."""
X, FIREHOSE = "X", "Firehose"
"""Whose faults there are."""
PORTS = 3
"""How many neighboring ports a bench uses."""
_QUARTER_MS = 15 * 60 * 1000
_STOPS_SECONDS = 60.0
_DELIVERS_SECONDS = 300.0
_DRY_SECONDS = 1.5
"""A streamer that has received nothing for this long has read everything."""


class BenchError(RuntimeError):
    """The test could not be run."""


@dataclass
class Bench:
    """Both stand-ins and the streamer, on three neighboring ports."""

    folder: Path
    first_port: int
    rate: float
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def credentials_file(self) -> Path:
        """The file with the stand-ins' credentials."""
        return self.folder / "credentials.json"

    @cached_property
    def credentials(self) -> Credentials:
        """The same, read."""
        return Credentials.of(self.credentials_file)

    @property
    def x_url(self) -> str:
        """The address of X's stand-in."""
        return f"http://127.0.0.1:{self.first_port}"

    @property
    def aws_url(self) -> str:
        """The address of the local AWS."""
        return f"http://127.0.0.1:{self.first_port + 1}"

    @property
    def topics_file(self) -> Path:
        """The topics with `PLENTY_OF_POSTS`."""
        return self.folder / "topics.yaml"

    @property
    def topics(self) -> Topics:
        """What is measured."""
        return load(self.topics_file)

    @property
    def environment(self) -> dict[str, str]:
        """What every process is started with."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPINION_")}
        return {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
            "OPINION_X_API_URL": self.x_url,
            "OPINION_TOPICS_FILE": str(self.topics_file),
            "X_BEARER_TOKEN": self.credentials.x_bearer_token,
        }

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a module of the project; its output goes to a log in the folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent(signal.SIGKILL),
            )
        self.processes.append(process)
        return process

    def start_streamer(self, name: str = "streamer", spool: str = "spool") -> subprocess.Popen[bytes]:
        """Starts the streamer on a spool in the folder, and waits until X streams to it."""
        process = self.start(
            name,
            *("streamer", "run", "--spool", str(self.folder / spool)),
            *("--http-port", str(self.first_port + 2), "--heartbeat-seconds", HEARTBEAT_SECONDS),
        )
        self.until(lambda: self.x("status")["connections"], "the streamer connects", process)
        return process

    def stop_streamer(self, process: subprocess.Popen[bytes]) -> int:
        """Stops the streamer; returns the exit status, raises `BenchError` if it does not end."""
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_STOPS_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"the streamer still runs {_STOPS_SECONDS:g} s after SIGTERM") from error

    def run_dry(self, process: subprocess.Popen[bytes]) -> None:
        """Stops X's posts, and waits until the streamer has read and delivered those that were sent.

        A streamer loses the posts that are on their way when it stops. X sends nothing until `clear_faults`.
        """
        self.switch_on(X, [{"kind": "keep-alives-only", "seconds": 600}])
        seen, since = -1, time.monotonic()

        def dry() -> bool:
            nonlocal seen, since
            status = self.status()
            if status["received"] != seen:
                seen, since = status["received"], time.monotonic()
            return time.monotonic() - since >= _DRY_SECONDS and not status["pending"]

        self.until(dry, "everything is read and delivered", process, _DELIVERS_SECONDS)

    def x(self, path: str) -> Any:
        """The state of X's stand-in."""
        return self._control("GET", f"{self.x_url}/_local/{path}").json()

    def status(self) -> dict[str, Any]:
        """The streamer's status; raises requests' exceptions."""
        answer = requests.get(f"http://127.0.0.1:{self.first_port + 2}/status", timeout=10)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told

    def switch_on(self, side: str, faults: Sequence[Mapping[str, Any]]) -> list[str]:
        """Switches faults on at `X` or `FIREHOSE`; returns their ids."""
        answer = self._control("POST", self._faults_url(side), json=list(faults))
        if answer.status_code != requests.codes.created:
            raise BenchError(f"{side}: {answer.text}")
        return [fault["id"] for fault in answer.json()["data"]]

    def faults(self, side: str) -> dict[str, dict[str, Any]]:
        """Every fault that was switched on, by its id."""
        listed = self._control("GET", self._faults_url(side)).json()["data"]
        return {fault["id"]: fault for fault in listed}

    def clear_faults(self) -> None:
        """Ends every fault."""
        for side in (X, FIREHOSE):
            self._control("DELETE", self._faults_url(side)).raise_for_status()

    def _control(self, method: str, url: str, **content: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.credentials.control_token}"}
        return requests.request(method, url, headers=headers, timeout=10, **content)

    def _faults_url(self, side: str) -> str:
        return {X: f"{self.x_url}/_local/faults", FIREHOSE: f"{self.aws_url}/_local/firehose/faults"}[side]

    def until(
        self, met: Callable[[], Any], what: str, process: subprocess.Popen[bytes], seconds: float = 60
    ) -> None:
        """Waits; raises `BenchError` if it takes too long or the process ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if met():
                    return
            except requests.RequestException:
                pass
            time.sleep(0.05)
        raise BenchError(f"not within {seconds:g} s: {what}; see the logs in {self.folder}")

    def forget_limits(self) -> None:
        """Resets X's count of calls."""
        self._control("DELETE", f"{self.x_url}/_local/limits").raise_for_status()

    def pass_a_quarter(self) -> None:
        """Has connects and calls count as a quarter of an hour old, on both sides: X allows few of them."""
        self.forget_limits()
        with sqlite3.connect(self.folder / "spool" / "spool.sqlite3", timeout=10) as spool:
            spool.execute("UPDATE connect SET at_ms = at_ms - ?", (_QUARTER_MS,))
        spool.close()

    def journal(self) -> Iterator[dict[str, Any]]:
        """The entries of X's journal."""
        return journal(self.folder / "x" / "journal.ndjson")

    def evidence(self) -> Evidence:
        """What X sent and what the lake has of it, once Firehose has delivered all that it took."""
        buffers = self.folder / "aws" / "firehose"
        self.until(lambda: not list(buffers.glob("*.buffer")), "Firehose delivers", self.processes[1])
        s3, bucket = self.client("s3"), Settings().bucket
        return Evidence(
            sent=sent_posts(self.journal()),
            lake=lake_posts(s3, bucket),
            spans=alive(line for _, line in lake_lines(s3, bucket, "heartbeats/")),
        )

    def client(self, service: str) -> Any:
        """A boto3 client of the stand-in."""
        new_client: Any = boto3.client  # typed for literal names only
        return new_client(
            service,
            endpoint_url=self.aws_url,
            region_name=REGION,
            aws_access_key_id=self.credentials.access_key_id,
            aws_secret_access_key=self.credentials.secret_access_key,
        )


def _healthy(url: str) -> bool:
    return requests.get(f"{url}/_local/health", timeout=5).ok


@contextmanager
def bench(folder: Path, first_port: int, rate: float) -> Iterator[Bench]:
    """The stand-ins, started afresh; ended on leaving. ``rate``: synthetic posts per hour, all subjects."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    this = Bench(folder, first_port, rate)
    topics = Settings().topics_file.read_text(encoding="utf-8")
    this.topics_file.write_text(
        re.sub(r"(?m)^  monthly_posts: \d+$", f"  monthly_posts: {PLENTY_OF_POSTS}", topics), encoding="utf-8"
    )
    credentials = ("--credentials", str(this.credentials_file))
    try:
        x_api = this.start(
            "x_api",
            *("local.x_api", "--port", str(first_port), "--state", str(folder / "x")),
            *("--rate", str(rate), "--seed", str(SEED), "--topics", str(this.topics_file)),
            *credentials,
        )
        aws_port = ("--port", str(first_port + 1))
        aws = this.start("aws", "local.aws", *aws_port, "--state", str(folder / "aws"), *credentials)
        for url, process in ((this.x_url, x_api), (this.aws_url, aws)):
            this.until(partial(_healthy, url), f"{url} answers", process)
        arguments = ("--endpoint", this.aws_url, *credentials, "--buffering-seconds", "2")
        prepared = subprocess.run(
            [sys.executable, "-m", "local.aws.bootstrap", *arguments],
            env=this.environment,
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if prepared.returncode:
            raise BenchError(prepared.stderr)
        yield this
    finally:
        for process in this.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
