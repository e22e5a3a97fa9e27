"""The models chosen for a run: found, downloaded, and checked to run on this machine."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import boto3
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from include.labeling import archive
from include.lake import storage
from local.aws.interpreters import MissingRequirementsError, python_for

SENTIMENT, TRANSLATION = "sentiment", "translation"
PACKED = Path(__file__).parents[1] / "dist" / "models"
"""The folder in which `make models` packs models, one folder per model."""
EMBEDDED = Path(__file__).parents[1] / "include" / "labeling"
"""The folder of the models that need no packing."""
_REQUIREMENTS = "code/requirements.txt"


class ChosenModelError(RuntimeError):
    """The run cannot use a model; the message says what to do."""


@dataclass(frozen=True)
class Chosen:
    """The artifacts of a run, by their stage, and their digests."""

    paths: dict[str, Path]
    identity: bytes
    """Empty if none was chosen: the run labels with the default models."""

    def settings(self) -> dict[str, str]:
        """The settings that have the pipeline use them."""
        return {f"OPINION_{stage.upper()}_ARTIFACT": str(path) for stage, path in self.paths.items()}


def choose(names: Sequence[str], sentiment: str | None, translation: str | None, folder: Path) -> Chosen:
    """Finds the models that `make models` packed, or that are embedded, by ``names``, and those at a path or
    in S3.

    Models in S3 are downloaded to ``folder`` with this process's own credentials. Raises `ChosenModelError`.
    """
    given: dict[str, str] = {}
    named = [(*_named(name), f"MODELS={name}") for name in names]
    for stage, artifact, option in (
        *named,
        (SENTIMENT, sentiment, f"SENTIMENT={sentiment}"),
        (TRANSLATION, translation, f"TRANSLATION={translation}"),
    ):
        if artifact is None:
            continue
        if stage in given:
            raise ChosenModelError(f"{option} is a second {stage} model; choose one.")
        given[stage] = artifact
    paths = {stage: _local(artifact, folder) for stage, artifact in sorted(given.items())}
    identity = hashlib.sha256()
    for stage, path in paths.items():
        # The name too: the rows' engine has it.
        name = path.name if path.is_dir() else "/".join(path.parts[-2:])
        identity.update(f"{stage} {_checked(path)} {name}\n".encode())
    return Chosen(paths, identity.digest() if paths else b"")


def _named(name: str) -> tuple[str, str]:
    """The stage and the artifact of a model that `make models` has packed, or else of an embedded one."""
    path = PACKED / name / "model.tar.gz"
    if not path.is_file():
        embedded = EMBEDDED / name
        if (embedded / "card.json").is_file():
            return SENTIMENT, str(embedded)
        raise ChosenModelError(f"{name} is not packed yet: run `make models MODEL={name}`.")
    try:
        with path.open("rb") as file:
            card = json.loads(archive.read_member(file, "card.json") or b"{}")
    except (archive.ModelError, ValueError) as error:
        raise ChosenModelError(f"{path} cannot be used: {error}; pack it again.") from error
    task = card.get("task")
    if task not in (SENTIMENT, TRANSLATION):
        raise ChosenModelError(f"the card in {path} names no task that the pipeline has: {task!r}.")
    return task, str(path)


def _local(artifact: str, folder: Path) -> Path:
    """The artifact on this machine."""
    if not artifact.startswith("s3://"):
        return Path(artifact).resolve()
    bucket, key = storage.split_address(artifact)
    name = Path(key).name.removesuffix(".tar.gz")
    target = folder / (Path(key).parent.name if name == "model" else name) / "model.tar.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(".new")
    try:
        boto3.client("s3").download_file(bucket, key, str(new))
    except (Boto3Error, BotoCoreError, ClientError, ValueError) as error:
        raise ChosenModelError(f"{artifact} cannot be read with your AWS credentials: {error}") from error
    shutil.move(new, target)
    return target


def _checked(path: Path) -> str:
    """The artifact's digest, once it is known that this machine can run it."""
    try:
        if path.is_dir():
            digest = archive.folder_digest(path)
            file = path / _REQUIREMENTS
            requirements = file.read_bytes() if file.is_file() else None
        else:
            digest = archive.archive_digest(path)
            with path.open("rb") as packed:
                if archive.read_member(packed, archive.ENTRY_POINT) is None:
                    raise archive.ModelError(f"it has no {archive.ENTRY_POINT}")
                packed.seek(0)
                requirements = archive.read_member(packed, _REQUIREMENTS)
        python_for((requirements or b"").decode())
    except (archive.ModelError, MissingRequirementsError, OSError, ValueError) as error:
        raise ChosenModelError(f"the model {path} cannot be used: {error}") from error
    return digest
