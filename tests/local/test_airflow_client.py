"""The client of Airflow's REST API: what one page does not hold is asked for again."""

from __future__ import annotations

from typing import Any

import pytest

from local.airflow_server import AirflowClient

LARGEST_PAGE = 100
"""Airflow's own limit (`[api] maximum_page_limit`), whatever is asked for."""


class Pages(AirflowClient):
    """An Airflow with so many runs."""

    def __init__(self, total: int) -> None:
        super().__init__("http://airflow")
        self.total = total
        self.asked: list[dict[str, Any]] = []

    def call(self, method: str, path: str, **options: Any) -> Any:
        assert (method, path) == ("GET", "/dags/transform/dagRuns")
        asked = options["params"]
        self.asked.append(asked)
        end = min(asked["offset"] + min(asked["limit"], LARGEST_PAGE), self.total)
        runs = [{"dag_run_id": number} for number in range(asked["offset"], end)]
        return {"dag_runs": runs, "total_entries": self.total}


@pytest.mark.parametrize(
    ("total", "limit", "pages"), [(0, 100, 1), (100, 100, 1), (320, 320, 4), (320, 150, 2), (5, 1000, 1)]
)
def test_runs_are_gathered_over_as_many_pages_as_it_takes(total: int, limit: int, pages: int) -> None:
    airflow = Pages(total)
    found = airflow.runs("transform", limit=limit, state=["success"])
    assert [run["dag_run_id"] for run in found] == list(range(min(total, limit)))
    assert len(airflow.asked) == pages
    assert all(asked["state"] == ["success"] for asked in airflow.asked)
