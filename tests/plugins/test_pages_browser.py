"""The pages as a person meets them: in Airflow's frame, in a real browser, by mouse and by keyboard."""

from __future__ import annotations

import contextlib
import csv
import http.server
import io
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal
from urllib.parse import parse_qs, quote, urlparse

import pytest
from playwright.sync_api import Browser, Error, FrameLocator, Page, Request, expect
from x_opinion.app import PAGES

from tests.browser import COLORS, browser, flaws
from tests.plugins.support_addresses import QUALITY
from tests.plugins.support_lake import (
    ALARM,
    BROKEN,
    EMPTY,
    LABELED_HOUR,
    NEVER_MADE,
    NOW,
    OUTAGE,
    UNLABELED,
)
from tests.plugins.support_lake import HOURS as HOURS_SHOWN
from tests.plugins.support_server import Server

SHIFTS = """() => new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
  }).observe({ type: 'layout-shift', buffered: true });
  setTimeout(() => resolve(sum), 300);
})"""
"""The sum of all layout shifts so far: below 0.1 is good (web.dev/articles/cls)."""


@contextlib.contextmanager
def page_server(content: str) -> Iterator[str]:
    """The address of another site's page: the same host, another port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}/"
        served.shutdown()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


class Visitor:
    """A person who is logged in, at a window that other tests have used before and left as new.

    A new window would read, compile and draw all that it loads for the first time: twice the work of a page.
    """

    def __init__(self, page: Page, server: Server) -> None:
        self.url = server.url
        self.page = page
        self.asked: list[str] = []
        self.problems: list[str] = []
        self.problems_expected = False
        page.on("pageerror", self._note)
        page.on("request", self._watch)

    def _note(self, error: Error) -> None:
        self.problems.append(str(error))

    def _watch(self, request: Request) -> None:
        self.asked.append(request.url)
        if not self.problems_expected and not request.url.startswith((self.url, "data:", "blob:")):
            self.problems.append(f"asked another host: {request.url}")

    def open(self, name: str) -> Page:
        """The page of that name, drawn; alone, which is much faster than in Airflow's frame."""
        self.page.goto(f"{self.url}/x-opinion/{name}")
        self.drawn(self.page)
        return self.page

    def open_framed(self, name: str) -> FrameLocator:
        """The page of that name in Airflow's frame, drawn."""
        self.page.goto(f"{self.url}/plugin/{name}")
        frame = self.page.frame_locator("iframe")
        self.drawn(frame)
        return frame

    @staticmethod
    def drawn(shown: Page | FrameLocator) -> None:
        """Waits until a page is drawn."""
        # Every time that `expect` has to look again, Playwright describes the whole page.
        shown.locator("#content:not([aria-busy]) section").first.wait_for(timeout=30_000)
        expect(shown.locator("#notice")).to_be_hidden()

    def choose_year(self, frame: Page | FrameLocator, year: str) -> None:
        frame.get_by_label("First day, UTC").fill(f"{year}-01-01")
        expect(frame.locator("#content:not([aria-busy])")).to_be_attached()
        frame.get_by_label("Last day, UTC").fill(f"{year}-01-02")

    def leave(self) -> None:
        """Leaves nothing to the next visitor: no page, no listener, no storage."""
        self.page.remove_listener("pageerror", self._note)
        self.page.remove_listener("request", self._watch)
        self.page.unroute_all()
        self.page.mouse.move(0, 0)
        self.page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
        self.page.goto("about:blank")


@pytest.fixture(scope="module")
def window(chromium: Browser) -> Callable[[str, bool, bool], Page]:
    """The window of that name: by mouse or by touch, with the machine's clock or with one that tests set."""

    @cache
    def opened(name: str, touch: bool, clock: bool) -> Page:
        context = chromium.new_context(reduced_motion="reduce", has_touch=touch)
        if clock:
            context.clock.install()
        page = context.new_page()
        page.set_default_timeout(15_000)
        return page

    return opened


@pytest.fixture
def visit(window: Callable[[str, bool, bool], Page], server: Server) -> Iterator[Any]:
    visitors: dict[Page, Visitor] = {}
    problems: list[str] = []

    def leave(page: Page) -> None:
        visitor = visitors.pop(page)
        visitor.leave()
        problems.extend(visitor.problems)

    def enter(
        user: str = "admin",
        *,
        width: int = 1440,
        theme: Literal["light", "dark"] = "light",
        touch: bool = False,
        clock: bool = False,
        at: str = "the first window",
    ) -> Visitor:
        """Logs in at a window, which whoever is there leaves."""
        page = window(at, touch, clock)
        if page in visitors:
            leave(page)
        token = server.session(user).cookies["_token"]
        page.context.clear_cookies()
        page.context.add_cookies([{"name": "_token", "value": token, "url": server.url}])
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        visitors[page] = Visitor(page, server)
        return visitors[page]

    yield enter
    for page in list(visitors):
        leave(page)
    assert problems == []


