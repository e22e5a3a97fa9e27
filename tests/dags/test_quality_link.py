"""A check leads to the page of what it found."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from include.operators.quality import QualityLink, checking
from include.quality.runner import QualityError, QualityResult

DAGS = Path(__file__).parents[2] / "dags"
check = EmptyOperator(task_id="check")


class TaskInstance:
    """What the link and the check need of one: XComs of its own."""

    def __init__(self) -> None:
        self.pushed: dict[str, str] = {}

    def xcom_push(self, key: str, value: str) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *, task_ids: str, key: str) -> str | None:
        assert task_ids == check.task_id
        return self.pushed.get(key)


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example/base/")


def test_the_link_names_the_suite_and_the_hour() -> None:
    ti = TaskInstance()
    with checking(ti, "raw", "2026-11-20T05"):
        pass
    found = QualityLink().get_link(check, ti_key=ti)
    assert found == "http://airflow.example/base/x-opinion/quality/raw/2026-11-20T05"


def test_a_link_for_several_days_leads_to_the_one_that_failed() -> None:
    ti = TaskInstance()
    failed = QualityError(QualityResult("opinion", 3, ()), "2026-11-19")
    with (
        pytest.raises(AirflowFailException, match="suite opinion of 2026-11-19"),
        checking(ti, "opinion", "2026-11-20"),
    ):
        raise failed
    assert QualityLink().get_link(check, ti_key=ti).endswith("/quality/opinion/2026-11-19")


def test_a_check_that_found_nothing_out_leads_nowhere() -> None:
    ti = TaskInstance()
    with pytest.raises(ConnectionError), checking(ti, "opinion", "2026-11-20"):
        raise ConnectionError
    assert QualityLink().get_link(check, ti_key=ti) == ""


def test_every_check_has_it_where_the_server_reads_it() -> None:
    checks = set()
    for path in sorted(DAGS.glob("*.py")):
        for dag in DagBag(path).dags.values():
            for entry in DagSerialization.to_dict(dag)["dag"]["tasks"]:
                found = entry["__var"]
                if found["task_id"].startswith("check"):
                    checks.add(f"{dag.dag_id}.{found['task_id']}")
                    assert QualityLink.name in found["_operator_extra_links"], found["task_id"]
    labeling = {f"{dag}.check_{layer}" for dag in ("transform", "live") for layer in ("raw", "labeled")}
    assert checks == {*labeling, "live.check", "insights.check", "drift.check", "train.check"}
