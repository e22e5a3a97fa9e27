"""The cost of a tweet in the reader of archives, compared with parsers of the same file that keep nothing.

Ours checks every tweet, leaves out duplicates, writes the payloads and sorts them by time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import batched
from pathlib import Path
from typing import Any

import orjson
from twarc.expansions import flatten

from benchmarks import tweets
from benchmarks.measure import Row, in_own_process, report
from local.x_api.archive import Archive

_TWEETS_PER_PAGE = 100


def measure(quick: bool = False) -> list[Row]:
    """The rows for this part; ``quick`` measures a tenth of the tweets."""
    count = 20_000 if quick else 200_000
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for shape, write, name, peer_name in (
            ("stream lines", _lines, "json", "json.loads a line"),
            ("pages", _pages, "twarc", "json.loads and twarc's flatten"),
        ):
            file = Path(folder, name)
            with file.open("wb") as content:
                content.writelines(write(count))
            ours, peer = (in_own_process("benchmarks.archive", reader, file) for reader in ("ours", name))
            rate, peer_rate = (result["tweets"] / result["cpu_s"] for result in (ours, peer))
            rows.append(
                Row(
                    f"archive in {shape}, {count:,} tweets",
                    round(rate),
                    round(peer_rate),
                    round(rate / peer_rate, 2),
                    "tweets per CPU-second",
                    round(ours["peak_mib"]),
                    f"{1e6 / rate:.0f} µs a tweet, checked, kept and sorted;"
                    f" peer is {peer_name}, {round(peer['peak_mib'])} MiB",
                )
            )
    return rows


def _lines(count: int) -> Iterator[bytes]:
    return (line + b"\n" for line in tweets.lines("ukraine", count))


def _pages(count: int) -> Iterator[bytes]:
    """The same tweets as twarc keeps the pages of a search."""
    for lines in batched(tweets.lines("ukraine", count), _TWEETS_PER_PAGE):
        payloads = [orjson.loads(line) for line in lines]
        included: dict[str, dict[str, Any]] = {}
        for payload in payloads:
            for kind, items in payload["includes"].items():
                included.setdefault(kind, {}).update((item["id"], item) for item in items)
        page = {
            "data": [payload["data"] for payload in payloads],
            "includes": {kind: list(items.values()) for kind, items in included.items()},
            "meta": {"result_count": len(payloads)},
        }
        yield orjson.dumps(page) + b"\n"


def _ours(file: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as state:
        archive = Archive(file, Path(state))
    return {"tweets": archive.describe()["tweets"] + archive.duplicates}


def _json(file: Path) -> dict[str, Any]:
    with file.open("rb") as lines:
        return {"tweets": sum(1 for line in lines if json.loads(line))}


def _twarc(file: Path) -> dict[str, Any]:
    with file.open("rb") as lines:
        return {"tweets": sum(len(flatten(json.loads(line))) for line in lines)}


_READERS: dict[str, Callable[[Path], dict[str, Any]]] = {"ours": _ours, "json": _json, "twarc": _twarc}


def main() -> None:
    """Reads one file by one reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=_READERS)
    parser.add_argument("file", type=Path)
    chosen = parser.parse_args()
    report(lambda: _READERS[chosen.reader](chosen.file))


if __name__ == "__main__":
    main()
