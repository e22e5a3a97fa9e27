"""Tiny checkpoints as the hub lays them out, made once; these tests run in the pack environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import support_hub


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny checkpoints by their names: opus-mt-ru-en and so on, roberta, xlm-roberta."""
    folder = tmp_path_factory.mktemp("hub")
    for language in support_hub.DICTIONARIES:
        support_hub.opus_mt(folder / f"opus-mt-{language}-en", language)
    support_hub.roberta(folder / "roberta")
    support_hub.xlm_roberta(folder / "xlm-roberta")
    return folder
