"""Builds the project's images and runs its compose file with a real Docker engine, as documented.

``python -m local.proof.containers`` takes the engine that answers, or starts one in namespaces of its own (as
root, with Debian's packages) and makes base images there, for it reaches no registry. Then it builds the
Dockerfiles unchanged, follows the first start of ``docs/deployment.md``, waits for labeled hours, a trained
student and refreshed dashboards on PostgreSQL, opens a page, restarts each service while runs are active, and
takes everything down. It writes ``.run/containers.json`` and ends with status 1 if something is not as it
should be, 2 if an engine cannot be had or fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from botocore.exceptions import BotoCoreError, ClientError

from local.airflow_server import AirflowError
from local.proof.containers import base_images
from local.proof.containers.base_images import ROOT, Tell
from local.proof.containers.engine import Engine, EngineError, end_on_sigterm, engine
from local.proof.containers.pipeline import (
    GUIDE,
    SERVICES,
    Pipeline,
    PipelineError,
    first_start,
    weaknesses,
)
from local.proof.report import named_table, save, table, write_section

FAILURES = (AirflowError, BotoCoreError, ClientError, EngineError, PipelineError, requests.RequestException)
ASTRO = "x-opinion-astro:containers-test"
_BUILD_SECONDS = 3600.0
_UP_SECONDS = 1800.0


@dataclass
class Figures:
    """What was measured: each step's seconds, and what was seen."""

    tell: Tell
    steps: dict[str, float] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Tells a step and keeps its seconds."""
        self.tell(f"{name} …")
        begun = time.monotonic()
        yield
        self.steps[name] = round(time.monotonic() - begun, 1)
        self.tell(f"{name}: {self.steps[name]} s")


def build(this: Engine, logs: Path, figures: Figures) -> None:
    """Makes what the Dockerfiles start from, where the engine is private, and builds them."""
    figures.seen["engine"] = f"Docker Engine {this.version()}" + (", private" if this.private else "")
    if this.private:
        with figures.step("base images"):
            base_images.make(this, logs, figures.tell)
    images = Pipeline(this, logs, figures.tell)
    for name in ("streamer", "stand-ins", "init"):
        with figures.step(f"image of {name}"):
            images.compose("build", name, log=logs / f"build-{name}.log", seconds=_BUILD_SECONDS)


def build_for_astro(this: Engine, logs: Path, figures: Figures) -> None:
    """Builds Astro's image; nothing but Astro's CLI runs it."""
    with figures.step("image for Astro"):
        file = ("--file", str(ROOT / "Dockerfile"))
        log = logs / "build-astro.log"
        this.run("build", *file, "--tag", ASTRO, str(ROOT), log=log, seconds=_BUILD_SECONDS)


def follow(this: Pipeline, figures: Figures) -> None:
    """Follows the documented first start to labeled hours and a started training."""
    for command in first_start(GUIDE.read_text()):
        words = command.split()
        if words[-1] == "train":
            with figures.step("first labeled hour"):
                this.wait("labels", this.has_labels, 1800, lambda: this.task_states("transform"))
        with figures.step(command):
            this.say(command, _UP_SECONDS)
            if "up" in words:
                this.await_healthy()
            if words[-2:] == ["trigger", "provision"]:
                this.await_run("provision")


def prove(this: Pipeline, figures: Figures) -> None:
    """Restarts each service while runs are active, then looks at what the pipeline has come to."""
    figures.seen["weaknesses"] = list(weaknesses(this.containers()))
    with figures.step("each service restarted"):
        figures.seen["restarts"] = [this.restart(name) for name in SERVICES]
    for dag_id in ("train", "insights"):
        with figures.step(f"{dag_id} succeeded"):
            this.await_run(dag_id)
    with figures.step("page opened"):
        figures.seen["page"] = this.opens_page()
    figures.seen["memory"] = this.memory()
    figures.seen["labeled"] = this.labeled()
    figures.seen["student"] = this.student()
    figures.seen["refreshes"] = this.refreshes()
    figures.seen["metadata"] = this.metadata()
    figures.seen["runs"] = this.run_states()
    figures.seen["failed_tasks"] = this.failed_tasks()


def problems(seen: dict[str, Any]) -> Iterator[str]:
    """What is not as it should be, a sentence each."""
    yield from seen["weaknesses"]
    if not any(seen["labeled"].values()):
        yield "no hour is labeled"
    if not seen["student"]:
        yield "no student was trained"
    if not all(seen["refreshes"].values()):
        yield f"not every data set was refreshed: {seen['refreshes']}"
    yield from (f"{task} failed" for task in seen["failed_tasks"])


def report(figures: Figures) -> str:
    """The section of a page for people."""
    seen = figures.seen
    student = seen["student"]
    told = {
        "engine": seen["engine"],
        "machine": f"{os.cpu_count()} processors, {platform.system()} {platform.release()}",
        "metadata database": f"PostgreSQL {seen['metadata']['postgresql']}",
        "labeled tweets by hour": ", ".join(f"{hour} {count:,}" for hour, count in seen["labeled"].items()),
        "student": f"version {student['version']} ({student['alias']})",
        "refreshes": ", ".join(f"{name} {count}" for name, count in seen["refreshes"].items()),
        "page": ", ".join(f"{name} {status}" for name, status in seen["page"].items()),
        "runs": "; ".join(
            f"{dag_id} {', '.join(f'{count} {state}' for state, count in states.items())}"
            for dag_id, states in seen["runs"].items()
        ),
        "memory in use": ", ".join(f"{name} {used}" for name, used in seen["memory"].items()),
    }
    steps = table(
        ("Step", "s"),
        ((f"`{name}`" if "docker" in name else name, seconds) for name, seconds in figures.steps.items()),
    )
    restarts = table(
        ("Restarted", "While these ran", "All healthy after, s"),
        ((each["service"], ", ".join(each["active"]), each["healthy_after_s"]) for each in seen["restarts"]),
    )
    return "\n\n".join((named_table(told), restarts, steps))


@contextlib.contextmanager
def _taken_down(this: Pipeline) -> Iterator[None]:
    """Keeps the services' logs at the end, whatever happens, and takes everything down."""
    with contextlib.ExitStack() as ending:
        ending.callback(this.down)
        ending.callback(this.compose, "logs", "--no-color", "--timestamps", log=this.logs / "services.log")
        yield


