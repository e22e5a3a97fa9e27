"""Recovers one stretch of one topic by search, into one object that is replaced on a rerun."""

from __future__ import annotations

import gzip
import json
import logging
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from include.coverage.judge import GapState
from include.coverage.plan import Recovery
from include.lake.layout import recovered_key
from include.lake.storage import put
from include.settings import Settings
from include.x.budget import BudgetError, PostsLedger, month_of, monthly_posts
from include.x.search import REACH, search
from include.x.topics import Topics

if TYPE_CHECKING:
    import tweepy
    from types_boto3_s3 import S3Client

_RECORD_EVERY = 1000
"""Posts after which the ledger of posts is told, so that a killed task has not bought many unrecorded."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a gap, and why if it is not filled; ``bought`` posts were paid, ``kept`` written."""

    state: GapState
    bought: int
    kept: int
    reason: str | None = None


def recover(
    s3: S3Client,
    client: tweepy.Client,
    settings: Settings,
    topics: Topics,
    recovery: Recovery,
    attempt: str,
    now: datetime | None = None,
) -> Outcome:
    """Searches for the stretch and writes what it finds, even nothing: that shows that it was searched.

    What is bought is recorded in the ledger of posts under ``attempt``, which must be new at every attempt.
    Without approval nothing is bought beyond the month's budget, and nothing is written of a stretch that
    does not fit into it. Raises what search raises: the gap is then as open as before.
    """
    moment = now or datetime.now(UTC)
    stretch = recovery.stretch
    if stretch.start < moment - REACH:
        return Outcome(GapState.UNRECOVERABLE, 0, 0, f"search reaches back {REACH.days} days only")
    month = month_of(moment)
    posts = PostsLedger(s3, settings.bucket)
    left = monthly_posts(settings, topics) - posts.used(month)
    if left <= 0 and not recovery.approved:
        return Outcome(GapState.OPEN, 0, 0, "the month's budget is used up; a person may approve more")
    writer = f"search-{recovery.topic}-{stretch.start:%Y%m%dT%H%M%S}-{stretch.end:%Y%m%dT%H%M%S}-{attempt}"
    found = search(
        client,
        topics,
        recovery.topic,
        stretch.start,
        stretch.end,
        sample=recovery.sample,
        max_posts=None if recovery.approved else left,
    )
    recorded = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recovered.json.gz"
        try:
            with gzip.GzipFile(path, "wb", mtime=0) as file:
                for record in found:
                    file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
                    if found.bought - recorded >= _RECORD_EVERY:
                        posts.record(month, writer, found.bought)
                        recorded = found.bought
        except BudgetError as error:
            return Outcome(GapState.OPEN, found.bought, 0, f"above the month's budget: {error}")
        finally:
            if found.bought:
                posts.record(month, writer, found.bought)
        put(
            s3,
            settings.bucket,
            recovered_key(recovery.topic, recovery.window, stretch.start, stretch.end),
            path,
        )
    log.info(
        "recovered topic=%s hour=%s stretch=%s bought=%d kept=%d",
        recovery.topic,
        recovery.window,
        stretch,
        found.bought,
        found.kept,
    )
    return Outcome(GapState.FILLED, found.bought, found.kept)
