"""Pages for people: what the consoles of SageMaker and Athena would show of a job and of a query."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from typing import Any

from local.aws.context import Reply

_STYLE = (
    ":root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}"
    "body{margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;"
    "border-bottom:1px solid #8886;vertical-align:top;overflow-wrap:anywhere}th{width:14rem;font-weight:600}"
    "pre{overflow:auto;max-height:60vh;padding:.8rem;border:1px solid #8886;border-radius:6px;"
    "white-space:pre-wrap;overflow-wrap:anywhere}.bad{color:light-dark(#b3261e,#ff8a80);font-weight:600}"
)
_AGAIN_SECONDS = 3


def page(status: int, title: str, *parts: str, again: bool = False) -> Reply:
    """A page of ready HTML ``parts``; ``again`` has the browser read it again every few seconds."""
    refresh = f'<meta http-equiv="refresh" content="{_AGAIN_SECONDS}">' if again else ""
    data = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{refresh}'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    ).encode()
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(data))),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return status, headers, data


def facts(found: Iterable[tuple[str, Any]]) -> str:
    """Names and values as a table, without those that have no value."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(_text(value))}</td></tr>'
        for name, value in found
        if value not in (None, "", [], {})
    )
    return f"<table><tbody>{rows}</tbody></table>"


def error(text: str) -> str:
    """The errors, line by line."""
    return f'<pre class="bad" role="alert">{escape(text)}</pre>' if text else ""


def listing(title: str, text: str, nothing: str) -> str:
    """A text shown verbatim under a heading; ``nothing`` replaces an empty one."""
    return f"<h2>{escape(title)}</h2>" + (
        f"<pre>{escape(text)}</pre>" if text else f"<p>{escape(nothing)}</p>"
    )


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return value if isinstance(value, str) else json.dumps(value, indent=1, default=str)


def moment(seconds: float | None) -> datetime | None:
    """A time of an API that counts seconds."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
