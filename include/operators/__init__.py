"""The one package that knows Airflow: operators, sensors, triggers, links and notifications.

One module a DAG (`transform.py`, `coverage.py`, `training.py`, `insights.py`, `provision.py`), and what
they share beside it: `inputs.py` (clients, secrets, topics, the clock), `polling.py` (the one trigger that
waits), `links.py`, `quality.py`, `notifications.py`. An operator takes its inputs, calls the package of its
name, and keeps no logic of its own.
"""
