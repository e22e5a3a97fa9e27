"""Makes the folder of an artifact: handlers, converted model, and its description."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.models import e5, graph, marian, roberta, tokenizer
from tools.models.errors import PackError
from tools.models.hub import Fetched
from tools.models.recipes import TRANSLATION, Recipe
from tools.models.serving import ROOT

HANDLERS = ROOT / "include" / "labeling"
_LICENSE = "LICENSE"
_NGRAMS = "weights.npz"


def build(recipe: Recipe, fetched: Mapping[str, Fetched], target: Path, *, quantized: bool) -> None:
    """Writes the unpacked artifact, without its card; raises `PackError`. ``target`` must not exist."""
    handler = HANDLERS / _handler(recipe) / "code"
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    # The handlers link to the module that they share; an archive holds the file.
    shutil.copytree(handler, target / "code", symlinks=False, ignore=ignored)
    if recipe.task == TRANSLATION:
        _translator(fetched, target, quantized=quantized)
    elif recipe.package is not None:
        _from_package(recipe, target, quantized=quantized)
        _encoder(recipe, target)
    else:
        [only] = fetched.values()
        _check_labels(recipe, only)
        roberta.convert(only.folder, target / "model.onnx", quantized=quantized)
        tokenizer.convert(only.folder, target / "tokenizer.json")
        _encoder(recipe, target)


def _handler(recipe: Recipe) -> str:
    if recipe.task == TRANSLATION:
        return "translator"
    return "encoder" if recipe.package is None else recipe.name


def embed(packed: Path, recipe: Recipe) -> None:
    """Puts a packed model's files where they are embedded, beside the handlers and what these share."""
    folder = HANDLERS / _handler(recipe)
    with tarfile.open(packed) as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            assert content is not None
            if entry.name not in (_LICENSE, _NGRAMS) and not entry.name.startswith("code/"):
                (folder / entry.name).write_bytes(content.read())
    shutil.copyfile(packed.with_name("MODEL_CARD.md"), folder / "MODEL_CARD.md")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, the same bytes for the same value."""
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def _translator(fetched: Mapping[str, Fetched], target: Path, *, quantized: bool) -> None:
    languages = {}
    for language, found in sorted(fetched.items()):
        name = found.checkpoint.name
        marian.convert(found.folder, target / name, "int8" if quantized else "float32")
        languages[language] = {"folder": name}
    write_json(target / "translator.json", {"engine": "opus-mt", "languages": languages})


def _encoder(recipe: Recipe, target: Path) -> None:
    assert recipe.encoder is not None
    described = {"engine": recipe.name, "labels": list(recipe.labels), **asdict(recipe.encoder)}
    write_json(target / "encoder.json", described)


def _check_labels(recipe: Recipe, fetched: Fetched) -> None:
    """Some checkpoints name their labels, some only number them."""
    named = roberta.labels(fetched.folder)
    if len(named) != len(recipe.labels):
        raise PackError(
            f"{fetched.folder} has {len(named)} labels, and the recipe expects {len(recipe.labels)}."
        )
    numbered = [f"label_{number}" for number in range(len(named))]
    if named not in (numbered, list(recipe.labels)):
        raise PackError(
            f"{fetched.folder} names its labels {', '.join(named)}, and the recipe says"
            f" {', '.join(recipe.labels)}."
        )


def _from_package(recipe: Recipe, target: Path, *, quantized: bool) -> None:
    assert recipe.package is not None
    installed = importlib.metadata.version(recipe.package.name)
    if installed != recipe.package.version:
        raise PackError(
            f"{recipe.package.name} {installed} is installed, and the recipe expects"
            f" {recipe.package.version}; run make models, which installs what locks/pack.txt says."
        )
    trained = e5.Trained.read()
    source = e5.Source.read(e5.find(), recipe.package.sha256)
    encoder = source.encoder(trained.layers, trained.kept)
    graph.write(encoder, graph.Mean(trained.head), target / "model.onnx", quantized=quantized)
    for shared in (_NGRAMS, _LICENSE):
        shutil.copyfile(HANDLERS / recipe.name / shared, target / shared)
    write_json(target / "cascade.json", asdict(trained.mixture))
    pieces = source.tokenizer(trained.kept)
    (target / "tokenizer.json").write_text(pieces.to_str(), encoding="utf-8")
