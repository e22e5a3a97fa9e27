"""Imports libraries once, in the scheduler: workers are forked from it and need not import them again.

Airflow imports this module in each of its processes (it lies on their path), before anything else. Only the
scheduler, whose LocalExecutor forks the workers, spends the memory. Only libraries are imported here: every
task reads the project's own modules, so that edited code takes effect at once.
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
"""This module changes no setting of Airflow's."""


def preload() -> None:
    """Imports the libraries; raises `ImportError` if one is missing."""
    for name in PRELOADED:
        importlib.import_module(name)


if sys.argv[1:2] == ["scheduler"]:
    preload()
