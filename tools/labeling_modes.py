"""What labeling would cost a month in each way of serving models, modeled; docs/costs.md is made from it.

Seconds a tweet are one CPU core's; an instance has four, so that the hours of work are at most these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MONTH_HOURS = 730
"""Hours of a month, on average."""
MODELS = 2
"""A translator and a classifier."""
SECONDS_PER_TWEET = 0.05
"""A translator of opus-mt's size on one core: 500 tweets in some 25 seconds. The classifier is faster, and
counts as much here."""
JOB_SECONDS = 120
"""Assumed: what a batch job is billed before and after its work (container, model). Not measured on AWS."""
WAKING_SECONDS, IDLE_SECONDS = 300, 900
"""Assumed: what an asynchronous endpoint is billed to come up from zero, and before it goes down again."""
JOBS_PER_HOUR = 12
"""Jobs of each model for the open hour, every five minutes."""
VOLUMES = (100_000, 1_000_000, 3_000_000)
"""Tweets a month: the default budget, ten times as many, and the end of X's pay-per-use plan."""


@dataclass(frozen=True)
class Mode:
    """A way to label, and the instance hours that it takes a month."""

    name: str
    meaning: str
    hours: float
    kind: str
    """``batch`` or ``endpoint``, as in the price list."""


def modes(tweets: int) -> Sequence[Mode]:
    """The ways to label so many tweets a month, each hour's once, with both models."""
    work = tweets * SECONDS_PER_TWEET / 3600
    hourly = MONTH_HOURS * JOB_SECONDS / 3600
    instances = max(math.ceil(work / MONTH_HOURS), 1)
    # An endpoint that is woken every hour is never up for longer than the hour.
    awake = min(MONTH_HOURS * (WAKING_SECONDS + IDLE_SECONDS) / 3600 + work, MONTH_HOURS * instances)
    return (
        Mode(
            "batch only",
            "a job for each model and hour; tweets are seen when their hour is over",
            MODELS * (hourly + work),
            "batch",
        ),
        Mode(
            "batch, live",
            f"jobs also for the open hour, {JOBS_PER_HOUR} an hour (`OPINION_LIVE_MINUTES=5`)",
            MODELS * ((1 + JOBS_PER_HOUR) * hourly + work),
            "batch",
        ),
        Mode(
            "real-time",
            "an endpoint for each model, always up (`OPINION_LIVE_ENDPOINTS=true`)",
            MODELS * MONTH_HOURS * instances,
            "endpoint",
        ),
        Mode(
            "asynchronous",
            "an endpoint for each model that is woken every hour; not built here",
            MODELS * awake,
            "endpoint",
        ),
    )
