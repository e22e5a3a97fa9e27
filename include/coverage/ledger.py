"""The gap ledger: the state of every topic and hour, in one Parquet object a day that is replaced as a whole.

A row is replaced only by one that was not measured earlier, so parallel runs lose nothing, and writing twice
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from include.coverage.evidence import HourInputs, Key
from include.coverage.judge import Assessment, Evidence, Gap, GapState, Measures
from include.coverage.stretch import Stretch
from include.lake import tables
from include.lake.layout import coverage_key
from include.lake.storage import Content, ObjectVersion, compare_and_swap
from include.lake.verdict import Verdict
from include.window import Window

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_TIME = pa.timestamp("ms")
LEDGER_SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("hour", pa.string()),
        ("raw_ids", pa.int64()),
        ("labeled_ids", pa.int64()),
        ("missing_ids", pa.int64()),
        ("quarantined", pa.int64()),
        ("duplicates", pa.int64()),
        ("lines_without_id", pa.int64()),
        ("overlap", pa.int64()),
        ("recovered", pa.int64()),
        ("removed", pa.int64()),
        ("first_ts", _TIME),
        ("last_ts", _TIME),
        ("longest_silence_s", pa.float64()),
        ("alive_s", pa.float64()),
        ("judged_until", _TIME),
        ("verdict", pa.string()),
        ("evidence", pa.string()),
        ("evidence_digest", pa.string()),
        ("inputs_digest", pa.string()),
        (
            "gaps",
            pa.list_(
                pa.struct(
                    [
                        ("gap_from", _TIME),
                        ("gap_to", _TIME),
                        ("state", pa.string()),
                        ("deadline", _TIME),
                        ("approved", pa.bool_()),
                        ("reason", pa.string()),
                    ]
                )
            ),
        ),
        ("gap_state", pa.string()),
        ("reruns", pa.int32()),
        ("rerun_by", pa.string()),
        ("alarm", pa.string()),
        ("measured_at", _TIME),
    ]
)
"""The columns of the table `coverage` beside its partition."""

_MEASURES = tuple(measure.name for measure in fields(Measures))


class CoverageLedgerError(RuntimeError):
    """The ledger does not have the requested row."""


@dataclass(frozen=True)
class CoverageRow:
    """What is known of a topic and hour.

    ``reruns`` counts how often transform was rerun while ``evidence_digest`` stayed the same, ``rerun_by`` is
    the run of coverage that asked for the last of them; ``alarm`` is what a person must look at.
    """

    topic: str
    window: Window
    measures: Measures
    alive_s: float
    judged_until: datetime | None
    verdict: Verdict
    evidence: str
    evidence_digest: str
    inputs_digest: str
    measured_at: datetime
    gaps: tuple[Gap, ...] = ()
    reruns: int = 0
    rerun_by: str | None = None
    alarm: str | None = None

    @property
    def key(self) -> Key:
        """Topic and hour."""
        return self.topic, self.window

    @property
    def gap_state(self) -> GapState | None:
        """The state of the gap that is furthest from filled."""
        states = {gap.state for gap in self.gaps}
        return next((state for state in GapState if state in states), None)

    def settled(self, inputs: HourInputs) -> bool:
        """Whether nothing can have changed since the row was measured."""
        return (
            self.verdict.settled
            and self.judged_until == self.window.end
            and self.inputs_digest == inputs.digest
        )


def row(
    evidence: Evidence, assessment: Assessment, inputs: HourInputs, former: CoverageRow | None, now: datetime
) -> CoverageRow:
    """The ledger's new row; the count of reruns, and its alarm, go on only on unchanged evidence."""
    unchanged = former is not None and former.evidence_digest == assessment.digest
    return CoverageRow(
        topic=evidence.topic,
        window=evidence.window,
        measures=evidence.measures,
        alive_s=evidence.alive_s,
        judged_until=evidence.expected.end if evidence.expected else None,
        verdict=assessment.verdict,
        evidence=assessment.evidence,
        evidence_digest=assessment.digest,
        inputs_digest=inputs.digest,
        measured_at=now,
        gaps=_with_reasons(assessment.gaps, former),
        reruns=former.reruns if former and unchanged else 0,
        rerun_by=former.rerun_by if former and unchanged else None,
        # On unchanged evidence the assessment's alarm is the same, and one of reruns goes on.
        alarm=former.alarm if former and unchanged else assessment.alarm,
    )


def _with_reasons(gaps: tuple[Gap, ...], former: CoverageRow | None) -> tuple[Gap, ...]:
    """Open gaps keep why they were not filled so far, filled ones what they lack."""
    known = {gap.stretch: gap.reason for gap in former.gaps} if former else {}
    return tuple(
        replace(gap, reason=known.get(gap.stretch))
        if gap.state in (GapState.OPEN, GapState.FILLED) and gap.reason is None
        else gap
        for gap in gaps
    )


def with_gap(found: CoverageRow, stretch: Stretch, **changes: Any) -> CoverageRow:
    """The row with ``changes`` (fields of `Gap`) made to the gap of that ``stretch``, if it has one."""
    gaps = tuple(replace(gap, **changes) if gap.stretch == stretch else gap for gap in found.gaps)
    return replace(found, gaps=gaps)


