"""Resolves the dependencies: ``constraints.txt`` for MWAA and Astro, ``locks/`` with hashes for this machine.

All respect the pins of Airflow's release and of Amazon MWAA, which are in ``locks/`` as published.

``python -m tools.lock`` keeps the locked versions as long as they fit requirements.txt and pyproject.toml;
``python -m tools.lock --upgrade`` takes the newest that these allow.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.setup import ROOT, find_uv

PYTHON = "3.12"
DEPLOYED = "deployed"
"""The group of what deployments already have: locked within the given pins, but not in our constraints."""
GROUPS = ("local", "jars", "model", DEPLOYED, "test")
"""The packages in Airflow's environment on this machine besides the requirements."""
GIVEN = ("airflow-constraints-3.3.1.txt", "mwaa-constraints-3.3.1.txt")
"""Pins set by others, in locks/: those of Airflow's release and of Amazon MWAA, which applies both to all."""
ENVIRONMENTS = ("ml", "pack")
"""Groups that are environments of their own, each with a lock of its name."""


def main(arguments: list[str]) -> None:
    """Rewrites the constraints, the lock within them, and the locks of the other environments."""
    uv = find_uv()
    compile_ = [uv, "pip", "compile", "--quiet", "--no-emit-index-url", "--no-header", "--no-annotate"]
    compile_ += ["--python-version", PYTHON, *arguments]
    with tempfile.TemporaryDirectory() as folder:
        direct = Path(folder) / "requirements.in"
        lines = (ROOT / "requirements.txt").read_text().splitlines(keepends=True)
        direct.write_text("".join(line for line in lines if not line.startswith("--constraint")))
        constraints = ROOT / "constraints.txt"
        given = [word for name in GIVEN for word in ("--constraint", str(ROOT / "locks" / name))]
        _run([*compile_, *given, "-o", str(constraints), str(direct)])
        within = Path(folder) / "deployed.txt"
        shutil.copyfile(constraints, within)
        _run([*compile_, *given, "--group", DEPLOYED, "-o", str(within), str(direct)])
        groups = [word for group in GROUPS for word in ("--group", group)]
        lock = ["--universal", "--generate-hashes", "--constraint", str(within), *groups]
        _run([*compile_, *lock, "-o", str(ROOT / "locks" / "airflow.txt"), str(direct)])
    for group in ENVIRONMENTS:
        own = ["--universal", "--generate-hashes", "--group", group]
        _run([*compile_, *own, "-o", str(ROOT / "locks" / f"{group}.txt")])


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
