"""The recipes of ``recipes.yaml``: each model, its source, and the conditions that it must meet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.models.errors import PackError

RECIPES = Path(__file__).with_name("recipes.yaml")
TRANSLATION, SENTIMENT = "translation", "sentiment"
LABELS = ("negative", "neutral", "positive")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Checkpoint:
    """A repository of the hub at a commit. ``sha256`` has the hashes of files, by name, where known."""

    hub: str
    revision: str | None
    license: str | None
    sha256: Mapping[str, str]

    @property
    def name(self) -> str:
        """The repository's name without its owner."""
        return self.hub.rpartition("/")[2]


@dataclass(frozen=True)
class Package:
    """A file in a package of the pack environment."""

    name: str
    version: str
    file: str
    sha256: str
    license: str


@dataclass(frozen=True)
class Encoder:
    """How a classifier reads texts; the fields are those of ``encoder.json``."""

    max_tokens: int
    handle: str | None
    link: str | None
    prefix: str


@dataclass(frozen=True)
class Recipe:
    """One model. A translator's checkpoints are by language, a classifier's one is under ``all``."""

    name: str
    task: str
    title: str
    license_source: str
    quantization: str
    languages: tuple[str, ...]
    checkpoints: Mapping[str, Checkpoint]
    package: Package | None
    labels: tuple[str, ...]
    encoder: Encoder | None


def read(path: Path = RECIPES) -> dict[str, Recipe]:
    """Every recipe by its name; raises `PackError` naming what is wrong with the file."""
    content = yaml.safe_load(path.read_bytes())
    recipes = {}
    for name, given in content.items():
        try:
            recipes[name] = _recipe(name, given)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise PackError(f"{path.name}: the recipe {name} is not usable: {reason}.") from error
    return recipes


def of(name: str, path: Path = RECIPES) -> Recipe:
    """One recipe; raises `PackError` for an unknown name."""
    recipes = read(path)
    if name not in recipes:
        raise PackError(f"There is no recipe {name!r}; tools/models/recipes.yaml has {', '.join(recipes)}.")
    return recipes[name]


def _recipe(name: str, given: dict[str, Any]) -> Recipe:
    checkpoints = {key: _checkpoint(value) for key, value in given.get("checkpoints", {}).items()}
    package = Package(**given["package"]) if "package" in given else None
    translator = given["task"] == TRANSLATION
    recipe = Recipe(
        name=name,
        task=given["task"],
        title=given["title"],
        license_source=given["license_source"],
        quantization=given["quantization"],
        languages=tuple(checkpoints if translator else given["languages"]),
        checkpoints=checkpoints,
        package=package,
        labels=tuple(given.get("labels", ())),
        encoder=None if translator else Encoder(**given["encoder"]),
    )
    if recipe.task not in (TRANSLATION, SENTIMENT):
        raise ValueError(f"its task is {recipe.task!r}")
    if bool(checkpoints) == bool(package):
        raise ValueError("it needs either checkpoints or a package")
    if not translator and tuple(sorted(recipe.labels)) != LABELS:
        raise ValueError(f"its labels are not {', '.join(LABELS)}")
    if package and not _SHA256.fullmatch(package.sha256):
        raise ValueError("the package's sha256 is none")
    return recipe


def _checkpoint(given: dict[str, Any]) -> Checkpoint:
    checkpoint = Checkpoint(given["hub"], given["revision"], given["license"], given.get("sha256", {}))
    if checkpoint.revision is not None and not _REVISION.fullmatch(checkpoint.revision):
        raise ValueError(f"the revision of {checkpoint.hub} is not a commit of 40 digits")
    for file, digest in checkpoint.sha256.items():
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"the sha256 of {file} in {checkpoint.hub} is none")
    return checkpoint
