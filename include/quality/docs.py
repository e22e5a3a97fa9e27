"""Quality results as pages, made from their JSON when somebody looks: nothing comes from elsewhere.

Great Expectations' own page costs a task 0.3 s and a reader some ten libraries from other hosts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from include.quality.suites import BLOCKS

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
:root { background: light-dark(#fff, #16191f); color: light-dark(#1b1e24, #eceff4) }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
a { color: light-dark(#0b57a4, #8ab4f8) }
table { border-collapse: collapse; width: 100% }
caption { font-weight: 600; padding: 1rem 0 .3rem; text-align: left }
th, td { border-bottom: 1px solid #8886; padding: .35rem .6rem; text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
tr.blocks td:first-child { border-left: .4rem solid light-dark(#b3261e, #ff8a80); font-weight: 600 }
tr.warns td:first-child { border-left: .4rem solid light-dark(#8a5a00, #ffcc66); font-weight: 600 }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.5rem }
.banner { border: 1px solid light-dark(#5f4300, #ffeeb8); border-radius: 8px; padding: .5rem .9rem }
.scroll { overflow-x: auto }
ul.periods { columns: 9rem; list-style: none; padding: 0 }
tr.holds td:first-child { border-left: .4rem solid light-dark(#1b6e3c, #7bd88f) }
"""
_COLUMNS = (
    *("Result", "Column", "Expectation", "Expected", "Observed", "Rows", "Break it"),
    "Why it is expected",
)
ORDER = ("raw", "labeled", "opinion", "predictions", "drift")
"""The suites in the order in which the pipeline runs them."""


@dataclass(frozen=True)
class Neighbors:
    """The periods of the same suite with a result before and after one; None if there is none."""

    previous: str | None = None
    next: str | None = None

    @classmethod
    def of(cls, period: str, known: Sequence[str]) -> Neighbors:
        """From all periods of the suite that have a result."""
        before = [each for each in known if each < period]
        after = [each for each in known if each > period]
        return cls(max(before, default=None), min(after, default=None))


def index(found: Mapping[str, Sequence[str]], notice: str = "") -> str:
    """The HTML page that leads to every result; ``found`` has each suite's periods, ``notice`` stands above.

    It lies at ``quality/`` below the plugin's address, a result at ``quality/<suite>/<period>``.
    """
    parts = []
    for suite in sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        days: dict[str, list[str]] = {}
        for period in sorted(found[suite], reverse=True):
            days.setdefault(period[:10], []).append(period)
        parts.append(f"<h2>Suite {escape(suite)}</h2>")
        for day, periods in days.items():
            links = "".join(
                f'<li><a href="{escape(suite)}/{period}">{period.replace("T", " ")}</a></li>'
                for period in sorted(periods)
            )
            # Days and hours with a result are many: the latest day is open.
            opened = " open" if day == next(iter(days)) else ""
            parts.append(
                f'<details{opened}><summary>{day}: {len(periods)}</summary><ul class="periods">{links}</ul>'
                "</details>"
            )
    body = "".join(parts) or (
        "<p>Nothing was checked yet. The DAG transform checks every hour, insights every day.</p>"
    )
    return _html("Quality results", '<nav><a href="../coverage">Coverage</a></nav>', body, notice)


def render(content: bytes, neighbors: Neighbors | None = None, notice: str = "") -> str:
    """The HTML page of a result as `runner.document` has written it, with links to its ``neighbors``."""
    result: dict[str, Any] = json.loads(content)
    title = f"Suite {result['suite']} of {result['window']}"
    summary = (
        f"{result['checked']} expectations on {result['rows']:,} rows: {result['failed']} fail, "
        f"{result['blocking']} of them block"
    )
    tables = "".join(
        _table(frame, [outcome for outcome in result["outcomes"] if outcome["frame"] == frame])
        for frame in dict.fromkeys(outcome["frame"] for outcome in result["outcomes"])
    )
    beside = neighbors or Neighbors()
    links = [
        ("../", "All results"),
        (beside.previous, f"← {beside.previous}"),
        (beside.next, f"{beside.next} →"),
        ("../../coverage", "Coverage"),
    ]
    navigation = "".join(f'<a href="{address}">{text}</a>' for address, text in links if address)
    above = f'<nav aria-label="Results">{navigation}</nav>'
    return _html(title, above, f"<p>{escape(summary)}</p>{tables}", notice)


def _html(title: str, navigation: str, body: str, notice: str) -> str:
    banner = f'<p class="banner" role="note">{escape(notice)}</p>' if notice else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body>{navigation}<main>{banner}<h1>{escape(title)}</h1>{body}</main></body></html>"
    )


def _table(frame: str, outcomes: list[dict[str, Any]]) -> str:
    head = "".join(f'<th scope="col">{column}</th>' for column in _COLUMNS)
    rows = "".join(_row(outcome) for outcome in outcomes)
    caption = f"<caption>{escape(frame)}</caption>"
    table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _row(outcome: Mapping[str, Any]) -> str:
    kind = "holds" if outcome["success"] else "blocks" if outcome["severity"] == BLOCKS else "warns"
    failed = outcome["error"] or f"{outcome['failed']:,}"
    return (
        f'<tr class="{kind}"><td>{kind}</td><td>{escape(outcome["subject"])}</td>'
        f"<td>{escape(outcome['expectation'])}</td><td>{escape(outcome['expected'])}</td>"
        f"<td>{escape(outcome['observed'])}</td>"
        f'<td class="number">{outcome["checked"]:,}</td><td class="number">{escape(failed)}</td>'
        f"<td>{escape(outcome['why'])}</td></tr>"
    )
