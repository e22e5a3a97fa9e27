"""What the pages read: Athena's views and the stored Data Docs, through Airflow's connection."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from include.audit.mix import read_drift
from include.compliance.queries import forgetting
from include.lake import cards
from include.lake.athena import Athena, AthenaError, AthenaTimeoutError, ResultRow
from include.lake.layout import QUALITY_PREFIX, quality_key, quality_result
from include.lake.sql import render
from include.lake.storage import ObjectMissingError, StorageError, list_objects, read
from include.operators.inputs import client
from include.settings import settings

if TYPE_CHECKING:
    import pyarrow as pa

# Athena's words for a table, a database or a workgroup that there is not.
_NOT_THERE = (
    "TABLE_NOT_FOUND",
    "SCHEMA_NOT_FOUND",
    "does not exist",
    "EntityNotFoundException",
    "is not found",
)


class NotThereError(LookupError):
    """What a page needs was not made yet; the message says what makes it."""


LONGEST_QUERY_SECONDS = 60.0
"""What takes longer is stopped: nobody waits for it any more."""

log = logging.getLogger(__name__)


class LakeError(RuntimeError):
    """Athena or S3 cannot answer; the message is for readers, the reason is in the log."""


def _failed(what: str, error: Exception) -> LakeError:
    """The error for readers; its cause goes to the log, as it may name anything."""
    log.error("%s: %s", what, error)
    return LakeError(f"{what}. Try again in a minute; the log of Airflow's API server has the reason.")


@contextlib.contextmanager
def lake_errors() -> Iterator[None]:
    """Raises `LakeError` for what S3 or Secrets Manager rejects."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (StorageError, BotoCoreError, ClientError) as error:
        raise _failed("S3 or Secrets Manager does not answer", error) from error


class Lake:
    """The lake as the settings name it; every call blocks until Athena or S3 has answered."""

    def coverage(self, first: date, last: date) -> list[ResultRow]:
        """The rows of `coverage_by_hour` of both days and those between, in the order of hours.

        Raises what `select` raises.
        """
        text = render("pages/coverage", first_day=first.isoformat(), last_day=last.isoformat())
        rows: list[ResultRow] = self.select({"coverage": text})["coverage"].to_pylist()
        return rows

    def quality(self, suite: str, label: str) -> bytes:
        """The stored result of a quality suite for an hour or a day, JSON.

        Raises `NotThereError` where there is none and `LakeError` if S3 fails.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return read(client("s3"), settings().bucket, quality_key(suite, label))
        except ObjectMissingError as error:
            raise NotThereError(f"There is no result of the suite {suite} for {label}.") from error
        except (BotoCoreError, ClientError) as error:
            raise _failed("S3 does not answer", error) from error

    def quality_results(self) -> dict[str, list[str]]:
        """The periods of every suite that have a stored result, in order. Raises `LakeError` if S3 fails."""
        from botocore.exceptions import BotoCoreError, ClientError

        found: dict[str, list[str]] = {}
        try:
            listed = list_objects(client("s3"), settings().bucket, QUALITY_PREFIX).objects
        except (BotoCoreError, ClientError) as error:
            raise _failed("S3 does not answer", error) from error
        for each in listed:
            if result := quality_result(each.key):
                found.setdefault(result[0], []).append(result[1])
        return {suite: sorted(periods) for suite, periods in found.items()}

    def revision(self, day: date) -> str:
        """Which aggregate of a day there is: another whenever the day is aggregated again.

        Raises `LakeError` if S3 fails.
        """
        from include.insights.aggregate import state

        with lake_errors():
            return state(client("s3"), settings().bucket, day.isoformat())

    def scores(self, engines: Iterable[str]) -> dict[str, dict[str, float]]:
        """What each labeling model scored on public tweets, by language: see `cards.scores`.

        Raises `LakeError` if S3 fails.
        """
        with lake_errors():
            return {engine: cards.scores(client("s3"), settings().bucket, engine) for engine in engines}

    def drift(self, today: date) -> list[dict[str, Any]]:
        """What has drifted by the newest check of the last three days; see the table `drift`.

        Raises `LakeError` if S3 fails.
        """
        with lake_errors():
            for day in (today - timedelta(days=back) for back in range(3)):
                if rows := read_drift(client("s3"), settings().bucket, day.isoformat()).to_pylist():
                    return [{"last_day": day.isoformat(), **row} for row in rows if row["drifted"]]
        return []

    def select(self, statements: Mapping[str, str], *, forget: bool = False) -> dict[str, pa.Table]:
        """Runs statements in parallel; returns each one's rows as a table under its name.

        ``forget``: what Athena keeps of the results is deleted once they are read, as they hold ids.
        Raises `NotThereError` before the views exist and `LakeError` if Athena fails or takes longer than
        `LONGEST_QUERY_SECONDS`.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._selected(statements, forget)
        except AthenaTimeoutError as error:
            raise _failed(f"The query took longer than {LONGEST_QUERY_SECONDS:g} seconds", error) from error
        except (AthenaError, BotoCoreError, ClientError) as error:
            # Before `provision` there is not even a workgroup.
            if any(sign in str(error) for sign in _NOT_THERE):
                raise NotThereError(
                    "The lake's tables and views do not exist yet. Run the DAGs provision, transform and"
                    " insights once, in this order; from then on they keep themselves up to date."
                ) from error
            raise _failed("The query failed", error) from error

    def _selected(self, statements: Mapping[str, str], forget: bool) -> dict[str, pa.Table]:
        s3, limit = client("s3"), LONGEST_QUERY_SECONDS
        kept = contextlib.nullcontext(Athena(client("athena"), settings(), limit_seconds=limit))
        with forgetting(s3, client("athena"), settings(), limit) if forget else kept as athena:
            return athena.tables(s3, statements)
