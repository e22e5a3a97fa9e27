"""A quality result as a page, made from its JSON when somebody looks: counts only, nothing from elsewhere.

Great Expectations' own page costs a task 0.3 s and a reader some ten libraries from other hosts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from include.quality.suites import BLOCKS

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
caption { font-weight: 600; padding: 1rem 0 .3rem; text-align: left }
th, td { border-bottom: 1px solid #8886; padding: .35rem .6rem; text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
tr.blocks td:first-child { border-left: .4rem solid light-dark(#b3261e, #ff8a80); font-weight: 600 }
tr.warns td:first-child { border-left: .4rem solid light-dark(#8a5a00, #ffcc66); font-weight: 600 }
tr.holds td:first-child { border-left: .4rem solid light-dark(#1b6e3c, #7bd88f) }
"""
_COLUMNS = ("Result", "Column", "Expectation", "Expected", "Rows", "Break it", "Why it is expected")


def render(content: bytes) -> str:
    """The HTML page of a result as `runner.document` has written it."""
    result: dict[str, Any] = json.loads(content)
    title = f"Suite {result['suite']} of {result['window']}"
    verdict = (
        f"{result['checked']} expectations on {result['rows']:,} rows: {result['failed']} fail, "
        f"{result['blocking']} of them block"
    )
    tables = "".join(
        _table(frame, [outcome for outcome in result["outcomes"] if outcome["frame"] == frame])
        for frame in dict.fromkeys(outcome["frame"] for outcome in result["outcomes"])
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1><p>{escape(verdict)}</p>{tables}</body></html>"
    )


def _table(frame: str, outcomes: list[dict[str, Any]]) -> str:
    head = "".join(f'<th scope="col">{column}</th>' for column in _COLUMNS)
    rows = "".join(_row(outcome) for outcome in outcomes)
    caption = f"<caption>{escape(frame)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(outcome: Mapping[str, Any]) -> str:
    kind = "holds" if outcome["success"] else "blocks" if outcome["severity"] == BLOCKS else "warns"
    failed = outcome["error"] or f"{outcome['failed']:,}"
    return (
        f'<tr class="{kind}"><td>{kind}</td><td>{escape(outcome["subject"])}</td>'
        f"<td>{escape(outcome['expectation'])}</td><td>{escape(outcome['expected'])}</td>"
        f'<td class="number">{outcome["checked"]:,}</td><td class="number">{escape(failed)}</td>'
        f"<td>{escape(outcome['why'])}</td></tr>"
    )
