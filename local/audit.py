"""Judges a run's drawn tweets by the human labels of a file: ``python -m local audit --labels FILE``.

The file (CSV, NDJSON or Parquet, or a folder of them) has the columns ``tweet_id`` or ``text``, and
``judgment`` or ``label``. Replayed tweets have new ids, so they are found by their texts.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from include import aws
from include.audit import judgments, records
from include.settings import Settings

_READ = ("tweet_id", "text", "judgment", "label")


class AuditError(RuntimeError):
    """Nothing could be judged; the message says why, and what to do."""


@dataclass(frozen=True)
class Judged:
    """How many tweets were drawn, how many of them are in the file, and their judgments."""

    drawn: int
    known: int
    given: Mapping[str, int]
    contradicted: int

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {judgment}" for judgment, count in sorted(self.given.items()))
        left = f"; {self.contradicted:,} texts have two labels and were left out" if self.contradicted else ""
        return f"{self.known:,} of {self.drawn:,} drawn tweets judged{': ' if counts else ''}{counts}{left}."


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, or of every such file in a folder; raises `AuditError`."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = [file for file in files if file.suffix in (".csv", ".ndjson", ".jsonl", ".parquet")]
    if not known:
        raise AuditError(f"{path} has no labels: give a .csv, .ndjson or .parquet file, or a folder of them")
    for file in known:
        try:
            yield from _rows(file)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise AuditError(f"{file} cannot be read: {error}") from error


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".parquet":
        columns = [name for name in pq.read_schema(file).names if name in _READ]
        yield from pq.read_table(file, columns=columns).to_pylist()
    elif file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as content:
            yield from csv.DictReader(content)
    else:
        with file.open("rb") as content:
            yield from (orjson.loads(line) for line in content if line.strip())


def judge(clients: Any, settings: Settings, labels: Path, person: str) -> Judged:
    """Judges every drawn tweet in ``labels`` as ``person``; a second run changes nothing.

    ``clients`` gives a boto3 client of a service. Raises `AuditError` and `JudgmentError`.
    """
    found = judgments.read(rows(labels))
    s3 = clients("s3")
    secret = clients("secretsmanager").get_secret_value(SecretId=settings.pseudonym_secret)["SecretString"]
    waves = records.drawn_waves(s3, settings.bucket)
    if not waves:
        raise AuditError("nothing was drawn yet: trigger the DAG audit first")
    drawn = pa.concat_tables([records.read_drawn(s3, settings.bucket, wave) for wave in waves])
    ids = drawn["tweet_id"].to_pylist()
    texts = records.texts(s3, settings.bucket, dict(zip(ids, drawn["topic"].to_pylist(), strict=True)))
    given = {
        tweet_id: judgment
        for tweet_id in ids
        if (judgment := found.of(tweet_id, texts.get(tweet_id, ("", None))[0])) is not None
    }
    who = records.pseudonym(secret.encode(), person)
    records.judge(s3, settings.bucket, who, given, datetime.now(UTC))
    return Judged(len(ids), len(given), Counter(given.values()), found.contradicted)


def run(run_dir: Path, labels: Path, person: str) -> str:
    """Judges in the lake of the run in ``run_dir``; returns the result. Raises `AuditError`."""
    try:
        address = json.loads((run_dir / "endpoints.json").read_text())["aws"]
    except (OSError, KeyError, ValueError) as error:
        raise AuditError(f"nothing runs in {run_dir}: start it by `make run`") from error

    def client(service: str) -> Any:
        return aws.client(
            service,
            endpoint_url=address["url"],
            region_name=address["region"],
            aws_access_key_id=address["access_key_id"],
            aws_secret_access_key=address["secret_access_key"],
        )

    try:
        return str(judge(client, Settings(), labels, person))
    except records.JudgmentError as error:
        raise AuditError(str(error)) from error
    except (BotoCoreError, ClientError) as error:
        raise AuditError(f"the lake of the run in {run_dir} does not answer: {error}") from error
