"""When X is asked again: as X documents it, and never too often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.reconnect import CONNECTS, CONNECTS_SECONDS, BackOff, Cause, Ended, connect_delay


def delays(cause: Cause, count: int, reset_at: float | None = None) -> list[float]:
    back_off = BackOff(jitter=lambda: 0.0)
    return [back_off.delay(Ended(cause, "", 1.0, reset_at), now=1000.0) for _ in range(count)]


def test_after_a_network_error_at_once_then_a_quarter_second_more_each_time_up_to_16() -> None:
    waits = delays(Cause.NETWORK, 70)
    assert waits[:4] == [0.0, 0.25, 0.5, 0.75]
    assert waits[64:] == [16.0] * 6


def test_after_an_http_error_5_seconds_doubling_up_to_320() -> None:
    assert delays(Cause.HTTP, 8) == [5, 10, 20, 40, 80, 160, 320, 320]


def test_rules_that_are_gone_are_put_back_at_once_and_then_with_patience() -> None:
    assert delays(Cause.NO_RULES, 3) == [0, 10, 20]


def test_what_we_cut_ourselves_is_connected_again_as_soon_as_its_reason_is_gone() -> None:
    assert delays(Cause.PAUSED, 3) == [0, 0, 0]


def test_after_a_429_a_minute_doubling_or_when_the_header_says() -> None:
    assert delays(Cause.RATE_LIMITED, 5) == [60, 120, 240, 480, 900]
    assert delays(Cause.RATE_LIMITED, 2, reset_at=1100.0) == [101, 101]
    assert delays(Cause.RATE_LIMITED, 2, reset_at=10.0) == [60, 120], "the header's time is over"
    assert delays(Cause.RATE_LIMITED, 1, reset_at=99_000.0) == [901], "the header is not to be believed"


def test_only_a_minute_of_health_ends_a_back_off() -> None:
    back_off = BackOff(jitter=lambda: 0.0)
    for _ in range(5):
        back_off.delay(Ended(Cause.NETWORK, "", 59.9), 0)
    assert back_off.delay(Ended(Cause.NETWORK, "", 59.9), 0) == 1.25
    assert back_off.delay(Ended(Cause.NETWORK, "", 60.0), 0) == 0.0
    assert back_off.delay(Ended(Cause.NETWORK, "", None), 0) == 0.25


@given(st.sampled_from([Cause.NETWORK, Cause.HTTP, Cause.RATE_LIMITED]), st.floats(0, 1), st.integers(0, 50))
def test_jitter_never_shortens_a_wait(cause: Cause, jitter: float, count: int) -> None:
    plain, jittered = BackOff(lambda: 0.0), BackOff(lambda: jitter)
    for _ in range(count):
        assert jittered.delay(Ended(cause, ""), 0) >= plain.delay(Ended(cause, ""), 0)


@given(st.lists(st.tuples(st.sampled_from(list(Cause)[1:5]), st.floats(0, 400)), max_size=300))
def test_no_quarter_of_an_hour_sees_more_connects_than_we_allow_ourselves(
    ends: list[tuple[Cause, float]],
) -> None:
    back_off, now, connects = BackOff(lambda: 0.0), 0.0, list[float]()
    for cause, lasted in ends:
        now += connect_delay(connects, now)
        connects.append(now)
        now += lasted
        now += back_off.delay(Ended(cause, "", lasted), now)
    for index in range(len(connects) - CONNECTS):
        assert connects[index + CONNECTS] - connects[index] >= CONNECTS_SECONDS - 1e-6
