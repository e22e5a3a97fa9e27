"""The Python that a model runs in: what SageMaker's container would install must be in one of ours."""

from __future__ import annotations

import importlib.metadata
import sys
import sysconfig
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

_PACK_ENVIRONMENT = Path(__file__).parents[2] / ".venv-pack"
"""The environment in which models of HuggingFace are packed and run."""


class MissingRequirementsError(RuntimeError):
    """No environment of this machine has what a model asks for."""


def python_for(requirements: str) -> Path:
    """The first Python that has what the text of a ``code/requirements.txt`` asks for.

    Raises `MissingRequirementsError` with what to do if there is none.
    """
    try:
        lines = (line.partition("#")[0].strip() for line in requirements.splitlines())
        wanted = [Requirement(line) for line in lines if line]
    except InvalidRequirement as error:
        raise MissingRequirementsError(f"code/requirements.txt cannot be read: {error}") from error
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python, packages in (
        (Path(sys.executable), Path(sysconfig.get_path("purelib"))),
        (_PACK_ENVIRONMENT / "bin" / "python", _PACK_ENVIRONMENT / "lib" / version / "site-packages"),
    ):
        missing = [str(each) for each in wanted if not _has(packages, each)]
        if python.exists() and not missing:
            return python
    raise MissingRequirementsError(
        f"code/requirements.txt asks for {', '.join(missing)}, which this machine does not have; run"
        " `python3 tools/setup.py pack`, which sets up the environment that runs models of HuggingFace"
    )


def _has(packages: Path, wanted: Requirement) -> bool:
    found = next(iter(importlib.metadata.distributions(name=wanted.name, path=[str(packages)])), None)
    return found is not None and wanted.specifier.contains(found.version, prereleases=True)
