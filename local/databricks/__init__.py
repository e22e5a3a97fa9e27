"""The Jobs, Files and clusters API of Databricks; behind it the training code on a local Spark.

Start with `server.py` (the API), then `runs.py` (the life of a run) and `cluster.py` (where its steps run).
"""
