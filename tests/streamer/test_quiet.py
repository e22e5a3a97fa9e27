"""Silence: implausible by what the topic has sent before, while X was connected."""

from __future__ import annotations

import random

from streamer.quiet import Quiet


def hour(quiet: Quiet, **tweets: int) -> None:
    for _ in range(120):
        for topic, count in tweets.items():
            quiet.tweets(topic, count)
        assert quiet.look(30.0) == {}


def looks_until_found(quiet: Quiet, topic: str) -> float:
    seconds = 0.0
    while seconds < 100_000:
        seconds += 30.0
        if topic in quiet.look(30.0):
            return seconds
    raise AssertionError("never found")


def test_a_busy_topic_is_implausibly_silent_after_a_minute() -> None:
    quiet = Quiet()
    hour(quiet, tea=100)
    assert 60 < looks_until_found(quiet, "tea") <= 90


def test_a_rare_topic_is_given_longer() -> None:
    quiet = Quiet()
    hour(quiet, tea=1)
    assert 56 * 30 <= looks_until_found(quiet, "tea") < 2 * 56 * 30


def test_one_topic_may_be_silent_beside_another() -> None:
    quiet = Quiet()
    hour(quiet, tea=10, coffee=10)
    for _ in range(20):
        quiet.tweets("tea", 1)
        found = quiet.look(30.0)
    assert set(found) == {"coffee"}
    quiet.tweets("coffee", 1)
    assert quiet.look(30.0) == {}


def test_time_without_a_connection_is_no_silence() -> None:
    quiet = Quiet()
    hour(quiet, tea=100)
    for _ in range(1000):
        assert quiet.look(0.0) == {}


def test_a_topic_that_has_hardly_ever_sent_is_never_implausible() -> None:
    quiet = Quiet()
    quiet.tweets("tea", 1)
    for _ in range(1000):
        assert quiet.look(30.0) == {}


def test_random_arrivals_raise_no_alarm_in_a_month() -> None:
    chance, quiet = random.Random(1), Quiet()
    for _ in range(30 * 24 * 120):
        if chance.random() < 0.3:
            quiet.tweets("tea", 1)
        assert quiet.look(30.0) == {}


def test_new_rules_start_anew() -> None:
    quiet = Quiet()
    hour(quiet, tea=100)
    quiet.forget()
    for _ in range(100):
        assert quiet.look(30.0) == {}
