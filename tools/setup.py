#!/usr/bin/env python3
"""Sets the project up on this machine: ``python3 tools/setup.py``.

Runs on any Python 3.8 or later, with nothing installed. Finds or downloads Python 3.12 and uv, syncs both
environments (Airflow's, and Spark's with MLflow) from their locks, and downloads artifacts from Maven. What
exists already is kept, so a second run takes almost no time and needs no network.

``python3 tools/setup.py pack`` sets up the environment that packs models, and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
ENVIRONMENT = ROOT / ".venv"
LOCK = ROOT / "locks" / "airflow.txt"
ML_ENVIRONMENT = ROOT / ".venv-ml"
ML_LOCK = ROOT / "locks" / "ml.txt"
PACK_ENVIRONMENT = ROOT / ".venv-pack"
PACK_LOCK = ROOT / "locks" / "pack.txt"
UV_LOCK = ROOT / "locks" / "uv.txt"
LOG = TOOLS / "setup.log"
PYTHON = (3, 12)

T = TypeVar("T")


class SetupError(Exception):
    """A step failed; the message is one sentence that says what to do."""


def main() -> int:
    """Sets up, reporting each step and its seconds; returns the exit status."""
    try:
        with _alone():
            python = _step("Python 3.12", find_python)
            uv = _step("uv", find_uv)
            if sys.argv[1:] == ["pack"]:
                _step("Model packing", lambda: sync(uv, python, PACK_ENVIRONMENT, PACK_LOCK))
                return 0
            _step("Python packages", lambda: sync(uv, python, ENVIRONMENT, LOCK))
            _step("Spark and MLflow", lambda: sync(uv, python, ML_ENVIRONMENT, ML_LOCK))
            _step("Spark's jars", lambda: fetch_artifacts("spark"))
            _step("Trino", lambda: fetch_artifacts("trino"))
    except SetupError as error:
        print(f"Set-up stopped: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Set-up stopped: {_explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Set-up was interrupted; run the same command again to continue.", file=sys.stderr)
        return 130
    return 0


def find_python() -> str:
    """The Python 3.12 for uv: a path, or ``3.12`` if uv is to download one.

    A ``python3.12`` on PATH may be a pyenv shim for a version that is not selected, so each is tried out.
    """
    chosen = os.environ.get("UV_PYTHON")
    if chosen:
        return chosen
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")))
    candidates = [sys.executable, shutil.which("python3.12")]
    candidates += [
        str(path / "bin" / "python3.12") for path in sorted(pyenv.glob("versions/3.12.*"), reverse=True)
    ]
    for candidate in candidates:
        if candidate and _runs_as(candidate, PYTHON):
            return candidate
    return ".".join(map(str, PYTHON))


def _runs_as(python: str, version: tuple[int, int]) -> bool:
    code = f"import sys; raise SystemExit(sys.version_info[:2] != {version})"
    with contextlib.suppress(OSError):
        return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
    return False


def find_uv() -> str:
    """The path of uv: from PATH, else installed from its own lock into the tool folder."""
    for candidate in (shutil.which("uv"), str(TOOLS / "uv" / "bin" / "uv")):
        if candidate and _answers([candidate, "--version"]):
            return candidate
    folder = TOOLS / "uv"
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if not _answers([sys.executable, "-m", "pip", "--version"]):
        raise SetupError(
            "this Python has no pip to install uv with; install pip (python3-pip) or uv with your system's"
            " package manager, then run the same command again."
        )
    _run([*pip, "--require-hashes", "--prefix", str(folder), "-r", str(UV_LOCK)], "uv could not be installed")
    found = next(folder.glob("**/bin/uv"), None)
    if found is None:
        raise SetupError(f"pip put no uv under {folder}; install uv yourself and run the same command again.")
    if found != folder / "bin" / "uv":
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / "uv").symlink_to(found)
    return str(folder / "bin" / "uv")


def sync(uv: str, python: str, environment: Path, lock: Path) -> None:
    """Syncs an environment with its lock, and marks it with the lock's digest."""
    stamp = environment / ".lock-digest"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    interpreter = environment / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == digest and _runs_as(str(interpreter), PYTHON):
        return
    if not _runs_as(str(interpreter), PYTHON):
        _run([uv, "venv", "--clear", "--python", python, str(environment)], "Python 3.12 could not be set up")
    _run(
        [
            uv,
            "pip",
            "sync",
            "--require-hashes",
            "--compile-bytecode",
            "--python",
            str(interpreter),
            str(lock),
        ],
        "the Python packages could not be installed",
    )
    stamp.write_text(digest)


def fetch_artifacts(group: str) -> None:
    """Lays out one group of Maven's artifacts in the user's cache directory."""
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", "local.artifacts", group]
    result = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no reason given"]
        raise SetupError(lines[-1])


def _answers(command: list[str]) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def _run(command: list[str], failure: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    result = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(command)}\n{result.stdout}\n")
    if result.returncode == 0:
        return
    said = result.stdout.lower()
    if "no space left" in said:
        raise SetupError(f"{failure}: the disk is full; free about 5 GB and run the same command again.")
    if "hash" in said and ("mismatch" in said or "do not match" in said):
        raise SetupError(
            f"{failure}: a download does not have the hash that the lock expects; clear the package cache (uv"
            f" cache clean), check the package index in use, and run the same command again (details: {LOG})."
        )
    if any(
        word in said
        for word in ("dns", "connect", "network", "timed out", "temporary failure", "unreachable")
    ):
        raise SetupError(
            f"{failure}: the package index was not reached; check the network or proxy and run the same"
            f" command again (details: {LOG})."
        )
    last = (result.stdout.strip().splitlines() or ["no reason given"])[-1].strip()
    raise SetupError(f"{failure}: {last} (details: {LOG}).")


def _step(name: str, action: Callable[[], T]) -> T:
    begin = time.monotonic()
    _show(f"  … {name}", end="\r")
    result = action()
    _show(f"  ✓ {name:<24}{time.monotonic() - begin:6.1f} s")
    return result


def _show(line: str, end: str = "\n") -> None:
    if end == "\n" or sys.stdout.isatty():
        print(line, end=end, flush=True)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One set-up at a time in this checkout; a second one waits for the first."""
    TOOLS.mkdir(exist_ok=True)
    handle: IO[str] | None = None
    try:
        handle = (TOOLS / "setup.lock").open("w")
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        if handle:
            handle.close()


def _explain(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; free about 5 GB and run the same command again."
    return f"{error}; fix that and run the same command again."


if __name__ == "__main__":
    sys.exit(main())
