"""A provisioned lake on the local AWS, with Athena over a real Trino, for the time of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.measure import MeasureError
from include.lake.athena import Athena, AthenaError
from include.settings import Settings
from include.x.topics import load
from local.aws.standalone import StandaloneAthena, provision_lake, standalone_athena
from local.aws.trino import HEAP_MIB
from local.processes import ProcessError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@contextmanager
def provisioned(
    settings: Settings, heap_mib: int = HEAP_MIB
) -> Iterator[tuple[StandaloneAthena, S3Client, Athena]]:
    """The clients of a lake of the settings' topics, those of S3 and Athena ready for use.

    ``heap_mib`` is what Trino's heap may take. Raises `MeasureError` if a server does not start or a
    statement fails.
    """
    try:
        with standalone_athena(heap_mib) as clients:
            s3: S3Client = clients("s3")
            s3.create_bucket(Bucket=settings.bucket)
            yield clients, s3, provision_lake(clients, settings, load(settings.topics_file))
    except (ProcessError, AthenaError) as error:
        raise MeasureError(str(error)) from error
