"""Adds the pages on opinion, Coverage, Audit, Removals and Costs to Airflow's own frame."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from airflow.plugins_manager import AirflowPlugin

ROOT = "x-opinion"
"""Where the pages lie below Airflow's own address."""
LIBRARY = Path(__file__).parent / "x_opinion" / "library"
"""Where plugins.zip brings `include` and `sql` to a web server that has no DAG folder."""
_ICONS = f"{ROOT}/icons"


def _view(name: str, page: str) -> dict[str, Any]:
    # Addresses are relative: Airflow's page knows its own base, whatever path it is served under.
    return {
        "name": name,
        "href": f"{ROOT}/{page}",
        "destination": "nav",
        "url_route": page,
        "icon": f"{_ICONS}/{page}-light.svg",
        "icon_dark_mode": f"{_ICONS}/{page}-dark.svg",
    }


class XOpinionPlugin(AirflowPlugin):
    """Six pages and the Data Docs, each behind Airflow's login."""

    name = "x_opinion"
    external_views = [  # noqa: RUF012 - declared so by Airflow
        _view("Opinion over time", "opinion-over-time"),
        _view("Opinion across the world", "opinion-across-the-world"),
        _view("Coverage", "coverage"),
        _view("Audit", "audit"),
        _view("Removals", "removals"),
        _view("Costs", "costs"),
    ]

    @property
    def fastapi_apps(self) -> list[Any]:  # pyrefly: ignore[bad-override]
        """Imported only by the server that asks for it: every worker loads its plugins, too."""
        if importlib.util.find_spec("include") is None:
            sys.path.append(str(LIBRARY))
        from x_opinion.app import create_app

        return [{"name": "x-opinion", "app": create_app(), "url_prefix": f"/{ROOT}"}]
