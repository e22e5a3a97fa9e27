"""The embedded model uses a part of what its package has, and reads texts as the whole would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from include.labeling import archive
from tools.models import building, e5, recipes
from tools.models.errors import PackError

EMBEDDED = e5.CARD.parent


@pytest.fixture(scope="module")
def source() -> e5.Source:
    package = recipes.of("e5").package
    assert package is not None
    return e5.Source.read(e5.find(), package.sha256)


def test_a_file_with_another_hash_is_rejected() -> None:
    with pytest.raises(PackError, match="and the recipe expects 0000"):
        e5.Source.read(e5.find(), "0" * 64)


def test_the_head_fits_the_model_and_the_kept_pieces_spell_everything(source: e5.Source) -> None:
    trained = e5.Trained.read()
    assert 1 <= trained.layers <= source.sizes["layers"]
    assert trained.head.weight.shape == (source.sizes["width"], 3)
    names = [source.pieces[number] for number in trained.kept]
    assert names[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert {piece for piece in source.pieces if len(piece) == 1} <= set(names)


def test_a_cut_vocabulary_reads_common_texts_as_the_whole_does(source: e5.Source) -> None:
    whole, cut = source.tokenizer(), source.tokenizer(e5.Trained.read().kept)
    for text in ("I love this so much!", "Я люблю это", "Qué día tan hermoso", "هذا رائع", "👍 @user http"):
        assert cut.encode(e5.PREFIX + text).tokens == whole.encode(e5.PREFIX + text).tokens


def test_what_was_trained_is_written_and_read_as_it_is(tmp_path: Path) -> None:
    trained = e5.Trained.read()
    trained.write(tmp_path / "head.npz")
    again = e5.Trained.read(tmp_path / "head.npz")
    assert again.layers == trained.layers
    np.testing.assert_array_equal(again.kept, trained.kept)
    np.testing.assert_array_equal(again.head.weight, trained.head.weight)
    assert again.mixture == trained.mixture


def test_the_shipped_scores_are_of_languages_that_the_recipe_reads() -> None:
    measured, measured_on = e5.shipped_scores()
    assert measured.keys() <= set(recipes.of("e5").languages)
    assert all(values["rows"] >= 300 for values in measured.values())
    assert "labeled texts of dev" in measured_on


def test_the_embedded_files_are_those_that_the_recipe_makes(tmp_path: Path) -> None:
    building.build(recipes.of("e5"), {}, tmp_path / "made", quantized=True)
    made, embedded = (dict(archive.packed_files(folder)) for folder in (tmp_path / "made", EMBEDDED))
    assert embedded.keys() - made.keys() == {"card.json"}
    assert made.keys() <= embedded.keys()
    assert [name for name, path in made.items() if path.read_bytes() != embedded[name].read_bytes()] == []


def test_the_embeddings_keep_the_four_bits_that_the_package_has(source: e5.Source) -> None:
    initializers = {value.name: value for value in onnx.load(EMBEDDED / "model.onnx").graph.initializer}
    assert list(initializers["words"].dims) == [len(e5.Trained.read().kept), source.sizes["width"] // 2]
