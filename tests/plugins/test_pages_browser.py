"""The pages as a person meets them: in Airflow's frame, in a real browser, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page, expect
from x_opinion.app import PAGES

from tests.browser import browser
from tests.plugins.support_lake import ALARM, BROKEN, EMPTY, NEVER_MADE, NOW, OUTAGE, UNLABELED
from tests.plugins.support_server import Server

CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const known = new Map();
  const parse = (text) => {
    if (!known.has(text)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      known.set(text, [...canvas.getImageData(0, 0, 1, 1).data]);
    }
    return known.get(text);
  };
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const found = [];
  for (const element of document.querySelectorAll('main *, #tip *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(':disabled, .unseen')) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color)), light(background(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const enough = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if (ratio < enough) found.push(`${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""
"""Texts whose contrast with their background is below WCAG 2.2's AA (1.4.3)."""

SHIFTS = """() => new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
  }).observe({ type: 'layout-shift', buffered: true });
  setTimeout(() => resolve(sum), 300);
})"""
"""The sum of all layout shifts so far: below 0.1 is good (web.dev/articles/cls)."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


class Visitor:
    """A person who is logged in, with a window of their own."""

    def __init__(
        self, chromium: Browser, server: Server, user: str, width: int = 1440, **options: Any
    ) -> None:
        self.url = server.url
        self.problems: list[str] = []
        self.context: BrowserContext = chromium.new_context(
            viewport={"width": width, "height": 900}, reduced_motion="reduce", **options
        )
        token = server.session(user).cookies["_token"]
        self.context.add_cookies([{"name": "_token", "value": token, "url": server.url}])
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._watch(request.url))

    def _watch(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.problems.append(f"asked another host: {url}")

    def open(self, name: str) -> Page:
        """The page of that name, drawn; alone, which is much faster than in Airflow's frame."""
        self.page.goto(f"{self.url}/x-opinion/{name}")
        self._drawn(self.page)
        return self.page

    def open_framed(self, name: str) -> FrameLocator:
        """The page of that name in Airflow's frame, drawn."""
        self.page.goto(f"{self.url}/plugin/{name}")
        frame = self.page.frame_locator("iframe")
        self._drawn(frame)
        return frame

    @staticmethod
    def _drawn(shown: Page | FrameLocator) -> None:
        expect(shown.locator("#content section").first).to_be_visible(timeout=30_000)
        expect(shown.locator("#content:not([aria-busy])")).to_be_attached(timeout=30_000)
        expect(shown.locator("#notice")).to_be_hidden()

    def choose_year(self, frame: Page | FrameLocator, year: str) -> None:
        frame.get_by_label("First day, UTC").fill(f"{year}-01-01")
        expect(frame.locator("#content:not([aria-busy])")).to_be_attached()
        frame.get_by_label("Last day, UTC").fill(f"{year}-01-02")


@pytest.fixture
def visit(chromium: Browser, server: Server) -> Iterator[Any]:
    visitors: list[Visitor] = []

    def enter(user: str = "admin", **options: Any) -> Visitor:
        visitors.append(Visitor(chromium, server, user, **options))
        return visitors[-1]

    yield enter
    for visitor in visitors:
        visitor.context.close()
        assert visitor.problems == []


