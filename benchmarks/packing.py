"""Packs a model and asks it through its handler: the measured steps of `benchmarks.handlers`.

Runs in the pack environment: ``.venv-pack/bin/python -m benchmarks.packing``.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import marian
from benchmarks.measure import MeasureError, peak_mib, report, used
from include.labeling import archive
from tools.models import building, recipes
from tools.models.hub import Fetched
from tools.models.serving import Served, serve

_ROUNDS = 2
_WARM_UP = 20
"""Texts that each model is asked before it is measured."""


def main() -> None:
    """One measured step; see the subcommands."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    checkpoint = steps.add_parser("checkpoint", help="writes a translator's checkpoint")
    checkpoint.add_argument("folder", type=Path)
    pack = steps.add_parser("pack", help="converts a recipe's model and packs it")
    pack.add_argument("recipe")
    pack.add_argument("precision", choices=["int8", "float32"])
    pack.add_argument("checkpoint", type=Path, help="of a translator; e5 comes from its package")
    pack.add_argument("folder", type=Path)
    ask = steps.add_parser("ask", help="asks both archives, in one payload and one text a call")
    ask.add_argument("int8", type=Path)
    ask.add_argument("float32", type=Path)
    ask.add_argument("texts", type=Path, help="records of id, text and lang, one JSON object a line")
    ask.add_argument("calls", type=int, help="how many of the texts are asked one a call")
    chosen = parser.parse_args()
    if chosen.step == "checkpoint":
        marian.write(chosen.folder)
        print("{}")
    elif chosen.step == "pack":
        report(lambda: _pack(chosen.recipe, chosen.precision == "int8", chosen.checkpoint, chosen.folder))
    else:
        texts = [json.loads(line) for line in chosen.texts.read_text().splitlines()]
        report(lambda: _ask(chosen.int8, chosen.float32, texts, texts[: chosen.calls]))


def _pack(name: str, quantized: bool, checkpoint: Path, folder: Path) -> dict[str, Any]:
    recipe = recipes.of(name)
    fetched = {}
    if recipe.task == recipes.TRANSLATION:
        described = recipe.checkpoints[marian.LANGUAGE]
        fetched[marian.LANGUAGE] = Fetched(described, checkpoint, None, None, {}, None)
    building.build(recipe, fetched, folder / "model", quantized=quantized)
    packed = folder / "model.tar.gz"
    archive.pack(folder / "model", packed)
    return {"archive_mib": packed.stat().st_size / 2**20}


def _ask(
    quantized: Path, unquantized: Path, texts: list[dict[str, str]], single: list[dict[str, str]]
) -> dict[str, Any]:
    """CPU seconds a text and peak memory of each way, the best of the rounds; one thread each.

    The ways take turns, so that what else the machine does falls on all of them.
    """
    with ExitStack() as stack:
        ways = {
            way: (stack.enter_context(serve(packed, threads=1)), payloads)
            for way, packed, payloads in (
                ("ours", quantized, [texts]),
                ("one_a_call", quantized, [[record] for record in single]),
                ("unquantized", unquantized, [texts]),
            )
        }
        for served, payloads in ways.values():
            check_answers(served, payloads[0][:_WARM_UP])
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(_ROUNDS):
            for way, (served, payloads) in ways.items():
                before, _ = used(served.pid)
                for payload in payloads:
                    check_answers(served, payload)
                seconds[way].append((used(served.pid)[0] - before) / sum(map(len, payloads)))
        return {
            way: {"seconds": min(seconds[way]), "peak_mib": peak_mib(served.pid)}
            for way, (served, _) in ways.items()
        }


def check_answers(served: Served, payload: list[dict[str, str]]) -> None:
    """Raises `MeasureError` for answers that would make the figures worthless."""
    for record, answer in zip(payload, served.answer(payload), strict=True):
        if "error" in answer:
            raise MeasureError(f"the handler rejects a usable text: {answer['error']}")
        if "translated_text" in answer:
            words, translated = (len(text.split()) for text in (record["text"], answer["translated_text"]))
            if words != translated:
                raise MeasureError(
                    f"a text of {words} words has a translation of {translated}, so speeds do not compare:"
                    " correct the weights of benchmarks/marian.py"
                )


if __name__ == "__main__":
    main()
