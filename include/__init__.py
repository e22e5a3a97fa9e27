"""Everything that the DAGs, the pages and the streamer share: logic and clients, without Airflow.

Start with `settings.py` (every setting), `topics.yaml` (what is measured) and `window.py` (the UTC hour
that all work is about). Only `operators/` imports Airflow; `docs/architecture.md` has the layers.
"""
