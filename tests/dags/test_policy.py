"""What holds for every DAG, every module and every statement."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from include.lake import sql, views

ROOT = Path(__file__).parents[2]
DAGS = sorted((ROOT / "dags").glob("*.py"))
LONGEST_FILE = 120

TOO_HEAVY = {
    "boto3",
    "great_expectations",
    "numpy",
    "pandas",
    "pyarrow",
    "requests",
    "sklearn",
    "tweepy",
}
"""What no DAG file may load: each task parses its file again. What Airflow itself loads is not counted."""

PARSE = """
import importlib.util, json, os, sys
import airflow.sdk
import airflow.providers.standard.operators.hitl, airflow.providers.standard.operators.trigger_dagrun
import airflow.providers.standard.triggers.temporal
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization


def parsed(file):
    before = set(sys.modules)
    spec = importlib.util.spec_from_file_location("parsed", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    loaded = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
    bag = DagBag(file)
    dags = {}
    for dag_id, dag in bag.dags.items():
        DagSerialization.to_dict(dag)
        dags[dag_id] = {
            "doc": dag.doc_md,
            "description": dag.description,
            "tags": sorted(dag.tags),
            "owners": sorted({task.owner for task in dag.tasks}),
            "retries": {task.task_id: task.retries for task in dag.tasks},
            "timeouts": {
                task.task_id: task.execution_timeout.total_seconds() if task.execution_timeout else None
                for task in dag.tasks
            },
            "rules": {task.task_id: task.trigger_rule.value for task in dag.tasks},
            "catchup": dag.catchup,
            "start_date": dag.start_date.isoformat() if dag.start_date else None,
            "max_active_runs": dag.max_active_runs,
            "params": {name: dag.params.get_param(name).schema for name in dag.params},
            "tasks": [task.task_id for task in dag.tasks],
            "deadline": bool(dag.deadline),
            "told": [bool(dag.on_failure_callback), *(bool(task.on_failure_callback) for task in dag.tasks)],
            "triggers": [task.trigger_dag_id for task in dag.tasks if hasattr(task, "trigger_dag_id")],
        }
    errors = {str(key): str(value) for key, value in bag.import_errors.items()}
    return {"loaded": loaded, "dags": dags, "errors": errors}


for file in sys.argv[1:]:
    if os.fork() == 0:
        print("parsed: " + json.dumps([file, parsed(file)]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, file
"""
"""Each file is parsed in a process of its own that has imported Airflow and no other DAG file."""


TOLD = json.dumps(["webhook:hook"])
"""People are told: this changes what the DAGs declare."""


@pytest.fixture(scope="module")
def all_parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each DAG file holds, by its name."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "OPINION_NOTIFY": TOLD,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", PARSE, *map(str, DAGS)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    told = [line.partition("parsed: ")[2] for line in done.stdout.splitlines()]
    return {Path(file).stem: answer for file, answer in map(json.loads, filter(None, told))}


@pytest.fixture(scope="module", params=[path.stem for path in DAGS])
def parsed(request: pytest.FixtureRequest, all_parsed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One DAG file as a process sees it that has imported no other."""
    return {"file": request.param, **all_parsed[request.param]}


def test_a_dag_file_holds_the_one_dag_of_its_name_and_can_be_serialized(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert list(parsed["dags"]) == [parsed["file"]]


def test_every_task_has_a_timeout(parsed: dict[str, Any]) -> None:
    for dag in parsed["dags"].values():
        assert all(0 < (seconds or 0) <= 24 * 3600 for seconds in dag["timeouts"].values())


def test_a_dag_says_what_it_is_and_whose(parsed: dict[str, Any]) -> None:
    (dag,) = parsed["dags"].values()
    assert dag["doc"]
    assert dag["doc"].strip().startswith("### ")
    assert dag["description"]
    assert "x-opinion" in dag["tags"]
    assert len(dag["tags"]) > 1
    assert dag["owners"] == ["x-opinion"]


def test_a_dag_bounds_its_runs(parsed: dict[str, Any]) -> None:
    (dag,) = parsed["dags"].values()
    assert dag["max_active_runs"] <= 4


def test_only_transform_catches_up_from_a_start(parsed: dict[str, Any]) -> None:
    (dag,) = parsed["dags"].values()
    assert dag["catchup"] == (parsed["file"] == "transform")
    assert bool(dag["start_date"] and datetime.fromisoformat(dag["start_date"]).tzinfo) == dag["catchup"]


def test_an_hour_that_transform_skips_is_skipped_to_its_end(parsed: dict[str, Any]) -> None:
    if parsed["file"] == "transform":
        (dag,) = parsed["dags"].values()
        assert set(dag["rules"].values()) == {"all_success", "none_failed_min_one_success"}


def test_a_task_is_tried_again_unless_it_must_not_be(parsed: dict[str, Any]) -> None:
    (dag,) = parsed["dags"].values()
    never_again = {task for task, retries in dag["retries"].items() if not retries}
    assert never_again <= {"rerun", "report"}


def test_people_are_told_of_a_failed_run_once(parsed: dict[str, Any]) -> None:
    """By the DAG, or by its one task that fails where any other did."""
    (dag,) = parsed["dags"].values()
    assert dag["told"].count(True) == 1
    assert dag["deadline"] == (parsed["file"] == "transform")


def test_an_hour_that_does_not_exist_is_rejected_when_a_run_is_triggered(parsed: dict[str, Any]) -> None:
    (dag,) = parsed["dags"].values()
    hours = [schema for name, schema in dag["params"].items() if name in ("window", "start", "end")]
    assert len(hours) == {"transform": 1, "coverage": 2}.get(parsed["file"], 0)
    for schema in hours:
        jsonschema.validate("2026-11-20T05", schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate("9999-99-99T99", schema)


def test_what_is_triggered_exists(parsed: dict[str, Any]) -> None:
    (dag,) = parsed["dags"].values()
    assert {f"{name}.py" for name in dag["triggers"]} <= {path.name for path in DAGS}


def test_a_dag_file_loads_nothing_heavy(parsed: dict[str, Any]) -> None:
    """Airflow parses each of them again and again."""
    assert TOO_HEAVY.isdisjoint(parsed["loaded"])


@pytest.mark.parametrize("path", DAGS, ids=[path.stem for path in DAGS])
def test_a_dag_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", DAGS, ids=[path.stem for path in DAGS])
def test_a_dag_takes_the_defaults_of_all(path: Path) -> None:
    assert re.search(r"\n    default_args=task_defaults\(timedelta\(", path.read_text())


@pytest.mark.parametrize("path", DAGS, ids=[path.stem for path in DAGS])
def test_a_dag_file_only_wires(path: Path) -> None:
    """It defines no function and no class; of include/ it imports operators, settings, topics and windows."""
    tree = ast.parse(path.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    ours = {name for name in _imports(tree) if name.startswith("include.")}
    wired = ("include.operators.", "include.settings", "include.window", "include.x.topics")
    assert all(f"{name}.".startswith(wired) for name in ours), ours


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", _modules("include", "streamer"), ids=_name)
def test_only_operators_import_airflow(path: Path) -> None:
    if ROOT / "include" / "operators" in path.parents:
        return
    assert not [name for name in _imports(ast.parse(path.read_text())) if name.partition(".")[0] == "airflow"]


CLIENTS = {
    "include/lake/storage.py": (
        r"(?:put|get|head|copy|delete)_objects?|list_objects(?:_v2)?|(?:up|down)load_file(?:obj)?"
    ),
    "include/lake/athena.py": r"start_query_execution|stop_query_execution|get_query_(?:execution|results)",
}
"""Each service's calls, and the one module that makes them."""

EXECUTORS_OWN = {"include/training/predict.py": {"put_object"}}
"""What travels to Spark's executors as a closure, and finds no module of ours there."""


def _calls(path: Path, calls: str) -> set[str]:
    """Those of the calls that a module makes on a client, or names for a paginator."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr=attr)) if re.fullmatch(calls, attr):
                if ast.unparse(owner) != "storage":
                    names.add(attr)
            case ast.Call(func=ast.Attribute(attr="get_paginator"), args=[ast.Constant(value=name)]):
                if re.fullmatch(calls, str(name)):
                    names.add(str(name))
    return names


@pytest.mark.parametrize("one", CLIENTS)
def test_one_module_alone_calls_a_service(one: str) -> None:
    found = {}
    for path in _modules("dags", "include", "plugins", "streamer"):
        if calls := _calls(path, CLIENTS[one]) - EXECUTORS_OWN.get(_name(path), set()):
            found[_name(path)] = calls
    assert found.keys() == {one}, found


LAYERS: dict[str, set[str]] = {
    "lake": set(),
    "x": {"lake"},
    "audit": {"lake", "x"},
    "training": {"lake"},
    "compliance": {"audit", "lake", "x"},
    "labeling": {"compliance", "lake", "x"},
    "coverage": {"compliance", "lake", "x"},
    "insights": {"lake", "x"},
    "costs": {"coverage", "labeling", "lake", "x"},
    "provision": {"insights", "lake", "x"},
    "quality": {"audit", "compliance", "insights", "labeling", "lake", "training", "x"},
    "operators": {
        *("audit", "compliance", "costs", "coverage", "insights", "labeling", "lake"),
        *("provision", "quality", "training", "x"),
    },
}
"""What each package of include/ may import of the others (docs/architecture.md): never one above it."""


def test_the_architecture_page_has_the_table_of_these_layers() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("| Package | May import |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", line) for line in table.splitlines()]
    assert {package: set(others) for package, *others in rows} == LAYERS


@pytest.mark.parametrize(
    "package", sorted(path.parent.name for path in (ROOT / "include").glob("*/__init__.py"))
)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    imported = set()
    for path in (ROOT / "include" / package).rglob("*.py"):
        names = [name.split(".") for name in _imports(ast.parse(path.read_text()))]
        imported |= {parts[1] for parts in names if parts[0] == "include" and len(parts) > 1}
    assert (imported & LAYERS.keys()) - {package} <= LAYERS[package]


def test_every_package_says_what_it_is_for() -> None:
    for path in _modules("include", "streamer", "local", "tools", "benchmarks", "plugins"):
        if path.name == "__init__.py" and "code" not in path.parts:
            assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.parametrize("path", _modules("dags", "include", "streamer", "plugins"), ids=_name)
def test_nothing_that_is_deployed_imports_what_stands_in_locally(path: Path) -> None:
    tops = {name.partition(".")[0] for name in _imports(ast.parse(path.read_text()))}
    assert tops.isdisjoint({"local", "tests", "tools", "benchmarks", "moto"})


@pytest.mark.parametrize("path", _modules("local"), ids=_name)
def test_what_runs_the_pipeline_needs_no_tool_of_developers(path: Path) -> None:
    """``tools`` may import ``local``, never the other way round."""
    tops = {name.partition(".")[0] for name in _imports(ast.parse(path.read_text()))}
    assert tops.isdisjoint({"tools", "tests", "benchmarks"})


@pytest.mark.parametrize("path", _modules("streamer"), ids=_name)
def test_the_streamer_needs_nothing_of_the_dags(path: Path) -> None:
    names = set(_imports(ast.parse(path.read_text())))
    assert not [name for name in names if name.startswith(("include.operators", "dags"))]


VIEWS = {name.split("/")[1] for name in sql.names("views")}
WHOLE_TABLES = {"all_audit", "all_labeled", "all_predictions", "all_quarantine", "all_raw"}
"""Those without partitions: a removal reads all that the lake holds."""
DAY_TABLES = {name.split("/")[1] for name in sql.names("tables")} - WHOLE_TABLES | VIEWS
QUERIES = sorted(set(sql.names()) - set(sql.names("tables")) - set(sql.names("views")))
"""What runs by itself. A view is bounded by who reads it."""


def _unbounded(statement: str) -> list[str]:
    """The tables that a query reads without naming their days, scope by scope."""
    found = []
    for scope in traverse_scope(sqlglot.parse_one(statement, read="trino")):
        where = scope.expression.args.get("where")
        joins = [join.args["on"] for join in scope.expression.args.get("joins", []) if join.args.get("on")]
        bounds = [
            bound for part in (where, *joins) if part for bound in part.find_all(exp.Between, exp.In, exp.EQ)
        ]
        on_days = [
            bound
            for bound in bounds
            if isinstance(bound.this, exp.Column)
            and bound.this.name == "dt"
            and not bound.find_ancestor(exp.Or, exp.Not)
            and not (isinstance(bound, exp.EQ) and isinstance(bound.expression, exp.Column))
        ]
        read = [table.name for table in scope.tables if table.name in DAY_TABLES]
        if len(on_days) < len(read):
            found += read
    return found


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_names_the_days_that_it_reads(name: str) -> None:
    values: dict[str, Any] = dict.fromkeys(sql.parameters(name), "2026-11-20")
    statement = sql.render(name, **values)
    assert _unbounded(statement) == []
    read = {table.name for table in sqlglot.parse_one(statement, read="trino").find_all(exp.Table)}
    assert name.startswith("compliance/") or read.isdisjoint(WHOLE_TABLES)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM raw",
        "SELECT count(*) FROM raw WHERE hour = '05'",
        "SELECT count(*) FROM raw WHERE dt = '2026-11-20' OR hour = '05'",
        "SELECT * FROM (SELECT * FROM labeled) AS l JOIN raw ON true WHERE raw.dt = '2026-11-20'",
        "WITH a AS (SELECT 1 FROM heartbeats) SELECT * FROM a WHERE dt = '2026-11-20'",
        "SELECT * FROM labeled JOIN opinion ON opinion.dt = labeled.dt WHERE labeled.dt = '2026-11-20'",
    ],
)
def test_an_unbounded_statement_would_be_found(statement: str) -> None:
    assert _unbounded(statement)


@pytest.mark.parametrize("name", sql.names("views"))
def test_a_view_lets_its_readers_name_the_days(name: str) -> None:
    statement = sqlglot.parse_one(views.query(name), read="trino")
    assert isinstance(statement, exp.Select)
    assert "dt" in statement.named_selects


@pytest.mark.parametrize("name", sql.names("tables"))
def test_a_table_projects_its_partitions_and_names_its_definition(name: str) -> None:
    values = dict.fromkeys(sql.parameters(name), "x")
    statement = sql.render(name, **values)
    assert ("'projection.enabled' = 'true'" in statement) == (name.split("/")[1] not in WHOLE_TABLES)
    assert "'definition' = 'x'" in statement
    assert statement.startswith(f"CREATE EXTERNAL TABLE IF NOT EXISTS `{name.split('/')[1]}`")


@pytest.mark.parametrize("name", sql.names())
def test_a_statement_says_what_it_is_for(name: str) -> None:
    assert (sql.STATEMENTS / f"{name}.sql").read_text().startswith("-- ")
