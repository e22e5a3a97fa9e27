"""The translator and the cascade through their handlers, and what converting and packing them takes.

The cascade's encoder is e5, whose weights come with the pack environment. The translator has opus-mt's
architecture and size with random weights (`benchmarks.marian`): a real one comes from the hub alone.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks import marian, tweets
from benchmarks.measure import ROOT, MeasureError, Row, in_own_process

_PYTHON = ROOT / ".venv-pack" / "bin" / "python"


@dataclass(frozen=True)
class _Subject:
    """A model, the texts that it is asked in one payload, and how many of them are asked one a call."""

    name: str
    recipe: str
    records: list[dict[str, str]]
    calls: int
    note: str


def measure(quick: bool = False) -> list[Row]:
    """The rows for this part; ``quick`` asks a tenth of the texts.

    Raises `MeasureError` without the pack environment, or if a model cannot be packed or asked.
    """
    if not _PYTHON.is_file():
        raise MeasureError(
            f"{_PYTHON.relative_to(ROOT)} does not exist: run python3 tools/setup.py pack, as make bench does"
        )
    share = 10 if quick else 1
    subjects = (
        _Subject("cascade (e5)", "e5", _tweets(1_000 // share), 200 // share, "the real weights"),
        _Subject(
            "translator (opus-mt)",
            "opus-mt",
            _to_translate(400 // share),
            60 // share,
            "opus-mt's architecture and size with random weights and every translation as long as its source,"
            " so only the speed is measured",
        ),
    )
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Path(name, marian.NAME)
        _in_pack("checkpoint", checkpoint)
        return [row for subject in subjects for row in _rows(subject, checkpoint)]


def _rows(subject: _Subject, checkpoint: Path) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packed = {}
        for precision in ("int8", "float32"):
            (folder / precision).mkdir()
            packed[precision] = _in_pack("pack", subject.recipe, precision, checkpoint, folder / precision)
        texts = folder / "texts.jsonl"
        texts.write_text("".join(json.dumps(record) + "\n" for record in subject.records))
        archives = [folder / precision / "model.tar.gz" for precision in packed]
        asked = _in_pack("ask", *archives, texts, subject.calls)
    ours = asked["ours"]
    for way, beside, peer_is in (
        (
            "one_a_call",
            "one tweet a call",
            f"the same model and handler, asked for {subject.calls:,} of the tweets one by one",
        ),
        ("unquantized", "float32", "the same model before quantization, asked in the same payload"),
    ):
        peer = asked[way]
        yield Row(
            f"{subject.name} against {beside}, {len(subject.records):,} tweets",
            round(1 / ours["seconds"], 1),
            round(1 / peer["seconds"], 1),
            round(peer["seconds"] / ours["seconds"], 2),
            "tweets per CPU-second",
            round(ours["peak_mib"]),
            f"{subject.note}; int8, all tweets in one payload, one thread; peer is {peer_is},"
            f" {peer['peak_mib']:.0f} MiB",
        )
    quantized, plain = packed["int8"], packed["float32"]
    yield Row(
        f"converting and packing the {subject.name}",
        round(quantized["cpu_s"], 1),
        round(plain["cpu_s"], 1),
        round(plain["cpu_s"] / quantized["cpu_s"], 2),
        "CPU-seconds",
        round(quantized["peak_mib"]),
        f"to int8, an archive of {quantized['archive_mib']:.0f} MiB; peer is the same without quantization,"
        f" {plain['archive_mib']:.0f} MiB",
    )


def _in_pack(*arguments: object) -> dict[str, Any]:
    return in_own_process("benchmarks.packing", *arguments, python=_PYTHON)


def _tweets(count: int) -> list[dict[str, str]]:
    """Synthetic tweets in several languages."""
    lines = itertools.chain.from_iterable(tweets.lines(topic, count) for topic in tweets.TOPICS)
    found = {data["id"]: data for data in (orjson.loads(line)["data"] for line in lines)}
    return [
        {"id": data["id"], "text": data["text"], "lang": data["lang"]}
        for data in itertools.islice(found.values(), count)
    ]


def _to_translate(count: int) -> list[dict[str, str]]:
    return [
        {"id": str(number), "text": text, "lang": marian.LANGUAGE}
        for number, text in enumerate(marian.texts(count))
    ]
