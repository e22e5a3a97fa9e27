"""The tasks of `audit`: which waves are drawn, and the draw of each."""

from __future__ import annotations

from datetime import date
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowFailException

from include.operators.inputs import client, now, secret, topics
from include.settings import settings

DAY_PATTERN = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
"""What a day looks like, for a Param's JSON schema."""


@task
def waves(params: dict[str, Any] | None = None, dag_run: Any = None) -> list[str]:
    """The first days of the waves that a run draws; see `include.audit.wave.requested`."""
    from include.audit.wave import PeriodError, requested

    given = params or {}
    try:
        found = requested(
            given.get("first_day"),
            given.get("last_day"),
            now().date(),
            settings().retention_days,
            scheduled=getattr(dag_run, "run_type", "manual") == "scheduled",
        )
    except PeriodError as error:
        raise AirflowFailException(str(error)) from error  # no retry makes it a period
    return [wave.label for wave in found]


@task
def draw(wave: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Draws a wave and replaces what was drawn of it; counts."""
    from include.audit.records import draw
    from include.audit.wave import Wave

    return draw(
        client("s3"),
        settings(),
        topics().names,
        Wave.of(date.fromisoformat(wave)),
        secret(settings().pseudonym_secret).encode(),
        now(),
        (params or {}).get("tweets"),
    ).to_json()