def hour_cell(frame: Page | FrameLocator, ago: int, topic: str = "ukraine") -> Any:
    """The cell of the hour so many hours ago."""
    moment = NOW - timedelta(hours=ago)
    midnight = NOW.replace(hour=0) - timedelta(days=6)
    index = int((moment - midnight).total_seconds() // 3600)
    return frame.locator(f"[role=gridcell][data-topic={topic}][data-hour='{index}']")


@pytest.mark.parametrize("width", [1440, 800])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_readable(visit: Any, theme: str, width: int) -> None:
    visitor = visit(width=width, color_scheme=theme)
    for name, (title, _) in PAGES.items():
        frame = visitor.open(name)
        expect(frame.get_by_role("heading", level=1)).to_have_text(title)
        assert visitor.page.evaluate("() => document.documentElement.dataset.theme") == theme
        assert visitor.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert visitor.page.evaluate(CONTRAST) == []
        assert visitor.page.evaluate(SHIFTS) < 0.1


def test_the_theme_follows_airflows_switch_at_once(visit: Any) -> None:
    visitor = visit(color_scheme="light")
    frame = visitor.open_framed("opinion-over-time")
    visitor.page.evaluate("() => { document.documentElement.className = 'dark'; }")
    expect(frame.locator("html[data-theme=dark]")).to_be_attached()


def test_tiles_show_the_figures_with_interval_and_n(visit: Any, server: Server) -> None:
    data = server.session("admin").get("/x-opinion/data/opinion-over-time").json()
    frame = visit().open("opinion-over-time")
    assert len(data["tiles"]) == frame.locator(".tile").count() > 4
    for tile in data["tiles"]:
        shown = frame.locator(f".tile[data-id='{tile['id']}']")
        assert float(shown.locator(".value").get_attribute("data-value")) == tile["value"]
        if tile["low"] is not None:
            expect(shown.locator(".interval")).to_contain_text("95 %")
            expect(shown.locator(".n")).to_have_text(f"n = {tile['n']:,}")


def test_hovering_a_line_tells_its_exact_figures_and_what_changed(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open("opinion-over-time")
    chart = frame.locator("#visual-net_sentiment .chart")
    box = chart.bounding_box()
    chart.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    tip = chart.locator(".tip-head")
    expect(tip).to_contain_text("UTC")
    expect(chart.locator(".tip-row")).to_have_count(2)
    expect(chart.locator(".tip-row small").first).to_contain_text(re.compile(r"% to .*%, n = \d"))


def test_every_chart_has_its_figures_as_a_table(visit: Any) -> None:
    frame = visit().open("opinion-across-the-world")
    for name in ("map", "countries"):
        card = frame.locator(f"#visual-{name}")
        card.get_by_text("Figures", exact=True).click()
        expect(card.locator("tbody tr").first).to_be_visible()
    expect(frame.locator("#visual-countries tbody")).to_contain_text("Germany")


def test_filters_are_reached_by_keyboard_and_narrow_the_page(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open("opinion-over-time")
    before = frame.locator(".tile").count()
    frame.locator("#topic-ukraine").focus()
    visitor.page.keyboard.press("Space")
    expect(frame.locator(".tile")).not_to_have_count(before)
    expect(frame.locator(".tile h2", has_text="Russia")).to_have_count(0)
    expect(frame.locator("#topic-ukraine")).to_be_focused()
    frame.locator("details.menu summary").press("Enter")
    expect(frame.locator("#language-uk")).to_have_count(0)
    visitor.page.keyboard.press("Escape")
    frame.get_by_text("Include unmeasured languages").click()
    expect(frame.locator("#language-uk")).to_be_attached()


@pytest.mark.parametrize(
    ("year", "title"),
    [(NEVER_MADE, "No data yet"), (EMPTY, "No opinion in this period yet"), (BROKEN, "does not answer")],
)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_without_figures_the_page_says_what_to_do(visit: Any, year: str, title: str, theme: str) -> None:
    visitor = visit(width=800, color_scheme=theme)
    frame = visitor.open("opinion-over-time")
    visitor.choose_year(frame, year)
    expect(frame.locator("#notice h2")).to_contain_text(title)
    expect(frame.locator("#notice a").first).to_be_visible()
    assert visitor.page.evaluate("() => document.querySelectorAll('#notice script').length") == 0
    assert visitor.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert visitor.page.evaluate(CONTRAST) == []


def test_an_hours_verdict_is_a_colour_a_letter_and_words(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open("coverage")
    cell = hour_cell(frame, OUTAGE)
    expect(cell.locator("b")).to_have_text("O")
    assert cell.get_attribute("aria-label").endswith("alive 3300 s by <b>heartbeats</b>")
    cell.hover()
    tip = frame.get_by_role("tooltip")
    expect(tip).to_contain_text("alive 3300 s by <b>heartbeats</b>")
    expect(tip).to_contain_text("outage")
    hour_cell(frame, ALARM).hover()
    expect(tip).to_contain_text("the same tweets are still missing")
    assert visitor.page.evaluate(CONTRAST) == []


def test_the_layers_switch_what_the_letters_say(visit: Any) -> None:
    frame = visit().open("coverage")
    cell = hour_cell(frame, UNLABELED)
    for layer, letter in (("Labeled", "U"), ("Raw", "C"), ("Predicted", "U")):
        frame.get_by_text(layer, exact=True).first.click()
        expect(cell.locator("b")).to_have_text(letter)
    expect(hour_cell(frame, UNLABELED + 1).locator("b")).to_have_text("P")


@pytest.mark.parametrize("way", ["click", "Enter"])
def test_an_hour_leads_to_its_runs(visit: Any, way: str) -> None:
    visitor = visit()
    frame = visitor.open_framed("coverage")
    cell = hour_cell(frame, 2)
    if way == "click":
        cell.click()
    else:
        cell.focus()
        visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/dags/transform/runs?**")
    [pattern] = parse_qs(urlparse(visitor.page.url).query)["run_id_pattern"]
    assert f"window__{NOW - timedelta(hours=2):%Y-%m-%dT%H}" in pattern.split("|")


def test_a_range_by_mouse_plans_a_backfill_that_changes_nothing(visit: Any, server: Server) -> None:
    visitor = visit()
    frame = visitor.open_framed("coverage")
    hour_cell(frame, 30).hover()
    visitor.page.mouse.down()
    hour_cell(frame, 28).hover()
    visitor.page.mouse.up()
    expect(frame.locator("[role=gridcell][aria-selected=true]")).to_have_count(6)
    expect(frame.locator("#selection")).to_contain_text("3 hours")
    frame.get_by_role("button", name="Plan a backfill").click()
    link = frame.locator("#selection a")
    expect(link).to_be_visible()
    runs = server.session("admin").get("/api/v2/dags/coverage/dagRuns?order_by=-run_after").json()["dag_runs"]
    assert runs[0]["conf"] == {
        "start": f"{NOW - timedelta(hours=30):%Y-%m-%dT%H}",
        "end": f"{NOW - timedelta(hours=27):%Y-%m-%dT%H}",
        "dry_run": True,
    }
    link.click()
    visitor.page.wait_for_url("**/dags/coverage/runs/**")


def test_a_range_by_keyboard_is_refused_to_a_viewer(visit: Any, server: Server) -> None:
    address = "/api/v2/dags/coverage/dagRuns"
    before = server.session("admin").get(address).json()["total_entries"]
    visitor = visit("reader")
    frame = visitor.open("coverage")
    hour_cell(frame, 6).focus()
    for key in ("Shift+ArrowRight", "Shift+ArrowRight"):
        visitor.page.keyboard.press(key)
    expect(hour_cell(frame, 4)).to_be_focused()
    expect(frame.locator("#selection")).to_contain_text("3 hours")
    frame.get_by_role("button", name="Plan a backfill").press("Enter")
    expect(frame.get_by_role("alert")).to_contain_text("Your role may not start runs")
    assert server.session("admin").get(address).json()["total_entries"] == before


def test_one_cell_of_a_grid_is_in_the_order_of_tabs_and_arrows_move(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open("coverage")
    cell = hour_cell(frame, 24)
    cell.focus()
    moves = {"ArrowLeft": 25, "ArrowRight": 24, "ArrowUp": 48, "ArrowDown": 24}
    for key, ago in moves.items():
        visitor.page.keyboard.press(key)
        expect(hour_cell(frame, ago)).to_be_focused()
    expect(frame.get_by_role("tooltip")).to_be_visible()
    visitor.page.keyboard.press("Escape")
    expect(frame.get_by_role("tooltip")).to_be_hidden()
    expect(frame.locator("[role=gridcell][tabindex='0']")).to_have_count(1)
