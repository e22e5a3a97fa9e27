"""The Jobs, Files and clusters API of Databricks; behind it the training code on a local Spark.

Start with `server.py` (the API), then `jobs.py` and `runs.py` (its requests), `execution.py` (how a run is
carried out) and `cluster.py` (where its tasks run).
"""
