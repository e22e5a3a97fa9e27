"""The measurement of the pages' freshness knows when the page shows all that it waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from include.lake import layout, storage
from include.window import Window
from local.proof import live_test
from local.proof.freshness import Sight, Version
from local.proof.live_test import Watch
from tests.unit.support_hour import BUCKET, lake

WINDOW = Window(datetime(2026, 11, 20, 5, tzinfo=UTC))
TOPIC = "ukraine"
HOUR = (TOPIC, WINDOW.label)
DURING, AFTER = WINDOW.start.timestamp() + 600, WINDOW.end.timestamp() + 30


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Any:
    with lake() as s3:
        monkeypatch.setattr(live_test, "client", lambda run, service: s3)
        run: Any = SimpleNamespace(
            world=SimpleNamespace(topics=(TOPIC,), settings=SimpleNamespace(bucket=BUCKET))
        )
        yield Watch(run)


def publish(watch: Watch, listed: float, ids: set[int], *, looked: bool = True) -> None:
    """A version of the hour's object, which the watch has looked at or not yet."""
    key = layout.labeled_key(TOPIC, WINDOW)
    storage.overwrite(watch.s3, BUCKET, key, repr(sorted(ids)).encode())
    if looked:
        standing = storage.current(watch.s3, BUCKET, key)
        assert standing
        watch._etags[key] = standing.etag
        watch.versions[HOUR].append(Version(listed, listed, frozenset(ids)))


def show(watch: Watch, count: int) -> None:
    watch.pages.append(Sight(AFTER, {HOUR: count}))


def test_an_open_hour_is_shown_once_the_page_has_a_version_that_was_listed_late_enough(watch: Watch) -> None:
    publish(watch, DURING - 60, {1, 2})
    show(watch, 2)
    assert not watch.shows(WINDOW, DURING), "what arrived in the last minute was not listed yet"
    publish(watch, DURING + 60, {1, 2, 3})
    assert not watch.shows(WINDOW, DURING), "the page is behind"
    show(watch, 3)
    assert watch.shows(WINDOW, DURING)


def test_an_hour_that_is_over_is_shown_as_it_is_though_no_run_replaces_it_any_more(watch: Watch) -> None:
    publish(watch, DURING, {1, 2, 3})
    show(watch, 3)
    assert watch.shows(WINDOW, AFTER)


def test_an_object_that_was_not_looked_at_yet_is_not_shown(watch: Watch) -> None:
    publish(watch, DURING, {1, 2, 3})
    publish(watch, AFTER, {1, 2, 3, 4}, looked=False)
    show(watch, 3)
    assert not watch.shows(WINDOW, AFTER)


def test_nothing_is_shown_before_the_page_was_read_or_the_hour_published(watch: Watch) -> None:
    assert not watch.shows(WINDOW, AFTER)
    publish(watch, DURING, {1})
    assert not watch.shows(WINDOW, AFTER)
