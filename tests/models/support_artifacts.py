"""Artifacts of tiny models, as `make models` lays them out, and the two servers that answer for them."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.models import support_hub
from tools.models import marian, roberta, tokenizer

ROOT = Path(__file__).parents[2]
LABELING = ROOT / "include" / "labeling"
CONTAINER = ROOT / "local" / "aws" / "container.py"
JSON_LINES = "application/jsonlines"


def translator(target: Path, hub: Path, languages: Sequence[str]) -> Path:
    """A translator of the hub's tiny opus-mt models."""
    shutil.copytree(LABELING / "translator" / "code", target / "code")
    folders = {language: {"folder": f"opus-mt-{language}-en"} for language in languages}
    for found in folders.values():
        marian.convert(hub / found["folder"], target / found["folder"])
    described = {"engine": "opus-mt", "languages": folders}
    (target / "translator.json").write_text(json.dumps(described))
    return target


def encoder(target: Path, hub: Path, **changes: Any) -> Path:
    """A classifier of the hub's tiny RoBERTa."""
    shutil.copytree(LABELING / "encoder" / "code", target / "code")
    roberta.convert(hub / "roberta", target / "model.onnx")
    tokenizer.convert(hub / "roberta", target / "tokenizer.json")
    described = {
        "engine": "tiny",
        "labels": ["negative", "neutral", "positive"],
        "max_tokens": 512,
        "handle": "@user",
        "link": "http",
        "prefix": "",
        **changes,
    }
    (target / "encoder.json").write_text(json.dumps(described))
    return target


def handler(folder: Path) -> ModuleType:
    """An artifact's handlers, imported as a container does it: by their bare names."""
    for module in (folder / "code").glob("*.py"):
        sys.modules.pop(module.stem, None)
    sys.path.insert(0, str(folder / "code"))
    try:
        return importlib.import_module("inference")
    finally:
        sys.path.remove(str(folder / "code"))


def lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    """The records as a request's body."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


@contextmanager
def stand_in(folder: Path, **environment: str) -> Iterator[http.client.HTTPConnection]:
    """The artifact in the local AWS's container."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-u", str(CONTAINER), "--model-dir", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            port = int(process.stdout.readline().split()[1])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            yield connection
            connection.close()
        finally:
            process.kill()
            process.wait()


def asked(connection: http.client.HTTPConnection, body: bytes, **headers: str) -> tuple[int, str, bytes]:
    """Status, media type and body of the stand-in's answer; a header is named with an underscore."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/invocations", body, named)
    answer = connection.getresponse()
    return answer.status, answer.headers["Content-Type"], answer.read()


def asked_of_aws(
    folder: Path, requests: Sequence[tuple[bytes, Mapping[str, str]]], **environment: str
) -> Any:
    """What AWS's own serving code answers to each request (body and headers): status, media type and body.

    Raises `RuntimeError` with what it says where it does not start.
    """
    asked = [[body.decode("latin-1"), dict(headers)] for body, headers in requests]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.models.aws_container", str(folder)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": f"{folder / 'code'}:{ROOT}"},
    )
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return [(status, media, body.encode("latin-1")) for status, media, body in json.loads(ended.stdout)]


def main() -> None:
    """Makes a tiny translator's folder: ``python -m tests.models.support_artifacts FOLDER``."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        hub = Path(folder)
        for language in support_hub.DICTIONARIES:
            support_hub.opus_mt(hub / f"opus-mt-{language}-en", language)
        translator(target, hub, list(support_hub.DICTIONARIES))
    measured = {language: {"rows": 1} for language in ("ru", "uk")}
    card = {"engine": "opus-mt", "task": "translation", "measured": measured}
    (target / "card.json").write_text(json.dumps(card))


if __name__ == "__main__":
    main()
