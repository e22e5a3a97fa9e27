"""The lock of this machine, and what MWAA and Astro install, are the same versions."""

import re
import tomllib
from pathlib import Path

import pytest

from tools.lock import ENVIRONMENTS, GIVEN

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins(path: str) -> dict[str, str]:
    found = PIN.findall((ROOT / path).read_text())
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_the_lock_satisfies_every_constraint() -> None:
    lock, constraints = pins("locks/airflow.txt"), pins("constraints.txt")
    assert len(constraints) > 100
    assert {name: lock.get(name) for name in constraints} == constraints


@pytest.mark.parametrize("given", GIVEN)
def test_no_pin_contradicts_those_of_the_release_and_of_mwaa(given: str) -> None:
    """MWAA applies both to every installation; one that differs ends it with "No matching distribution"."""
    theirs, ours = pins(f"locks/{given}"), pins("constraints.txt")
    shared = theirs.keys() & ours.keys()
    assert shared
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_every_requirement_is_pinned_and_constrained() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith(("#", "--"))]
    assert "--constraint constraints.txt" in lines
    assert all(PIN.match(line) for line in requirements)
    constraints = pins("constraints.txt")
    assert {name: constraints.get(name) for name in pins("requirements.txt")} == pins("requirements.txt")


def test_deferrable_aws_operators_find_their_client_and_airflow_s_rivals_stay_away() -> None:
    constraints = pins("constraints.txt")
    assert "aiobotocore" in constraints
    assert not {"sagemaker", "xgboost", "mlflow"} & constraints.keys()


@pytest.mark.parametrize("lock", ["airflow", "ml", "pack", "uv"])
def test_every_locked_package_has_a_hash(lock: str) -> None:
    blocks = re.split(r"\n(?=\S)", (ROOT / "locks" / f"{lock}.txt").read_text().strip())
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("lock", ["airflow", "pack"])
def test_what_the_embedded_model_asks_its_container_for_is_in_the_environment_that_runs_it(lock: str) -> None:
    asked = pins("include/labeling/e5/code/requirements.txt")
    assert asked
    assert asked.items() <= pins(f"locks/{lock}.txt").items()


def test_everything_named_in_a_dependency_group_is_locked() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    for group, requirements in groups.items():
        names = {re.split(r"[\[=<>]", name)[0].lower() for name in requirements}
        assert names <= pins(f"locks/{group if group in ENVIRONMENTS else 'airflow'}.txt").keys()
