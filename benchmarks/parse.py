"""How long Airflow needs to parse a DAG file, beyond importing Airflow and the providers.

Every task parses its DAG file again, so this is paid per task. A file is read twice in fresh processes: the
first finds which of Airflow's and the providers' modules it needs, the second imports those and then takes
the time for the rest.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Row, in_own_process, report

BUDGET_S = 0.2


def measure() -> list[Row]:
    """A row per DAG file."""
    rows = []
    for path in sorted((ROOT / "dags").glob("*.py")):
        with tempfile.TemporaryDirectory() as home:
            environment = {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
            needed = in_own_process("benchmarks.parse", path, environment=environment)["airflow"]
            names = Path(home, "modules")
            names.write_text("\n".join(needed))
            parsed = in_own_process("benchmarks.parse", path, "--after", names, environment=environment)
        rows.append(
            Row(
                f"parse dags/{path.name}",
                round(parsed["cpu_s"], 3),
                BUDGET_S,
                round(BUDGET_S / parsed["cpu_s"], 1),
                "CPU-seconds",
                round(parsed["peak_mib"]),
                f"peer is the budget; {len(needed):,} modules of Airflow and providers were there",
            )
        )
    return rows


def main() -> None:
    """Parses one file and reports which of Airflow's modules are loaded now."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--after", type=Path, help="a file with the names of modules to import before")
    chosen = parser.parse_args()
    importlib.import_module("airflow.sdk")
    for name in chosen.after.read_text().split() if chosen.after else ():
        importlib.import_module(name)

    def parse() -> dict[str, Any]:
        specification = importlib.util.spec_from_file_location("parsed_dag_file", chosen.file)
        if specification is None or specification.loader is None:
            raise ImportError(f"{chosen.file} is not a Python file")
        specification.loader.exec_module(importlib.util.module_from_spec(specification))
        return {"airflow": [name for name in sys.modules if name.split(".")[0] == "airflow"]}

    report(parse)


if __name__ == "__main__":
    main()
