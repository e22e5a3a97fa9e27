"""What must hold of an hour, before it is labeled (suite ``raw``) and after (suite ``labeled``), and of a
day's aggregates before QuickSight reads them (suite ``opinion``); and what must hold for the audit to
describe the recent tweets (suite ``drift``).

Each expectation names a class of Great Expectations, with a severity and a reason. It *blocks* where only
a fault of the pipeline can break it: the task fails, the lake would be wrong. It *warns* where what comes
from outside can break it: that is logged and counted, as one odd tweet must not hold up an hour.
The columns are those of `include.quality.frames`: facts about tweets, never their text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from include.lake.schemas import AGGREGATE_KEYS, SENTIMENTS
from include.window import Window
from include.x.snowflake import lowest_id

BLOCKS, WARNS = "critical", "warning"
"""The severities, by Great Expectations' own names."""

SOURCES = ("stream", "search")

OPINION_SHARES = ("judged_share", "negative_share", "neutral_share", "positive_share", "agreed_share")
"""The columns of a day's frame ``rows`` that are shares; null where there is nothing to share."""


@dataclass(frozen=True)
class Expectation:
    """One expectation: the name of its class, its arguments, its severity and why it is expected."""

    severity: str
    why: str
    kind: str
    arguments: Mapping[str, Any]

    @property
    def subject(self) -> str:
        """The column, or columns, that it is about."""
        return str(self.arguments.get("column") or "/".join(self.arguments.get("column_list", ())))


@dataclass(frozen=True)
class Suite:
    """Expectations by the frame that they check: ``rows`` (a tweet or an aggregate each) or ``topics``."""

    name: str
    expectations: Mapping[str, Sequence[Expectation]]


def _blocks(why: str, expectation: str, **arguments: Any) -> Expectation:
    return Expectation(BLOCKS, why, expectation, arguments)


def _warns(why: str, expectation: str, **arguments: Any) -> Expectation:
    return Expectation(WARNS, why, expectation, arguments)


def _identity(window: Window, topics: Sequence[str]) -> list[Expectation]:
    """What holds of a tweet before it is labeled as well as after."""
    return [
        _blocks(
            "a tweet that is present twice, or in two topics, is counted twice",
            "ExpectColumnValuesToBeUnique",
            column="tweet_id",
        ),
        _blocks(
            "an id outside the hour belongs in another hour's object",
            "ExpectColumnValuesToBeBetween",
            column="tweet_id",
            min_value=lowest_id(window.start),
            max_value=lowest_id(window.end),
            strict_max=True,
        ),
        _blocks(
            "a time outside the hour belongs in another hour's object",
            "ExpectColumnValuesToBeBetween",
            column="ts",
            min_value=window.start.replace(tzinfo=None),
            max_value=window.end.replace(tzinfo=None),
            strict_max=True,
        ),
        _blocks("a tweet without a time has no hour", "ExpectColumnValuesToNotBeNull", column="ts"),
        _blocks(
            "a tag that is not a topic does not belong in the lake",
            "ExpectColumnValuesToBeInSet",
            column="tag",
            value_set=list(topics),
        ),
        _blocks("a tweet without a tag is about nothing", "ExpectColumnValuesToNotBeNull", column="tag"),
        _warns(
            "counts are divided by the sample",
            "ExpectColumnValuesToBeBetween",
            column="sample",
            min_value=1,
            max_value=100,
        ),
        _warns("counts are divided by the sample", "ExpectColumnValuesToNotBeNull", column="sample"),
        _warns(
            "a tweet came by the stream or was recovered by search",
            "ExpectColumnValuesToBeInSet",
            column="source",
            value_set=list(SOURCES),
        ),
        _blocks(
            "without a text there is no opinion",
            "ExpectColumnValuesToBeBetween",
            column="text_length",
            min_value=1,
        ),
        _blocks("without a text there is no opinion", "ExpectColumnValuesToNotBeNull", column="text_length"),
    ]


def raw(window: Window, topics: Sequence[str]) -> Suite:
    """What a prepared hour must be before a model is paid for it."""
    return Suite(
        "raw",
        {
            "rows": _identity(window, topics),
            "topics": [
                _blocks(
                    "nothing vanishes: each raw id is either accepted or quarantined",
                    "ExpectColumnValuesToBeBetween",
                    column="unaccounted",
                    min_value=0,
                    max_value=0,
                ),
                _blocks(
                    "the prepared rows are just the accepted ids",
                    "ExpectColumnValuesToBeBetween",
                    column="lost",
                    min_value=0,
                    max_value=0,
                ),
                _warns(
                    "more than a few broken tweets mean that X or the streamer has changed",
                    "ExpectColumnValuesToBeBetween",
                    column="quarantined_share",
                    max_value=0.05,
                ),
                _warns(
                    "reconnecting brings some duplicates; many mean that two streamers run",
                    "ExpectColumnValuesToBeBetween",
                    column="duplicates_share",
                    max_value=0.5,
                ),
            ],
        },
    )


