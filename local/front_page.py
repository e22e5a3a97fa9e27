"""A stand-in's page at ``/``: what it is and where to look. It reveals nothing about a world."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color-scheme: light dark; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #8886; vertical-align: top; }
pre { overflow: auto; max-height: 24rem; padding: .8rem; border: 1px solid #8886; white-space: pre-wrap; }
summary { cursor: pointer; padding: .3rem 0; }
"""


def page(title: str, body: str) -> str:
    """A whole document; ``body`` is HTML."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>{body}</body></html>"
    )


def front_page(title: str, text: str, links: Mapping[str, str]) -> str:
    """A page with a title, a paragraph, and links by what they lead to."""
    items = "".join(f'<li><a href="{escape(url)}">{escape(name)}</a></li>' for name, url in links.items())
    listed = f"<ul>{items}</ul>" if items else ""
    hint = "<p>All addresses and credentials are in <code>.run/endpoints.json</code>.</p>"
    return page(title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{listed}{hint}")
