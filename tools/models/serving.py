"""Serves an artifact on this machine as SageMaker's container does, to verify and to measure it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.models.errors import PackError

ROOT = Path(__file__).resolve().parents[2]
CONTAINER = ROOT / "local" / "aws" / "container.py"
_JSON_LINES = "application/jsonlines"
_SECONDS = 3600


class Served:
    """A running model: `answer` gives one record a record."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._process, self._port, self._log = process, port, log

    @property
    def pid(self) -> int:
        """The process that holds the model."""
        return self._process.pid

    def answer(self, records: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
        """Sends records as one payload; raises `PackError` unless the handler answers each in order."""
        body = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_SECONDS)
        try:
            headers = {"Content-Type": _JSON_LINES, "Accept": _JSON_LINES}
            connection.request("POST", "/invocations", body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise PackError(
                f"The packed model's handler gave no answer: {error} ({self._tail()})."
            ) from error
        finally:
            connection.close()
        if response.status != 200:
            raise PackError(
                f"The packed model's handler answered with status {response.status}:"
                f" {content[:300].decode(errors='replace')}."
            )
        answers = [json.loads(line) for line in content.split(b"\n") if line.strip()]
        if [answer.get("id") for answer in answers] != [record["id"] for record in records]:
            raise PackError("The packed model's handler did not answer each line in its order.")
        return answers

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextmanager
def serve(artifact: Path, threads: int | None = None) -> Iterator[Served]:
    """Runs a ``model.tar.gz``, or an unpacked one, in a process of its own; raises `PackError`.

    ``threads`` is how many the model may use, as the container's variable OMP_NUM_THREADS says it.
    """
    with tempfile.TemporaryDirectory(prefix="x-opinion-serving-") as folder:
        model = artifact
        if artifact.is_file():
            model = Path(folder) / "model"
            with tarfile.open(artifact) as archive:
                archive.extractall(model, filter="data")
        environment = {**os.environ, "SAGEMAKER_PROGRAM": "inference.py", "PYTHONDONTWRITEBYTECODE": "1"}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-u", "-B", str(CONTAINER), "--model-dir", str(model)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
            )
        try:
            assert process.stdout is not None
            ready = process.stdout.readline().split()
            if len(ready) != 2:
                process.wait(30)
                served = Served(process, 0, log)
                raise PackError(f"The packed model's handler does not start: {served._tail()}.")
            yield Served(process, int(ready[1]), log)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
