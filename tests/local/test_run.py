"""What a run waits for, and what it leaves aside."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
from rich.console import Console

from include.coverage.measure import unapproved_start
from include.settings import Settings
from local import airflow_server, dag_runs
from local import run as run_module
from local.airflow_server import AirflowError
from local.dag_runs import STALLED_SECONDS, DagRuns
from local.processes import ProcessError
from local.run import Run
from local.summary import Summary, SummaryError
from local.world import RunError, RunOptions, World, prepared

NOW = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)


class Schedule:
    """An Airflow that catches up with the ``missed`` hours before noon, each run in ``seconds``.

    Runs write a line of their logs, below ``folder``, every ``line_seconds``.
    """

    url = "http://airflow"

    def __init__(
        self, missed: int, seconds: float, last_state: str = "success", line_seconds: float = 1e9
    ) -> None:
        self.time = 0.0
        self.folder = Path()
        self.cleared: list[str] = []
        self._missed, self._seconds, self._last_state = missed, seconds, last_state
        self._line_seconds = line_seconds

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def pause(self, dag_id: str, paused: bool) -> None:
        assert (dag_id, paused) == ("transform", False)

    def clear(self, dag_id: str, run_id: str) -> None:
        assert dag_id == "transform"
        self.cleared.append(run_id)
        self._last_state = "success"

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return {"state": "running" if self.time < self._seconds else self._last_state}

    def runs(self, dag_id: str, limit: int = 100, state: list[str] | None = None) -> list[dict[str, Any]]:
        assert dag_id == "transform"
        ended = min(int(self.time // self._seconds), self._missed) if self._seconds else self._missed
        states = ["success"] * ended + ["running"] * (self._missed > ended)
        if ended == self._missed:
            states[-1] = self._last_state
        noon = NOW.replace(minute=0)
        starts = [noon - timedelta(hours=self._missed - number) for number in range(len(states))]
        made = [
            {"dag_run_id": start.isoformat(), "data_interval_start": start.isoformat(), "state": each}
            for start, each in zip(starts, states, strict=True)
            if state is None or each in state
        ]
        return made[::-1][:limit]

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        log = self.folder / "airflow" / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / "attempt=1.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("line\n" * int(self.time // self._line_seconds))
        return [{"task_id": "label", "map_index": -1, "state": "running", "try_number": 1}]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Schedule], DagRuns]:
    """The runs of a world that measures six hours, with such a schedule."""

    def make(schedule: Schedule) -> DagRuns:
        monkeypatch.setattr(dag_runs, "time", schedule)
        schedule.folder = tmp_path
        processes: Any = SimpleNamespace(check=lambda: None)
        nothing: Any = None
        world = World(RunOptions(hours=6), tmp_path, (), nothing, nothing, processes, {}, NOW)
        airflow: Any = schedule
        return DagRuns(world, airflow)

    return make


def test_hours_missed_for_days_are_waited_for_while_runs_end(wait: Callable[[Schedule], DagRuns]) -> None:
    schedule = Schedule(missed=200, seconds=30)
    wait(schedule).transform()
    assert schedule.time >= 200 * 30 > STALLED_SECONDS


def test_a_schedule_that_stands_still_is_given_up(wait: Callable[[Schedule], DagRuns]) -> None:
    with pytest.raises(AirflowError, match=r"no task of transform has changed .* and 6 hours are missing"):
        wait(Schedule(missed=6, seconds=1e6)).transform()


def test_an_hour_that_fails_is_named(wait: Callable[[Schedule], DagRuns]) -> None:
    with pytest.raises(AirflowError, match="transform failed for 2026-11-26T11; see"):
        wait(Schedule(missed=6, seconds=10, last_state="failed")).transform()


def test_an_hour_that_failed_in_an_earlier_run_is_tried_again(wait: Callable[[Schedule], DagRuns]) -> None:
    schedule = Schedule(missed=6, seconds=0, last_state="failed")
    wait(schedule).transform()
    assert schedule.cleared == ["2026-11-26T11:00:00+00:00"]


def test_a_slow_task_is_waited_for_as_long_as_its_log_grows(wait: Callable[[Schedule], DagRuns]) -> None:
    schedule = Schedule(missed=1, seconds=10 * STALLED_SECONDS, line_seconds=STALLED_SECONDS / 2)
    wait(schedule).wait_for("train", "manual")
    assert schedule.time >= 10 * STALLED_SECONDS


def test_a_task_that_stands_still_is_given_up_and_its_page_named(
    wait: Callable[[Schedule], DagRuns],
) -> None:
    schedule = Schedule(missed=1, seconds=1e6)
    with pytest.raises(AirflowError, match="http://airflow/dags/train/runs/manual"):
        wait(schedule).wait_for("train", "manual")
    assert schedule.time < 2 * STALLED_SECONDS


@pytest.mark.parametrize("reported", ["success", "failed", None])
def test_a_run_does_not_wait_for_a_person_to_approve(
    wait: Callable[[Schedule], DagRuns], reported: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule(missed=1, seconds=1e6)
    told: list[str] = []
    states = {"approve": "awaiting_input", "recover_approved": None, "report": reported}
    tasks = [
        {"task_id": task, "map_index": -1, "state": state, "try_number": 1} for task, state in states.items()
    ]
    monkeypatch.setattr(schedule, "task_instances", lambda dag_id, run_id: tasks)
    runs = wait(schedule)
    runs = replace(
        runs, world=replace(runs.world, console=cast("Console", SimpleNamespace(print=told.append)))
    )
    if reported == "success":
        runs.wait_for("coverage", "manual")
        assert schedule.time == 0
        assert told == ["An approval waits: http://airflow/dags/coverage/runs/manual"]
    else:
        with pytest.raises(AirflowError, match="failed" if reported else "still running"):
            runs.wait_for("coverage", "manual")


def test_an_earlier_run_that_failed_before_its_start_is_not_counted(tmp_path: Path) -> None:
    """Airflow gives it for every ``start_date_gte``: it takes a missing start for now."""
    early, late = "2026-11-26T10:00:00Z", "2026-11-26T13:00:00Z"
    made = [
        {"dag_run_id": "failed early", "start_date": None, "run_after": early},
        {"dag_run_id": "queued", "start_date": None, "run_after": late},
        {"dag_run_id": "cleared and started again", "start_date": late, "run_after": early},
    ]
    airflow: Any = SimpleNamespace(runs=lambda **_: made)
    nothing: Any = None
    found = DagRuns(nothing, airflow).started_since(NOW)
    assert [run["dag_run_id"] for run in found] == ["queued", "cleared and started again"]


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


def test_coverage_still_reaches_a_runs_first_hour_when_it_looks_within_the_next_one(tmp_path: Path) -> None:
    airflow: Any = None
    with prepared(RunOptions(hours=6, run_dir=tmp_path), []) as this:
        first = DagRuns(this, airflow).closed_windows()[0]
        assert this.settings.collection_start == first.start
        assert unapproved_start(this.begun + timedelta(hours=1), this.settings) <= first.start


def test_topics_of_the_same_names_with_other_keywords_are_measured_in_a_world_of_their_own(
    tmp_path: Path,
) -> None:
    def world(keywords: str, **options: Any) -> Path:
        file = tmp_path / "topics.yaml"
        text = Settings().topics_file.read_text(encoding="utf-8")
        file.write_text(text.replace("kyiv, zelensky", keywords), encoding="utf-8")
        with prepared(RunOptions(run_dir=tmp_path / "run", topics=file, **options), ()) as started:
            return started.folder

    first = world("kyiv, zelensky")
    assert world("kyiv, zelensky") == first
    assert world("kyiv, kharkiv") != first
    assert world("kyiv, zelensky", rate=7) != first


def test_the_pages_are_told_what_stands_in_for_x(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(**options: Any) -> str:
        with prepared(RunOptions(run_dir=tmp_path, **options), []) as this:
            return this.settings.source_notice

    archive = tmp_path / "tweets.ndjson"
    archive.write_text("{}\n")
    assert "invented" in told()
    assert "dates are shifted" in told(archive=archive)
    monkeypatch.setenv("OPINION_SOURCE_NOTICE", "my own words")
    assert told() == "my own words"


def test_what_holds_credentials_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o755)
    for _ in range(2):
        with prepared(RunOptions(run_dir=run_dir, bind="0.0.0.0"), []) as this, this.containers_environment():
            this.endpoints.write(run_dir)
            airflow_server.environment(this.folder / "airflow", this.endpoints, {})
            secrets = {value for value in asdict(this.endpoints.credentials).values() if len(value) >= 16}
            files = [path for path in run_dir.rglob("*") if path.is_file()]
            holding = [path for path in files if any(secret in path.read_text() for secret in secrets)]
            assert {"credentials.json", "endpoints.json", "aws.env", "containers.env", "passwords.json"} == {
                path.name for path in holding
            }
            assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
        assert run_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("terminal", [True, False])
def test_the_password_is_shown_on_a_terminal_and_in_no_log(tmp_path: Path, terminal: bool) -> None:
    shown = io.StringIO()
    with prepared(RunOptions(run_dir=tmp_path), []) as this:
        console = Console(file=shown, force_terminal=terminal, color_system=None, soft_wrap=True)
        replace(this, console=console).tell_login()
        assert (this.endpoints.credentials.password in shown.getvalue()) == terminal
        assert "endpoints.json" in shown.getvalue()


def test_a_group_may_read_what_is_handed_over_in_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "handover" / "containers.env"
    file.parent.mkdir()
    options = RunOptions(run_dir=tmp_path / "run", bind="0.0.0.0", handover=file)
    with prepared(options, []) as this, this.containers_environment():
        assert file.stat().st_mode & 0o777 == 0o640
    assert not file.exists()


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
        pytest.raises(RunError, match="a stand-in did not answer as it should: rejected"),
        prepared(RunOptions(run_dir=tmp_path), []),
    ):
        raise requests.HTTPError("rejected")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[RunOptions, list[str]]]:
    """Options of a run whose training fails, and what is done afterward."""

    def make(*, once: bool, readable: bool = True) -> tuple[RunOptions, list[str]]:
        done: list[str] = []

        class Airflow:
            url = "http://airflow"

            def pause(self, dag_id: str, paused: bool) -> None:
                done.append(f"{dag_id} {'paused' if paused else 'resumed'}")

        class Shown(Summary):
            def show(self, console: Any, wall: float, peak_memory: int) -> None:
                done.append("shown")

        def work(this: Run) -> None:
            with this.world.step("student trained"):
                raise AirflowError("train failed in train; see http://airflow/dags/train")

        def collected(**_: Any) -> Summary:
            if not readable:
                raise SummaryError("Athena could not read the lake back")
            return Shown({"predictions": 0}, ["an hour is not labeled"], [])

        @contextlib.contextmanager
        def started(options: RunOptions) -> Iterator[Run]:
            with prepared(options, []) as world:
                this = Run(world)
                this.services.__dict__["airflow"] = Airflow()
                this.__dict__["dag_runs"] = SimpleNamespace(closed_windows=list, started_since=lambda _: [])
                yield this

        monkeypatch.setattr(Run, "work", work)
        monkeypatch.setattr(run_module, "collect", collected)
        monkeypatch.setattr(run_module, "started", started)
        monkeypatch.setattr("local.run.signal.signal", lambda *_: None)
        monkeypatch.setattr(World, "wait_for_ever", lambda _: done.append("stayed up"))
        return RunOptions(once=once, run_dir=tmp_path), done

    return make


def summary_of(options: RunOptions) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((options.run_dir / "summary.json").read_text())
    return document


def test_a_failed_step_keeps_everything_up_and_schedules_going(
    failing: Callable[..., tuple[RunOptions, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    options, done = failing(once=False)
    with pytest.raises(RunError, match="train failed in train"):
        run_module.run(options)
    resumed = [f"{dag} resumed" for dag in ("coverage", "transform", "live", "train", "insights", "costs")]
    assert done == ["shown", *resumed, "stayed up"]
    assert "✗ student trained" in (output := capsys.readouterr().out)
    assert "train failed in train; see http://airflow/dags/train" in output


def test_once_a_failed_step_ends_the_run_with_the_reason_and_what_was_reached(
    failing: Callable[..., tuple[RunOptions, list[str]]],
) -> None:
    options, done = failing(once=True)
    with pytest.raises(RunError, match="train failed in train; see http://airflow/dags/train"):
        run_module.run(options)
    assert done == ["shown"]
    written = summary_of(options)
    assert written["ok"] is False
    assert written["problems"][0].startswith("train failed in train")
    assert written["predictions"] == 0
    assert [(step["name"], step["failed"]) for step in written["steps"]] == [
        ("student trained", True),
        ("summary collected", False),
    ]


def test_a_failed_step_is_told_also_where_nothing_can_be_read_back(
    failing: Callable[..., tuple[RunOptions, list[str]]],
) -> None:
    options, _ = failing(once=True, readable=False)
    with pytest.raises(RunError, match="train failed in train"):
        run_module.run(options)
    assert summary_of(options)["problems"] == ["train failed in train; see http://airflow/dags/train"]


@pytest.mark.parametrize(
    ("ended", "told"), [("2026-11-26T12:30:42Z", 42.0), (None, 7.0)], ids=["ended", "waits for an approval"]
)
def test_a_run_beside_another_tells_how_long_it_took_and_not_how_long_it_was_waited_for(
    wait: Callable[[Schedule], DagRuns], monkeypatch: pytest.MonkeyPatch, ended: str | None, told: float
) -> None:
    runs = wait(Schedule(missed=1, seconds=0))
    dag_run = {"state": "success", "start_date": "2026-11-26T12:30:00Z", "end_date": ended}
    monkeypatch.setattr(runs.airflow, "run", lambda dag_id, run_id: dag_run)
    monkeypatch.setattr("local.world.time", SimpleNamespace(monotonic=iter([100.0, 107.0]).__next__))
    runs.finish("live", "manual", "open hour labeled")
    assert runs.world.steps == [{"name": "open hour labeled", "s": told, "failed": False}]


def test_ctrl_c_is_answered_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it has started takes seconds to end."""
    monkeypatch.setattr(run_module, "prepared", lambda options, _: prepared(options, []))
    monkeypatch.setattr(Run, "start", lambda _: None)
    with pytest.raises(KeyboardInterrupt), run_module.started(RunOptions(run_dir=tmp_path)):
        raise KeyboardInterrupt
    assert capsys.readouterr().out.endswith("Stopping …\n")