def labeled(window: Window, topics: Sequence[str]) -> Suite:
    """What a published hour must be before the aggregates and the training read it."""
    probabilities = [
        _blocks(
            "a probability is between 0 and 1",
            "ExpectColumnValuesToBeBetween",
            column=column,
            min_value=0,
            max_value=1,
        )
        for column in ("p_negative", "p_neutral", "p_positive")
    ]
    return Suite(
        "labeled",
        {
            "rows": [
                *_identity(window, topics),
                _blocks(
                    "readers know three sentiments",
                    "ExpectColumnValuesToBeInSet",
                    column="sentiment",
                    value_set=list(SENTIMENTS),
                ),
                _blocks(
                    "a tweet has a sentiment or the reason why it has none, never both or neither",
                    "ExpectColumnValuesToBeBetween",
                    column="answers",
                    min_value=1,
                    max_value=1,
                ),
                *probabilities,
                _blocks(
                    "the three probabilities are one distribution",
                    "ExpectColumnValuesToBeBetween",
                    column="p_sum",
                    min_value=0.99,
                    max_value=1.01,
                ),
                _blocks(
                    "all three probabilities come with a sentiment, none without",
                    "ExpectColumnValuesToBeBetween",
                    column="probabilities_missing",
                    min_value=0,
                    max_value=0,
                ),
                _warns(
                    "a model that leaves more than a few tweets unanswered is faulty",
                    "ExpectColumnValuesToBeBetween",
                    column="unanswered",
                    max_value=0,
                    mostly=0.99,
                ),
                _warns(
                    "languages are named for most tweets; if not, the ratios are based on few",
                    "ExpectColumnValuesToBeBetween",
                    column="language_unnamed",
                    max_value=0,
                    mostly=0.67,
                ),
            ],
            "topics": [
                _blocks(
                    "every accepted tweet is published",
                    "ExpectColumnValuesToBeBetween",
                    column="lost",
                    min_value=0,
                    max_value=0,
                ),
                _blocks(
                    "every topic has its object, also an empty one: it proves that the hour was done",
                    "ExpectColumnValuesToBeBetween",
                    column="objects",
                    min_value=1,
                    max_value=1,
                ),
                _blocks(
                    "Athena reads columns by name and type",
                    "ExpectColumnValuesToBeBetween",
                    column="other_columns",
                    min_value=0,
                    max_value=0,
                ),
            ],
        },
    )


def opinion(day: date) -> Suite:
    """What the aggregates of a day must be before QuickSight reads them."""
    start = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - Athena's timestamps have no zone
    counts = ("tweets", "judged", "negative", "neutral", "positive", "compared", "agreed")
    return Suite(
        "opinion",
        {
            "rows": [
                _blocks(
                    "an hour that is present twice is counted twice",
                    "ExpectCompoundColumnsToBeUnique",
                    column_list=list(AGGREGATE_KEYS),
                ),
                _blocks(
                    "an hour outside the day belongs in another day's object",
                    "ExpectColumnValuesToBeBetween",
                    column="hour",
                    min_value=start,
                    max_value=start + timedelta(days=1),
                    strict_max=True,
                ),
                _blocks("a row without an hour is nowhere", "ExpectColumnValuesToNotBeNull", column="hour"),
                *(
                    _blocks(
                        "a count is never negative",
                        "ExpectColumnValuesToBeBetween",
                        column=column,
                        min_value=0,
                    )
                    for column in counts
                ),
                _blocks(
                    "what is judged is negative, neutral or positive, and nothing else",
                    "ExpectColumnValuesToBeBetween",
                    column="unaccounted",
                    min_value=0,
                    max_value=0,
                ),
                *(
                    _blocks(
                        "a share is between 0 and 1",
                        "ExpectColumnValuesToBeBetween",
                        column=column,
                        min_value=0,
                        max_value=1,
                    )
                    for column in OPINION_SHARES
                ),
                _blocks(
                    "counts are divided by the sample",
                    "ExpectColumnValuesToBeBetween",
                    column="sample",
                    min_value=1,
                    max_value=100,
                ),
            ],
            "topics": [
                *(
                    _blocks(
                        "the aggregates add up to the lake's rows",
                        "ExpectColumnValuesToBeBetween",
                        column=f"{column}_lost",
                        min_value=0,
                        max_value=0,
                    )
                    for column in ("tweets", "judged", "negative", "neutral", "positive")
                ),
                _warns(
                    "ratios that leave out most of what was judged are based on few languages",
                    "ExpectColumnValuesToBeBetween",
                    column="unmeasured_share",
                    max_value=0.5,
                ),
            ],
        },
    )


def drift(tolerated: float) -> Suite:
    """What must hold for the audit to describe the recent tweets; a change of them warns."""
    return Suite(
        "drift",
        {
            "rows": [
                _blocks(
                    "an index is a distance",
                    "ExpectColumnValuesToBeBetween",
                    column="stability_index",
                    min_value=0,
                ),
                _blocks(
                    "a dimension that is present twice is measured twice",
                    "ExpectCompoundColumnsToBeUnique",
                    column_list=["topic", "dimension"],
                ),
                _warns(
                    "the audit no longer describes the tweets: audit again",
                    "ExpectColumnValuesToBeBetween",
                    column="beyond_noise",
                    max_value=tolerated,
                ),
            ],
        },
    )


def predictions() -> Suite:
    """What the champion's predictions must be before anybody compares them with the teacher's labels."""
    return Suite(
        "predictions",
        {
            "rows": [
                _blocks(
                    "every tweet that the teacher has judged is predicted, and no other",
                    "ExpectColumnValuesToBeBetween",
                    column="missing",
                    min_value=0,
                    max_value=0,
                ),
                _blocks(
                    "every hour has its object, also an empty one: it proves that the hour was done",
                    "ExpectColumnValuesToBeBetween",
                    column="objects",
                    min_value=1,
                    max_value=1,
                ),
                _blocks(
                    "an hour that is present twice is counted twice",
                    "ExpectColumnValuesToBeUnique",
                    column="hour",
                ),
            ],
            "shares": [
                _blocks(
                    "a share is between 0 and 1",
                    "ExpectColumnValuesToBeBetween",
                    column="share",
                    min_value=0,
                    max_value=1,
                ),
                _warns(
                    "a student that says one thing only has learned nothing",
                    "ExpectColumnValuesToBeBetween",
                    column="share",
                    max_value=0.98,
                ),
            ],
        },
    )