def merge(former: Mapping[Key, CoverageRow], new: Iterable[CoverageRow]) -> dict[Key, CoverageRow]:
    """``former`` with every row of ``new`` that was not measured earlier than the one it replaces."""
    merged = dict(former)
    for found in new:
        standing = merged.get(found.key)
        if standing is None or standing.measured_at <= found.measured_at:
            merged[found.key] = found
    return merged


def read_day(s3: S3Client, bucket: str, date: str) -> dict[Key, CoverageRow]:
    """The rows of a day (``2026-11-20``); none where there is no ledger yet."""
    table = tables.read(s3, bucket, coverage_key(date), LEDGER_SCHEMA)
    rows = (_from_record(record) for record in table.to_pylist())
    return {found.key: found for found in rows}


def read_days(s3: S3Client, bucket: str, windows: Iterable[Window]) -> dict[Key, CoverageRow]:
    """The rows of every day that ``windows`` lie in."""
    found: dict[Key, CoverageRow] = {}
    for date in sorted({window.date for window in windows}):
        found |= read_day(s3, bucket, date)
    return found


def write(s3: S3Client, bucket: str, rows: Sequence[CoverageRow]) -> None:
    """Merges ``rows`` into their days' ledgers, each replaced by compare-and-swap."""
    for date in sorted({found.window.date for found in rows}):
        new = [found for found in rows if found.window.date == date]

        def decide(_: ObjectVersion | None, date: str = date, new: list[CoverageRow] = new) -> Content:
            # Whatever is read here, the write only takes effect if nothing has changed since it was decided.
            return Content(_parquet(merge(read_day(s3, bucket, date), new)))

        compare_and_swap(s3, bucket, coverage_key(date), decide)


def change(s3: S3Client, bucket: str, key: Key, change: Callable[[CoverageRow], CoverageRow]) -> None:
    """Replaces one row by the result of ``change``; raises `CoverageLedgerError` if there is no such row."""
    _, window = key

    def decide(_: ObjectVersion | None) -> Content:
        rows = read_day(s3, bucket, window.date)
        if key not in rows:
            raise CoverageLedgerError(
                f"the ledger of {window.date} has no row of {key[0]} {window}; measure it first"
            )
        return Content(_parquet({**rows, key: change(rows[key])}))

    compare_and_swap(s3, bucket, coverage_key(window.date), decide)


def _parquet(rows: Mapping[Key, CoverageRow]) -> bytes:
    ordered = sorted(rows.values(), key=lambda found: (found.window, found.topic))
    return tables.encode(pa.Table.from_pylist([_to_record(found) for found in ordered], schema=LEDGER_SCHEMA))


def _naive(moment: datetime | None) -> datetime | None:
    """Athena's timestamps have no zone: UTC by convention."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None


def _to_record(found: CoverageRow) -> dict[str, Any]:
    measures = {name: getattr(found.measures, name) for name in _MEASURES}
    return {
        **{name: _naive(value) if isinstance(value, datetime) else value for name, value in measures.items()},
        "topic": found.topic,
        "hour": found.window.label,
        "alive_s": found.alive_s,
        "judged_until": _naive(found.judged_until),
        "verdict": found.verdict,
        "evidence": found.evidence,
        "evidence_digest": found.evidence_digest,
        "inputs_digest": found.inputs_digest,
        "gaps": [
            {
                "gap_from": _naive(gap.stretch.start),
                "gap_to": _naive(gap.stretch.end),
                "state": gap.state,
                "deadline": _naive(gap.deadline),
                "approved": gap.approved,
                "reason": gap.reason,
            }
            for gap in found.gaps
        ],
        "gap_state": found.gap_state,
        "reruns": found.reruns,
        "rerun_by": found.rerun_by,
        "alarm": found.alarm,
        "measured_at": _naive(found.measured_at),
    }


def _from_record(record: Mapping[str, Any]) -> CoverageRow:
    measures: dict[str, Any] = {
        name: _aware(record[name]) if isinstance(record[name], datetime) else record[name]
        for name in _MEASURES
    }
    return CoverageRow(
        topic=record["topic"],
        window=Window.parse(record["hour"]),
        measures=Measures(**measures),
        alive_s=record["alive_s"],
        judged_until=_aware(record["judged_until"]),
        verdict=Verdict(record["verdict"]),
        evidence=record["evidence"],
        evidence_digest=record["evidence_digest"],
        inputs_digest=record["inputs_digest"],
        measured_at=_utc(record["measured_at"]),
        gaps=tuple(
            Gap(
                Stretch(_utc(gap["gap_from"]), _utc(gap["gap_to"])),
                GapState(gap["state"]),
                _utc(gap["deadline"]),
                gap["approved"],
                gap["reason"],
            )
            for gap in record["gaps"] or ()
        ),
        reruns=record["reruns"],
        rerun_by=record["rerun_by"],
        alarm=record["alarm"],
    )


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
