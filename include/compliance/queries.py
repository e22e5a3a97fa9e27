"""Queries whose results hold ids: what Athena keeps of them is deleted as soon as they are read."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from include.lake import layout, storage
from include.lake.athena import Athena
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_athena.client import AthenaClient
    from types_boto3_s3.client import S3Client


@contextlib.contextmanager
def forgetting(
    s3: S3Client, client: AthenaClient, settings: Settings, limit_seconds: float = math.inf
) -> Iterator[Athena]:
    """Athena, whose results are deleted at the end of the block, also where it fails."""
    executions: set[str] = set()
    try:
        yield Athena(client, settings, executions.add, limit_seconds)
    finally:
        for execution in executions:
            for name in (f"{execution}.csv", f"{execution}.csv.metadata"):
                storage.delete(s3, settings.bucket, layout.ATHENA_RESULTS_PREFIX + name)
