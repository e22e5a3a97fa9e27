"""The page of measurements: each proof writes its own section and leaves the rest alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.proof.bench import ROOT
from local.proof.report import ReportError, named_table, write_section

PAGE = "# A\n<!-- one: begin -->\nold\n<!-- one: end -->\n<!-- two: begin -->\nkept\n<!-- two: end -->\n"


def test_a_section_is_replaced_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    for _ in range(2):
        write_section(page, "one", named_table({"in_lake": 3}))
    table = "| Figure |  |\n| --- | --- |\n| in lake | 3 |"
    assert page.read_text() == PAGE.replace("old", table)


def test_a_page_without_the_markers_is_rejected_and_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("<!-- one: end -->", ""))
    with pytest.raises(ReportError):
        write_section(page, "one", "new")
    assert "old" in page.read_text()


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ("streamer-measurements.md", "kill-test"),
        ("streamer-measurements.md", "fault-matrix"),
        ("streamer-measurements.md", "soak"),
        ("live.md", "live-test"),
    ],
)
def test_the_docs_have_a_place_for_each_proof(document: str, name: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / document).read_text())
    write_section(page, name, "measured")
    assert "measured" in page.read_text()
