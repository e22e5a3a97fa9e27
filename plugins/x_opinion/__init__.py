"""The pages in Airflow's UI (dashboards, Coverage, Audit, Removals, Costs) and the Data Docs.

They are a FastAPI app with static files. Start with `app.py` (the routes). What it imports must lie in
plugins.zip: MWAA's web server has no DAG folder.
"""
