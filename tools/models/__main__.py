"""``python -m tools.models e5`` packs a model into ``dist/models/e5/``; ``make models MODEL=e5`` calls it."""

from __future__ import annotations

import argparse
import errno
import fcntl
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.labeling import archive
from tools.models import building, card, e5, hub, measuring, recipes, verification
from tools.models.errors import PackError
from tools.models.hub import Fetched
from tools.models.recipes import TRANSLATION, Recipe
from tools.models.serving import ROOT, serve

DIST = ROOT / "dist" / "models"
ARCHIVE, CARD = "model.tar.gz", "card.json"
_PREFIX = ".unfinished-"


@dataclass(frozen=True)
class Order:
    """The model to pack, and its source."""

    recipe: Recipe
    source: Path | None
    languages: tuple[str, ...]
    labeled: Path | None
    upload: bool


def main() -> int:
    """Packs one model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.models", description=__doc__)
    parser.add_argument("model", help="a recipe of tools/models/recipes.yaml")
    parser.add_argument("--from", dest="source", type=Path, help="a folder with the checkpoints")
    parser.add_argument("--languages", default="", help="of a translator, only these (ru,uk)")
    parser.add_argument("--labeled", type=Path, help="a Parquet file or folder to measure a classifier on")
    parser.add_argument("--upload", action="store_true", help="put it into the lake's bucket")
    parser.add_argument("--target", type=Path, default=DIST, help=argparse.SUPPRESS)
    parser.add_argument("--recipes", type=Path, default=recipes.RECIPES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        languages = tuple(name for name in given.languages.split(",") if name)
        order = Order(
            recipes.of(given.model, given.recipes), given.source, languages, given.labeled, given.upload
        )
        pack(order, given.target)
    except (PackError, archive.ModelError) as error:
        print(f"make models stopped: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"make models stopped: {_explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make models was interrupted; run the same command again to continue.", file=sys.stderr)
        return 130
    return 0


def pack(order: Order, target: Path) -> Path:
    """Makes ``<target>/<name>/`` with the archive and its cards, whole or not at all; returns the archive.

    Raises `PackError`.
    """
    recipe = order.recipe
    _check(order)
    target.mkdir(parents=True, exist_ok=True)
    with _alone(target), tempfile.TemporaryDirectory(prefix=_PREFIX, dir=target) as name:
        aside = Path(name)
        with _step("Source"):
            fetched = _fetched(order, target)
        quantized, unquantized = aside / "quantized", aside / "unquantized"
        with _step("Conversion"):
            building.build(recipe, fetched, quantized, quantized=True)
            building.build(recipe, fetched, unquantized, quantized=False)
        with _step("Verification"):
            # From the packed artifact, which SageMaker would unpack in the same way.
            made = aside / "result"
            made.mkdir()
            archive.pack(quantized, made / ARCHIVE)
            with serve(made / ARCHIVE) as one, serve(unquantized) as other:
                verified = (
                    verification.translator(sorted(fetched), one, other)
                    if recipe.task == TRANSLATION
                    else verification.classifier(recipe, one, other)
                )
        shutil.rmtree(unquantized)
        measured, measured_on = _measured(order, made / ARCHIVE)
        with _step("Packing"):
            described = card.describe(recipe, fetched, verified, measured, measured_on)
            building.write_json(quantized / CARD, described)
            archive.pack(quantized, made / ARCHIVE)
            if archive.archive_digest(made / ARCHIVE) != archive.folder_digest(quantized):
                raise PackError("The archive does not hold what was packed; check the disk.")
            building.write_json(made / CARD, described)
            size = (made / ARCHIVE).stat().st_size
            card.write(described, size, hub.sha256(made / ARCHIVE), made / "MODEL_CARD.md")
        result = target / recipe.name
        _replace(made, result)
    print(f"{result / ARCHIVE}: {size / 1024**2:.1f} MiB; its card: {result / 'MODEL_CARD.md'}")
    _say_next(order, result / ARCHIVE)
    return result / ARCHIVE


def _check(order: Order) -> None:
    recipe = order.recipe
    if order.languages and recipe.task != TRANSLATION:
        raise PackError(f"LANGUAGES chooses among a translator's models, and {recipe.name} is none.")
    unknown = sorted(set(order.languages) - set(recipe.checkpoints))
    if unknown and recipe.task == TRANSLATION:
        raise PackError(f"{recipe.name} has no model for {', '.join(unknown)}.")
    if order.source and recipe.package:
        raise PackError(f"{recipe.name} comes from the package {recipe.package.name}; leave out FROM.")
    if order.labeled and recipe.task == TRANSLATION:
        raise PackError(f"LABELED measures sentiment, and {recipe.name} translates.")


def _fetched(order: Order, target: Path) -> dict[str, Fetched]:
    chosen = {
        key: checkpoint
        for key, checkpoint in order.recipe.checkpoints.items()
        if not order.languages or key in order.languages
    }
    if not chosen:
        return {}
    if order.source is not None:
        fetched = hub.find(chosen, order.source)
        for key, found in fetched.items():
            if found.as_pinned is False:
                print(f"    {found.folder}: the weights are not those that the recipe names", flush=True)
            elif found.license is None:
                print(f"    {found.folder}: its license is not stated there", flush=True)
            chosen.pop(key)
        if chosen and (order.languages or len(fetched) == 0):
            raise PackError(f"{order.source} has no checkpoint for {', '.join(sorted(chosen))}.")
        if chosen:
            print(f"    left out, not in {order.source}: {', '.join(sorted(chosen))}", flush=True)
        sizes = sum(path.stat().st_size for found in fetched.values() for path in found.folder.glob("*"))
        hub.check_room(hub.ROOM * sizes, target)
        return fetched
    offered = dict(zip(chosen, hub.look_up(list(chosen.values())), strict=True))
    hub.check_room(hub.ROOM * sum(one.size for one in offered.values()), target)
    return {
        key: hub.fetch(one, lambda line: print(f"    {line}", flush=True)) for key, one in offered.items()
    }


def _measured(order: Order, path: Path) -> tuple[dict[str, dict[str, Any]], str | None]:
    """The scores by language that count, and what they were made on."""
    shipped, shipped_on = e5.shipped_scores() if order.recipe.package is not None else ({}, None)
    if order.labeled is None:
        return shipped, shipped_on
    rows = measuring.read(order.labeled)
    with _step("Measuring"), serve(path) as served:
        found = measuring.measure(served, rows)
    for line in measuring.report(rows, found):
        print(f"    {line}", flush=True)
    made_on = f"{len(rows):,} labeled texts of {order.labeled.name}, through the packed artifact's handler"
    if kept := sorted(shipped.keys() - found.keys()):
        made_on += f"; {', '.join(kept)} on {shipped_on}"
    return measuring.renewed(shipped, found), made_on


def _replace(made: Path, result: Path) -> None:
    """Replaces the old folder by the new one."""
    old = made.with_name("old")
    if result.exists():
        result.rename(old)
    made.rename(result)


def _say_next(order: Order, path: Path) -> None:
    setting = f"OPINION_{order.recipe.task.upper()}_ARTIFACT"
    parameter = order.recipe.task.upper()
    address = str(path)
    if order.upload:
        from tools.models.upload import upload

        with _step("Upload"):
            address = upload(path, order.recipe)
    print(f"To use it, set {setting}={address} and run the DAG provision;", end=" ")
    print(f"on this machine: make run {parameter}={path}")


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One packing at a time; the leftovers of a killed one are deleted."""
    with (target / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in target.glob(f"{_PREFIX}*"):
            shutil.rmtree(left)
        yield


@contextmanager
def _step(name: str) -> Iterator[None]:
    begin = time.monotonic()
    print(f"  … {name}", flush=True)
    yield
    print(f"  ✓ {name:<24}{time.monotonic() - begin:6.1f} s", flush=True)


def _explain(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some and run the same command again."
    return f"{error}; fix that and run the same command again."


if __name__ == "__main__":
    sys.exit(main())
