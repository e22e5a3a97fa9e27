"""What is sent to Airflow's REST API, held against the OpenAPI document of the Airflow that is installed.

Airflow ignores a query parameter that it does not know: a filter by one would select everything.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.airflow_server import AirflowClient
from local.dag_runs import DagRuns

ROOT = Path(__file__).parents[2]
DAG_RUNS = "/dags/{dag_id}/dagRuns"


@cache
def document() -> dict[str, Any]:
    package = find_spec("airflow.api_fastapi")
    assert package
    assert package.origin
    folder = Path(package.origin).parent / "core_api" / "openapi"
    content: dict[str, Any] = yaml.safe_load((folder / "v2-rest-api-generated.yaml").read_text())
    return content


def operation(method: str, path: str) -> dict[str, Any]:
    """What the document says of a call; ``path`` has no ``/api/v2``, and its variables have values."""
    found = []
    for template, operations in document()["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template.removeprefix("/api/v2")))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            # A fixed word is meant before a variable that might have its value.
            found.append((template.count("{"), operations[method.lower()]))
    assert found, f"Airflow has no {method} {path}"
    chosen: dict[str, Any] = min(found, key=lambda each: each[0])[1]
    return chosen


def parameters(method: str, path: str) -> set[str]:
    return {each["name"] for each in operation(method, path).get("parameters", []) if each["in"] == "query"}


def fields(method: str, path: str) -> set[str]:
    schema = operation(method, path)["requestBody"]["content"]["application/json"]["schema"]
    definition = document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return set(definition["properties"])


class Recorded(AirflowClient):
    """An Airflow that holds each call against the document and answers nothing much."""

    def __init__(self) -> None:
        super().__init__("http://airflow", {})
        self.calls: set[tuple[str, str]] = set()

    def call(self, method: str, path: str, **options: Any) -> Any:
        assert set(options.get("params", {})) <= parameters(method, path), path
        if "json" in options:
            assert set(options["json"]) <= fields(method, path), path
        self.calls.add((method, path))
        empty: dict[str, Any] = {"dag_runs": [], "task_instances": [], "pools": [], "dags": []}
        return {**empty, "import_errors": [], "total_entries": 0, "dag_run_id": "manual"}


def test_every_call_of_the_client_is_one_that_airflow_knows() -> None:
    airflow = Recorded()
    run = ("transform", "scheduled__2026-11-20T00:00:00+00:00")
    airflow.has_dag("transform")
    airflow.dag("transform")
    airflow.pause("transform", False)
    airflow.trigger("transform", {})
    airflow.clear(*run)
    airflow.run(*run)
    airflow.runs("transform")
    airflow.task_instances(*run)
    airflow.ensure_pool("sagemaker", 4)
    DagRuns(None, airflow).started_since(datetime.now(UTC))  # pyrefly: ignore[bad-argument-type]
    public = {name for name, value in vars(AirflowClient).items() if callable(value) and name[0] != "_"}
    tried = {"has_dag", "dag", "pause", "trigger", "clear", "run", "runs", "task_instances", "ensure_pool"}
    assert public - {"call"} == tried
    assert ("GET", "/dags/~/dagRuns") in airflow.calls


def filters() -> Iterator[tuple[str, str]]:
    """Every keyword that runs are selected by, with its place."""
    for folder in ("local", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "runs"
                    and "airflow" in ast.unparse(node.func.value)
                ):
                    for keyword in node.keywords:
                        if keyword.arg and keyword.arg != "dag_id":
                            yield keyword.arg, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_runs_are_selected_by_what_airflow_has() -> None:
    known = parameters("GET", DAG_RUNS)
    found = list(filters())
    assert {"start_date_gte", "run_after_gte", "state"} <= {name for name, _ in found}
    assert not [f"{place} {name}" for name, place in found if name not in known]


def test_a_parameter_that_airflow_would_ignore_is_found() -> None:
    with pytest.raises(AssertionError):
        Recorded().runs("transform", queued_at_gte="2026-11-20T00:00:00Z")


SCRIPTS = sorted((ROOT / "plugins").rglob("*.js"))
_ADDRESS = re.compile(r"api/v2(/[^`\"'?)]*)\??([^`\"')]*)[`\"']")


def test_pages_call_what_airflow_has() -> None:
    """Addresses with their query, and the fields of what is posted."""
    seen = 0
    for path in SCRIPTS:
        text = path.read_text()
        for match in _ADDRESS.finditer(text):
            seen += 1
            address = re.sub(r"\$\{[^}]*\}", "x", match[1])
            options = text[match.end() : match.end() + 400]
            method = found[1] if (found := re.search(r"^\W*method: \"(\w+)\"", options)) else "GET"
            asked = set(re.findall(r"(?:^|&)(\w+)=", match[2]))
            assert asked <= parameters(method, address), f"{path.name}: {match[0]}"
            if body := re.search(r"JSON\.stringify\(\{(.*?)\n\s{6}\}\)", options, re.DOTALL):
                posted = set(re.findall(r"^ {8}(\w+):", body[1], re.MULTILINE))
                assert posted
                assert posted <= fields(method, address), path.name
    assert seen
