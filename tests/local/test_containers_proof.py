"""The test of the containers, as far as that can be told without an engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from local.proof.containers import base_images
from local.proof.containers import engine as engines
from local.proof.containers.__main__ import Figures, problems, report
from local.proof.containers.engine import EngineError, engine
from local.proof.containers.pipeline import PipelineError, first_start, weaknesses

CONTAINER: dict[str, Any] = {
    "Config": {"User": "airflow", "Labels": {"com.docker.compose.service": "scheduler"}},
    "HostConfig": {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Memory": 1 << 30,
        "LogConfig": {"Config": {"max-size": "10m"}},
        "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
    },
}
SEEN: dict[str, Any] = {
    "engine": "Docker Engine 20.10, overlay2, private",
    "weaknesses": [],
    "restarts": [{"service": "postgres", "active": ["train"], "healthy_after_s": 12.5}],
    "page": {"page without a login": 401, "page with the login": 200},
    "labeled": {"2026-01-01T00": 1200},
    "student": {"version": "1", "alias": "champion", "metrics": {}},
    "refreshes": {"opinion": 1},
    "metadata": {"postgresql": "17.6", "dag_runs": "12"},
    "memory": {"scheduler-1": "1GiB / 4GiB"},
    "runs": {"train": {"success": 1}},
    "failed_tasks": [],
}


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command ``docker`` in an otherwise empty PATH: its first two words name the status it ends with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "docker"
    command.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        "word = sys.argv[1]\n"
        "if word == 'compose': print(os.environ['COMPOSE_VERSION'])\n"
        "if word == 'fails': print('no such image', file=sys.stderr)\n"
        "sys.exit(word == 'fails' or (word == 'info' and 'ANSWERS' not in os.environ))\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("COMPOSE_VERSION", "2.26.1-4")
    return command


def test_without_docker_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="install Docker Engine"), engine(tmp_path):
        pass


def test_without_the_second_compose_it_says_what_to_install(
    docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPOSE_VERSION", "1.29.2")
    with pytest.raises(EngineError, match="plugin"), engine(tmp_path):
        pass


@pytest.mark.parametrize(("user", "said"), [(1000, "as root"), (0, "apt-get install docker.io slirp4netns")])
def test_where_no_engine_answers_and_none_can_be_started_it_says_what_is_missing(
    docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, said: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(EngineError, match=said), engine(tmp_path):
        pass
    assert not (tmp_path / "images").exists()


def test_an_engine_that_answers_is_taken_and_its_rejections_are_told(
    docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSWERS", "1")
    with engine(tmp_path) as found:
        assert not found.private
        with pytest.raises(EngineError, match="docker fails x failed: no such image"):
            found.run("fails", "x")


def test_the_private_engine_ends_with_the_program(tmp_path: Path) -> None:
    command = engines._daemon(tmp_path, tmp_path / "docker.sock", "group")
    assert command[:3] == ["setpriv", "--pdeathsig", "KILL"]
    assert {"--net", "--pid", "--kill-child"} <= set(command)


def test_every_image_that_is_pulled_has_a_base_and_comes_after_what_it_is_made_from() -> None:
    kinds = [base_images.kind(name) for name in base_images.names()]
    assert kinds == ["python", "postgres", "airflow", "astro"]
    assert all((base_images.BASES / kind / "Dockerfile").is_file() for kind in kinds)
    with pytest.raises(EngineError, match="no base for redis:7"):
        base_images.kind("redis:7")


def test_the_first_start_is_read_from_the_guide() -> None:
    guide = (
        "# Where\n\n## Containers\n\n```sh\ndocker compose up\n# Then:\ndocker compose ps\n```\n\n## Next\n"
    )
    assert first_start(guide) == ["docker compose up", "docker compose ps"]
    with pytest.raises(PipelineError, match="Containers"):
        first_start("## Astro\n\n```sh\nastro\n```\n\n## Next\n")


def test_a_confined_container_has_no_weakness() -> None:
    assert list(weaknesses([CONTAINER])) == []


@pytest.mark.parametrize(
    ("part", "changed", "told"),
    [
        ("Config", {"User": ""}, "runs as root"),
        ("HostConfig", {"ReadonlyRootfs": False}, "may write to its image"),
        ("HostConfig", {"CapDrop": None}, "keeps capabilities"),
        ("HostConfig", {"SecurityOpt": None}, "may gain privileges"),
        ("HostConfig", {"Memory": 0}, "has no limit of memory"),
        ("HostConfig", {"LogConfig": {"Config": {}}}, "has logs without end"),
        ("HostConfig", {"PortBindings": {"1/tcp": [{"HostIp": ""}]}}, "publishes a port on every address"),
    ],
)
def test_each_weakness_of_a_container_is_told(part: str, changed: dict[str, Any], told: str) -> None:
    container = {**CONTAINER, part: {**CONTAINER[part], **changed}}
    assert list(weaknesses([container])) == [f"scheduler {told}"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("weaknesses", ["streamer runs as root"], "streamer runs as root"),
        ("labeled", {}, "no hour is labeled"),
        ("student", None, "no student was trained"),
        ("refreshes", {"opinion": 0}, "not every data set was refreshed: {'opinion': 0}"),
        ("failed_tasks", ["train.fit of manual__1"], "train.fit of manual__1 failed"),
    ],
)
def test_what_is_not_as_it_should_be_is_told(name: str, value: object, told: str) -> None:
    assert list(problems(SEEN)) == []
    assert list(problems({**SEEN, name: value})) == [told]


def test_the_report_says_what_was_run_and_what_came_of_it() -> None:
    text = report(Figures(lambda _: None, {"docker compose up": 90.0}, SEEN))
    for part in (
        "20.10, overlay2, private",
        "PostgreSQL 17.6",
        "2026-01-01T00 1,200",
        "| postgres | train |",
    ):
        assert part in text
    assert "| `docker compose up` | 90.0 |" in text
