"""`make bench` says what to do where a part cannot be measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import handlers
from benchmarks.measure import ROOT, MeasureError


def test_the_handlers_are_not_measured_without_the_pack_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_PYTHON", ROOT / ".no-environment" / "bin" / "python")
    with pytest.raises(MeasureError, match=r"run python3 tools/setup\.py pack"):
        handlers.measure()


def test_bench_sets_the_pack_environment_up() -> None:
    recipe = Path(ROOT, "Makefile").read_text().partition("\nbench:")[2].partition("\n\n")[0]
    assert recipe.index("tools/setup.py pack") < recipe.index("-m benchmarks")


def test_bench_runs_every_measurement() -> None:
    folder = Path(ROOT, "benchmarks")
    program = (folder / "__main__.py").read_text()
    measuring = {path.stem for path in folder.glob("*.py") if "\ndef measure(" in path.read_text()}
    own_command = {"truth"}
    assert len(measuring) > 5
    for name in measuring - own_command:
        assert f"{name}.measure" in program or f'"benchmarks.{name}"' in program, name


def test_the_page_has_a_section_for_every_part_and_no_other() -> None:
    program, page = (
        Path(ROOT, name).read_text() for name in ("benchmarks/__main__.py", "docs/benchmarks.md")
    )
    parts = re.findall(r'^        "(\w+)": ', program, re.MULTILINE)
    assert parts
    assert re.findall(r"<!-- bench (\w+): begin -->", page) == parts
    assert re.findall(r"<!-- bench (\w+): end -->", page) == parts
