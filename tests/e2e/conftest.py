"""One real pipeline for all end-to-end tests: the very program behind `make run`, on ports of its own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.settings import Settings
from local.endpoints import SERVICES
from local.parameters import SQLITE
from local.proof.live_test import Watch, watching
from local.run import Run, started
from local.world import RunOptions
from tests.ports import free_ports
from tools.setup import PACK_ENVIRONMENT

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A pipeline with four past hours recovered, translated and labeled, and its streamer collecting.

    A tiny opus-mt translates: a dictionary of a few words that copies all others. Endpoints answer for the
    open hour, which is labeled less often than in `make run`: on a machine that is busy with other tests one
    run of live would follow the other. It ends with its module: its environment and its load are no other
    test's.
    """
    folder = tmp_path_factory.mktemp("run")
    model = folder / "model"
    shutil.copytree(Settings().sentiment_artifact, model)
    translator = folder / "opus-mt"
    subprocess.run(
        [PACK_ENVIRONMENT / "bin" / "python", "-m", "tests.models.support_artifacts", translator],
        cwd=ROOT,
        check=True,
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPINION_SENTIMENT_ARTIFACT", str(model))
        environment.setenv("OPINION_TRANSLATION_ARTIFACT", str(translator))
        environment.setenv("OPINION_LIVE_ENDPOINTS", "true")
        environment.setenv("OPINION_LIVE_MINUTES", "10")
        environment.setenv("OPINION_TRAINING_TRIALS", "1")
        options = RunOptions(
            hours=4,
            rate=900,
            first_port=free_ports(len(SERVICES)),
            database=os.environ.get("DATABASE") or SQLITE,
            run_dir=folder,
        )
        with started(options) as run:
            run.work()
            run.summarize()
            yield run


@pytest.fixture(scope="module")
def watch(pipeline: Run) -> Iterator[Watch]:
    """Notes what is published and shown, from the first test that asks for it until it is stopped."""
    with watching(pipeline, pipeline.world.settings.pages_refresh_seconds) as watch:
        yield watch
