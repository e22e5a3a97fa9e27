"""QuickSight's ingestions: decides whether one may be started now, never two for the same data.

An ingestion's id is derived from the data it would read, so a cleared task finds the one that it started. The
limits: QuickSight accepts 32 manual ingestions of a data set within 24 hours, 8 in its Standard edition
(https://docs.aws.amazon.com/quicksight/latest/APIReference/API_CreateIngestion.html).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.lake import layout, storage
from include.lake.views import queries
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_quicksight.client import QuickSightClient
    from types_boto3_s3.client import S3Client

COMPLETED, FAILED = "COMPLETED", "FAILED"
UNDER_WAY = frozenset({"INITIALIZED", "QUEUED", "RUNNING"})
BY_HAND = "MANUAL"
_REFRESHES = frozenset({"FULL_REFRESH", "INCREMENTAL_REFRESH"})

DAY = timedelta(hours=24)

log = logging.getLogger(__name__)


class IngestionError(Exception):
    """An ingestion failed or cannot be started; the message has QuickSight's error type and text."""


class Action(StrEnum):
    """What to do about the current data."""

    START = "start"
    JOIN = "join"
    REUSE = "reuse"
    WAIT = "wait"


@dataclass(frozen=True)
class Ingestion:
    """One ingestion of a data set, as QuickSight lists it.

    Those ``by_hand`` count against its limit; those of a refresh schedule or of a new or changed data set do
    not.
    """

    identity: str
    state: str
    created: datetime
    by_hand: bool = True


@dataclass(frozen=True)
class IngestionDecision:
    """What to do and with which id; if nothing may be started, until when and why."""

    action: Action
    identity: str
    until: datetime | None = None
    reason: str = ""


@dataclass(frozen=True)
class IngestionStatus:
    """The state of an ingestion; ``rows`` is the number of rows read."""

    state: str
    rows: int
    error: str


def decide_ingestion(
    wanted: str, found: Sequence[Ingestion], now: datetime, spacing: timedelta, per_day: int
) -> IngestionDecision:
    """What to do for the data named ``wanted`` after the ingestions ``found``.

    Ingestions that failed or were canceled get the next suffix and count against ``per_day``. The first
    failure after a success is tried again at once; later ones are spaced like successes, so that a lasting
    failure (SPICE is full) leaves enough of the day's ingestions. Canceled and initial ingestions are not
    spaced.
    """
    attempts = sorted(
        (each for each in found if each.identity == wanted or each.identity.startswith(f"{wanted}-")),
        key=lambda each: each.created,
    )
    for attempt in reversed(attempts):
        if attempt.state == COMPLETED:
            return IngestionDecision(Action.REUSE, attempt.identity)
        if attempt.state in UNDER_WAY:
            return IngestionDecision(Action.JOIN, attempt.identity)
    taken = {each.identity for each in found}
    names = chain((wanted,), (f"{wanted}-{number}" for number in count(2)))
    identity = next(name for name in names if name not in taken)
    by_hand = [each for each in found if each.by_hand]
    good = max(
        (each.created for each in by_hand if each.state == COMPLETED or each.state in UNDER_WAY), default=None
    )
    if good and good + spacing > now:
        return IngestionDecision(Action.WAIT, identity, good + spacing, "the last one is too recent")
    failed = [
        each.created for each in by_hand if each.state == FAILED and (good is None or each.created > good)
    ]
    if len(failed) > 1 and max(failed) + spacing > now:
        return IngestionDecision(
            Action.WAIT, identity, max(failed) + spacing, f"{len(failed)} in a row have failed"
        )
    counted = sorted(each.created for each in by_hand if each.created > now - DAY)
    if len(counted) >= per_day:
        return IngestionDecision(
            Action.WAIT,
            identity,
            counted[len(counted) - per_day] + DAY,
            f"{per_day} were started in 24 hours",
        )
    return IngestionDecision(Action.START, identity)


def data_digest(s3: S3Client, settings: Settings) -> str:
    """The version of the data shown: the views over the aggregates, the gap ledger and the audit."""
    objects = [
        (found.key, found.etag)
        for prefix in (layout.AGGREGATES_PREFIX, layout.COVERAGE_PREFIX, layout.AUDIT_PREFIX)
        for found in storage.list_objects(s3, settings.bucket, prefix).objects
    ]
    return hashlib.sha256(json.dumps([queries(), objects]).encode()).hexdigest()[:16]


class SpiceDataSet:
    """One data set in QuickSight, by its id."""

    def __init__(self, quicksight: QuickSightClient, account: str, identity: str) -> None:
        self._quicksight = quicksight
        self._names: Any = {"AwsAccountId": account, "DataSetId": identity}
        self.identity = identity

    def ingestions(self) -> list[Ingestion]:
        """The ingestions that QuickSight still lists; raises `IngestionError` without such a data set."""
        pages = self._quicksight.get_paginator("list_ingestions").paginate(**self._names)
        try:
            return [
                Ingestion(
                    each["IngestionId"],
                    each["IngestionStatus"],
                    each["CreatedTime"].astimezone(UTC),
                    each.get("RequestSource") == BY_HAND and each.get("RequestType") in _REFRESHES,
                )
                for page in pages
                for each in page["Ingestions"]
            ]
        except ClientError as error:
            if _code(error) != "ResourceNotFoundException":
                raise
            raise IngestionError(
                f"QuickSight has no data set {self.identity}: run the DAG 'provision'"
            ) from error

    def start(self, decision: IngestionDecision) -> IngestionDecision:
        """Starts the ingestion that was decided on; joins it if another run was faster."""
        try:
            self._quicksight.create_ingestion(**self._names, IngestionId=decision.identity)
        except ClientError as error:
            if _code(error) == "ResourceExistsException":
                return IngestionDecision(Action.JOIN, decision.identity)
            if _code(error) == "LimitExceededException":
                message = error.response["Error"].get("Message", "")
                return IngestionDecision(
                    Action.WAIT, decision.identity, reason=f"QuickSight rejects it: {message}"
                )
            raise
        log.info("started ingestion data_set=%s ingestion=%s", self.identity, decision.identity)
        return decision

    def outcome(self, ingestion: str) -> IngestionStatus:
        """The current state of an ingestion."""
        answer = self._quicksight.describe_ingestion(**self._names, IngestionId=ingestion)["Ingestion"]
        error = answer.get("ErrorInfo", {})
        return IngestionStatus(
            answer["IngestionStatus"],
            int(answer.get("RowInfo", {}).get("RowsIngested", 0)),
            f"{error.get('Type', '')}: {error.get('Message', '')}" if error else "",
        )

    def cancel(self, ingestion: str) -> bool:
        """Cancels an ingestion; returns whether it was still in progress."""
        if self.outcome(ingestion).state not in UNDER_WAY:
            return False
        try:
            self._quicksight.cancel_ingestion(**self._names, IngestionId=ingestion)
        except ClientError as error:
            # It may have ended in the meantime.
            if _code(error) != "InvalidParameterValueException":
                raise
            return False
        log.info("canceled ingestion data_set=%s ingestion=%s", self.identity, ingestion)
        return True


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
