"""Makes Airflow's processes start faster: fewer collections of garbage, and libraries imported once.

Airflow imports this module in each of its processes (it lies on their path), before anything else. Only the
scheduler, whose LocalExecutor forks the workers, spends the memory of the libraries: workers need not import
them again. Only libraries are imported here: every task reads the project's own modules, so that edited code
takes effect at once.
"""

from __future__ import annotations

import gc
import importlib
import sys

PRELOADED = (
    "aiobotocore.session",
    "airflow.dag_processing.bundles.manager",
    "airflow.providers.amazon.aws.hooks.base_aws",
    "airflow.providers.amazon.aws.secrets.secrets_manager",
    "airflow.providers.standard.operators.hitl",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.standard.triggers.temporal",
    "airflow.sdk.execution_time.task_runner",
    "boto3",
    "great_expectations",
    "numpy",
    "orjson",
    "pandas",
    "pyarrow.compute",
    "pyarrow.parquet",
    "pydantic_settings",
    "tweepy",
    "yaml",
)

NEW_OBJECTS = 20_000
"""Objects after which garbage is looked for. Python's 700 cost an API server, which imports hundreds of
thousands of objects that stay, a sixth of the CPU time of its start."""

__all__: list[str] = []
"""This module changes no setting of Airflow's."""


def preload() -> None:
    """Imports the libraries; raises `ImportError` if one is missing."""
    for name in PRELOADED:
        importlib.import_module(name)


gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
if sys.argv[1:2] == ["scheduler"]:
    preload()
