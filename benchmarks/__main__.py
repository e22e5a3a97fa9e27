"""Runs every benchmark: a table on the screen, ``.run/bench.json`` for programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import archive, coverage, handlers, page, parse, removals, streamer, training, transform
from benchmarks.measure import ROOT, MeasureError, Row, in_own_process
from local.proof.report import save, table, write_section

RESULT = ROOT / ".run" / "bench.json"


def main() -> int:
    """Measures, shows and writes; 1 if a measurement failed: the parts before it are on the page already."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the tweets, without the full hour")
    parser.add_argument(
        "--labeled",
        type=Path,
        help="Parquet of text and label (0, 1, 2) to train on, not made-up tweets",
    )
    parser.add_argument("--page", type=Path, help="a page whose sections of these parts are written as well")
    parser.add_argument("--only", type=lambda text: text.split(","), help="the parts to measure: a,b")
    chosen = parser.parse_args()
    quick: bool = chosen.quick
    console = Console()
    parts: dict[str, Callable[[], list[Row]]] = {
        "parse": parse.measure,
        "transform": lambda: transform.measure(quick),
        "ngram": lambda: [Row(**in_own_process("benchmarks.ngram"))],
        "handlers": lambda: handlers.measure(quick),
        "streamer": lambda: streamer.measure(quick),
        "archive": lambda: archive.measure(quick),
        "coverage": lambda: coverage.measure(quick),
        "removals": lambda: removals.measure(quick),
        "page": lambda: page.measure(quick),
        "training": lambda: training.measure(quick, chosen.labeled),
    }
    if unknown := set(chosen.only or ()) - parts.keys():
        parser.error(f"no part is named {', '.join(sorted(unknown))}; the parts are {', '.join(parts)}")
    found: dict[str, list[Row]] = {}
    try:
        for name in chosen.only or parts:
            with console.status(f"measuring {name} …"):
                found[name] = parts[name]()
            console.print(f"measured {name}")
            if chosen.page:
                write_section(chosen.page, f"bench {name}", _section(found[name]))
    except MeasureError as error:
        print(error, file=sys.stderr)
        return 1
    rows = [row for measured in found.values() for row in measured]
    console.print(_table(rows))
    for number, row in enumerate(rows, 1):
        if row.note:
            console.print(f"{number}: {row.note}", highlight=False)
    save([asdict(row) for row in rows], RESULT)
    console.print(f"written to {RESULT.relative_to(ROOT)}; CPU time is that of this machine in this run")
    return 0


def _figures(row: Row) -> tuple[str, str, str]:
    return f"{row.ours:,}", f"{row.peer:,}", f"{row.ratio:,} ×"


def _section(rows: list[Row]) -> str:
    """The rows for a page."""
    names = ("", "what", "ours", "peer", "ratio", "unit", "peak MiB")
    numbered = list(enumerate(rows, 1))
    found = table(
        names, [(number, row.name, *_figures(row), row.unit, f"{row.peak_mib:,}") for number, row in numbered]
    )
    notes = "\n".join(f"- {number}: {row.note}" for number, row in numbered if row.note)
    return f"{found}\n\n{notes}"


def _table(rows: list[Row]) -> Table:
    shown = Table("", "what", title="Benchmarks", box=box.SIMPLE)
    for name in ("ours", "peer", "ratio"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("unit")
    shown.add_column("peak MiB", justify="right")
    for number, row in enumerate(rows, 1):
        shown.add_row(str(number), row.name, *_figures(row), row.unit, f"{row.peak_mib:,}")
    return shown


if __name__ == "__main__":
    sys.exit(main())
