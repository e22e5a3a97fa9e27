"""The lake's assets: they notify a DAG of another DAG's changes.

Their scheme is ours: for s3://, every parsing of a DAG file would import the providers and boto3.
"""

from __future__ import annotations

from airflow.sdk import Asset

LABELED_ASSET = Asset(name="labeled", uri="x-opinion://lake/labeled")
"""Labeled hours; an event's extra holds the ``window``."""

PREDICTED_ASSET = Asset(name="predicted", uri="x-opinion://lake/predicted")
"""The predictions of the champion."""
