"""The program inside a cluster: runs one task after another in one interpreter, with one lazy Spark JVM.

Runs in the ml environment by its path, without this project on ``sys.path``: a task sees what its wheel
brings. Reads one task per line (JSON) from standard input, writes one outcome per line to the descriptor that
was standard output; what a task prints and logs goes to the task's own file.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import runpy
import sys
import traceback
import zipfile
from pathlib import Path
from typing import IO, Any

LIBRARIES = "libraries"
"""Where wheels are installed, in the cluster's folder."""


class LibraryError(Exception):
    """A wheel cannot be installed."""


class Output:
    """Standard output and error of whichever task runs; log handlers may keep it from task to task."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self) -> None:
        self.file: IO[str] | None = None

    def write(self, text: str) -> int:
        """Writes to the task's file; between tasks the output is dropped."""
        if self.file is None:
            return len(text)
        written = self.file.write(text)
        self.file.flush()
        return written

    def flush(self) -> None:
        """Nothing waits: every write is flushed."""

    def isatty(self) -> bool:
        """Never a terminal."""
        return False

    def fileno(self) -> int:
        """For output that bypasses Python, such as a child process's."""
        return self.file.fileno() if self.file else 2


def main() -> None:
    """Serves tasks until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    output = Output()
    sys.stdout = sys.stderr = output
    folder = Path.cwd()
    installed: dict[str, str] = {}
    for line in sys.stdin:
        task = json.loads(line)
        with Path(task["log"]).open("a", encoding="utf-8", errors="replace") as output.file:
            outcome = _outcome(task, folder, installed)
        output.file = None
        answers.write(json.dumps(outcome) + "\n")
        answers.flush()


def _outcome(task: dict[str, Any], folder: Path, installed: dict[str, str]) -> dict[str, str]:
    try:
        for wheel, digest in task["wheels"]:
            if installed.get(wheel) != digest:
                install(Path(wheel), folder / LIBRARIES)
                installed[wheel] = digest
    except LibraryError as error:
        return {"state": "LIBRARY", "error": str(error)}
    try:
        run(task)
    except SystemExit as end:
        if end.code not in (None, 0):
            return {"state": "FAILED", "error": f"SystemExit: {end.code}", "trace": _trace(end)}
    except BaseException as error:  # whatever the task raises is its outcome
        return {"state": "FAILED", "error": f"{type(error).__name__}: {error}", "trace": _trace(error)}
    return {"state": "SUCCESS"}


def install(wheel: Path, target: Path) -> None:
    """Unpacks a wheel for this process and Spark's workers: the folder is on the path of both (PYTHONPATH).

    Raises `LibraryError` if a requirement of it is not met. A cluster's pip would fetch what is missing; here
    everything comes with the ml environment.
    """
    from packaging.requirements import Requirement

    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)  # zipfile drops ".." and absolute names
    except (OSError, zipfile.BadZipFile) as error:
        raise LibraryError(f"{wheel.name} is not a wheel: {error}") from error
    metadata = next(target.glob(f"{wheel.name.split('-')[0]}-*.dist-info/METADATA"), None)
    if metadata is None:
        raise LibraryError(f"{wheel.name} is not a wheel: it has no METADATA")
    for text in importlib.metadata.PathDistribution(metadata.parent).requires or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError as error:
            raise LibraryError(f"{wheel.name} requires {text}, which the cluster does not have") from error
        if not requirement.specifier.contains(version, prereleases=True):
            raise LibraryError(f"{wheel.name} requires {text}, but the cluster has {version}")
    importlib.invalidate_caches()


def run(task: dict[str, Any]) -> None:
    """Runs a task's file, or its wheel's entry point as Databricks looks it up."""
    if task["kind"] == "file":
        sys.argv = [task["file"], *task["parameters"]]
        runpy.run_path(task["file"], run_name="__main__")
        return
    package, name = task["package_name"], task["entry_point"]
    sys.argv = [name, *task["parameters"]]
    try:
        found = importlib.metadata.distribution(package).entry_points.select(name=name)
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(f"Python wheel with name {package} could not be found") from error
    for entry in found:
        entry.load()()
        return
    module = importlib.import_module(package.replace("-", "_"))
    function = getattr(module, name, None)
    if function is None:
        raise ImportError(f"Entry point {name} could not be found in the python wheel {package}")
    function()


def _trace(error: BaseException) -> str:
    """The traceback without this program's own frames."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


if __name__ == "__main__":
    main()
