"""Small tables as whole Parquet objects: one way to write them, so that the same rows are the same bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from include.lake import storage

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


def encode(table: pa.Table) -> bytes:
    """The table as the content of an object."""
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd")
    return sink.getvalue()


def read(s3: S3Client, bucket: str, key: str, schema: pa.Schema) -> pa.Table:
    """The rows of an object as it stands now; without rows if there is none."""
    try:
        content = storage.read(s3, bucket, key)
    except storage.ObjectMissingError:
        return schema.empty_table()
    return pq.read_table(io.BytesIO(content), schema=schema)
