"""What a dashboard holds, as a page for people: sheets, visuals, data sets and their ingestions."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

from local.aws.context import Reply
from local.aws.quicksight.ingestions import key_of
from local.aws.quicksight.store import Document, Store

_SHOWN_INGESTIONS = 20
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;"
    "color-scheme:light dark}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;"
    "border-bottom:1px solid #8886;vertical-align:top}code{overflow-wrap:anywhere}"
)


def dashboard(store: Store, identity: str) -> Reply:
    """The page of a dashboard; 404 if there is none."""
    document = store.get("dashboard", identity)
    if document is None:
        return _html(
            404, "No such dashboard", f"<p>There is no dashboard <code>{escape(identity)}</code>.</p>"
        )
    version = document["Versions"][(document["PublishedVersionNumber"] or len(document["Versions"])) - 1]
    definition = version["Definition"]
    state = f"version {version['VersionNumber']}, {version['Status']}, {_time(version['CreatedTime'])}"
    parts = [f"<p>Dashboard <code>{escape(identity)}</code>, {escape(state)}</p>"]
    parts += [f"<p>Error: {escape(error['Message'])}</p>" for error in version.get("Errors", [])]
    for sheet in definition.get("Sheets", []):
        parts.append(f"<h2>Sheet {escape(sheet.get('Name') or sheet['SheetId'])}</h2>")
        parts.append(_table(("Visual", "Kind"), [_visual(visual) for visual in sheet.get("Visuals", [])]))
    for declaration in definition["DataSetIdentifierDeclarations"]:
        parts += _data_set(store, declaration["DataSetArn"].split("/", 1)[1])
    fields = [(entry["Name"], entry["Expression"]) for entry in definition.get("CalculatedFields", [])]
    parts += ["<h2>Calculated fields</h2>", _table(("Name", "Expression"), fields)]
    readers = [(entry["Principal"], ", ".join(entry["Actions"])) for entry in document["Permissions"]]
    parts += ["<h2>Permissions</h2>", _table(("Principal", "Actions"), readers)]
    return _html(200, version["Name"], "".join(parts))


def _visual(visual: Document) -> tuple[str, str]:
    ((kind, content),) = visual.items()
    title = content.get("Title", {}).get("FormatText", {})
    return title.get("PlainText") or title.get("RichText") or content["VisualId"], kind


def _data_set(store: Store, identity: str) -> list[str]:
    document = store.get("dataset", identity)
    if document is None:
        return [f"<h2>Data set {escape(identity)}</h2><p>It was deleted.</p>"]
    (table,) = document["PhysicalTableMap"].values()
    rows = [
        (
            entry["IngestionId"],
            entry["IngestionStatus"],
            entry["RequestType"],
            _time(entry["CreatedTime"]),
            entry.get("RowInfo", {}).get("RowsIngested", ""),
            entry.get("RowInfo", {}).get("RowsDropped", ""),
            ": ".join(entry["ErrorInfo"].values()) if "ErrorInfo" in entry else "",
        )
        for entry in store.all("ingestion", key_of(identity))[: -_SHOWN_INGESTIONS - 1 : -1]
    ]
    return [
        f"<h2>Data set {escape(document['Name'])}</h2>",
        f"<p>{escape(document['ImportMode'])}, <code>{escape(table['CustomSql']['SqlQuery'])}</code></p>",
        _table(("Ingestion", "Status", "Request", "Created", "Rows", "Dropped", "Error"), rows),
    ]


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    heads = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _html(status: int, title: str, body: str) -> Reply:
    data = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    ).encode()
    return status, [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(data)))], data
