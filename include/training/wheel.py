"""The training code as a wheel, built only from the files here: the same files make the same bytes.

Its version has a digest of its contents, so a cluster with another version installs the new one, and a run
can name the code that it ran.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

NAME = "x_opinion_training"
"""The distribution's name, as in `python_wheel_task` (``package_name``)."""

STEPS = ("sync", "train", "gate", "predict")
"""The wheel's entry points, in the order in which they run."""

REQUIREMENTS = (
    "mlflow==3.17.2",
    "optuna==5.0.0",
    "scikit-learn==1.9.1",
    "spark-nlp==5.5.3",
    "xgboost-cpu==3.2.0",
)
"""What a cluster has to install; Spark, Delta, boto3, pandas and pyarrow are part of Databricks Runtime."""

_INCLUDE = Path(__file__).parents[1]
_SHARED = (
    "__init__.py",
    "aws.py",
    "window.py",
    "lake/__init__.py",
    "lake/layout.py",
    "lake/quality.py",
    "lake/schemas.py",
    "lake/storage.py",
    "lake/tables.py",
)
_AT = (1980, 1, 1, 0, 0, 0)


def contents() -> dict[str, bytes]:
    """The wheel's modules and data by their path in it."""
    own = (
        path
        for path in (_INCLUDE / "training").rglob("*")
        if path.suffix in {".py", ".txt"} and "__pycache__" not in path.parts
    )
    paths = [*(_INCLUDE / name for name in _SHARED), *own]
    return {f"include/{path.relative_to(_INCLUDE).as_posix()}": path.read_bytes() for path in sorted(paths)}


@cache
def content_digest() -> str:
    """The digest of the code, 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for path, body in contents().items():
        digest.update(f"{path} {len(body)}\n".encode() + body)
    return digest.hexdigest()[:12]


def version() -> str:
    """The wheel's version (PEP 440): the content's digest as a local version."""
    return f"1.0.0+g{content_digest()}"


def file_name() -> str:
    """The wheel's file name (PEP 427)."""
    return f"{NAME}-{version()}-py3-none-any.whl"


def build() -> bytes:
    """The wheel."""
    info = f"{NAME}-{version()}.dist-info"
    entries = [f"{step} = include.training.steps:{step}" for step in STEPS]
    files: dict[str, bytes] = {
        **contents(),
        f"{info}/METADATA": _lines(
            "Metadata-Version: 2.1",
            f"Name: {NAME}",
            f"Version: {version()}",
            *(f"Requires-Dist: {requirement}" for requirement in REQUIREMENTS),
        ),
        f"{info}/WHEEL": _lines(
            "Wheel-Version: 1.0", "Generator: x-opinion", "Root-Is-Purelib: true", "Tag: py3-none-any"
        ),
        f"{info}/entry_points.txt": _lines("[console_scripts]", *entries),
        f"{info}/top_level.txt": _lines("include"),
    }
    record = f"{info}/RECORD"
    files[record] = _record(files, record)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, body in files.items():
            entry = zipfile.ZipInfo(path, _AT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, body)
    return packed.getvalue()


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _record(files: Mapping[str, bytes], record: str) -> bytes:
    lines = []
    for path, body in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(body)}\n")
    return "".join([*lines, f"{record},,\n"]).encode()
