"""Upgrades are proposed where nobody else sets the version, and checked by the commands that people run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.lock import GIVEN

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "checks.yaml"
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", re.MULTILINE)


def names(text: str) -> set[str]:
    return {re.sub(r"[-_.]+", "-", name).lower() for name in PIN.findall(text)}


def held(manager: str) -> set[str]:
    """The packages whose versions a manager of Renovate leaves alone."""
    rules = json.loads((ROOT / "renovate.json").read_text())["packageRules"]
    [rule] = [rule for rule in rules if rule.get("matchManagers") == [manager]]
    assert rule["enabled"] is False
    return {name.lower() for name in rule["matchDepNames"]}


@pytest.mark.parametrize(
    ("schema", "path"), [("renovate", "renovate.json"), ("github-workflows", str(WORKFLOW.relative_to(ROOT)))]
)
def test_the_bot_and_the_workflow_are_written_as_their_services_read_them(schema: str, path: str) -> None:
    program = Path(sys.executable).parent / "check-jsonschema"
    done = subprocess.run(
        [program, "--builtin-schema", f"vendor.{schema}", ROOT / path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_upgrade_is_proposed_of_what_airflow_s_release_or_mwaa_pins() -> None:
    given = set[str]().union(*(names((ROOT / "locks" / name).read_text()) for name in GIVEN))
    assert held("pip_requirements") == names((ROOT / "requirements.txt").read_text()) & given


def test_no_upgrade_is_proposed_of_what_databricks_runtime_has() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    versioned = {re.split(r"[\[=<>]", each)[0] for each in groups["ml"] if re.search("[=<>]", each)}
    assert held("pep621") == versioned


def test_the_images_whose_versions_are_held_are_those_of_the_dockerfiles() -> None:
    files = [ROOT / "Dockerfile", ROOT / "docker" / "Dockerfile", ROOT / "streamer" / "Dockerfile"]
    used = {name for path in files for name in re.findall(r"(?m)^FROM ([^:\s]+):", path.read_text())}
    rules: list[dict[str, Any]] = json.loads((ROOT / "renovate.json").read_text())["packageRules"]
    [rule] = [rule for rule in rules if "dockerfile" in rule.get("matchManagers", [])]
    assert set(rule["matchDepNames"]) == used


def test_the_workflow_runs_what_people_run_with_no_more_than_reading() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == ["make check", "make test"]
    assert all(
        re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", step["uses"]) for step in steps if "uses" in step
    )


def test_what_is_checked_before_a_commit_is_what_make_check_checks() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    [local] = config["repos"]
    entries = {hook["id"]: hook["entry"] for hook in local["hooks"]}
    recipes = (ROOT / "Makefile").read_text()
    for hook, command in (("ruff", "ruff check"), ("ruff-format", "ruff format --check")):
        assert entries[hook].startswith(f".venv/bin/python -m {command}")
        assert f"$(PYTHON) -m {command}" in recipes
