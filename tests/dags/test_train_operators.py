"""The tasks of `train` around the workflow: what is skipped, what is shipped, what is reported."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk.exceptions import AirflowSkipException

from include.operators import training as tasks
from include.operators.databricks import WorkflowTaskOperator
from include.settings import Settings
from include.training import hours, wheel
from include.training.errors import StateError
from include.training.parameters import Parameters
from tests.unit.support_hour import BUCKET, lake


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with lake() as client:
        monkeypatch.setattr(tasks, "client", lambda service: client)
        monkeypatch.setattr(tasks, "settings", lambda: Settings(bucket=BUCKET))
        monkeypatch.setattr(WorkflowTaskOperator, "_settle", lambda *_: {"run_id": 7})
        yield client


def settled(step: str, result: str = "SUCCESS") -> dict[str, Any]:
    operator = tasks.StepOperator(task_id=step, entry_point=step)
    context: Any = {}
    databricks: Any = None
    return operator._settle(context, databricks, {"state": {"result_state": result}})


def test_a_step_returns_its_outcome_beside_the_run(s3: Any) -> None:
    hours.write_outcome(s3, BUCKET, "train", {"version": 3})
    assert settled("train") == {"run_id": 7, "version": 3}


def test_a_rejected_step_is_skipped_and_says_why(s3: Any) -> None:
    hours.write_outcome(s3, BUCKET, "train", {"rejected": "too few rows of Neutral"})
    with pytest.raises(AirflowSkipException, match="too few rows of Neutral"):
        settled("train")


def test_a_step_counts_as_seen_only_once_its_outcome_is_read(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def settle(*_: object) -> dict[str, str]:
        seen.append("seen")
        return {}

    monkeypatch.setattr(WorkflowTaskOperator, "_settle", settle)
    with pytest.raises(StateError):
        settled("train")
    assert not seen
    assert settled("train", "FAILED") == {}
    assert seen


def test_the_wheel_is_shipped_under_a_name_that_tells_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped: dict[str, bytes] = {}
    monkeypatch.setattr("include.operators.databricks.upload", shipped.__setitem__)
    path = tasks.stage_wheel.function()
    assert path == f"/Volumes/main/x_opinion/training/wheels/{wheel.file_name()}"
    assert shipped == {path: wheel.build()}


def test_every_parameter_that_a_step_takes_is_given() -> None:
    given = tasks.parameters(Settings())
    params = {"{{ params.trials }}": "6", "{{ params.retrain | lower }}": "false"}
    params["{{ params.repredict | lower }}"] = "false"
    rendered = {name: params.get(value, value) for name, value in given.items()}
    assert Parameters.parse([f"--{name}={value}" for name, value in rendered.items()]) == Parameters(
        bucket=Settings().bucket
    )
    assert given.keys() == Parameters(bucket="b").named().keys()


def test_the_report_tells_the_champion_from_the_candidate() -> None:
    gate = {
        "version": 5,
        "alias": "challenger",
        "promoted": False,
        "reason": "no",
        "metrics": {"macro_f1": 0.5},
    }
    predicted = {"version": 4, "rows": 10, "total": 30}
    found = tasks.report.function(predicted, {"run_id": 7, **gate}, {"checked": 5})
    assert found == {"champion": 4, "candidate": gate, "predictions": 30, "checked": 5}
    assert tasks.report.function(predicted, None, {"checked": 5})["candidate"] is None


def test_the_report_leads_to_the_version_that_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Settings(training_model_url="http://mlflow.example/#/models/{model}/versions/{version}")
    monkeypatch.setattr(tasks, "settings", lambda: found)
    returned = {("report", "return_value"): {"champion": 3}}
    ti = SimpleNamespace(xcom_pull=lambda *, task_ids, key: returned[task_ids, key])
    report = EmptyOperator(task_id="report")
    assert (
        tasks.ModelLink().get_link(report, ti_key=ti)
        == "http://mlflow.example/#/models/main.x_opinion.student/versions/3"
    )
