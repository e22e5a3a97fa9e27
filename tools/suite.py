"""`make test`: lint, then the tests in several processes, and where their time went.

Types are checked beside them, and so are the tests of models, which have an environment of their own. What
these two say comes last, where it is seen.

A test that fails in parallel is run once more, alone. If it then passes, it is flaky: the closing lines name
it, and the report of its failure is kept in `.run/tests/`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.setup import PACK_ENVIRONMENT

ROOT = Path(__file__).parents[1]
FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
REPORTS = ROOT / ".run" / "tests"
CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."))
BESIDE = {
    "Types": (sys.executable, "-m", "pyrefly", "check"),
    # It has no part in what failed last, which the other tests write.
    "Models": (
        *(str(PACK_ENVIRONMENT / "bin" / "python"), "-m", "pytest"),
        *("-p", "no:cacheprovider", "tests/models"),
    ),
}
PROCESSES = (os.cpu_count() or 1) + 1
"""One more than cores, since tests often wait for what they have started."""
SIDE_BY_SIDE = ("-p", "tests.side_by_side", "-n", str(PROCESSES), "--no-loadscope-reorder")
ALONE = ("--last-failed", "--last-failed-no-failures", "none")
MOST = 10
"""More failures than this are not a matter of timing: they are not tried again."""


def main(arguments: Sequence[str] = ()) -> int:
    """Exit status of the whole: 0 if all is sound or flaky, else that of the first part that failed."""
    for check in CHECKS:
        if status := _run(*check):
            return status
    with contextlib.ExitStack() as started:
        beside = {
            name: started.enter_context(
                subprocess.Popen(
                    command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )
            for name, command in BESIDE.items()
        }
        status = _tested(arguments)
        for name, process in beside.items():
            print(f"\n{name}: {process.communicate()[0]}", flush=True)
            status = status or process.returncode
    return status


def _tested(arguments: Sequence[str]) -> int:
    """Exit status of the tests: 0 if all passed or are flaky."""
    FAILED.unlink(missing_ok=True)
    status = _tests("side-by-side", *SIDE_BY_SIDE, *arguments)
    if status != 1:
        return status
    failed = _failed()
    if not 0 < len(failed) <= MOST:
        return status
    print(f"\n{len(failed)} failed beside other tests; once more, alone:", flush=True)
    status = _tests("alone", *ALONE)
    flaky = failed - _failed()
    for test in sorted(flaky):
        print(f"FLAKY {test}")
    if flaky:
        print(
            f"{len(flaky)} tests failed and then passed alone. Find what they depend on and fix it; the first"
            f" failure is in {(REPORTS / 'side-by-side.xml').relative_to(ROOT)}."
        )
    return status


def _run(*command: str) -> int:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode


def _tests(name: str, *options: str) -> int:
    return _run("pytest", f"--junit-xml={REPORTS / name}.xml", *options)


def _failed() -> set[str]:
    return set(json.loads(FAILED.read_text())) if FAILED.exists() else set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