def test_a_run_that_cannot_start_leaves_no_summary_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> None:
        raise ProcessError("no room")

    monkeypatch.setattr("local.services.Services.begin_migration", fails)
    with prepared(RunOptions(run_dir=tmp_path), []) as this:
        (tmp_path / "summary.json").write_text('{"ok": true}')
        with pytest.raises(ProcessError):
            Run(this).start()
    assert not (tmp_path / "summary.json").exists()


def test_a_run_that_the_schedule_makes_while_a_dag_is_paused_is_waited_for_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would stay queued, and whoever waits for the DAG's runs would wait for ever."""
    active, said = [["first"], ["made meanwhile"], ["made meanwhile"], []], []

    class Airflow:
        def runs(self, dag_id: str, **_: Any) -> list[dict[str, Any]]:
            return [{"dag_run_id": name} for name in active.pop(0)] if active else []

        def pause(self, dag_id: str, paused: bool) -> None:
            said.append("pause" if paused else "resume")

    monkeypatch.setattr(DagRuns, "wait_for", lambda self, dag_id, run_id: said.append(run_id))
    DagRuns(None, Airflow()).rest("live")  # pyrefly: ignore[bad-argument-type]
    assert said == ["first", "pause", "resume", "made meanwhile", "pause"]


@pytest.mark.parametrize(
    ("way", "ran"), [(DagRuns.run, "scheduled"), (DagRuns.run_by_hand, "by hand")], ids=["run", "by hand"]
)
def test_only_a_manual_run_is_never_the_scheduled_one_that_is_due(
    wait: Callable[[Schedule], DagRuns], monkeypatch: pytest.MonkeyPatch, way: Callable[..., str], ran: str
) -> None:
    """The scheduled one knows nothing of the period that was asked for."""
    runs = wait(Schedule(missed=1, seconds=0))

    class Airflow:
        def dag(self, dag_id: str) -> dict[str, Any]:
            return {"next_dagrun_run_after": "2026-11-26T03:00:00Z"}

        def pause(self, dag_id: str, paused: bool) -> None:
            assert not paused

        def runs(self, dag_id: str, **_: Any) -> list[dict[str, Any]]:
            return [{"dag_run_id": "scheduled", "run_type": "scheduled"}]

        def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
            return "by hand"

    monkeypatch.setattr(DagRuns, "wait_for", lambda *_: None)
    assert way(DagRuns(runs.world, Airflow()), "audit", "tweets drawn", {"tweets": 60}) == ran  # pyrefly: ignore[bad-argument-type]
