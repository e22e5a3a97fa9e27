from __future__ import annotations

import os
import tempfile

# Airflow reads this when it is first imported, and writes its configuration there.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
