"""Ids and times: an interval of time is an interval of ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from include.x.snowflake import LOW_BITS, lowest_id, milliseconds, moment

times = st.datetimes(datetime(2010, 11, 5), datetime(2079, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ids = st.integers(0, 2**63 - 1)


def test_a_known_tweet_has_its_known_time() -> None:
    # X's documentation of tweet objects shows this id with this second.
    assert moment(1212092628029698048) == datetime(2019, 12, 31, 19, 26, 16, 771000, tzinfo=UTC)


@given(ids)
def test_an_id_is_made_in_the_millisecond_that_it_names(tweet_id: int) -> None:
    first = lowest_id(moment(tweet_id))
    assert first <= tweet_id < first + (1 << LOW_BITS)
    assert milliseconds(first) == milliseconds(tweet_id)


@given(ids, times, times)
def test_an_interval_of_time_is_an_interval_of_ids(tweet_id: int, one: datetime, other: datetime) -> None:
    start, end = sorted((one, other))
    assert (lowest_id(start) <= tweet_id < lowest_id(end)) == (start <= moment(tweet_id) < end)


@given(times)
def test_the_lowest_id_rounds_up_to_a_whole_millisecond(at: datetime) -> None:
    assert timedelta(0) <= moment(lowest_id(at)) - at < timedelta(milliseconds=1)


def test_before_the_epoch_every_id_is_later() -> None:
    assert lowest_id(datetime(2006, 3, 21, tzinfo=UTC)) == 0