def _run(given: argparse.Namespace, figures: Figures) -> int:
    folder = given.run_dir.resolve() / "containers"
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with engine(folder) as this:
        build(this, logs, figures)
        if given.build_only:
            build_for_astro(this, logs, figures)
            return 0
        pipeline = Pipeline(this, logs, figures.tell)
        pipeline.down()
        with _taken_down(pipeline):
            follow(pipeline, figures)
            prove(pipeline, figures)
        build_for_astro(this, logs, figures)
    found = list(problems(figures.seen))
    _save(given, figures, found)
    if given.page and not found:
        write_section(given.page, "containers", report(figures))
    for problem in found:
        figures.tell(f"wrong: {problem}")
    return 1 if found else 0


def _save(given: argparse.Namespace, figures: Figures, found: list[str]) -> None:
    save({"steps": figures.steps, **figures.seen, "problems": found}, given.run_dir / "containers.json")


def main() -> int:
    """Runs the test; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.proof.containers", description=__doc__)
    parser.add_argument("--build-only", action="store_true", help="end once the images are built")
    parser.add_argument("--run-dir", type=Path, default=ROOT / ".run")
    parser.add_argument("--page", type=Path, help="where the report is written to as well")
    given = parser.parse_args()
    begun = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {line}", flush=True)

    end_on_sigterm()
    figures = Figures(tell)
    try:
        return _run(given, figures)
    except FAILURES as error:
        # What was seen until then tells where to look.
        _save(given, figures, [str(error)])
        print(f"containers-test: {error}", file=sys.stderr)
        return 2 if isinstance(error, EngineError) else 1
    except KeyboardInterrupt:
        print("containers-test: interrupted; everything was taken down.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
