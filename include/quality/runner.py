"""Runs a suite on Great Expectations and keeps what it found: counts and ranges, never text or ids."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from include.quality.suites import BLOCKS, Expectation, Suite

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExpectationResult:
    """Whether one expectation holds: how many of the rows break it, or the error it ended with.

    ``observed`` says in a few words what the column holds.
    """

    frame: str
    subject: str
    expectation: str
    expected: str
    success: bool
    severity: str
    why: str
    checked: int
    failed: int
    error: str | None
    observed: str = ""

    def __str__(self) -> str:
        what = self.error or f"{self.failed} of {self.checked}"
        return f"{self.frame}.{self.subject} {self.expectation}: {what} ({self.why})"


@dataclass(frozen=True)
class QualityResult:
    """What became of every expectation, on how many rows."""

    suite: str
    rows: int
    outcomes: tuple[ExpectationResult, ...]

    @property
    def checked(self) -> int:
        """The number of expectations."""
        return len(self.outcomes)

    @property
    def failures(self) -> tuple[ExpectationResult, ...]:
        """Those that do not hold."""
        return tuple(outcome for outcome in self.outcomes if not outcome.success)

    @property
    def failed(self) -> int:
        """The number of expectations that failed, blocking or not."""
        return len(self.failures)

    @property
    def blocking(self) -> tuple[ExpectationResult, ...]:
        """The failures for which the hour must not go on."""
        return tuple(failure for failure in self.failures if failure.severity == BLOCKS)

    def summary(self) -> dict[str, Any]:
        """The counts, for JSON: ``suite, checked, failed, blocking, rows``."""
        return {
            "suite": self.suite,
            "checked": self.checked,
            "failed": self.failed,
            "blocking": len(self.blocking),
            "rows": self.rows,
        }

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON: the `summary` and ``failures[]``."""
        return {**self.summary(), "failures": [asdict(failure) for failure in self.failures]}


class QualityError(Exception):
    """An hour or a day (``period``) that breaks a blocking expectation; the message lists which and why."""

    def __init__(self, result: QualityResult, period: str) -> None:
        self.result = result
        self.period = period
        lines = "\n".join(f"- {failure}" for failure in result.blocking)
        count = len(result.blocking)
        super().__init__(f"suite {result.suite} of {period}: {count} blocking expectations fail:\n{lines}")


def run_suite(suite: Suite, frames: Mapping[str, pd.DataFrame]) -> QualityResult:
    """Checks every expectation of ``suite`` on its frame; one that cannot be evaluated counts as blocking."""
    import great_expectations as gx  # seconds of CPU: only a task that checks pays for it
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    source = context.data_sources.add_pandas("lake")
    outcomes = []
    for frame, expectations in suite.expectations.items():
        gx_suite = gx.ExpectationSuite(f"{suite.name}.{frame}")
        for number, wanted in enumerate(expectations):
            gx_suite.add_expectation(
                getattr(gx.expectations, wanted.kind)(
                    **wanted.arguments,
                    severity=wanted.severity,
                    notes=wanted.why,
                    meta={"number": number},
                )
            )
        batch = (
            source.add_dataframe_asset(frame)
            .add_batch_definition_whole_dataframe("hour")
            .get_batch({"dataframe": frames[frame]})
        )
        # Values that break an expectation stay out of the result: it is logged and stored.
        validation = batch.validate(
            gx_suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": 0}
        )
        found = {each.expectation_config.meta["number"]: each for each in validation.results}
        outcomes += [
            replace(_outcome(frame, wanted, found[number]), observed=observed(frames[frame], wanted))
            for number, wanted in enumerate(expectations)
        ]
    result = QualityResult(suite.name, len(frames["rows"]), tuple(outcomes))
    for failure in result.failures:
        log.log(
            logging.ERROR if failure.severity == BLOCKS else logging.WARNING,
            "suite=%s severity=%s %s",
            suite.name,
            failure.severity,
            failure,
        )
    log.info("suite=%s checked=%d failed=%d rows=%d", suite.name, result.checked, result.failed, result.rows)
    return result


def observed(frame: pd.DataFrame, wanted: Expectation) -> str:
    """What the expectation's column holds, in words: its range, its nulls, or which of the expected values.

    Ids stay out of it, and so do values that nobody expects.
    """
    columns = (
        [wanted.arguments["column"]] if "column" in wanted.arguments else wanted.arguments["column_list"]
    )
    if not set(columns) <= set(frame.columns):
        return "no such column"
    found = frame[columns[0]]
    match wanted.kind:
        case "ExpectColumnValuesToNotBeNull":
            return f"{int(found.isna().sum()):,} null"
        case "ExpectColumnValuesToBeUnique" | "ExpectCompoundColumnsToBeUnique":
            return f"{len(frame.drop_duplicates(subset=columns)):,} different in {len(frame):,}"
        case "ExpectColumnValuesToBeInSet":
            values = wanted.arguments["value_set"]
            there = set(found.dropna().unique())
            known = [str(value) for value in values if value in there]
            others = len(there - set(values))
            return ", ".join([*known, *([f"{others:,} others"] if others else [])]) or "nothing"
    if columns[0].endswith("_id"):
        return ""
    known = found.dropna()
    return f"{_shown(known.min())} to {_shown(known.max())}" if len(known) else "nothing"


def _shown(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, (int, float)) or hasattr(value, "dtype") else str(value)


def _outcome(frame: str, wanted: Expectation, found: Any) -> ExpectationResult:
    error = None
    severity = wanted.severity
    for raised in found.exception_info.values():
        if isinstance(raised, dict) and raised.get("raised_exception"):
            error, severity = str(raised["exception_message"]), BLOCKS
    if found.exception_info.get("raised_exception"):
        error, severity = str(found.exception_info["exception_message"]), BLOCKS
    return ExpectationResult(
        frame=frame,
        subject=wanted.subject,
        expectation=wanted.kind,
        expected=", ".join(
            f"{name} {value}" for name, value in wanted.arguments.items() if not name.startswith("column")
        ),
        success=bool(found.success),
        severity=severity,
        why=wanted.why,
        checked=int(found.result.get("element_count") or 0),
        failed=int(found.result.get("unexpected_count") or 0),
        error=error,
    )


def document(result: QualityResult, window: str) -> bytes:
    """The JSON that is kept of a result, which `include.quality.docs` makes readable."""
    outcomes = [asdict(outcome) for outcome in result.outcomes]
    return json.dumps({"window": window, **result.to_json(), "outcomes": outcomes}, indent=1).encode()
