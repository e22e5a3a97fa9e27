"""A Chromium for the browser tests: the machine's, else one that is installed, else a failure that says so.

``BROWSER=0`` leaves the browser tests out, ``BROWSER=/path`` names another Chromium.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MANAGERS = {
    "apt-get": [["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "chromium"]],
    "dnf": [["dnf", "install", "-y", "chromium"]],
    "apk": [["apk", "add", "chromium"]],
}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    # A page is looked at for seconds: to optimize its scripts costs more than it saves.
    "--js-flags=--no-opt --no-maglev",
]
INSTALL_SECONDS = 240
AXE = Axe()
COLORS = ("color-contrast", "link-in-text-block")
"""axe-core's rules that another theme, which changes colors alone, can break."""
expect.set_options(timeout=30_000)  # a page's data comes from a machine that is busy with other tests


class NoBrowserError(RuntimeError):
    """There is no Chromium, and none could be installed."""


def executable() -> str:
    """The Chromium to use, installed if need be; skips the test where `BROWSER=0`, else `NoBrowserError`."""
    wanted = os.environ.get("BROWSER", "")
    if wanted == "0":
        pytest.skip("BROWSER=0")
    if wanted and wanted != "1":
        if _answers(wanted):
            return wanted
        raise NoBrowserError(f"BROWSER={wanted} is no Chromium that runs")
    with _alone():
        found = _present()
        if found is None and os.geteuid() == 0:
            found = _from_package_manager()
        if found is None:
            found = _from_playwright()
    if found is None:
        raise NoBrowserError(
            "the browser tests need a Chromium: install one (Debian: apt-get install chromium), name one by"
            " BROWSER=/path, or leave these tests out by BROWSER=0"
        )
    return found


@contextlib.contextmanager
def browser(*arguments: str) -> Iterator[Browser]:
    """A headless Chromium, with further arguments of its command line."""
    path = executable()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *arguments])
        try:
            yield started
        finally:
            started.close()


def flaws(page: Page, rules: Sequence[str] | None = None) -> list[str]:
    """What axe-core finds wrong with a page as it stands: the rule, the element and what to do about it.

    ``rules`` are the ids of those to look at, by default all that are for everybody.
    """
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    return [
        f"{rule['id']}: {element['html'][:200]}: {element['failureSummary']}"
        for rule in AXE.run(page, options=options).response["violations"]
        for element in rule["nodes"]
    ]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Test processes beside each other install one browser."""
    with (Path(tempfile.gettempdir()) / f"x-opinion-browser-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _present() -> str | None:
    found = (shutil.which(name) for name in NAMES)
    return next((path for path in found if path and _answers(path)), None)


def _answers(path: str) -> bool:
    # Some distributions' `chromium` is a script that only tells to install another package.
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _from_package_manager() -> str | None:
    manager = next((name for name in MANAGERS if shutil.which(name)), None)
    if manager is None:
        return None
    _tell(f"there is no Chromium: installing one by {manager}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in MANAGERS[manager]:
        if not _run(command, environment):
            return None
    return _present()


def _from_playwright() -> str | None:
    _tell("there is no Chromium: Playwright downloads its own")
    if not _run([sys.executable, "-m", "playwright", "install", "chromium"], dict(os.environ)):
        return None
    try:
        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
    except Error:
        return None
    return path if _answers(path) else None


def _run(command: list[str], environment: dict[str, str]) -> bool:
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _tell(f"{' '.join(command)}: {error}")
        return False
    if ended.returncode:
        _tell(f"{' '.join(command)}: {(ended.stderr or ended.stdout).strip()[-500:]}")
    return ended.returncode == 0


def _tell(text: str) -> None:
    # Past pytest's capture: an installation takes a minute, and the person should know why.
    print(f"tests/browser.py: {text}", file=sys.__stderr__, flush=True)
