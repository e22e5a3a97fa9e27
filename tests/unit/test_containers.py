"""The containers' files mean what they say, as far as that can be told without an engine to run them."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.api_fastapi.core_api.datamodels.monitor import HealthInfoResponse
from airflow.cli.cli_parser import get_parser
from airflow.configuration import retrieve_configuration_description

from include.settings import Settings
from local import artifacts
from local.endpoints import SERVICES, STAND_INS, Endpoints, write_containers_environment
from local.proof.containers.pipeline import GUIDE, first_start
from streamer import __main__ as streamer_program
from tests.credentials import CREDENTIALS
from tools import setup

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
PINNED = re.compile(r".+:\d+\.\d+[\w.-]*")
DOCKERFILES = ("Dockerfile", "docker/Dockerfile", "streamer/Dockerfile")
OPTIONS = retrieve_configuration_description()


def instructions(dockerfile: str) -> list[tuple[str, list[str]]]:
    """A Dockerfile's instructions with their words, continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / dockerfile).read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split()[1:]) for line in lines]


def stage(dockerfile: str, name: str | None = None) -> list[tuple[str, list[str]]]:
    """One stage's instructions; the only one's without a name."""
    found: dict[str | None, list[tuple[str, list[str]]]] = {}
    current: list[tuple[str, list[str]]] = []
    for instruction, words in instructions(dockerfile):
        if instruction == "FROM":
            current = found.setdefault(words[2] if len(words) > 2 else None, [])
        current.append((instruction, words))
    return found[name]


def copies(instructions_: list[tuple[str, list[str]]]) -> Iterator[tuple[str, str]]:
    """Every source that is copied, with its target."""
    for instruction, words in instructions_:
        if instruction == "COPY":
            *sources, target = [word for word in words if not word.startswith("--")]
            for source in sources:
                yield source, f"{target}{Path(source).name}" if target.endswith("/") else target


def unpack(instructions_: list[tuple[str, list[str]]], folder: Path) -> None:
    """What lies in the image's working folder: just what is copied."""
    for source, target in copies(instructions_):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, dirs_exist_ok=True)
        else:
            shutil.copyfile(ROOT / source, folder / target)


def ignored() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_compose_file_is_of_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, "docker-compose.yaml"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_image_is_pinned() -> None:
    images = [service["image"] for service in COMPOSE["services"].values()]
    images += [words[0] for file in DOCKERFILES for name, words in instructions(file) if name == "FROM"]
    assert len(images) > len(DOCKERFILES)
    assert [image for image in images if not PINNED.fullmatch(image)] == []


def test_compose_and_astro_run_the_airflow_of_the_requirements() -> None:
    (version,) = re.findall(r"^apache-airflow==(.+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert stage("docker/Dockerfile", "airflow")[0][1][0] == f"apache/airflow:{version}-python3.12"
    # Astro names its releases by Airflow's minor version.
    assert f"runtime:{version.rpartition('.')[0]}-" in stage("Dockerfile")[0][1][0]


def test_what_is_built_is_there() -> None:
    builds = [service["build"] for service in COMPOSE["services"].values() if "build" in service]
    assert builds
    for build in builds:
        assert stage(build["dockerfile"], build.get("target"))


def test_ports_are_published_on_loopback_only_and_are_those_of_a_run() -> None:
    published = {
        name: [port.rsplit(":", 2) for port in service["ports"]]
        for name, service in COMPOSE["services"].items()
        if "ports" in service
    }
    assert {host for ports in published.values() for host, _, _ in ports} == {"127.0.0.1"}
    run = Endpoints(8080, CREDENTIALS)
    assert [int(port) for _, port, _ in published["stand-ins"]] == [
        run.port(service) for service in STAND_INS if service != "trino"
    ]
    assert published["api-server"] == [["127.0.0.1", str(run.port("airflow")), "8080"]]


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_of_airflow_waits_for_what_it_needs_and_tells_its_health(component: str) -> None:
    service = COMPOSE["services"][component]
    assert service["depends_on"] == {
        "init": {"condition": "service_completed_successfully"},
        "stand-ins": {"condition": "service_healthy"},
    }
    assert service["healthcheck"]["test"]
    assert get_parser().parse_args(service["command"]).subcommand == component


LASTING = {name: service for name, service in COMPOSE["services"].items() if name != "init"}


def test_a_slow_start_is_not_a_failed_health_check() -> None:
    """A slow machine needs minutes: until then a failed check must not keep dependents from starting."""
    starts = {
        name: service["healthcheck"]["start_period"]
        for name, service in COMPOSE["services"].items()
        if "healthcheck" in service
    }
    for file in DOCKERFILES:
        for instruction, words in instructions(file):
            if instruction == "HEALTHCHECK":
                starts[file] = next(w.partition("=")[2] for w in words if w.startswith("--start-period="))
    assert starts.keys() >= {"postgres", *COMPONENTS, "docker/Dockerfile", "streamer/Dockerfile"}
    assert {name: start for name, start in starts.items() if int(start.removesuffix("s")) < 600} == {}


@pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])
def test_a_service_is_bounded_and_confined(service: dict[str, Any]) -> None:
    assert service["mem_limit"]
    assert service["logging"]["options"].keys() >= {"max-size", "max-file"}
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"]
    assert service["tmpfs"][0].split(":")[0] == "/tmp"
    # The server of PostgreSQL gives its folders to its user, and becomes it.
    assert ("cap_add" in service) == service["image"].startswith("postgres")


