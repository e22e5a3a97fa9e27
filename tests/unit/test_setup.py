"""Set-up says in one sentence what went wrong, and does nothing twice."""

import os
import sys
import zipfile
from pathlib import Path

import pytest

from tools import setup

UNREACHABLE = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}

UV = setup.find_uv()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a lock of one small package, and package caches of its own."""
    monkeypatch.setattr(setup, "TOOLS", tmp_path / ".tools")
    monkeypatch.setattr(setup, "LOG", tmp_path / ".tools" / "setup.log")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    (tmp_path / ".tools").mkdir()
    (tmp_path / "lock.txt").write_text(f"wirerope==1.0.0 --hash=sha256:{'0' * 64}\n")
    return tmp_path


def test_a_wrong_hash_stops_with_what_to_do(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = checkout / "wheels" / "tiny-1-py3-none-any.whl"
    make_wheel(wheel)
    (checkout / "lock.txt").write_text(f"tiny==1 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    with pytest.raises(setup.SetupError, match="does not have the hash that the lock expects"):
        setup.sync(UV, sys.executable, checkout / ".venv", checkout / "lock.txt")
    assert not (checkout / ".venv" / ".lock-digest").exists()


def test_no_network_stops_with_what_to_do(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in UNREACHABLE.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    with pytest.raises(setup.SetupError, match="was not reached; check the network or proxy"):
        setup.sync(UV, sys.executable, checkout / ".venv", checkout / "lock.txt")


def test_an_up_to_date_environment_is_left_alone_without_network(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "lock.txt").write_text("")
    setup.sync(UV, sys.executable, checkout / ".venv", checkout / "lock.txt")
    before = (checkout / ".venv" / ".lock-digest").stat().st_mtime_ns
    setup.sync("a uv that does not exist", sys.executable, checkout / ".venv", checkout / "lock.txt")
    assert (checkout / ".venv" / ".lock-digest").stat().st_mtime_ns == before


def test_a_python_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "bin" / "python3.12"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.delenv("UV_PYTHON", raising=False)
    monkeypatch.setenv("PATH", f"{shim.parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "no-pyenv"))
    monkeypatch.setattr(sys, "executable", str(shim))
    assert setup.find_python() in ("3.12", "/usr/bin/python3.12")


def test_a_python_of_pyenv_is_found_behind_its_shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "versions" / "3.12.9" / "bin" / "python3.12"
    real.parent.mkdir(parents=True)
    real.symlink_to(os.path.realpath(sys.executable))
    monkeypatch.delenv("UV_PYTHON", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    assert setup.find_python() == str(real)


def test_the_user_s_choice_of_python_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON", "/opt/python/bin/python3.12")
    assert setup.find_python() == "/opt/python/bin/python3.12"


def make_wheel(path: Path) -> None:
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        wheel.writestr(
            "tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny-1.dist-info/RECORD", "")
