"""The DAG `live`: when it runs, and that `transform` comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowSkipException

from include.operators import transform as tasks
from include.settings import settings
from include.window import Window
from tests.unit import support_hour as hour

DAGS = Path(__file__).parents[2] / "dags"
NOW = hour.WINDOW.start + timedelta(minutes=20)


@pytest.fixture
def dag(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Parses a DAG file under a setting of `live_minutes`."""

    def parse(name: str, minutes: int = 5) -> Any:
        monkeypatch.setenv("OPINION_LIVE_MINUTES", str(minutes))
        settings.cache_clear()
        (parsed,) = DagBag(DAGS / f"{name}.py").dags.values()
        return parsed

    yield parse
    settings.cache_clear()


def test_it_is_off_unless_a_setting_says_how_often(dag: Callable[..., Any]) -> None:
    assert type(dag("live", 0).timetable).__name__ == "NullTimetable"
    assert "*/5 * * * *" in dag("live", 5).timetable.expression


def test_it_never_queues_behind_itself_and_does_not_catch_up(dag: Callable[..., Any]) -> None:
    live = dag("live")
    assert (live.max_active_runs, live.catchup) == (1, False)


def test_every_task_of_transform_comes_first(dag: Callable[..., Any]) -> None:
    live, transform = dag("live"), dag("transform")
    highest = max(_weight(task) for task in live.tasks)
    assert highest < min(_weight(task) for task in transform.tasks if task.pool == settings().sagemaker_pool)
    shared = {task.task_id for task in live.tasks if task.pool == settings().sagemaker_pool}
    assert shared == {"translate", "label"}


def _weight(task: Any) -> int:
    """What the scheduler orders by: the task's own weight, or with those of all tasks after it."""
    if task.weight_rule == "absolute":
        return int(task.priority_weight)
    later = task.get_flat_relatives(upstream=False)
    return int(task.priority_weight) + sum(int(each.priority_weight) for each in later)


@pytest.fixture
def news(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The hour that a run labels at a time, if something new has landed in some hours."""
    monkeypatch.setenv("OPINION_LIVE_MINUTES", "2")
    settings.cache_clear()
    monkeypatch.setattr(tasks, "client", lambda _: None)

    def labeled(moment: datetime, *fresh: Window) -> str:
        monkeypatch.setattr(
            "include.labeling.prepare.has_news", lambda _s3, _settings, _topics, window: window in fresh
        )
        monkeypatch.setattr(tasks, "now", lambda: moment.astimezone(UTC))
        found: str = tasks.open_window.function()
        return found

    yield labeled
    settings.cache_clear()


def test_the_first_run_after_an_hour_labels_its_last_minutes(news: Callable[..., str]) -> None:
    ended = hour.WINDOW.end + timedelta(seconds=5)
    assert news(ended, hour.WINDOW, hour.WINDOW.next) == hour.WINDOW.label
    assert news(ended, hour.WINDOW.next) == hour.WINDOW.next.label, "the scheduled run was faster"
    later = hour.WINDOW.end + timedelta(minutes=2)
    assert news(later, hour.WINDOW, hour.WINDOW.next) == hour.WINDOW.next.label


def test_it_labels_the_open_hour_unless_nothing_new_has_landed(news: Callable[..., str]) -> None:
    assert news(NOW, hour.WINDOW.previous, hour.WINDOW) == hour.WINDOW.label
    with pytest.raises(AirflowSkipException, match="nothing has landed in 2026-11-20T05"):
        news(NOW, hour.WINDOW.previous)
    assert datetime.fromisoformat(tasks.day_of.function(hour.WINDOW.label)).date() == NOW.date()