def test_postgres_is_healthy_once_others_can_reach_it() -> None:
    """The server that makes the database on the first start listens on a socket alone."""
    check = COMPOSE["services"]["postgres"]["healthcheck"]["test"]
    assert check[check.index("--host") + 1] == "127.0.0.1"


def test_the_streamer_is_asked_where_it_answers() -> None:
    words = next(words for name, words in stage("streamer/Dockerfile") if name == "HEALTHCHECK")
    _, _, script = json.loads(" ".join(words[words.index("CMD") + 1 :]))
    assert f"http://127.0.0.1:{streamer_program._DEFAULT_PORT}/healthz" in script
    compile(script, "HEALTHCHECK", "exec")


def test_every_lasting_service_is_restarted() -> None:
    assert {service["restart"] for service in LASTING.values()} == {"unless-stopped"}
    assert COMPOSE["services"]["init"]["restart"] == "no"


@pytest.mark.parametrize(
    ("dockerfile", "target"), [("docker/Dockerfile", "stand-ins"), ("streamer/Dockerfile", None)]
)
def test_an_image_ends_as_a_user_of_its_own(dockerfile: str, target: str | None) -> None:
    users = [words[0] for name, words in stage(dockerfile, target) if name == "USER"]
    assert users[-1] not in ("root", "0")


def test_airflow_writes_its_defaults_where_no_image_and_no_volume_keeps_them() -> None:
    """They hold generated keys, and the home is read-only."""
    for name in ("init", *COMPONENTS):
        service = COMPOSE["services"][name]
        assert Path(service["environment"]["AIRFLOW_CONFIG"]).parent == Path(service["tmpfs"][0])


def test_the_documented_first_start_is_made_of_commands_that_exist() -> None:
    commands = [shlex.split(command) for command in first_start(GUIDE.read_text())]
    assert commands[0] == ["docker", "compose", "up", "--build", "--detach"]
    for program, subcommand, action, service, airflow, *arguments in commands[1:]:
        assert (program, subcommand, action, airflow) == ("docker", "compose", "exec", "airflow")
        assert service in COMPONENTS
        assert get_parser().parse_args(arguments).subcommand in ("unpause", "trigger")
    # The compose file tells the same.
    told = (ROOT / "docker-compose.yaml").read_text()
    assert [c for c in first_start(GUIDE.read_text()) if f"#   {c}\n" not in told] == []


def test_the_scheduler_is_asked_where_it_answers() -> None:
    port = OPTIONS["scheduler"]["options"]["scheduler_health_check_server_port"]["default"]
    check = COMPOSE["services"]["scheduler"]["healthcheck"]["test"]
    assert check[-1] == f"http://localhost:{port}/health"


@pytest.mark.parametrize(
    ("service", "status", "healthy"),
    [
        ("dag-processor", "healthy", True),
        ("triggerer", "healthy", True),
        ("dag-processor", "unhealthy", False),
        ("triggerer", "unhealthy", False),
        ("triggerer", None, False),
    ],
)
def test_the_others_are_as_healthy_as_the_api_server_says(
    tmp_path: Path, service: str, status: str | None, healthy: bool
) -> None:
    names = ("scheduler", "triggerer", "dag_processor")
    each: dict[str, dict[str, str | None]] = {
        name: {"status": "healthy", f"latest_{name}_heartbeat": "2026-01-01T00:00:00+00:00"} for name in names
    }
    each[service.replace("-", "_")]["status"] = status
    whole = {"metadatabase": {"status": "healthy"}, **each}
    answer = HealthInfoResponse.model_validate(whole).model_dump_json()
    curl = tmp_path / "curl"
    curl.write_text(f"#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\necho \"$1\" >&2\necho '{answer}'\n")
    curl.chmod(0o755)
    check = COMPOSE["services"][service]["healthcheck"]["test"]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", check], env=env, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "http://api-server:8080/api/v2/monitor/health"
    assert (done.returncode == 0) is healthy


