"""A whole removal in one call, without Airflow: for documents, benchmarks and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING

from include.compliance import misplaced
from include.compliance.removal import Removal, RemovalIncompleteError, RemovalReport, buried_lately
from include.compliance.requests import RemovalRequest
from include.lake.pseudonyms import Pseudonyms
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_athena.client import AthenaClient
    from types_boto3_s3.client import S3Client


def remove(
    s3: S3Client,
    athena: AthenaClient,
    settings: Settings,
    key: bytes,
    request: RemovalRequest,
    clock: Callable[[], datetime],
    *,
    dry_run: bool,
) -> RemovalReport:
    """All steps of `Removal` one after another, and again what was removed lately (`buried_lately`)."""
    removal = Removal(s3, settings, key, request, dry_run=dry_run)
    removal.bury()
    elsewhere = cache(partial(misplaced.find, s3, athena, settings, Pseudonyms(key)))
    hours = set(removal.hours(athena, elsewhere() if request.tweets_count else {}))
    if not dry_run and (lately := buried_lately(s3, settings.bucket, clock())):
        hours |= lately | misplaced.bury(s3, settings.bucket, Pseudonyms(key), lately, elsewhere())
    parts: list[RemovalReport] = []
    failed: RemovalIncompleteError | None = None
    for step in (partial(removal.from_hours, hours), partial(removal.from_rest, hours, clock())):
        try:
            parts.append(step())
        except RemovalIncompleteError as error:
            failed = failed or error
    if failed:
        raise failed
    if not dry_run:
        removal.record([], clock())
    return total(parts)


def total(reports: Sequence[RemovalReport]) -> RemovalReport:
    """The parts of one request's removal as one."""
    return replace(
        reports[0],
        hours=sum(each.hours for each in reports),
        objects=sum(each.objects for each in reports),
        counts=tuple(count for each in reports for count in each.counts),
    )
