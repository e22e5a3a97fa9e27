"""The results of the checks, kept with the lake: for people, and for tasks that read the checked data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.lake import layout, storage
from include.window import Window

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


@dataclass(frozen=True)
class CheckResult:
    """How a check ended: whether it blocks, and the state (an ETag, a digest) of the data that it checked."""

    blocks: bool
    state: str = ""


def keep(
    s3: S3Client, bucket: str, suite: str, period: Window | str, result: CheckResult, document: bytes
) -> None:
    """Stores the result of a suite on an hour or a day in place of the previous one."""
    metadata = {"blocks": str(int(result.blocks)), "state": result.state}
    storage.put(s3, bucket, layout.quality_key(suite, period), storage.Content(document, metadata))


def find(s3: S3Client, bucket: str, suite: str, period: Window | str) -> CheckResult | None:
    """How the last check ended; None if there was none."""
    found = storage.current(s3, bucket, layout.quality_key(suite, period))
    return (
        CheckResult(found.metadata.get("blocks") == "1", found.metadata.get("state", "")) if found else None
    )
