"""The student: trained on the teacher's labels, by the same code on Databricks and on one machine.

Shipped as a wheel (`include.training.wheel`), run as the steps sync, train, gate and predict
(`include.training.steps`). It does not depend on where it runs: the cluster configures the Spark session and
MLflow.
"""
