"""What a run waits for, and what it leaves aside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from include.settings import Settings
from local import run
from local.airflow_server import AirflowError
from local.processes import ProcessError
from local.run import RUN_SECONDS, RunError, RunOptions, prepared

NOW = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)


class Schedule:
    """An Airflow that catches up with the ``missed`` hours before noon, each run in ``seconds``."""

    url = "http://airflow"

    def __init__(self, missed: int, seconds: float, last_state: str = "success") -> None:
        self.time = 0.0
        self._missed, self._seconds, self._last_state = missed, seconds, last_state

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def pause(self, dag_id: str, paused: bool) -> None:
        assert (dag_id, paused) == ("transform", False)

    def runs(self, dag_id: str, limit: int) -> list[dict[str, Any]]:
        assert dag_id == "transform"
        ended = min(int(self.time // self._seconds), self._missed)
        states = ["success"] * ended + ["running"] * (self._missed > ended)
        if ended == self._missed:
            states[-1] = self._last_state
        noon = NOW.replace(minute=0)
        starts = [noon - timedelta(hours=self._missed - number) for number in range(len(states))]
        made = [
            {"dag_run_id": start.isoformat(), "data_interval_start": start.isoformat(), "state": state}
            for start, state in zip(starts, states, strict=True)
        ]
        return made[::-1][:limit]


@pytest.fixture
def transform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Schedule], None]:
    """Waits for the transforms of the last six hours."""

    def wait(schedule: Schedule) -> None:
        monkeypatch.setattr(run, "time", schedule)
        processes: Any = SimpleNamespace(check=lambda: None)
        nothing: Any = None
        this = run.Run(RunOptions(hours=6), tmp_path, (), nothing, nothing, processes, {}, begun=NOW)
        this.airflow = schedule  # type: ignore[assignment]
        run._transform(this)

    return wait


def test_hours_missed_for_days_are_waited_for_while_runs_end(transform: Callable[[Schedule], None]) -> None:
    schedule = Schedule(missed=200, seconds=30)
    transform(schedule)
    assert schedule.time >= 200 * 30 > RUN_SECONDS


def test_a_schedule_that_stands_still_is_given_up(transform: Callable[[Schedule], None]) -> None:
    with pytest.raises(
        AirflowError, match="no run of transform has ended for 900 s, and 6 hours are missing"
    ):
        transform(Schedule(missed=6, seconds=10_000))


def test_an_hour_that_fails_is_named(transform: Callable[[Schedule], None]) -> None:
    with pytest.raises(AirflowError, match="transform failed for 2026-11-26T11; see"):
        transform(Schedule(missed=6, seconds=10, last_state="failed"))


@pytest.mark.parametrize(
    ("given", "kept"), [("", "127.0.0.1,localhost"), ("corp,127.0.0.1", "corp,127.0.0.1,localhost")]
)
def test_a_proxy_is_not_asked_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, kept: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", given)
    monkeypatch.delenv("no_proxy", raising=False)
    with prepared(RunOptions(run_dir=tmp_path), []) as this:
        assert this.environment["NO_PROXY"] == kept
        assert this.environment["no_proxy"] == "127.0.0.1,localhost"
        assert not requests.utils.get_environ_proxies(this.endpoints.url("airflow"))


def test_topics_of_the_same_names_with_other_keywords_are_measured_in_a_world_of_their_own(
    tmp_path: Path,
) -> None:
    def world(keywords: str, **options: Any) -> Path:
        file = tmp_path / "topics.yaml"
        text = Settings().topics_file.read_text(encoding="utf-8")
        file.write_text(text.replace("kyiv, zelensky", keywords), encoding="utf-8")
        with prepared(RunOptions(run_dir=tmp_path / "run", topics=file, **options), ()) as started:
            return started.world

    first = world("kyiv, zelensky")
    assert world("kyiv, zelensky") == first
    assert world("kyiv, kharkiv") != first
    assert world("kyiv, zelensky", rate=7) != first


def test_the_addresses_that_a_killed_run_has_left_for_containers_are_gone(tmp_path: Path) -> None:
    left = tmp_path / "containers.env"
    left.write_text("OPINION_X_API_URL=http://elsewhere")
    with prepared(RunOptions(run_dir=tmp_path), []):
        assert not left.exists()


@pytest.mark.parametrize("error", [AirflowError("no answer"), requests.ConnectionError("no answer")])
def test_a_process_that_has_ended_explains_why_nothing_answers(tmp_path: Path, error: Exception) -> None:
    def fails() -> None:
        with prepared(RunOptions(run_dir=tmp_path), []) as this:
            this.processes.start("aws", ["sh", "-c", "echo no room >&2; exit 3"], {"PATH": "/usr/bin:/bin"})
            this.processes.running[0].popen.wait()
            raise error

    with pytest.raises(RunError, match="aws ended with status 3: no room") as raised:
        fails()
    assert isinstance(raised.value.__cause__, ProcessError)


def test_what_a_stand_in_answers_wrongly_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match="a stand-in did not answer as it should: refused"),
        prepared(RunOptions(run_dir=tmp_path), []),
    ):
        raise requests.HTTPError("refused")
