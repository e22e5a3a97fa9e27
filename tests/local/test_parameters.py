"""What `make` rejects before it sets anything up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.parameters import CHECKS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose set-up only leaves a file."""
    (tmp_path / "local").mkdir()
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "local" / "parameters.py", tmp_path / "local")
    (tmp_path / "tools" / "setup.py").write_text("open('set-up', 'w').close()")
    return tmp_path


def make(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in CHECKS}
    return subprocess.run(
        ["make", *arguments],
        cwd=project,
        env={**inherited, **environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("HOURS=abc", "not a whole number from 1 to 160"),
        ("HOURS=161", "not a whole number from 1 to 160"),
        ("HOURS=٣", "not a whole number from 1 to 160"),
        ("RATE=-1", "not a whole number from 1 to 900000"),
        ("PORT=80", "not a whole number from 1024 to 65500"),
        ("DATABASE=mysql", "not sqlite or postgresql"),
        ("ONCE=yes", "not 0 or 1"),
        ("ONLY=coverage removals", "not parts such as coverage,removals"),
        ("BIND=eth0", "not 127.0.0.1 or 0.0.0.0"),
        ("GATEWAY=a b", "neither an address nor a host's name"),
        ("ARCHIVE=no where.ndjson", "cannot be read: No such file or directory"),
        ("TOPICS=local", "cannot be read: Is a directory"),
        ("MODELS=e5,", "not names of models joined by commas, such as opus-mt,twitter-roberta"),
        ("SENTIMENT=nowhere", "cannot be read: No such file or directory"),
        (
            "TRANSLATION=s3://bucket",
            "not the address of a .tar.gz in S3, such as s3://bucket/e5/model.tar.gz",
        ),
    ],
)
@pytest.mark.parametrize("target", ["run", "stand-ins"])
def test_a_wrong_value_is_rejected_before_the_set_up(
    project: Path, target: str, given: str, reason: str
) -> None:
    result = make(project, target, given)
    assert result.returncode == 2
    assert f"make: {given}: {reason}\n" in result.stderr
    assert not (project / "set-up").exists()


def test_a_value_of_the_environment_is_checked_too(project: Path) -> None:
    assert "make: HOURS=abc: not a whole number" in make(project, "run", HOURS="abc").stderr
    assert not (project / "set-up").exists()


def test_every_wrong_value_is_named_at_once(project: Path) -> None:
    errors = make(project, "run", "HOURS=abc", "RATE=many").stderr
    assert "HOURS=abc" in errors
    assert "RATE=many" in errors


def test_right_values_come_to_the_set_up(project: Path) -> None:
    (project / "my tweets.ndjson").touch()
    given = ["HOURS=3", "RATE=900000", "PORT=8300", "ONCE=1", "BIND=0.0.0.0", "GATEWAY=172.17.0.1"]
    assert make(project, "setup", *given, "ARCHIVE=my tweets.ndjson", "TOPICS=").stderr == ""
    models = ["MODELS=opus-mt,e5", "SENTIMENT=.", "TRANSLATION=s3://bucket/opus-mt/model.tar.gz"]
    assert make(project, "setup", *models).stderr == ""
    assert make(project, "setup", "ARCHIVE=.").stderr == ""
    assert (project / "set-up").exists()


def test_every_parameter_is_checked() -> None:
    [line] = re.findall(r"^parameters := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(line.split()) == set(CHECKS)
