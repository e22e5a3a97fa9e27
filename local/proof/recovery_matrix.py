"""Recovers a time range under every fault of X's search, and measures what is bought and filled.

The other half of `local.proof.fault_matrix`: the pipeline's own recovery (`include.coverage.recover`) against
both stand-ins, tried again as Airflow would.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
import tweepy

from include.coverage.judge import GapState
from include.coverage.plan import Recovery
from include.coverage.recover import recover
from include.coverage.stretch import Stretch
from include.lake.layout import recovered_key
from include.settings import Settings
from include.window import HOUR, Window
from include.x.budget import PostsLedger, month_of
from include.x.client import RequestRejectedError, api_client
from include.x.search import PatienceError, count
from local.proof.bench import Bench, X
from local.proof.report import table

ATTEMPTS = 3
"""A task and its two retries."""
RATE = 60_000
"""Synthetic posts an hour, all subjects: several pages of search for a stretch at every time of the day."""
_STRETCH = timedelta(minutes=10)
_FAILURES = (RequestRejectedError, PatienceError, tweepy.TweepyException, requests.RequestException)


@dataclass(frozen=True)
class Case:
    """A fault of X's search."""

    name: str
    fault: Mapping[str, Any]


CASES: tuple[Case, ...] = (
    Case("search: http 402, no credits", {"kind": "http", "status": 402, "on": "search"}),
    Case("search: usage cap of the month", {"kind": "usage-cap", "on": "search"}),
    Case("search: http 503, once", {"kind": "http", "status": 503, "on": "search"}),
    Case("search: half an emoji on a page", {"kind": "page-surrogates"}),
    Case("search: a page names itself as the next", {"kind": "page-repeated"}),
    Case("search: an empty page, and no next one", {"kind": "page-empty"}),
    Case("search: null where a field may be absent", {"kind": "page-nulls"}),
)


@dataclass(frozen=True)
class Row:
    """One fault's figures, in posts; ``counted`` is what X's counts said before, ``sold`` what it sent."""

    fault: str
    struck: int
    attempts: int
    state: str
    counted: int
    sold: int
    bought: int
    in_lake: int
    duplicated: int

    @property
    def wrong(self) -> list[str]:
        """What is wrong with the figures."""
        faults = {
            "the fault never struck": not self.struck,
            "there was nothing to recover": not self.counted,
            f"the stretch is {self.state}": self.state != GapState.FILLED,
            "the ledger of posts has not what X sold": self.bought != self.sold,
            "posts are bought twice": self.sold > self.counted,
            "posts are missing": self.in_lake < self.counted,
            "posts are duplicated": self.duplicated > 0,
        }
        return [fault for fault, there in faults.items() if there]


def rows(this: Bench, cases: Sequence[Case]) -> Iterator[Row]:
    """Recovers one time range under each fault, one after another in the past."""
    window = Window(Window.containing(datetime.now(UTC)).start - 3 * HOUR)
    for number, case in enumerate(cases):
        hour, place = divmod(number, HOUR // _STRETCH)
        start = window.start - hour * HOUR + place * _STRETCH
        yield _measured(this, case, Stretch(start, start + _STRETCH))


def _measured(this: Bench, case: Case, stretch: Stretch) -> Row:
    topics, settings = this.topics, Settings(x_api_url=this.x_url)
    topic, window, s3 = topics.names[0], Window.containing(stretch.start), this.client("s3")
    x_client = api_client(settings, this.credentials.x_bearer_token)
    this.forget_limits()
    counted = count(x_client, topics, topic, stretch.start, stretch.end)
    recovery = Recovery(topic, window, stretch, sample=100, posts=counted)
    ledger, month = PostsLedger(s3, settings.bucket), month_of(datetime.now(UTC))
    sold, bought = _sold(this), ledger.used(month)
    (fault,) = this.switch_on(X, [case.fault])
    state, attempts = GapState.OPEN, 0
    while state is not GapState.FILLED and attempts < ATTEMPTS:
        attempts += 1
        try:
            state = recover(
                s3, x_client, settings, topics, recovery, b"a key", str(attempts), case.name
            ).state
        except _FAILURES:
            continue
    struck = this.faults(X)[fault]["struck"]
    this.clear_faults()
    found: Counter[str] = Counter()
    if state is GapState.FILLED:
        key = recovered_key(topic, window, stretch.start, stretch.end)
        content = s3.get_object(Bucket=settings.bucket, Key=key)["Body"].read()
        found.update(json.loads(line)["data"]["id"] for line in gzip.decompress(content).splitlines())
    return Row(
        fault=case.name,
        struck=struck,
        attempts=attempts,
        state=state.value,
        counted=counted,
        sold=_sold(this) - sold,
        bought=ledger.used(month) - bought,
        in_lake=len(found),
        duplicated=found.total() - len(found),
    )


def _sold(this: Bench) -> int:
    return int(this.x("journal")["posts"]["searched"])


def page_section(found: Sequence[Row]) -> str:
    """The matrix for the docs."""
    names = ("Fault", "attempts", "the stretch", "X counts", "X sells", "bought", "in the lake", "duplicated")
    lines = [
        (
            f"`{row.fault}`",
            row.attempts,
            row.state,
            row.counted,
            row.sold,
            row.bought,
            row.in_lake,
            row.duplicated,
        )
        for row in found
    ]
    return f"**Recovery by search**\n\n{table(names, lines)}"
