"""The student: trained on what the teacher has labeled, by the same code on Databricks and on one machine.

Shipped as a wheel (`include.training.wheel`), run as the steps sync, train, gate and predict
(`include.training.steps`). Nothing in it asks where it runs: the Spark session and MLflow come as the
cluster has configured them.
"""
