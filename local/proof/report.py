"""The results of the proofs: as JSON for programs, and as a section of a page for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class ReportError(RuntimeError):
    """The page has no markers for the section."""


def save(figures: Any, path: Path) -> None:
    """Writes figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def named_table(figures: Mapping[str, Any]) -> str:
    """Figures with their names, one per line."""
    return table(("Figure", ""), [(name.replace("_", " "), value) for name, value in figures.items()])


def write_section(page: Path, name: str, text: str) -> None:
    """Puts text between the page's markers of that name; raises `ReportError` if it has none."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    content = page.read_text(encoding="utf-8")
    before, found, rest = content.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ReportError(f"{page} has no lines '{begin}' and '{end}'")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
