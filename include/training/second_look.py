"""The look at labeled after predictions were written: what was removed meanwhile leaves them again.

A removal takes a tweet out of labeled first, and then out of the predictions that stand. Those of a run that
had read the tweet before may be written after that. So whoever writes predictions looks at labeled once they
stand: either labeled has lost the tweet by then, or the removal has yet to look, and finds the predictions.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.lake import layout, storage, tables
from include.lake.schemas import LABELED, PREDICTIONS, SENTIMENTS
from include.training import hours
from include.training.hours import Hours

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_ID = pa.schema([LABELED.field("tweet_id")])

log = logging.getLogger(__name__)


def look_again(
    s3: S3Client, bucket: str, version: str, synced: Hours, written: Collection[str]
) -> dict[str, list[int]]:
    """Takes out of the ``written`` hours' predictions what labeled no longer holds.

    Only hours whose labeled object is not the ``synced`` one are read. Returns their counts of rows in the
    order of `SENTIMENTS`.
    """
    changed = sorted(hours.changed_since(synced, hours.labeled(s3, bucket)).intersection(written))
    if changed:
        log.info("labeled again since the sync: %s", ", ".join(changed))
    return {hour: _keep_labeled(s3, bucket, version, hour) for hour in changed}


def _keep_labeled(s3: S3Client, bucket: str, version: str, hour: str) -> list[int]:
    topic, window = hours.parse(hour)
    held = tables.read(s3, bucket, layout.labeled_key(topic, window), _ID)["tweet_id"]
    kept = PREDICTIONS.empty_table()

    def change(body: bytes | None) -> bytes | None:
        nonlocal kept
        table = pq.read_table(io.BytesIO(body)) if body else PREDICTIONS.empty_table()
        kept = table.filter(pc.is_in(table["tweet_id"], value_set=held))
        return tables.encode(kept) if kept.num_rows < table.num_rows else None

    storage.update(s3, bucket, layout.predictions_key(version, topic, window), change)
    return [pc.sum(pc.equal(kept["sentiment"], sentiment)).as_py() or 0 for sentiment in SENTIMENTS]
