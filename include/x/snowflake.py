"""Tweet ids are snowflakes: 41 bits of milliseconds, 10 bits of machine, 12 bits of sequence.

Source: the announcement of Snowflake by Twitter (2010) and X's documentation of ids.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH_MS = 1_288_834_974_657
"""Milliseconds since 1970 of snowflake time zero (2010-11-04T01:42:54.657Z)."""

LOW_BITS = 22
"""Bits below the time: machine and sequence."""

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_milliseconds(at: datetime) -> int:
    """Whole milliseconds since 1970 of an aware time, rounded down."""
    return (at - _UNIX) // _MILLISECOND


def from_milliseconds(milliseconds: int) -> datetime:
    """The UTC time of milliseconds since 1970."""
    return _UNIX + milliseconds * _MILLISECOND


def milliseconds(tweet_id: int) -> int:
    """Milliseconds since 1970 at which the id was made."""
    return (tweet_id >> LOW_BITS) + EPOCH_MS


def moment(tweet_id: int) -> datetime:
    """The UTC time, to the millisecond, at which the id was made."""
    return from_milliseconds(milliseconds(tweet_id))


def lowest_id(at: datetime) -> int:
    """The smallest id that can be made at or after ``at`` (aware; 0 before snowflake's epoch).

    ``[lowest_id(a), lowest_id(b))`` are exactly the ids of the interval ``[a, b)``.
    """
    elapsed = -((_UNIX - at) // _MILLISECOND)
    return max(elapsed - EPOCH_MS, 0) << LOW_BITS
