"""How rows become an object of the labeled table: the same rows are the same bytes, whoever writes them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from include.lake.schemas import LABELED

_ROW_GROUP = 32_768
"""Rows a Parquet row group, however they are given."""

_DICTIONARY = [
    "lang",
    "country_code",
    "location",
    "tag",
    "sentiment",
    "unlabeled_reason",
    "translation_engine",
    "sentiment_engine",
    "rule_hash",
    "source",
    "place",
    "context.list.element",
]
_STATISTICS = ["ts", "tweet_id", "lang", "country_code", "sentiment"]


class LabeledFile:
    """A local Parquet file of labeled rows, written in bounded memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._writer = pq.ParquetWriter(
            path, LABELED, compression="zstd", use_dictionary=_DICTIONARY, write_statistics=_STATISTICS
        )

    def add(self, table: pa.Table) -> None:
        """Appends rows, sorted by id and behind those before."""
        self.rows += len(table)
        self._pending.append(table)
        self._pending_rows += len(table)
        while self._pending_rows >= _ROW_GROUP:
            self._write(_ROW_GROUP)

    def close(self) -> None:
        """Writes what is left."""
        if self._pending_rows:
            self._write(self._pending_rows)
        self._writer.close()

    def _write(self, rows: int) -> None:
        table = pa.concat_tables(self._pending)
        self._writer.write_table(table.slice(0, rows).combine_chunks(), row_group_size=rows)
        self._pending = [table.slice(rows)]
        self._pending_rows -= rows
