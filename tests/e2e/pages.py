"""What a person sees on the pages of a running pipeline, compared with Athena's own answers."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from include.lake.athena import Athena
from local.run import Run
from tests.browser import browser

_PATIENCE_SECONDS = 150.0
"""A page shows what was read up to a minute ago, and a run of `insights` may come between."""


def check_pages(run: Run) -> None:
    """Fails unless both dashboards and Coverage show the lake as Athena has it, and a backfill is planned.

    Skips the calling test where ``BROWSER=0``.
    """
    with browser() as chromium:
        page = _log_in(chromium, run)
        _check_opinion(page, run)
        _check_world(page, run)
        _check_coverage(page, run)
        page.context.close()


def judge_by_keyboard(run: Run, count: int) -> None:
    """Judges so many drawn tweets on the page Audit as a person does, and sees each in the lake."""
    with browser() as chromium:
        page = _log_in(chromium, run)
        frame = _open(page, run, "audit")
        frame.locator("#tweet").click()
        for number in range(count):
            # The next tweets may have to be fetched first; keys that come meanwhile are no judgment.
            expect(frame.locator("#desk:not([aria-busy]) blockquote").first).to_be_visible(timeout=60_000)
            with page.expect_response("**/data/audit/judgments") as answer:
                page.keyboard.press("123"[number % 3])
            assert answer.value.ok
            expect(frame.locator("#said")).to_contain_text("Last judged: ")
        page.context.close()
    statement = "SELECT count(DISTINCT tweet_id) AS judged FROM audit_judged"
    assert _select(run, statement) == [{"judged": count}]


def check_rectified(run: Run) -> None:
    """Fails unless the dashboard's shares are rectified: each value lies in an interval that says 95 %."""
    with browser() as chromium:
        page = _log_in(chromium, run)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            frame = _open(page, run, "opinion-over-time")
            tiles = {
                topic: frame.locator(f".tile[data-id='net_sentiment-{topic}']") for topic in run.world.topics
            }
            told = {topic: tile.locator(".interval").inner_text() for topic, tile in tiles.items()}
            if all("95 %" in text for text in told.values()):
                break
            assert time.monotonic() < deadline, told
            page.wait_for_timeout(5_000)
        page.context.close()


def _log_in(chromium: Browser, run: Run) -> Page:
    page = chromium.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{run.world.endpoints.url('airflow')}/auth/login")
    page.fill("input[name=username]", run.world.endpoints.login["username"])
    page.fill("input[name=password]", run.world.endpoints.login["password"])
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/auth/" not in url)
    return page


def _open(page: Page, run: Run, name: str) -> FrameLocator:
    page.goto(f"{run.world.endpoints.url('airflow')}/plugin/{name}")
    frame = page.frame_locator("iframe")
    expect(frame.locator("#content section").first).to_be_visible(timeout=60_000)
    return frame


def _select(run: Run, statement: str) -> list[dict[str, Any]]:
    environment = run.world.endpoints.aws_environment()
    client = boto3.client(
        "athena",
        endpoint_url=run.world.endpoints.url("aws"),
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    return Athena(client, run.world.settings).run(statement)


def _days() -> str:
    today = datetime.now(UTC).date()
    return f"dt BETWEEN '{today - timedelta(days=6)}' AND '{today}'"


def _tile(frame: FrameLocator, name: str) -> float:
    value = frame.locator(f".tile[data-id='{name}'] .value").get_attribute("data-value")
    assert value is not None
    return float(value)


def _check_opinion(page: Page, run: Run) -> None:
    statement = f"""
        SELECT topic, SUM(weighted_positive) / SUM(weighted_negative) AS ratio, SUM(tweets) AS tweets
        FROM opinion WHERE measured = 1 AND {_days()} GROUP BY topic
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        expected = {row["topic"]: row for row in _select(run, statement)}
        assert set(expected) == set(run.world.topics)
        frame = _open(page, run, "opinion-over-time")
        shown = {topic: _tile(frame, f"positive_to_negative-{topic}") for topic in run.world.topics}
        volume = _tile(frame, "volume")
        if volume == sum(row["tweets"] for row in expected.values()):
            break
        assert time.monotonic() < deadline, f"the page shows {volume} tweets, Athena has {expected}"
        page.wait_for_timeout(5_000)
    for topic, row in expected.items():
        assert shown[topic] == pytest.approx(row["ratio"]), topic


def _check_world(page: Page, run: Run) -> None:
    frame = _open(page, run, "opinion-across-the-world")
    for topic in run.world.topics:
        expect(frame.locator(f"#visual-map-{topic} canvas")).to_be_visible()
    rows = frame.locator("#visual-by_language tbody tr")
    assert rows.count() > 0
    frame.get_by_role("slider", name="Net sentiment by language and topic: language").focus()
    page.keyboard.press("ArrowRight")
    behind = frame.locator("#visual-languages .point")
    behind.get_by_role("button", name="Some tweets").first.click()
    expect(behind.locator(".examples article").first).to_be_visible()


def _check_coverage(page: Page, run: Run) -> None:
    frame = _open(page, run, "coverage")
    window = run.dag_runs.closed_windows()[0]
    topic = run.world.topics[0]
    [row] = [
        row
        for row in _select(run, f"SELECT topic, hour, raw, verdict FROM coverage_by_hour WHERE {_days()}")
        if row["topic"] == topic and str(row["hour"]).replace(" ", "T").startswith(window.label)
    ]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    index = int((window.start - (midnight - timedelta(days=6))).total_seconds() // 3600)
    cell = frame.locator(f"[role=gridcell][data-topic='{topic}'][data-hour='{index}']")
    label = cell.get_attribute("aria-label") or ""
    assert f"{row['raw']:,} tweets" in label, label
    cell.focus()
    page.keyboard.press("Shift+ArrowRight")
    frame.get_by_role("button", name="Plan a backfill").click()
    expect(frame.locator("#panel-title")).to_contain_text("Plan for")
    [planned] = run.airflow.runs("coverage", run_type="manual", limit=1)
    assert planned["conf"]["start"] == window.label
    assert planned["conf"]["dry_run"] is True
    run.dag_runs.wait_for("coverage", planned["dag_run_id"])
    # The page follows the run: what was planned is shown once it has ended.
    told = re.compile(r"Nothing to do in 2 hours|Hours looked at\s*2")
    expect(frame.locator("#backfill")).to_contain_text(told, timeout=30_000)
    frame.locator("#backfill").get_by_text("The run in Airflow").click()
    page.wait_for_url("**/dags/coverage/runs/**")
