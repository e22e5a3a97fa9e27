"""The dashboards: one definition of data sets, measures and visuals, and its compilers.

Start with `dashboards.yaml` and `definition.py`, which reads it; `page.py` compiles it for the pages in
Airflow, `quicksight.py` for QuickSight. `aggregate.py` keeps the hourly aggregates, `ingestion.py`
QuickSight's copies.
"""
