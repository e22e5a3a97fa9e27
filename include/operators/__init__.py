"""The one package that knows Airflow: operators, sensors, triggers, links and notifications.

One module a DAG (`transform.py`, `coverage.py`, `training.py`, `insights.py`, `provision.py`), and what
they share beside it. An operator reads its clients, calls the package of its name, and keeps no logic of
its own.
"""
