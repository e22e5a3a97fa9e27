"""The views of ``sql/views/``: a file holds the SELECT, its name is the view's."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter

from include.lake import sql
from include.lake.athena import Athena
from include.lake.verdict import names


def query(name: str) -> str:
    """The query of a view by its file's name, such as ``views/opinion``, with the verdicts inserted."""
    known = {
        "whole": names(lambda verdict: verdict.whole),
        "under_way": names(lambda verdict: verdict.under_way),
    }
    return sql.render(name, **{parameter: known[parameter] for parameter in sql.parameters(name)})


def queries() -> dict[str, str]:
    """Each view's query by its name; a view that reads another comes after it."""
    selects = {name.split("/")[-1]: query(name) for name in sql.names("views")}
    reads = {
        view: {other for other in selects if other != view and re.search(rf"\b{other}\b", select)}
        for view, select in sorted(selects.items())
    }
    return {view: selects[view] for view in TopologicalSorter(reads).static_order()}


def create_views(athena: Athena) -> list[str]:
    """Creates every view or replaces it by its file's current query; returns their names."""
    found = queries()
    for view in found:
        create_view(athena, view)
    return list(found)


def create_view(athena: Athena, view: str) -> None:
    """Creates one view or replaces it by its file's current query; what it reads must exist."""
    athena.run(f"CREATE OR REPLACE VIEW {view} AS\n{queries()[view]}")
