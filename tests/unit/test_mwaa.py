"""What goes to Amazon MWAA works there: without this checkout, with the requirements and no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools import lock, mwaa
from tools.setup import find_uv

ROOT = Path(__file__).parents[2]
DAGS = {path.stem for path in (ROOT / "dags").glob("*.py")}

PARSE = """
import json
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.configuration import conf
folder = conf.get("core", "dags_folder")
bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags")
import include, include.lake.sql, include.settings
print("parsed: " + json.dumps({
    "dags": sorted(bag.dags),
    "errors": {str(path): str(error) for path, error in bag.import_errors.items()},
    "include": include.__file__,
    "statements": include.lake.sql.names("tables"),
    "topics_file": str(include.settings.settings().topics_file),
    "sentiment_artifact": include.settings.settings().sentiment_artifact,
}))
"""

SERVE = """
import json
from airflow import plugins_manager
apps, _ = plugins_manager.get_fastapi_plugins()
(app,) = [app for app in apps if app["name"] == "x-opinion"]
import include, include.lake.sql
print("parsed: " + json.dumps({
    "errors": {str(path): str(error) for path, error in plugins_manager.get_import_errors().items()},
    "routes": sorted(route.path for route in app["app"].routes),
    "include": include.__file__,
    "statements": include.lake.sql.names("views"),
}))
"""


TRIGGER = """
import json
from airflow import settings
settings.initialize()
from airflow._shared.module_loading import import_string
trigger = import_string("include.operators.polling.PollingTrigger")
import include
print("parsed: " + json.dumps({"trigger": trigger.__name__, "include": include.__file__}))
"""


@dataclass(frozen=True)
class Deployed:
    """The artifacts as MWAA lays them out: a DAG folder, a plugins folder, a Python with the requirements."""

    folder: Path
    python: Path

    @property
    def dags(self) -> Path:
        return self.folder / "mwaa" / "dags"

    @property
    def plugins(self) -> Path:
        return self.folder / "plugins"

    def run(self, code: str, dags: Path) -> dict[str, Any]:
        """What a fresh interpreter of the environment says; it knows nothing of this checkout."""
        ours = ("AIRFLOW", "OPINION_", "PYTHON")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env |= {
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.plugins),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        done = subprocess.run(
            [self.python, "-c", code], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answer = next(line for line in done.stdout.splitlines() if line.startswith("parsed: "))
        result: dict[str, Any] = json.loads(answer.removeprefix("parsed: "))
        return result


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """The artifacts, built, unpacked and installed under the pins that MWAA adds.

    MWAA has pip install them; uv reads the same files and pins, and takes a twentieth of the time.
    """
    folder = tmp_path_factory.mktemp("mwaa")
    assert mwaa.main(["--target", str(folder / "mwaa")]) == 0
    with zipfile.ZipFile(folder / "mwaa" / "plugins.zip") as archive:
        archive.extractall(folder / "plugins")
    requirements = folder / "requirements.txt"
    there = (folder / "mwaa" / "requirements.txt").read_text()
    requirements.write_text(there.replace(mwaa.DAG_FOLDER, str(folder / "mwaa" / "dags")))
    uv = find_uv()
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(requirements)]
    pins = [word for name in lock.GIVEN for word in ("--constraint", str(ROOT / "locks" / name))]
    done = subprocess.run([*install, *pins], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Deployed(folder, python)


def test_every_dag_is_imported_from_the_dag_folder_and_the_requirements_alone(deployed: Deployed) -> None:
    parsed = deployed.run(PARSE, deployed.dags)
    assert parsed["errors"] == {}
    assert set(parsed["dags"]) == DAGS
    assert parsed["include"] == str(deployed.dags / "include" / "__init__.py")
    assert parsed["topics_file"] == str(deployed.dags / "include" / "topics.yaml")
    assert Path(parsed["sentiment_artifact"]).is_dir()
    assert "tables/labeled" in parsed["statements"]


def test_the_pages_are_served_from_plugins_zip_where_there_is_no_dag_folder(deployed: Deployed) -> None:
    served = deployed.run(SERVE, deployed.folder / "no-such-folder")
    assert served["errors"] == {}
    assert served["include"].startswith(str(deployed.plugins))
    assert served["routes"]
    assert served["statements"]


def test_the_triggerer_finds_the_triggers(deployed: Deployed) -> None:
    found = deployed.run(TRIGGER, deployed.dags)
    assert found["trigger"] == "PollingTrigger"
    assert found["include"] == str(deployed.dags / "include" / "__init__.py")


def test_the_constraints_lie_where_the_requirements_look_for_them(deployed: Deployed) -> None:
    requirements = (deployed.folder / "mwaa" / "requirements.txt").read_text()
    (named,) = re.findall(r'^--constraint "/usr/local/airflow/dags/(.+)"$', requirements, re.MULTILINE)
    assert (deployed.dags / named).read_bytes() == (ROOT / "constraints.txt").read_bytes()


def test_what_training_ships_to_databricks_is_there(deployed: Deployed) -> None:
    ours = {path.relative_to(ROOT) for path in (ROOT / "include" / "training").rglob("*.py")}
    assert ours
    assert all((deployed.dags / path).is_file() for path in ours)


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    mwaa.build(tmp_path / "one")
    mwaa.build(tmp_path / "two")
    for path in (path for path in (tmp_path / "one").rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_settings_reach_mwaa_by_its_startup_script(tmp_path: Path) -> None:
    settings = {"OPINION_BUCKET": "it's mine", "OPINION_SAGEMAKER_ROLE_ARN": "arn:aws:iam::1:role/x"}
    mwaa.build(tmp_path, environment={**settings, "AWS_SECRET_ACCESS_KEY": "secret"})
    script = (tmp_path / "startup.sh").read_text()
    assert "secret" not in script
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        ["/bin/sh", "-c", f'. "$1"; exec {sys.executable} -c "$2"', "sh", tmp_path / "startup.sh", code],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert settings.items() <= json.loads(done.stdout).items()


def test_nothing_but_sources_is_shipped_and_the_models_not_to_the_web_server(tmp_path: Path) -> None:
    mwaa.build(tmp_path / "mwaa")
    with zipfile.ZipFile(tmp_path / "mwaa" / "plugins.zip") as archive:
        names = archive.namelist()
        assert sum(entry.compress_size for entry in archive.infolist()) < 4 * 2**20
    names += [str(path) for path in (tmp_path / "mwaa" / "dags").rglob("*")]
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_requirements_without_constraints_are_rejected(tmp_path: Path) -> None:
    for name in ("requirements.txt", "constraints.txt"):
        (tmp_path / name).write_text("tweepy==4.17.0\n")
    with pytest.raises(mwaa.MwaaError, match="MWAA rejects it without"):
        mwaa.build(tmp_path / "mwaa", root=tmp_path)