def test_every_option_of_airflow_exists_and_only_secrets_come_from_a_command() -> None:
    for name in COMPOSE["x-airflow"]["environment"]:
        if name == "AIRFLOW_CONFIG":
            continue
        _, section, key = name.lower().split("__")
        option = OPTIONS[section]["options"][key.removesuffix("_cmd")]
        assert option.get("sensitive", False) or not key.endswith("_cmd")


def test_every_volume_is_declared_and_used() -> None:
    used = {
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
    }
    assert used == set(COMPOSE["volumes"])


def test_the_docker_images_are_given_what_they_copy() -> None:
    for file in DOCKERFILES:
        for source, _ in copies(instructions(file)):
            assert (ROOT / source).exists(), f"{file}: {source}"
            assert not [rule for rule in ignored() if fnmatch.fnmatch(source, rule)], f"{file}: {source}"


def test_no_image_carries_state_secrets_or_environments() -> None:
    assert {".git", ".env", ".run", ".venv", ".venv-ml", ".tools", "**/__pycache__"} <= set(ignored())


@pytest.mark.parametrize(
    ("dockerfile", "target", "command"),
    [
        ("streamer/Dockerfile", None, COMPOSE["services"]["streamer"]["command"]),
        ("docker/Dockerfile", "stand-ins", ["python", "-m", "local", "stand-ins"]),
    ],
)
def test_an_image_holds_all_that_its_command_imports(
    tmp_path: Path, dockerfile: str, target: str | None, command: list[str]
) -> None:
    unpack(stage(dockerfile, target), tmp_path)
    done = subprocess.run(
        [sys.executable, *command[1:], "--help"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_set_up_of_an_image_is_given_just_what_it_reads() -> None:
    """Whatever else were copied before would have 2 GB downloaded again when it is edited."""
    whole = stage("docker/Dockerfile", "stand-ins")
    run = next(at for at, (name, words) in enumerate(whole) if name == "RUN" and "tools/setup.py" in words)
    read = {setup.LOCK, setup.ML_LOCK, setup.UV_LOCK, artifacts.LOCK, Path(setup.__file__)}
    read |= {Path(artifacts.__file__), Path(artifacts.__file__).with_name("__init__.py")}
    assert {ROOT / source for source, _ in copies(whole[:run])} == read


def test_the_image_of_airflow_holds_dags_plugins_and_what_they_import() -> None:
    assert {target for _, target in copies(stage("docker/Dockerfile", "airflow"))} >= {
        "dags",
        "include",
        "plugins",
        "sql",
    }


def test_the_stand_ins_start_as_their_image_says() -> None:
    entry = next(words for name, words in stage("docker/Dockerfile", "stand-ins") if name == "ENTRYPOINT")
    arguments = json.loads(" ".join(entry))
    assert arguments[:4] == ["python", "-m", "local", "stand-ins"]
    assert arguments[arguments.index("--bind") + 1] == "0.0.0.0"
    handover = Path(arguments[arguments.index("--handover") + 1])
    check = next(words for name, words in stage("docker/Dockerfile", "stand-ins") if name == "HEALTHCHECK")
    assert json.loads(" ".join(check[check.index("CMD") + 1 :])) == ["test", "-f", str(handover)]
    assert f"handover:{handover.parent}" in COMPOSE["services"]["stand-ins"]["volumes"]
    command = next(words for name, words in stage("docker/Dockerfile", "stand-ins") if name == "CMD")
    assert json.loads(" ".join(command)) == ["--gateway", "stand-ins"]


def test_services_that_read_the_credentials_are_in_the_stand_ins_group() -> None:
    words = " ".join(next(w for n, w in stage("docker/Dockerfile", "stand-ins") if n == "RUN"))
    (group,) = re.findall(r"groupadd --system --gid (\d+)", words)
    readers = {
        name: service
        for name, service in COMPOSE["services"].items()
        if any(volume.startswith("handover:/stand-ins") for volume in service.get("volumes", []))
    }
    assert readers.keys() >= {*COMPONENTS, "streamer"}
    assert [name for name, service in readers.items() if service.get("group_add") != [group]] == []


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """What stand-ins on a host named ``gateway`` write for containers."""
    file = tmp_path / "containers.env"
    own = {"OPINION_UNAPPROVED_HOURS": "6", "OPINION_TOPICS_FILE": "/home/me/topics.yaml", "HOME": "/home/me"}
    write_containers_environment(file, Endpoints(8080, CREDENTIALS, host="gateway"), own)
    return file


@pytest.mark.parametrize("service", ["scheduler", "streamer"])
def test_a_container_starts_with_what_the_stand_ins_say(
    tmp_path: Path, environment: Path, service: str
) -> None:
    shell, option, script, name = COMPOSE["services"][service]["entrypoint"]
    script = script.replace("/stand-ins/containers.env", str(environment)).replace("$$", "$")
    script = script.replace("/usr/bin/dumb-init -- /entrypoint", "env")
    arguments = ["env", "SPACED=one two", sys.executable, "-c"]
    arguments += ["import json, os; print(json.dumps(dict(os.environ)))"]
    done = subprocess.run(
        [shell, option, script, name, *arguments], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["SPACED"] == "one two"
    assert found["AWS_ENDPOINT_URL"] == "http://gateway:8082"
    assert found["OPINION_X_API_URL"] == "http://gateway:8081"
    assert found["OPINION_UNAPPROVED_HOURS"] == "6"
    assert json.loads(found["AIRFLOW_CONN_AWS_DEFAULT"])["extra"]["endpoint_url"] == "http://gateway:8082"


def test_containers_are_told_settings_that_exist_and_no_path_of_the_host(environment: Path) -> None:
    names = [line.partition("=")[0] for line in environment.read_text().splitlines()]
    settings = {name.removeprefix("OPINION_").lower() for name in names if name.startswith("OPINION_")}
    assert settings <= set(Settings.model_fields)
    assert "/home/me" not in environment.read_text()


def test_every_connection_that_the_settings_name_is_known_to_containers() -> None:
    # Containers have an Airflow of their own, whose pool docker/init.sh makes.
    named = {value for name, value in Settings() if name.endswith("_conn_id") and name != "airflow_conn_id"}
    assert named <= Endpoints(8080, CREDENTIALS).connections().keys()


def test_init_makes_keys_once_and_the_pool_that_the_dags_use(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    fake = tmp_path / "bin" / "airflow"
    fake.parent.mkdir()
    fake.write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv[1:], file=open({str(calls)!r}, 'a'))\n")
    fake.chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    keys = tmp_path / "keys"
    keys.mkdir()
    env = {"PATH": f"{fake.parent}:/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    held = []
    for _ in range(2):
        subprocess.run([ROOT / "docker" / "init.sh", keys], env=env, check=True)
        held.append({path.name: path.read_text() for path in keys.iterdir()})
    assert held[0] == held[1]
    assert len(held[0]["secret"]) >= 64
    assert json.loads(held[0]["passwords.json"]).keys() == {"admin"}
    assert {path.stat().st_mode & 0o077 for path in keys.iterdir()} == {0}
    parsed = [get_parser().parse_args(ast.literal_eval(call)) for call in calls.read_text().splitlines()[:2]]
    assert parsed[0].subcommand == "migrate"
    assert (parsed[1].pool, parsed[1].include_deferred) == (Settings().sagemaker_pool, True)


def test_astro_finds_its_layout_and_leaves_the_pool_as_it_was_made() -> None:
    for name in (
        "dags",
        "include",
        "plugins",
        "tests",
        "requirements.txt",
        "packages.txt",
        ".astro/config.yaml",
    ):
        assert (ROOT / name).exists()
    assert yaml.safe_load((ROOT / ".astro" / "config.yaml").read_text())["project"]["name"] == "x-opinion"
    airflow = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]
    assert airflow.keys() == {"connections", "pools", "variables"}
    ignored = {name: (ROOT / name).read_text().splitlines() for name in (".gitignore", ".dockerignore")}
    assert ".astro/standalone/" in ignored[".gitignore"], "what the CLI's standalone mode leaves"
    assert ".astro" in ignored[".dockerignore"]
    assert not airflow["pools"], "each start of the CLI would have the pool forget to count deferred tasks"


def test_astro_installs_the_requirements_beside_their_constraints() -> None:
    names = [" ".join([name, *words]) for name, words in instructions("Dockerfile")]
    assert names.index("COPY requirements.txt constraints.txt ./") < names.index(
        "RUN /usr/local/bin/install-python-dependencies"
    )
    # The distribution without "-base" installs the requirements by itself, before the constraints are there.
    assert names[0].endswith("-base")


def test_every_service_has_a_port_of_its_own() -> None:
    assert set(STAND_INS) <= set(SERVICES)
