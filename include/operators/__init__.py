"""The only package that imports Airflow: operators, sensors, triggers, links and notifications.

One module per DAG, and the modules that they share: `inputs.py` (clients, secrets, topics, the clock),
`polling.py` (the one trigger), `delivery.py` (waits for Firehose), `sagemaker.py` and `databricks.py` (jobs
and workflows), `assets.py`, `defaults.py`, `links.py`, `quality.py` and `notifications.py`. `live` uses the
modules of `transform` and `insights`. What an operator does beyond Airflow is in the package that it calls.
"""
