"""Pending approvals: nobody is asked twice about the same stretch.

One object for all runs, replaced by compare-and-swap. At most one run of each kind (``scheduled``,
``manual``) waits for an approval, so waiting runs never occupy the slots of other runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import AwareDatetime, BaseModel, Field

from include.coverage.plan import Recovery
from include.coverage.stretch import Stretch
from include.lake import storage
from include.lake.layout import approvals_key

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

REJECTED_FOR = timedelta(days=1)
"""So long after a person has rejected a stretch no scheduled run asks about it again."""


class _Asked(BaseModel):
    """A stretch of a topic."""

    topic: str
    start: AwareDatetime
    end: AwareDatetime

    def concerns(self, recovery: Recovery) -> bool:
        """Whether the recovery overlaps it."""
        part = recovery.stretch.clipped(self.start, self.end)
        return recovery.topic == self.topic and part is not None

    def is_of(self, recovery: Recovery) -> bool:
        """Whether it is exactly the recovery's stretch."""
        return recovery.topic == self.topic and recovery.stretch == Stretch(self.start, self.end)


class _Rejected(_Asked):
    until: AwareDatetime


class _Question(BaseModel):
    run: str
    asked: list[_Asked]


class _State(BaseModel):
    questions: dict[str, _Question] = Field(default_factory=dict)
    rejected: list[_Rejected] = Field(default_factory=list)

    def content(self) -> storage.Content:
        return storage.Content(self.model_dump_json().encode())


def _read(s3: S3Client, bucket: str) -> _State:
    try:
        return _State.model_validate_json(storage.read(s3, bucket, approvals_key()))
    except storage.ObjectMissingError:
        return _State()


def ask(
    s3: S3Client,
    bucket: str,
    kind: str,
    run: str,
    wanted: Sequence[Recovery],
    now: datetime,
    is_active: Callable[[str], bool],
) -> list[Recovery]:
    """The recoveries of ``wanted`` that ``run`` may ask about now; they count as pending from then on.

    None while another run of the ``kind`` waits for its answer. What is pending already, or what a person has
    rejected in the last `REJECTED_FOR`, is left out; a ``manual`` run asks about what was rejected.
    ``is_active`` says whether a run of that id is: the question of one that has ended no longer counts.
    """
    allowed: list[Recovery] = []

    def decide(_: Any) -> storage.Content | None:
        state = _read(s3, bucket)
        questions = {
            name: question
            for name, question in state.questions.items()
            if question.run != run and is_active(question.run)
        }
        closed: list[_Asked] = [asked for question in questions.values() for asked in question.asked]
        state.rejected = [asked for asked in state.rejected if asked.until > now]
        closed += state.rejected if kind == "scheduled" else []
        allowed[:] = (
            []
            if kind in questions
            else [one for one in wanted if not any(asked.concerns(one) for asked in closed)]
        )
        if not allowed:
            return None
        asked = [_Asked(topic=one.topic, start=one.stretch.start, end=one.stretch.end) for one in allowed]
        state.questions = questions | {kind: _Question(run=run, asked=asked)}
        return state.content()

    storage.compare_and_swap(s3, bucket, approvals_key(), decide)
    return allowed


def asked(s3: S3Client, bucket: str, run: str, planned: Sequence[Recovery]) -> list[Recovery]:
    """The recoveries of ``planned`` that ``run`` has asked about and that have no answer yet."""
    open_questions = [one for one in _read(s3, bucket).questions.values() if one.run == run]
    return [
        recovery
        for recovery in planned
        if any(asked.is_of(recovery) for question in open_questions for asked in question.asked)
    ]


def answered(s3: S3Client, bucket: str, run: str, now: datetime, *, rejected: bool) -> None:
    """Ends the question of ``run``; ``rejected`` says that a person has said no, not that time ran out."""

    def decide(_: Any) -> storage.Content:
        state = _read(s3, bucket)
        own = [question for question in state.questions.values() if question.run == run]
        if rejected:
            state.rejected += [
                _Rejected(**asked.model_dump(), until=now + REJECTED_FOR)
                for question in own
                for asked in question.asked
            ]
        state.questions = {
            name: question for name, question in state.questions.items() if question.run != run
        }
        return state.content()

    storage.compare_and_swap(s3, bucket, approvals_key(), decide)
