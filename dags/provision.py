"""### Provision: what the other DAGs need

Creates or updates the Glue database, its tables (`sql/tables/`) and views, the Athena workgroup, the
SageMaker models with their real-time endpoints (removed unless `OPINION_LIVE_ENDPOINTS` is set), and
QuickSight's data source, data sets and dashboards (`include/insights/dashboards.yaml`; skipped while no
principals are configured). Run it manually once at first, and whenever topics, tables, models
or dashboards change. **Running it twice changes nothing**; the task `report` returns what was changed.

Tables are external, so replacing one whose definition has changed does not touch the data.

A task cannot create pools: `make run` and `docker/init.sh` create the pool `sagemaker`; elsewhere you create
it manually. The task `pool` reads it through Airflow's own API (the connection `airflow_default`, or MWAA's
`InvokeRestApi`). It **fails and says what to run** if the pool is missing or does not count deferred tasks;
without a connection it warns.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from include.operators.defaults import task_defaults
from include.operators.links import AthenaLink, add_link
from include.operators.notifications import Notify, run_failed
from include.operators.provision import lake, models, pool, quicksight, report

with DAG(
    dag_id="provision",
    description="Creates or updates database, tables, workgroup, models and dashboards",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    on_failure_callback=Notify(run_failed),
    default_args=task_defaults(timedelta(hours=2), retries=2),
    tags=["x-opinion", "operations"],
):
    provisioned, dashboards = lake(), quicksight()
    add_link(AthenaLink(), provisioned)
    # QuickSight tries the workgroup when its data source is created.
    provisioned >> dashboards
    report([provisioned, models(), dashboards, pool()])
