"""What the handlers share: JSON Lines in and out, the container's resources, batches of like length.

One JSON object a line in, `{"id", "text", "lang"}`; one a line out, in the same order. A line that cannot be
used is answered with `{"id", "error"}`, so that one broken line never costs the others their answers.

This file is packed into the `code/` of every artifact, and needs nothing but the standard library. A handler
hands on `input_fn` and `output_fn`: SageMaker's inference toolkit calls `model_fn` once a worker, then
`input_fn`, `predict_fn` and `output_fn` for each request
(https://sagemaker.readthedocs.io/en/stable/frameworks/pytorch/using_pytorch.html#serve-a-pytorch-model).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

CONTENT_TYPE = "application/jsonlines"
CLASSES = ("negative", "neutral", "positive")
"""A classifier's classes, in the order of its probabilities."""

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class UnsupportedContentTypeError(ValueError):
    """The request or the wanted answer is not JSON Lines."""


def input_fn(request_body: str | bytes | bytearray, content_type: str) -> list[dict[str, Any]]:
    """Parse a request: one dict a line that is not blank, with `text`, or with `error` where unusable.

    The body is a bytearray where TorchServe calls, which the toolkit decodes for JSON and CSV alone.
    Raises `UnsupportedContentTypeError` for anything but JSON Lines.
    """
    _require_json_lines(content_type)
    body = request_body.encode() if isinstance(request_body, str) else bytes(request_body)
    # Not splitlines(), which also splits at U+2028 and the like: they are legal inside a JSON string.
    return [_read(line) for line in body.split(b"\n") if line.strip()]


def output_fn(prediction: list[dict[str, Any]], accept: str) -> str:
    """The answer as JSON Lines, each line ended; raises `UnsupportedContentTypeError` for another format."""
    if accept not in ("", "*/*"):
        _require_json_lines(accept)
    return "".join(json.dumps(record) + "\n" for record in prediction)


def probability_answers(
    data: list[dict[str, Any]], probabilities: Callable[[list[str], list[str]], Any]
) -> list[dict[str, Any]]:
    """A classifier's answers to what `input_fn` gave; records with an `error` are passed on as they are.

    `probabilities` turns texts and their languages into an array, texts x `CLASSES`, each row adding up to 1.
    """
    usable = [record for record in data if "error" not in record]
    found = probabilities([record["text"] for record in usable], [record["lang"] for record in usable])
    rows = iter(found.tolist())
    return [record if "error" in record else _answer(record["id"], next(rows)) for record in data]


def threads() -> int:
    """How many threads one worker may use: the container's CPUs, shared by the model server's workers.

    OMP_NUM_THREADS limits them, as it does for other libraries.
    """
    limit = os.environ.get("OMP_NUM_THREADS")
    return max(1, min(_cpus() // _workers(), int(limit) if limit else _cpus()))


def worker_memory() -> int:
    """Bytes of the container's memory for each of the model server's workers."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if _CGROUP_LIMIT.exists() and (limit := _CGROUP_LIMIT.read_text().strip()) != "max":
        total = min(total, int(limit))
    return total // _workers()


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Positions of `lengths` in batches of like length, the longest first.

    A batch padded to its longest member holds at most `size`, or is a single member.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    begin = 0
    while begin < len(order):
        count = max(1, size // max(1, lengths[order[begin]]))
        yield order[begin : begin + count]
        begin += count


def _answer(identifier: str, probabilities: Sequence[float]) -> dict[str, Any]:
    if not all(map(math.isfinite, probabilities)):
        return {"id": identifier, "error": "the model gave no number"}
    named = zip(CLASSES, probabilities, strict=True)
    return {"id": identifier, **{f"p_{name}": round(value, 6) for name, value in named}}


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _workers() -> int:
    """TorchServe starts a worker for each CPU unless the variable says otherwise."""
    return int(os.environ.get("SAGEMAKER_MODEL_SERVER_WORKERS") or _cpus())


def _require_json_lines(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise UnsupportedContentTypeError(
            f"content type {content_type!r} is not supported: send {CONTENT_TYPE}"
        )


def _read(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {"id": None, "error": f"not JSON: {error}"}
    if not isinstance(record, dict):
        return {"id": None, "error": "not a JSON object"}
    identifier, text = record.get("id"), record.get("text")
    if not isinstance(identifier, str):
        return {"id": None, "error": "id is missing or no string"}
    if not isinstance(text, str) or not text.strip():
        return {"id": identifier, "error": "text is missing, blank or no string"}
    lang = record.get("lang")
    return {"id": identifier, "text": _well_formed(text), "lang": lang if isinstance(lang, str) else ""}


def _well_formed(text: str) -> str:
    """The text with U+FFFD for each lone half of a surrogate pair: JSON allows it, tokenizers refuse it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
