"""Builds what Amazon MWAA takes from its bucket: ``python -m tools.mwaa`` writes ``dist/mwaa/``.

| File | What it is |
|---|---|
| ``dags/`` | the DAGs with ``include/`` and ``sql/`` beside them, and the constraints |
| ``plugins.zip`` | ``plugins/``; in its library ``include/``, but for the models, and ``sql/`` |
| ``requirements.txt`` | the requirements, with the constraints where MWAA puts the DAG folder |
| ``startup.sh`` | the settings: every ``OPINION_…`` that is set where this runs |

The web server has no DAG folder, so what the pages import must lie in plugins.zip. But plugins come before
DAGs on Python's path: an ``include/`` at the archive's top would hide the DAG folder's from the workers. So
it lies below, and the plugin reaches for it only where there is no other. (AWS, Amazon MWAA User Guide:
"Installing custom plugins", "Installing Python dependencies".)
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tools.setup import ROOT

DAG_FOLDER = "/usr/local/airflow/dags"
"""Where MWAA puts the DAGs on schedulers and workers."""

_CONSTRAINT = "--constraint constraints.txt"
_LIBRARY = Path("x_opinion") / "library"
_IGNORED = {"__pycache__", ".DS_Store"}
_LABELING = Path("include") / "labeling"
"""Its subfolders are what SageMaker runs: no page reads them, and they are most of what `include/` weighs."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class MwaaError(Exception):
    """Something cannot be built; the message is one sentence that says why."""


_LOCAL_SETTINGS = '''\
"""Lets every process import what lies beside the DAGs: the triggerer has no DAG folder on its path."""

import sys

from airflow.configuration import conf

__all__: list[str] = []

if (folder := conf.get("core", "dags_folder")) not in sys.path:
    sys.path.append(folder)
'''
"""MWAA runs this file of plugins.zip in each of Airflow's processes. Its triggerer would not find ``include``
(https://github.com/apache/airflow/issues/65455), and MWAA sets ``PYTHONPATH`` itself."""


def build(target: Path, root: Path = ROOT, environment: Mapping[str, str] | None = None) -> None:
    """Writes everything to ``target``, which is recreated; the same sources make the same bytes.

    Settings are taken from ``environment``, this process's by default. Raises `MwaaError` if requirements.txt
    does not name the constraints as expected.
    """
    shutil.rmtree(target, ignore_errors=True)
    dags = target / "dags"
    for path in _files(root, ["dags", "include", "sql"]):
        relative = path.relative_to(root)
        _copy(path, dags / (relative.relative_to("dags") if relative.parts[0] == "dags" else relative))
    _copy(root / "constraints.txt", dags / "constraints.txt")
    # Schedulers look for DAGs in every file that is not excluded.
    (dags / ".airflowignore").write_text("include/\nsql/\n")
    _zip(target / "plugins.zip", root)
    (target / "requirements.txt").write_text(_requirements(root))
    (target / "startup.sh").write_text(_startup(os.environ if environment is None else environment))


def _requirements(root: Path) -> str:
    lines = (root / "requirements.txt").read_text().splitlines()
    if lines.count(_CONSTRAINT) != 1:
        raise MwaaError(f"requirements.txt must have the line {_CONSTRAINT!r} once: MWAA rejects it without.")
    wanted = f'--constraint "{DAG_FOLDER}/constraints.txt"'
    return "".join(f"{wanted if line == _CONSTRAINT else line}\n" for line in lines)


def _startup(environment: Mapping[str, str]) -> str:
    """MWAA has no other way to set variables that are not options of Airflow."""
    settings = {name: value for name, value in environment.items() if name.startswith("OPINION_")}
    variables = {"GX_ANALYTICS_ENABLED": "false", **dict(sorted(settings.items()))}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join(["#!/bin/sh", *lines, ""])


def _zip(target: Path, root: Path) -> None:
    """Sorted names, without this machine's times and owners: MWAA identifies versions by content."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in _files(root, ["include", "plugins", "sql"]):
            relative = path.relative_to(root)
            if _LABELING in relative.parents and relative.parent != _LABELING:
                continue
            name = relative.relative_to("plugins") if relative.parts[0] == "plugins" else _LIBRARY / relative
            archive.writestr(_entry(name.as_posix()), path.read_bytes(), zipfile.ZIP_DEFLATED)
        archive.writestr(_entry("airflow_local_settings.py"), _LOCAL_SETTINGS)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    return entry


def _files(root: Path, folders: Iterable[str]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and _IGNORED.isdisjoint(path.parts):
                yield path


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.mwaa", description="Builds dist/mwaa/.")
    parser.add_argument("--target", type=Path, default=ROOT / "dist" / "mwaa", help="recreated folder")
    target = parser.parse_args(arguments).target
    try:
        build(target)
    except (MwaaError, OSError) as error:
        print(f"make mwaa stopped: {error}", file=sys.stderr)
        return 1
    for path in sorted(target.iterdir()):
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))
        print(f"{path}  {size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