def hour_cell(frame: Page | FrameLocator, ago: int, topic: str = "ukraine") -> Any:
    """The cell of the hour so many hours ago."""
    moment = NOW - timedelta(hours=ago)
    midnight = NOW.replace(hour=0) - timedelta(days=6)
    index = int((moment - midnight).total_seconds() // 3600)
    return frame.locator(f"[role=gridcell][data-topic={topic}][data-hour='{index}']")


def expect_soundness(page: Page, *themes: Literal["dark", "light"]) -> None:
    """In each theme axe-core finds nothing, and nothing is wider than the window."""
    for theme in themes:
        page.emulate_media(color_scheme=theme)
        # Data Docs have their colors by style alone.
        page.wait_for_function(
            "(theme) => (document.documentElement.dataset.theme ?? theme) === theme", arg=theme
        )
        assert flaws(page, None if theme == themes[0] else COLORS) == []
    assert page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0


SIZES: list[tuple[int, tuple[Literal["dark", "light"], ...]]] = [(1440, ("light", "dark")), (390, ("dark",))]
"""Widths, and the themes to look at there: a phone shows what a wide window does, in the same colors."""


@pytest.mark.parametrize(("width", "themes"), SIZES, ids=["window", "phone"])
def test_pages_are_accessible_and_hold_still_while_they_load(
    visit: Any, width: int, themes: tuple[Literal["dark", "light"], ...]
) -> None:
    visitor = visit(width=width, theme=themes[0])
    for name, (title, _) in PAGES.items():
        page = visitor.open(name)
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        assert page.evaluate(SHIFTS) < 0.1
        expect_soundness(page, *themes)
    for address in QUALITY:
        visitor.page.goto(f"{visitor.url}/x-opinion{address}")
        expect_soundness(visitor.page, *themes)


NOTHING = {
    "opinion-over-time": (f"?from={EMPTY}-01-01&to={EMPTY}-01-02", "No opinion in this period yet"),
    "opinion-across-the-world": (f"?from={EMPTY}-01-01&to={EMPTY}-01-02", "No opinion in this period yet"),
    "coverage": (f"?from={EMPTY}-01-01", "Nothing was measured in this period"),
    "audit": ("", "Nobody has judged a tweet yet"),
    "removals": ("", "Nothing was removed yet"),
    "costs": (f"?month={EMPTY}-01", "Nothing was measured in this month"),
}
"""By which address each page has nothing to show, and what it says then."""


def empty_lists(route: Any) -> None:
    """The server's answer without the rows that it has."""
    found = route.fetch().json()
    route.fulfill(json={name: [] if isinstance(value, list) else value for name, value in found.items()})


def test_pages_are_accessible_while_there_is_nothing_to_show(visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    page.route(re.compile("/data/(audit|removals)"), empty_lists)
    for name in PAGES:
        query, words = NOTHING[name]
        page.goto(f"{visitor.url}/x-opinion/{name}{query}")
        expect(page.get_by_text(words).last).to_be_visible()
        for width, themes in SIZES:
            page.set_viewport_size({"width": width, "height": 900})
            expect_soundness(page, *themes)


def test_the_theme_follows_airflows_switch_at_once(visit: Any) -> None:
    visitor = visit()
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
            certainty = {None: "95 %", 0: "sampling error only", 1: "95 %", 2: "topic's audit"}[tile["audit"]]
            expect(shown.locator(".interval")).to_contain_text(certainty)
            expect(shown.locator(".n")).to_have_text(f"n = {tile['n']:,}")
    # Russia has no audit.
    expect(frame.locator("#trust")).to_contain_text(
        re.compile(
            "Sampling error only.*On public tweets.*: (English 68%, German 70%|German 70%, English 68%)\\."
        )
    )
    values = [value.bounding_box() for value in frame.locator(".tile .value").all()]
    assert len({box["y"] for box in values if box}) == 1, "beside each other they stand on one line"


def test_tiles_are_compared_with_the_period_before_where_a_reader_wants_it(visit: Any) -> None:
    visitor = visit(width=390)
    page = visitor.open("opinion-over-time")
    expect(page.locator(".tile .before")).to_have_count(0)
    page.get_by_label("Compare with the period before").check()
    expect(page.locator("#compared")).to_contain_text("Compared with")
    assert parse_qs(urlparse(page.url).query)["compare"] == ["true"]
    page.get_by_text("Today", exact=True).click()
    net = page.locator(".tile[data-id='net_sentiment-ukraine'] .before")
    expect(net).to_contain_text(
        re.compile(r"^[+-]?\d+\.\d points \(95 %: .* points to .* points\) from .*%$")
    )
    ratio = page.locator(".tile[data-id='positive_to_negative-russia'] .before")
    expect(ratio).to_contain_text(re.compile(r"^× \d\.\d\d \(sampling error only: × .* to × .*\) from \d"))
    expect(page.locator("#compared")).to_contain_text("The periods were not measured alike")
    expect_soundness(page, "light", "dark")
    page.get_by_text("30 days", exact=True).click()
    expect(net).to_have_text("nothing to compare with")


def test_hovering_a_line_tells_its_exact_figures_and_what_changed(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open("opinion-over-time")
    chart = frame.locator("#visual-net_sentiment .chart")
    box = chart.bounding_box()
    chart.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    tip = chart.locator(".tip-head")
    expect(tip).to_contain_text("UTC")
    expect(chart.locator(".tip-row")).to_have_count(2)
    interval = re.compile(r"% to .*% \((95 %|sampling error only).*\), n = \d")
    expect(chart.locator(".tip-row small").first).to_contain_text(interval)


def test_every_chart_has_its_figures_as_a_table(visit: Any) -> None:
    frame = visit().open("opinion-across-the-world")
    for name in ("map-ukraine", "countries"):
        card = frame.locator(f"#visual-{name}")
        chart, figures = (card.locator(part).bounding_box() for part in (".chart", ".figures"))
        assert (figures["x"], figures["width"]) == (chart["x"], chart["width"])
        card.get_by_text("Figures", exact=True).click()
        expect(card.locator("tbody tr").first).to_be_visible()
    expect(frame.locator("#visual-countries tbody")).to_contain_text("Germany")


def test_a_table_is_sorted_by_n_until_a_reader_sorts_it(visit: Any) -> None:
    visitor = visit()
    page = visitor.open("opinion-across-the-world")
    head = page.locator("#visual-by_country thead th")

    def column(title: str, each: int = 0) -> list[str]:
        place = [place for place, text in enumerate(head.all_inner_texts()) if text.split(" ")[0] == title]
        return page.locator(f"#visual-by_country tbody tr > :nth-child({place[each] + 1})").all_inner_texts()

    counts = [int(text.replace(",", "")) for text in column("n")]
    assert counts == sorted(counts, reverse=True)
    page.get_by_role("button", name="Country", exact=True).first.click()
    names = column("Country")
    assert names == sorted(names)
    expect(head.first).to_have_attribute("aria-sort", "ascending")
    visitor.page.keyboard.press("Enter")
    assert column("Country") == sorted(names, reverse=True)


def test_what_is_shown_lives_in_the_address_and_survives_a_reload(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open_framed("opinion-across-the-world")
    frame.get_by_text("30 days", exact=True).click()
    frame.get_by_text("Russia", exact=True).first.click()
    expect(frame.locator("#visual-map-ukraine")).to_have_count(0)
    frame.locator("#visual-by_country").get_by_role("button", name="Country", exact=True).click()
    address = visitor.page.url
    assert parse_qs(urlparse(address).query) == {
        "days": ["30"],
        "topic": ["russia"],
        "sort": ["by_country:country_code:asc"],
    }

    def expect_the_same(page: Page) -> None:
        frame = page.frame_locator("iframe")
        visitor.drawn(frame)
        expect(frame.locator("#period-30")).to_be_checked()
        expect(frame.locator("#topic-russia")).to_be_checked()
        expect(frame.locator("#visual-map-ukraine")).to_have_count(0)
        head = frame.locator("#visual-by_country thead th").first
        expect(head).to_have_attribute("aria-sort", "ascending")

    visitor.page.reload()
    expect_the_same(visitor.page)
    other = visit("reader")
    other.page.goto(address)
    expect_the_same(other.page)


def test_an_address_names_a_layer_and_an_hour_of_the_coverage(visit: Any) -> None:
    visitor = visit()
    hour = f"{NOW - timedelta(hours=OUTAGE):%Y-%m-%dT%H}"
    frame = visitor.open(f"coverage?layer=labeled&topic=russia&hour={hour}")
    expect(frame.get_by_role("radio", name="Labeled")).to_be_checked()
    expect(hour_cell(frame, OUTAGE, "russia")).to_be_focused()
    expect(frame.locator("#selection")).to_contain_text("1 hour of every topic")


def test_the_coverage_that_is_looked_at_is_read_again_every_minute(visit: Any) -> None:
    page = visit(clock=True).open("coverage")
    hour_cell(page, 3).focus()
    page.keyboard.press("ArrowRight")
    page.mouse.move(0, 0)
    page.evaluate("() => { document.querySelector('#tip').hidden = true; }")
    with page.expect_response(lambda answer: "data/coverage" in answer.url):
        page.clock.fast_forward(61_000)
    expect(page.locator("#content:not([aria-busy])")).to_be_attached()
    expect(hour_cell(page, 2)).to_be_focused()


def test_every_table_and_chart_is_saved_with_what_it_rests_on(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open_framed("opinion-over-time")

    def saved(title: str) -> tuple[str, bytes]:
        with visitor.page.expect_download() as loading:
            frame.get_by_role("button", name=title, exact=True).click()
        return loading.value.suggested_filename, loading.value.path().read_bytes()

    name, content = saved("Net sentiment as CSV")
    assert re.fullmatch(r"net_sentiment-\d{4}-\d\d-\d\d-\d{4}-\d\d-\d\d\.csv", name)
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert {row["topic"] for row in rows} == {"ukraine", "russia"}
    assert {row["interval"] for row in rows} == {"95 %", "sampling error only"}
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)
    assert all(int(row["n"]) > 0 and datetime.fromisoformat(row["read_at"]) for row in rows)
    assert saved("Student against teacher as CSV")[1].startswith(b"model,topic,lang,agreement,")
    name, content = saved("Net sentiment as PNG")
    assert name.endswith(".png")
    assert content.startswith(b"\x89PNG")
    told = frame.locator("main").evaluate(
        """async () => { const { caption } = await import(document.querySelector("script[type=module]").src
          .replace("opinion.js", "files.js"));
          const columns = ["series", "low", "audit", "n"].map((role) => ({ role }));
          return caption({ columns, rows: [["a", 0.1, 0, 5], ["a", 0.1, 1, 6]] },
            { from: "2026-11-01", to: "2026-11-02", read_at: "2026-11-02T05:00:00Z", engines: ["m"] },
            { a: "A" }); }"""
    )
    assert told[0] == "2026-11-01 to 2026-11-02, UTC · read Mon 2 Nov, 05:00 UTC · labeled by m"
    assert told[1] == "n: A 11"
    assert told[2].endswith("sampling error only; 95 %")
    assert told[3] == "Sentiment of tweets that name a topic is not support for it."


TABLES = [
    ("coverage", "Ukraine", "topic,hour,raw_state,labeled_state,predicted_state,raw,"),
    ("audit", "What is left", "topic,lang,drawn,judged,open,waiting,read_at,source"),
    ("audit", "How far the models agree with people", "month,engine,lang,measured,n,accuracy,macro_f1,"),
    ("removals", "What was removed", "request,requested_at,reason,layer,action,removed,hours,done_at,"),
]
"""The tables of the other pages: the page, the table's title and its first columns."""


def test_the_tables_of_the_other_pages_are_saved_too(visit: Any) -> None:
    visitor = visit()
    for name, title, columns in TABLES:
        page = visitor.open(name)
        with page.expect_download() as loading:
            page.get_by_role("button", name=f"{title} as CSV", exact=True).click()
        assert re.fullmatch(rf"{name}-[\w-]+\.csv", loading.value.suggested_filename)
        text = loading.value.path().read_text("utf-8")
        assert text.startswith(columns)
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert rows
        assert all(datetime.fromisoformat(row["read_at"]) for row in rows)


def test_a_point_and_a_gap_lead_to_their_hour(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open_framed("opinion-over-time")
    gap = NOW - timedelta(hours=OUTAGE)
    point = choose_point(visitor, frame, "net_sentiment", gap)
    expect(point).to_contain_text(f"{gap:%H}:00 UTC")
    expect(point).to_contain_text("outage: The stream was away for a minute or more")
    point.get_by_role("link").click()
    visitor.page.wait_for_url(f"**/plugin/coverage?hour={gap:%Y-%m-%dT%H}**", wait_until="commit")
    coverage = visitor.page.frame_locator("iframe")
    visitor.drawn(coverage)
    expect(hour_cell(coverage, OUTAGE, "russia")).to_be_focused()


def pixels(shown: Page | FrameLocator, name: str, axis: str, at: Any) -> Any:
    """Where a value of an axis stands in a chart; both coordinates for a place on a map."""
    return shown.locator(f"#visual-{name} .chart").evaluate(
        """async (place, [axis, at]) => {
          const scripts = document.querySelector("script[type=module]").src;
          const { chartOf } = await import(scripts.replace("opinion.js", "charts.js"));
          return chartOf(place).convertToPixel({ [axis]: 0 }, at); }""",
        [axis, at],
    )


def choose_point(visitor: Visitor, frame: Page | FrameLocator, name: str, at: datetime) -> Any:
    """What stands below a chart over time after a click on that time."""
    x = pixels(frame, name, "xAxisIndex", at.timestamp() * 1000)
    frame.locator(f"#visual-{name} .chart").click(position={"x": x, "y": 150})
    return frame.locator(f"#visual-{name} .point")


def test_the_tweets_behind_a_point_are_asked_for_by_a_click_and_are_text(visit: Any) -> None:
    visitor = visit()
    page = visitor.open("opinion-over-time")
    point = choose_point(visitor, page, "net_sentiment", LABELED_HOUR.start)
    button = point.get_by_role("button", name="Some tweets: Ukraine")
    expect(button).to_be_visible()
    assert not [url for url in visitor.asked if "data/examples" in url]
    assert "Sehr Sehr" not in page.content()
    assert "100 % good" not in page.content()
    found = ""
    while "<img" not in found:
        with page.expect_response(lambda answer: "data/examples" in answer.url):
            button.click()
        expect(point.locator(".examples article")).to_have_count(5)
        found = " ".join(point.locator("blockquote").all_inner_texts())
    assert point.locator("blockquote img, blockquote b, blockquote i").count() == 0
    assert page.title() == "Opinion over time", "a tweet's markup is text"
    assert flaws(page) == []


def test_a_country_and_a_language_lead_to_some_of_their_tweets(visit: Any) -> None:
    visitor = visit()
    page = visitor.open("opinion-across-the-world")
    period = {"hour": [f"{NOW - timedelta(days=6):%Y-%m-%d}T00"], "hours": [str(7 * 24)]}

    def shown(name: str, topic: str) -> Any:
        point = page.locator(f"#visual-{name} .point")
        point.get_by_role("button", name=f"Some tweets: {topic}").click()
        expect(point.locator(".examples article")).to_have_count(5)
        return point

    def last_asked() -> dict[str, list[str]]:
        return parse_qs(urlparse([url for url in visitor.asked if "data/examples" in url][-1]).query)

    x, y = pixels(page, "map-russia", "seriesIndex", [10.5, 51])
    page.locator("#visual-map-russia .chart").click(position={"x": x, "y": y})
    point = shown("map-russia", "Russia")
    expect(point).to_contain_text("Germany")
    expect(point.get_by_role("button")).to_have_count(1)
    assert last_asked() == {"topic": ["russia"], "country": ["DE"], **period}

    y = pixels(page, "languages", "yAxisIndex", "de")
    page.locator("#visual-languages .chart").click(position={"x": 200, "y": y})
    expect(shown("languages", "Ukraine")).to_contain_text("German")
    assert last_asked() == {"topic": ["ukraine"], "language": ["de"], **period}

    slider = page.get_by_role("slider", name="Net sentiment by country and topic: country")
    first = slider.get_attribute("aria-valuetext")
    slider.focus()
    page.keyboard.press("ArrowRight")
    second = slider.get_attribute("aria-valuetext")
    assert second != first
    expect(page.locator("#visual-countries .tip-head")).to_have_text(second)
    expect(shown("countries", "Ukraine")).to_contain_text(second)
    countries = {"DE": "Germany", "PL": "Poland", "US": "United States"}
    assert countries[last_asked()["country"][0]] == second
    assert flaws(page) == []


def test_who_may_not_read_texts_is_offered_none(visit: Any) -> None:
    visitor = visit("reader")
    with visitor.page.expect_response(lambda answer: "data/rights" in answer.url):
        page = visitor.open("opinion-over-time")
    point = choose_point(visitor, page, "net_sentiment", LABELED_HOUR.start)
    expect(point).to_contain_text("its coverage and runs")
    expect(point.get_by_role("button")).to_have_count(0)
    expect(visitor.open("opinion-across-the-world").get_by_role("slider")).to_have_count(0)


def test_a_gap_leads_to_its_hour_by_keyboard_alone(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open("opinion-over-time")
    slider = frame.get_by_role("slider", name="Net sentiment: point in time")
    slider.focus()
    point = frame.locator("#visual-net_sentiment .point")
    for _ in range(HOURS_SHOWN):
        visitor.page.keyboard.press("ArrowLeft")
        if "Gap" in point.inner_text():
            break
    gap = NOW - timedelta(hours=OUTAGE)
    expect(slider).to_have_attribute("aria-valuetext", re.compile(f"{gap:%H}:00 UTC"))
    expect(point).to_contain_text("outage: The stream was away for a minute or more")
    visitor.page.keyboard.press("Tab")
    expect(point.get_by_role("link")).to_be_focused()
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url(f"**/plugin/coverage?hour={gap:%Y-%m-%dT%H}**", wait_until="commit")


def test_a_refresh_after_a_minute_keeps_the_focus_the_chosen_point_and_what_is_open(visit: Any) -> None:
    visitor = visit(clock=True)
    changed = {"now": False}

    def answer(route: Any) -> None:
        found = route.fetch().json()
        if changed["now"]:
            found["tiles"][0]["value"] = 0.123
            found["visuals"][0]["rows"][0][2] = 0.123
        route.fulfill(json=found)

    visitor.page.route("**/data/opinion-over-time?*", answer)
    visitor.page.route(
        "**/data/drift", lambda route: route.fulfill(json=[] if changed["now"] else route.fetch().json())
    )
    page = visitor.open("opinion-over-time")
    expect(page.locator("#drift")).to_be_visible()
    point = choose_point(visitor, page, "net_sentiment", LABELED_HOUR.start)
    page.locator("#visual-share_positive").get_by_text("Figures", exact=True).click()
    link = page.locator("#visual-share_positive tbody a").nth(7)
    link.focus()
    figures = page.locator("#visual-share_positive .scroll")
    figures.evaluate("(place) => { place.scrollTop = 100; }")
    page.mouse.move(0, 0)
    changed["now"] = True
    page.clock.fast_forward(61_000)
    expect(page.locator(".tile .value").first).to_have_attribute("data-value", "0.123")
    expect(page.locator("#drift")).to_have_count(0)
    expect(page.locator("#visual-share_positive tbody a").nth(7)).to_be_focused()
    assert figures.evaluate("(place) => place.scrollTop") == 100
    expect(point).to_contain_text(f"{LABELED_HOUR.start:%H}:00 UTC")
    times = page.locator("#steps-net_sentiment")
    expect(times).to_have_attribute("aria-valuetext", re.compile(f"{LABELED_HOUR.start:%H}:00 UTC"))


@pytest.mark.parametrize(
    ("name", "asking", "drawn"),
    [
        ("opinion-over-time", ["#topic-ukraine", "#topic-ukraine"], ".tile .value"),
        ("coverage", ["[aria-label=Earlier]"], "[role=gridcell]"),
    ],
    ids=["opinion, the same as before", "coverage, another period"],
)
def test_a_page_that_could_not_be_read_is_drawn_as_soon_as_it_can(
    visit: Any, name: str, asking: list[str], drawn: str
) -> None:
    visitor = visit(clock=True)
    page = visitor.open(name)
    expect(page.locator(drawn).first).to_be_visible()
    data = f"**/data/{name}?*"
    page.route(data, lambda route: route.fulfill(status=503, body="down"))
    for what in asking:
        page.locator(what).click(force=True)
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.locator(drawn)).to_have_count(0)
    page.unroute(data)
    page.mouse.move(0, 0)
    page.clock.fast_forward(61_000)
    expect(page.locator(drawn).first).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)


CHART = """async (id) => {
  const scripts = document.querySelector("script[type=module]").src;
  const { chartOf } = await import(scripts.replace("opinion.js", "charts.js"));
  const found = chartOf(document.querySelector(`#visual-${id} .chart`)).getOption();
  const plain = (axis) => ({ min: axis.min, max: axis.max });
  return {
    y: plain(found.yAxis?.[0] ?? {}), x: plain(found.xAxis?.[0] ?? {}),
    scale: found.visualMap?.[0] && plain(found.visualMap[0]),
    lines: found.series.flatMap((one) => (one.markLine?.data ?? []).map((line) => line.name)),
    areas: found.series.flatMap((one) => one.markArea?.data ?? []).length,
    hatched: found.series.flatMap((one) => one.data ?? []).filter((one) => one?.itemStyle?.decal).length,
  };
}"""
"""What a chart is drawn with."""


def test_ratios_stand_on_a_logarithmic_axis_with_a_line_at_one(visit: Any) -> None:
    page = visit().open("opinion-over-time")
    ratio = page.evaluate(CHART, "positive_to_negative")
    assert ratio["y"]["min"] < 0 < ratio["y"]["max"], "the axis counts doublings"
    assert ratio["lines"][0] == "1 : 1"
    net = page.evaluate(CHART, "net_sentiment")
    assert -1 <= net["y"]["min"] < net["y"]["max"] <= 1
    assert set(net["lines"]) == {"rules", "sample", "A <b>summit</b>"}
    expect(page.locator("#events a")).to_have_text("A <b>summit</b>")
    assert net["areas"] == 3, "a gap for each reason, and an hour that search alone brought"
    key, first = page.locator("#key").bounding_box(), page.locator("#visual-net_sentiment").bounding_box()
    assert key["y"] + key["height"] <= first["y"] <= key["y"] + key["height"] + 80
    expect(page.locator("#key")).to_contain_text(
        "Sentiment of tweets that name a topic is not support for it"
    )


def test_every_topics_map_has_the_same_scale_and_keeps_its_shape(visit: Any) -> None:
    page = visit().open("opinion-across-the-world")
    week = page.evaluate(CHART, "map-ukraine")
    assert week["hatched"] == 1, "a country of few tweets"
    assert page.evaluate(CHART, "countries")["hatched"] == 2
    assert page.evaluate(CHART, "map-russia")["scale"] == week["scale"]
    page.get_by_text("Today", exact=True).click()
    expect(page.locator("#content:not([aria-busy])")).to_be_attached()
    assert page.evaluate(CHART, "map-ukraine")["scale"] == week["scale"]
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        box = page.locator("#visual-map-ukraine .chart").bounding_box()
        assert box["width"] < width
        assert box["width"] / box["height"] == pytest.approx(2.1, abs=0.15)


def test_filters_are_reached_by_keyboard_and_narrow_the_page(visit: Any) -> None:
    visitor = visit()
    frame = visitor.open("opinion-over-time")
    before = frame.locator(".tile").count()
    frame.locator("#topic-ukraine").focus()
    visitor.page.keyboard.press("Space")
    expect(frame.locator(".tile")).not_to_have_count(before)
    expect(frame.locator(".tile h2", has_text="Russia")).to_have_count(0)
    expect(frame.locator("#trust")).to_be_hidden()
    expect(frame.locator("#topic-ukraine")).to_be_focused()
    frame.locator("details.menu summary").press("Enter")
    expect(frame.locator("#language-uk")).to_have_count(0)
    visitor.page.keyboard.press("Escape")
    frame.get_by_text("Include unmeasured languages").click()
    expect(frame.locator("#language-uk")).to_be_attached()


def test_without_figures_the_page_says_what_to_do(visit: Any) -> None:
    visitor = visit(width=800)
    page = visitor.open("opinion-over-time")
    for year, title in (
        (NEVER_MADE, "No data yet"),
        (EMPTY, "No opinion in this period yet"),
        (BROKEN, "does not answer"),
    ):
        visitor.choose_year(page, year)
        expect(page.locator("#notice h2")).to_contain_text(title)
        expect(page.locator("#notice a").first).to_be_visible()
        expect(page.locator("#content[aria-busy]")).to_have_count(0)  # only then it is read again
        assert page.evaluate("() => document.querySelectorAll('#notice script').length") == 0
        expect_soundness(page, "light", "dark")


def test_an_hours_verdict_is_a_color_a_letter_and_words(visit: Any) -> None:
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
    assert flaws(visitor.page) == []


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
    frame = visitor.open("coverage")
    cell = hour_cell(frame, 2)
    if way == "click":
        cell.click()
    else:
        cell.focus()
        visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/dags/transform/runs?**", wait_until="commit")
    [pattern] = parse_qs(urlparse(visitor.page.url).query)["run_id_pattern"]
    assert f"window__{NOW - timedelta(hours=2):%Y-%m-%dT%H}" in pattern.split("|")


class Scheduler:
    """Plays the scheduler through Airflow's API: nothing runs behind the tests' server."""

    def __init__(self, server: Server) -> None:
        self._session = server.session("admin")

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", "?order_by=-run_after&limit=100")["dag_runs"]
        return found

    def finish(self, run: str, task: str, state: str = "success", **values: Any) -> None:
        """Ends a task that has pushed ``values``."""
        for key, value in values.items():
            path = f"/{quote(run)}/taskInstances/{task}/xcomEntries"
            self._call("POST", path, json={"key": key, "value": value, "map_index": -1})
        self._call("PATCH", f"/{quote(run)}/taskInstances/{task}", json={"new_state": state})

    def end(self, run: str, state: str = "success") -> None:
        self._call("PATCH", f"/{quote(run)}", json={"state": state})

    def clear_away(self) -> None:
        for run in self.runs():
            self._session.delete(f"{RUNS}/{quote(run['dag_run_id'])}").raise_for_status()

    def _call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._session.request(method, RUNS + path, **options)
        assert answer.ok, answer.text
        return answer.json()


RUNS = "/api/v2/dags/coverage/dagRuns"
FIRST, LAST = 30, 28
HOURS = [f"{NOW - timedelta(hours=ago):%Y-%m-%dT%H}" for ago in (FIRST, 29, LAST)]
RERUNS = [
    {"hour": HOURS[0], "way": "clear its scheduled run", "run_id": f"scheduled__{HOURS[1]}:00:00+00:00"},
    {"hour": HOURS[2], "way": "its run is under way", "run_id": None},
]
RECOVERY = {"topic": "ukraine", "hour": HOURS[0], "stretch": "10:05 to 10:10", "posts": 1200, "dollars": 6.0}
PROPOSAL = {
    "hours": HOURS,
    "recoveries": [
        {**RECOVERY, "approval": None},
        {
            **RECOVERY,
            "topic": "russia",
            "posts": 800,
            "dollars": 4.0,
            "approval": "it is older than OPINION_UNAPPROVED_HOURS",
        },
    ],
    "reruns": RERUNS,
    "posts": 2000,
    "dollars": 10.0,
}
OUTCOMES: dict[str, Any] = {
    "recovered": [
        {**RECOVERY, "state": "filled", "bought": 1150, "dollars": 5.75, "kept": 1100, "reason": None}
    ],
    "reruns": RERUNS,
}


@pytest.fixture
def scheduler(server: Server) -> Iterator[Scheduler]:
    scheduler = Scheduler(server)
    scheduler.clear_away()
    yield scheduler
    scheduler.clear_away()


def mark_by_keyboard(visitor: Visitor, frame: Page | FrameLocator) -> None:
    hour_cell(frame, FIRST).focus()
    for _ in range(FIRST - LAST):
        visitor.page.keyboard.press("Shift+ArrowRight")


def test_a_backfill_by_keyboard_from_the_marked_hours_to_its_result(visit: Any, scheduler: Scheduler) -> None:
    visitor = visit("editor")
    frame = visitor.open("coverage")
    mark_by_keyboard(visitor, frame)
    expect(hour_cell(frame, LAST)).to_be_focused()
    expect(frame.locator("#selection")).to_contain_text("3 hours of every topic")
    frame.get_by_role("button", name="Plan a backfill").press("Enter")

    panel = frame.locator("#backfill")
    expect(panel.locator("#panel-title")).to_be_focused()
    expect(panel).to_contain_text("Queued")
    expect(panel).to_contain_text("The DAG coverage is paused")
    [planned] = scheduler.runs()
    end = f"{NOW - timedelta(hours=LAST - 1):%Y-%m-%dT%H}"
    assert planned["conf"] == {"start": HOURS[0], "end": end, "dry_run": True}
    scheduler.finish(planned["dag_run_id"], "plan", proposal=PROPOSAL)
    scheduler.end(planned["dag_run_id"])

    expect(panel).to_contain_text("Planned; nothing was changed", timeout=15_000)
    for figure in (
        "Hours looked at3",
        "Stretches to recover2",
        "Posts to buyabout 2,000",
        "Costabout $10.00",
    ):
        expect(panel).to_contain_text(figure)
    expect(panel).to_contain_text(
        "approve about 800 posts, $4.00: anyone who may edit runs of the DAG coverage"
    )
    expect(hour_cell(frame, FIRST)).to_have_attribute("data-progress", "planned")
    assert flaws(visitor.page) == []
    hour_cell(frame, FIRST).hover()
    expect(frame.locator("#tip")).to_contain_text("To recoverabout 1,200 posts, $6.00")
    panel.get_by_role("button", name="Run it").press("Enter")

    expect(panel.locator("#panel-title")).to_contain_text("Backfill of")
    started = scheduler.runs()[0]
    assert started["conf"] == {**planned["conf"], "dry_run": False}
    visitor.page.reload()
    expect(panel.locator("#panel-title")).to_contain_text("Backfill of")
    scheduler.finish(started["dag_run_id"], "plan", proposal=PROPOSAL)
    scheduler.finish(started["dag_run_id"], "decide", outcomes=OUTCOMES)
    scheduler.end(started["dag_run_id"])
    expect(panel).to_contain_text("Done", timeout=15_000)
    for figure in ("Stretches filled1 of 2", "Posts bought1,150", "Cost$5.75", "Tweets kept1,100"):
        expect(panel).to_contain_text(figure)
    expect(panel).to_contain_text("Russia")
    expect(panel).to_contain_text("not recovered, as nobody approved it")
    expect(frame.locator("#history")).to_contain_text("Backfill of")
    assert flaws(visitor.page) == []


def test_a_range_by_mouse_is_planned_in_airflows_frame(visit: Any, scheduler: Scheduler) -> None:
    visitor = visit()
    frame = visitor.open_framed("coverage")
    hour_cell(frame, FIRST).hover()
    visitor.page.mouse.down()
    hour_cell(frame, LAST).hover()
    visitor.page.mouse.up()
    expect(frame.locator("[role=gridcell][aria-selected=true]")).to_have_count(6)
    frame.get_by_role("button", name="Plan a backfill").click()
    expect(frame.locator("#panel-title")).to_contain_text("Plan for")
    visitor.page.reload()
    expect(frame.locator("#panel-title")).to_contain_text("Plan for")
    frame.locator("#backfill").get_by_text("The run in Airflow").click()
    visitor.page.wait_for_url("**/dags/coverage/runs/**", wait_until="commit")
    assert len(scheduler.runs()) == 1


def test_two_people_start_a_plan_once(visit: Any, scheduler: Scheduler) -> None:
    first, second = visit("admin"), visit("editor", at="the second window")
    frames = [visitor.open("coverage") for visitor in (first, second)]
    mark_by_keyboard(first, frames[0])
    frames[0].get_by_role("button", name="Plan a backfill").press("Enter")
    expect(frames[0].locator("#panel-title")).to_contain_text("Plan for")
    [planned] = scheduler.runs()
    scheduler.finish(planned["dag_run_id"], "plan", proposal=PROPOSAL)
    second.page.reload()
    expect(frames[1].locator("#panel-title")).to_contain_text("Plan for")
    scheduler.end(planned["dag_run_id"])
    for frame in frames:
        expect(frame.get_by_role("button", name="Run it")).to_be_visible(timeout=15_000)
    for frame in frames:
        frame.get_by_role("button", name="Run it").click()
        expect(frame.locator("#panel-title")).to_contain_text("Backfill of")
    assert [run["conf"]["dry_run"] for run in scheduler.runs()] == [False, True]


def test_a_viewer_sees_a_plan_and_has_no_button(visit: Any, scheduler: Scheduler, server: Server) -> None:
    conf = {"start": HOURS[0], "end": HOURS[2], "dry_run": True}
    run_id = f"plan__{HOURS[0]}__{HOURS[2]}__1"
    run = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
    server.session("admin").post(RUNS, json=run).raise_for_status()
    rejected = "X says 402: the account has no credits left"
    scheduler.finish(run_id, "plan", proposal={**PROPOSAL, "unplanned": rejected})
    scheduler.end(run_id)
    visitor = visit("reader")
    frame = visitor.open("coverage")
    mark_by_keyboard(visitor, frame)
    expect(frame.locator("#selection")).to_contain_text("Your role may not start runs")
    frame.locator("#history").get_by_role("button", name="Plan for").press("Enter")
    panel = frame.locator("#backfill")
    expect(panel).to_contain_text("about 2,000")
    expect(panel).to_contain_text("Your role may not start it")
    expect(panel.get_by_role("alert")).to_have_text(f"Recoveries are not planned: {rejected}")
    for name in ("Run it", "Plan a backfill", "Plan again"):
        expect(frame.get_by_role("button", name=name)).to_have_count(0)
    assert len(scheduler.runs()) == 1


def test_a_failed_run_says_where_and_why_and_an_approval_where_to_answer(
    visit: Any, scheduler: Scheduler, server: Server
) -> None:
    conf = {"start": HOURS[0], "end": HOURS[2], "dry_run": False}
    run = f"run__{HOURS[0]}__{HOURS[2]}__1"
    body = {"dag_run_id": run, "logical_date": None, "conf": conf}
    server.session("admin").post(RUNS, json=body).raise_for_status()
    scheduler.finish(run, "plan", proposal=PROPOSAL)
    scheduler.finish(run, "approve", state="failed")
    scheduler.end(run, "failed")
    raised = [{"exc_type": "UsageCapError", "exc_value": "X rejects: the month's cap is used up"}]
    visitor = visit()
    visitor.page.route(
        "**/taskInstances/approve/logs/**",
        lambda route: route.fulfill(
            json={"content": [{"event": "it failed", "level": "error", "error_detail": raised}]}
        ),
    )
    visitor.page.goto(f"{server.url}/x-opinion/coverage#{quote(run)}")
    alert = visitor.page.locator("#backfill [role=alert]")
    expect(alert).to_contain_text(
        "Task approve failed: UsageCapError: X rejects: the month's cap is used up."
    )
    assert (
        alert.locator("a").get_attribute("href").endswith(f"/dags/coverage/runs/{quote(run)}/tasks/approve")
    )
    expect(visitor.page.get_by_role("button", name="Plan again")).to_be_visible()


def test_an_approval_that_waits_shows_the_link_that_answers_it(
    visit: Any, scheduler: Scheduler, server: Server
) -> None:
    conf = {"start": HOURS[0], "end": HOURS[2], "dry_run": False}
    run = f"run__{HOURS[0]}__{HOURS[2]}__1"
    body = {"dag_run_id": run, "logical_date": None, "conf": conf}
    server.session("admin").post(RUNS, json=body).raise_for_status()
    scheduler.finish(run, "plan", proposal=PROPOSAL)
    asked = {
        "subject": "May these stretches be recovered by search?",
        "body": "- russia, about 800 posts",
        "response_received": False,
        "task_instance": {"task_id": "approve", "map_index": -1},
    }
    tasks = [
        {"task_id": "plan", "map_index": -1, "state": "success"},
        {"task_id": "approve", "map_index": -1, "state": "awaiting_input"},
    ]
    visitor = visit()
    page = visitor.page
    page.route("**/hitlDetails", lambda route: route.fulfill(json={"hitl_details": [asked]}))
    page.route(
        "**/taskInstances?*", lambda route: route.fulfill(json={"task_instances": tasks, "total_entries": 2})
    )
    page.route(
        re.compile("/dagRuns/run__[^/?]*$"),
        lambda route: route.fulfill(json={**route.fetch().json(), "state": "running"}),
    )
    page.goto(f"{server.url}/x-opinion/coverage#{quote(run)}")
    panel = page.locator("#backfill")
    expect(panel).to_contain_text("Waits for approval")
    expect(panel).to_contain_text("- russia, about 800 posts")
    panel.get_by_text("Answer it in Airflow").click()
    address = f"**/dags/coverage/runs/{quote(run)}/tasks/approve/required_actions"
    page.wait_for_url(address, wait_until="commit")


def test_what_was_approved_counts_in_the_result(visit: Any, scheduler: Scheduler, server: Server) -> None:
    conf = {"start": HOURS[0], "end": HOURS[2], "dry_run": False}
    run = f"run__{HOURS[0]}__{HOURS[2]}__1"
    body = {"dag_run_id": run, "logical_date": None, "conf": conf}
    server.session("admin").post(RUNS, json=body).raise_for_status()
    scheduler.finish(run, "plan", proposal=PROPOSAL)
    scheduler.finish(run, "decide", outcomes=OUTCOMES)
    scheduler.end(run)
    tasks = [
        *({"task_id": task, "map_index": -1, "state": "success"} for task in ("plan", "decide")),
        {"task_id": "recover_approved", "map_index": 0, "state": "success", "rendered_map_index": None},
    ]
    outcome = {**OUTCOMES["recovered"][0], "topic": "russia", "bought": 800, "dollars": 4.0, "kept": 700}
    page = visit().page
    page.route(
        "**/taskInstances?*", lambda route: route.fulfill(json={"task_instances": tasks, "total_entries": 3})
    )
    page.route(
        "**/recover_approved/xcomEntries/**map_index=0", lambda route: route.fulfill(json={"value": outcome})
    )
    page.goto(f"{server.url}/x-opinion/coverage#{quote(run)}")
    panel = page.locator("#backfill")
    for figure in ("Stretches filled2 of 2", "Posts bought1,950", "Cost$9.75", "Tweets kept1,800"):
        expect(panel).to_contain_text(figure, timeout=15_000)
    expect(panel).to_contain_text("transformed again by the next run of coverage")
    expect(panel).not_to_contain_text("not recovered")


def test_another_sites_page_starts_no_run(visit: Any, scheduler: Scheduler, server: Server) -> None:
    """A page of another port shares the login's cookie, SameSite or not; it starts nothing with it."""
    attack = f"""<form method=post enctype="text/plain" action="{server.url}{RUNS}">
      <input name='{{"logical_date":null,"conf":{{"dry_run":false}},"note":"' value='"}}'></form>
      <script>
      const body = JSON.stringify({{ logical_date: null, conf: {{ dry_run: false }} }});
      const simple = {{ method: "POST", mode: "no-cors", credentials: "include", body }};
      const json = {{ ...simple, mode: "cors", headers: {{ "Content-Type": "application/json" }} }};
      const to = "{server.url}{RUNS}";
      const blob = {{ ...simple, body: new Blob([body]) }};
      Promise.allSettled([simple, blob, json].map((options) => fetch(to, options)))
        .then(() => document.querySelector("form").submit());
      </script>"""
    visitor = visit()
    with page_server(attack) as address:
        visitor.problems_expected = True
        with visitor.page.expect_navigation(url=f"{server.url}{RUNS}") as submitted:
            visitor.page.goto(address)
        answered = submitted.value
        assert answered.status == 422
        assert "_token" in answered.request.all_headers()["cookie"], "the attack had the person's login"
    assert scheduler.runs() == []


def test_the_tooltip_has_the_hours_figures_and_when_they_were_measured(visit: Any) -> None:
    frame = visit().open("coverage")
    hour_cell(frame, OUTAGE).hover()
    tip = frame.get_by_role("tooltip")
    expect(tip.locator("dt")).to_have_count(9)
    expect(tip).not_to_contain_text("[object")
    expect(tip.locator("dl")).to_contain_text(re.compile(r"Raw130.*Gap5 min.*Measured.*:07 UTC"))
    expect(frame.locator("#as-of")).to_contain_text(re.compile("Last measured .*:07 UTC.*read"))


def test_a_reader_is_warned_where_the_audit_no_longer_fits(visit: Any) -> None:
    frame = visit().open("opinion-over-time")
    warning = frame.locator("#drift")
    expect(warning).to_contain_text("the mix of languages has changed since the audit of")
    expect(warning).to_contain_text("0.41, tolerated 0.25")
    expect(warning.get_by_role("link", name="The DAG audit")).to_be_visible()
    expect(warning).to_have_count(1)


def test_on_a_phone_the_hours_scroll_and_their_day_stays(visit: Any) -> None:
    visitor = visit(width=390, touch=True)
    page = visitor.open("coverage")
    assert page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0
    head = page.locator(".row.head").first.locator("[role=columnheader]")
    boxes = [box for box in (head.nth(place).bounding_box() for place in range(1, 25)) if box]
    assert all(box["width"] >= 20 for box in boxes), "the hours' numbers do not run together"
    day = page.locator("[role=rowheader]").first
    before = day.bounding_box()
    page.locator(".wide").first.evaluate("(place) => { place.scrollLeft = 300; }")
    assert page.locator(".wide").first.evaluate("(place) => place.scrollLeft") == 300
    assert day.bounding_box()["x"] - before["x"] <= 0.5
    hour_cell(page, OUTAGE).tap()
    expect(page.locator("#selection")).to_contain_text("1 hour of every topic")
    hour_cell(page, OUTAGE - 1).tap()
    expect(page.locator("#selection")).to_contain_text("2 hours of every topic")


def test_the_menu_of_languages_is_within_the_window(visit: Any) -> None:
    page = visit(width=800).open("opinion-over-time")
    for width in (800, 560, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.locator("details.menu summary").click()
        page.wait_for_function(
            "() => document.querySelector('.menu > div').getBoundingClientRect().right <= window.innerWidth"
        )
        assert page.locator("details.menu > div").bounding_box()["x"] >= 0
        page.keyboard.press("Escape")


def test_a_long_title_stays_in_its_tile(visit: Any) -> None:
    page = visit(width=390).open("opinion-over-time")
    over = page.locator(".tile").first.evaluate(
        """(tile) => { tile.querySelector("h2").textContent = "Positivkommentarverhältnisse".repeat(4);
          return tile.querySelector("h2").scrollWidth - tile.clientWidth; }"""
    )
    assert over <= 0


def test_what_rounds_to_zero_has_no_sign(visit: Any) -> None:
    page = visit().open("opinion-over-time")
    shown = page.evaluate(
        """async () => { const { figure } = await import(document.querySelector("script[type=module]").src
          .replace("opinion.js", "format.js"));
          return [[-9e-17, "ratio"], [-0.0001, "percent"], [-0.2, "number"], [-0.18, "percent"]]
            .map((each) => figure(...each)); }"""
    )
    assert shown == ["0.00", "0.0%", "0", "-18.0%"]


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


def judged_by(server: Server, user: str) -> dict[str, Any]:
    found: dict[str, Any] = server.session(user).get("/x-opinion/data/audit/tweets").json()
    return found


KEYS = [("1", "Negative"), ("2", "Neutral"), ("3", "Positive"), ("0", "Cannot tell")]


def test_ten_tweets_are_judged_by_keyboard_and_survive_a_reload(visit: Any, server: Server) -> None:
    user = "editor"
    visitor = visit(user)
    page = visitor.open("audit")
    for number in range(10):
        before = page.locator("#tweet").inner_text()
        key, judgment = KEYS[number % 4]
        page.keyboard.press(key)
        expect(page.locator("#tweet")).not_to_have_text(before, use_inner_text=True)
        expect(page.locator("#said")).to_have_text(f"Last judged: {judgment}")
        assert judged_by(server, user)["last"]["judgment"] == judgment
    assert page.title() == "Audit", "a tweet's markup is text"
    shown = page.locator("#tweet").inner_text()
    page.reload()
    visitor.drawn(page)
    expect(page.locator("#tweet")).to_have_text(shown, use_inner_text=True)
    last = judged_by(server, user)["last"]
    page.keyboard.press("u")
    expect(page.locator("#said")).to_have_text(f"Last judged: {KEYS[8 % 4][1]}")
    expect(page.locator("#tweet")).to_contain_text(last["text"].split("\n")[0])
    assert judged_by(server, user)["last"]["tweet_id"] != last["tweet_id"]


def test_a_tweet_is_judged_by_touch(visit: Any, server: Server) -> None:
    page = visit("admin", width=390, touch=True).open("audit")
    before = page.locator("#tweet").inner_text()
    button = page.get_by_role("button", name="Neutral", exact=True)
    assert button.bounding_box()["height"] >= 44
    button.tap()
    expect(page.locator("#tweet")).not_to_have_text(before, use_inner_text=True)
    assert judged_by(server, "admin")["last"]["judgment"] == "Neutral"
    assert page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.get_by_role("button", name="Undo").tap()
    expect(page.locator("#tweet")).to_have_text(before, use_inner_text=True)
    assert judged_by(server, "admin")["last"] is None


def test_a_viewer_sees_the_results_and_judges_nothing(visit: Any) -> None:
    visitor = visit("reader")
    page = visitor.open("audit")
    expect(page.locator("#results tbody").first).to_contain_text("<b>ngram</b>")
    expect(page.locator("#progress tbody tr")).to_have_count(6)
    expect(page.get_by_role("button", name="Positive", exact=True)).to_have_count(0)
    page.keyboard.press("3")
    assert not [url for url in visitor.asked if "tweets" in url or "judgments" in url]


def test_the_confusion_is_that_of_the_chosen_line(visit: Any) -> None:
    page = visit("reader").open("audit")
    expect(page.locator(".confusion h3")).to_contain_text("English")
    page.locator("#results button.link").nth(1).click()
    expect(page.locator(".confusion h3")).to_contain_text("Ukrainian")
    expect(page.locator("#results button.link").nth(1)).to_be_focused()
    first = page.locator(".confusion tbody tr").first
    expect(first).to_contain_text(re.compile("negative.*30.0%.*10.0%.*5.0%"))
    expect(page.locator("#results tbody tr").nth(2)).to_contain_text("70.0% *")


def test_a_file_goes_out_of_the_frame_and_its_judgments_come_back(visit: Any, server: Server) -> None:
    visitor = visit("admin")
    frame = visitor.open_framed("audit")
    with visitor.page.expect_download() as loading:
        frame.get_by_role("button", name="Download your tweets").click()
    content = loading.value.path().read_text("utf-8")
    tweet_id = content.splitlines()[1].split(",")[0]
    good = f"tweet_id,judgment\n{tweet_id},Neutral\n"

    def give(content: str) -> None:
        file: Any = {"name": "mine.csv", "mimeType": "text/csv", "buffer": content.encode()}
        frame.locator("#csv").set_input_files(file)

    give(f"{good}9,<b>Ok\n")
    expect(frame.locator("#taken")).to_contain_text("row 2: '<b>Ok' is none of")
    assert judged_by(server, "admin")["last"] is None
    give(good)
    expect(frame.locator("#taken")).to_contain_text("1 judgments taken: 1 Neutral")
    expect(frame.locator("#said")).to_have_text("Last judged: Neutral")
    frame.get_by_role("button", name="Undo").click()
    expect(frame.locator("#said")).to_contain_text("kept at once")


def test_another_sites_page_judges_nothing(visit: Any, server: Server) -> None:
    tweet = judged_by(server, "admin")["tweets"][0]["tweet_id"]
    to = f"{server.url}/x-opinion/data/audit/judgments"
    attack = f"""<script>
      const body = JSON.stringify({{ tweet_id: "{tweet}", judgment: "Positive" }});
      const simple = {{ method: "POST", mode: "no-cors", credentials: "include", body }};
      const json = {{ ...simple, mode: "cors", headers: {{ "Content-Type": "application/json" }} }};
      const blob = {{ ...simple, body: new Blob([body]) }};
      Promise.allSettled([simple, blob, json].map((options) => fetch("{to}", options)))
        .then((ended) => {{ document.title = "over " + ended.map((one) => one.status); }});
      </script>"""
    visitor = visit("admin")
    with page_server(attack) as address:
        visitor.problems_expected = True
        visitor.page.goto(address)
        visitor.page.wait_for_function("() => document.title.startsWith('over')")
        assert visitor.page.title() == "over fulfilled,fulfilled,rejected"
    assert judged_by(server, "admin")["last"] is None


def test_a_request_to_remove_is_made_and_taken_back(visit: Any) -> None:
    page = visit().open("removals")
    expect(page.locator("#done tbody tr")).to_have_count(2)
    page.get_by_label("Ids of tweets").fill("1990000000000000000, 1990000000000000001")
    page.get_by_label("Reason").fill("the <b>author</b> asks")
    page.get_by_role("button", name="Make the request").click()
    expect(page.locator("#said")).to_contain_text("The request is kept")
    row = page.locator("#open tbody tr").filter(has_text="the <b>author</b> asks")
    expect(row).to_contain_text("2 tweets, 0 users")
    expect(row).to_contain_text("not confirmed")
    row.get_by_role("button", name="Take back").click()
    expect(page.locator("#open")).to_contain_text("No request is open.")
    page.get_by_label("Ids of users").fill("@somebody")
    page.get_by_label("Reason").fill("why")
    page.get_by_role("button", name="Make the request").click()
    expect(page.locator("#said")).to_contain_text("1 of the ids are no ids of X")


def test_a_reader_sees_what_was_removed_and_no_form(visit: Any) -> None:
    page = visit("reader").open("removals")
    expect(page.locator("#done")).to_contain_text("X <b>reports</b> it")
    expect(page.locator("form textarea")).to_have_count(0)


def test_costs_say_that_they_are_modeled_and_what_has_no_price(visit: Any) -> None:
    page = visit().open("costs")
    expect(page.locator("#modeled")).to_contain_text("Every amount is modeled")
    expect(page.locator("#unpriced")).to_contain_text("no price of ec2 m9.huge")
    expect(page.locator("#so-far .value")).to_have_text("$6.41")
    expect(page.locator("#per-million .value")).to_have_text("$3,204.00")
    expect(page.locator("#comparison tbody tr")).to_contain_text(["$0.41", "$9.79"])
    rows = page.locator("#usage tbody tr")
    expect(rows).to_contain_text(["collect", "recover", "not confirmed", "no price"])
    expect(rows.nth(0)).to_contain_text("<b>known</b>")
    expect(page.locator("#prices tbody")).to_contain_text("docs.x.com")


def test_costs_are_sorted_by_a_column_s_head(visit: Any) -> None:
    page = visit().open("costs")
    rows = page.locator("#usage tbody tr")
    page.get_by_role("button", name="Dollars, modeled").click()
    expect(rows).to_contain_text(["sentiment", "recover", "collect", "train"])
    expect(page.locator("#usage th[aria-sort=ascending]")).to_contain_text("Dollars, modeled")
    page.locator("#usage").get_by_role("button", name="Service").click()
    expect(rows).to_contain_text(["ec2", "sagemaker", "x", "x"])


def test_costs_are_saved_with_what_is_modeled_and_when_they_were_read(visit: Any) -> None:
    page = visit().open("costs")
    with page.expect_download() as download:
        page.get_by_role("button", name="By stage and item as CSV").click()
    assert download.value.suggested_filename == f"costs-usage-{NOW:%Y-%m}.csv"
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert {row["Quantity is"] for row in rows} == {"modeled", "measured"}
    assert [row["Price"] for row in rows if row["Price of"] == "no price"] == [""]
    assert {row["read_at"] for row in rows} == {NOW.isoformat(timespec="seconds")}


def test_costs_of_a_month_before_are_one_step_away_and_in_the_address(visit: Any) -> None:
    visitor = visit()
    page = visitor.open("costs")
    page.get_by_role("button", name="Month before").click()
    expect(page.locator("#nothing")).to_contain_text("Nothing was measured")
    before = NOW.replace(day=1) - timedelta(days=1)
    assert f"month={before:%Y-%m}" in visitor.page.url
    page.get_by_role("button", name="Month after").click()
    expect(page.locator("#so-far .value")).to_have_text("$6.41")
    expect(page.get_by_role("button", name="Month after")).to_be_disabled()
