"""The only package that imports Airflow: operators, sensors, triggers, links and notifications.

One module per DAG (`transform.py`, `coverage.py`, `training.py`, `insights.py`, `provision.py`), and the
modules that they share: `inputs.py` (clients, secrets, topics, the clock), `polling.py` (the one trigger that
waits), `links.py`, `quality.py`, `notifications.py`. An operator reads its inputs and calls the package of
its name; it has no logic itself.
"""
