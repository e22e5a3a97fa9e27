"""The checks: read the facts, run the suite, keep the result, stop what must not go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from include.insights import aggregate
from include.lake import quality
from include.lake.athena import Athena
from include.quality import frames, suites
from include.quality.runner import QualityError, QualityResult, document, run_suite
from include.settings import Settings
from include.window import Window

if TYPE_CHECKING:
    import pandas as pd
    from types_boto3_s3.client import S3Client

    from include.labeling.prepared import Prepared


def check_raw(s3: S3Client, settings: Settings, prepared: Prepared, topics: Sequence[str]) -> QualityResult:
    """Checks a prepared hour; raises `QualityError` if a blocking expectation fails."""
    found = frames.raw_frames(s3, settings, prepared, topics)
    return _check(
        s3, settings, prepared.window, suites.raw(prepared.window, topics), found, prepared.manifest
    )


def check_labeled(
    s3: S3Client, settings: Settings, prepared: Prepared, topics: Sequence[str]
) -> QualityResult:
    """Checks a published hour; raises `QualityError` if a blocking expectation fails."""
    found = frames.labeled_frames(s3, settings, prepared, topics)
    suite = suites.labeled(prepared.window, topics)
    return _check(s3, settings, prepared.window, suite, found, prepared.manifest)


def check_opinion(
    athena: Athena, s3: S3Client, settings: Settings, topics: Sequence[str], days: Sequence[str]
) -> list[QualityResult]:
    """Checks the aggregates of days, all of them; raises `QualityError` for the first that blocks.

    A day is kept as good only in the state in which it was read: see `aggregate.changed_days`.
    """
    states = {day: aggregate.state(s3, settings.bucket, day) for day in days}
    results, blocked = [], []
    for day, found in frames.opinion_frames(athena, s3, settings, topics, days).items():
        suite = suites.opinion(date.fromisoformat(day))
        try:
            results.append(_check(s3, settings, day, suite, found, states[day]))
        except QualityError as error:
            blocked.append(error)
    if blocked:
        raise blocked[0]
    return results


def check_drift(s3: S3Client, settings: Settings, day: str) -> QualityResult:
    """Checks a day's drift; raises `QualityError` if a blocking expectation fails."""
    return _check(
        s3, settings, day, suites.drift(settings.drift_tolerated), frames.drift_frames(s3, settings, day)
    )


def check_predictions(s3: S3Client, settings: Settings, period: str) -> QualityResult:
    """Checks all that the champion has predicted; raises `QualityError` if a blocking expectation fails."""
    return _check(s3, settings, period, suites.predictions(), frames.prediction_frames(s3, settings))


def _check(
    s3: S3Client,
    settings: Settings,
    period: Window | str,
    suite: suites.Suite,
    found: Mapping[str, pd.DataFrame],
    state: str = "",
) -> QualityResult:
    result = run_suite(suite, found)
    kept = quality.CheckResult(bool(result.blocking), state)
    quality.keep(s3, settings.bucket, suite.name, period, kept, document(result, str(period)))
    if result.blocking:
        raise QualityError(result, str(period))
    return result
