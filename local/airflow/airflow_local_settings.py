"""Imports once, in the scheduler, what every task would else import anew: its workers are forked from it.

Airflow imports this module in each of its processes (it lies on their path), before anything else. Only the
scheduler, whose LocalExecutor forks the workers, is to carry the memory. Only libraries are named here: the
project's own modules are read again by every task, so that edited code counts at once.
"""

from __future__ import annotations

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

__all__: list[str] = []
"""Nothing here replaces a setting of Airflow's."""


def preload() -> None:
    """Imports the libraries; raises `ImportError` where one is missing."""
    for name in PRELOADED:
        importlib.import_module(name)


if sys.argv[1:2] == ["scheduler"]:
    preload()
