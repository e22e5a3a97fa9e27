"""A converted checkpoint computes what transformers' formulas say, whatever its weights are."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file

from tests.models.reference import Marian, Roberta
from tools.models import checkpoints, marian, roberta, tokenizer
from tools.models.errors import PackError


def randomized(source: Path, target: Path, scale: float, **config: Any) -> Path:
    """The checkpoint with random weights of the same shapes, and other settings."""
    shutil.copytree(source, target)
    rng = np.random.default_rng(3)
    tensors = {
        name: (rng.normal(1 if name.endswith("norm.weight") else 0, scale, value.shape)).astype(np.float32)
        for name, value in load_file(source / "model.safetensors").items()
        if "embed_positions" not in name
    }
    if "model.shared.weight" in tensors:
        tensors["model.shared.weight"][-1] = 0
    save_file(tensors, target / "model.safetensors")
    given = json.loads((target / "config.json").read_bytes())
    (target / "config.json").write_text(json.dumps({**given, **config}))
    return target


def test_marian_translates_as_the_reference_does(hub: Path, tmp_path: Path) -> None:
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    source = randomized(hub / "opus-mt-ru-en", tmp_path / "source", 0.15, **heads)
    reference = Marian(source)
    marian.convert(source, tmp_path / "model", "float32")
    translator = ctranslate2.Translator(str(tmp_path / "model"))
    rng = np.random.default_rng(5)
    names = [piece for piece in reference.numbers if piece not in ("</s>", "<pad>", "<unk>")]
    texts = [[*rng.choice(names, rng.integers(3, 12)).tolist(), "</s>"] for _ in range(20)]
    answers = translator.translate_batch(texts, beam_size=1, max_decoding_length=12)
    found = [answer.hypotheses[0] for answer in answers]
    assert found == [reference.translate(text, 12) for text in texts]
    assert len({tuple(text) for text in found}) > 5, "random weights should not say one thing always"


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
def test_a_classifier_gives_the_reference_s_logits(hub: Path, tmp_path: Path, kind: str) -> None:
    source = randomized(hub / kind, tmp_path / "source", 0.4, num_attention_heads=4)
    reference = Roberta(source)
    sessions = {}
    for quantized in (False, True):
        path = tmp_path / f"{quantized}.onnx"
        roberta.convert(source, path, quantized=quantized)
        sessions[quantized] = onnxruntime.InferenceSession(str(path))
    rng = np.random.default_rng(5)
    texts = [[0, *rng.integers(4, 60, rng.integers(2, 40)).tolist(), 2] for _ in range(30)]
    longest = max(map(len, texts))
    inputs = {
        "input_ids": np.array([text + [1] * (longest - len(text)) for text in texts]),
        "attention_mask": np.array([[1] * len(text) + [0] * (longest - len(text)) for text in texts]),
    }
    expected = np.array([reference.logits(text) for text in texts])
    [plain] = sessions[False].run(["logits"], inputs)
    [quantized] = sessions[True].run(["logits"], inputs)
    np.testing.assert_allclose(plain, expected, atol=2e-4)
    assert np.abs(quantized - expected).max() < 0.4 * np.abs(expected).max()
    assert (tmp_path / "True.onnx").stat().st_size < (tmp_path / "False.onnx").stat().st_size


def test_a_conversion_gives_the_same_bytes_twice(hub: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        marian.convert(hub / "opus-mt-ru-en", tmp_path / name)
        roberta.convert(hub / "roberta", tmp_path / name / "model.onnx")
        tokenizer.convert(hub / "roberta", tmp_path / name / "tokenizer.json")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert "model.bin" in files
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


class Storage:
    """Pickles as PyTorch's persistent id of a storage."""

    def __init__(self, key: str, values: np.ndarray[Any, Any]) -> None:
        self.key, self.values = key, values


class Tensor:
    """Pickles as PyTorch's tensor; ``of`` is the storage that it is a view of."""

    def __init__(self, of: Storage) -> None:
        self.of = of

    def __reduce__(self) -> Any:
        shape = self.of.values.shape
        steps = tuple(step // self.of.values.itemsize for step in self.of.values.strides)
        return Rebuild(), (self.of, 0, shape, steps, False, OrderedDict())


class Rebuild:
    def __call__(self) -> None: ...

    def __reduce__(self) -> str:
        return "_rebuild_tensor_v2"


def torch_pickle(value: Any, legacy: bool) -> bytes:
    """What torch.save pickles, without torch: global names are written manually."""
    buffer = io.BytesIO()

    base: Any = getattr(pickle, "_Pickler")  # noqa: B009 - the one in Python, which the stubs leave out

    class Pickler(base):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, Storage):
                return None
            view = (None,) if legacy else ()
            return ("storage", Name("torch", "FloatStorage"), obj.key, "cpu", obj.values.size, *view)

        def save(self, obj: Any, *arguments: Any, **named: Any) -> None:
            if isinstance(obj, Name | Rebuild):
                module, name = (
                    (obj.module, obj.name)
                    if isinstance(obj, Name)
                    else ("torch._utils", "_rebuild_tensor_v2")
                )
                self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
            else:
                super().save(obj, *arguments, **named)

        def save_reduce(self, function: Any, arguments: Any, *rest: Any, **named: Any) -> None:
            self.save(function)
            self.save(arguments)
            self.write(pickle.REDUCE)

    Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


class Name:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


def torch_file(path: Path, tensors: dict[str, np.ndarray[Any, Any]], legacy: bool) -> None:
    storages = [Storage(str(number), value) for number, value in enumerate(tensors.values())]
    named = {name: Tensor(storage) for name, storage in zip(tensors, storages, strict=True)}
    if not legacy:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", torch_pickle(named, legacy))
            for storage in storages:
                archive.writestr(f"archive/data/{storage.key}", storage.values.tobytes())
        return
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, sizes)]
    parts += [torch_pickle(named, legacy), pickle.dumps([storage.key for storage in storages], 2)]
    for storage in storages:
        parts += [storage.values.size.to_bytes(8, "little"), storage.values.tobytes()]
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("legacy", [False, True])
def test_pytorch_s_own_files_are_read_without_it(tmp_path: Path, legacy: bool) -> None:
    rng = np.random.default_rng(1)
    tensors = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in (("a", (3, 4)), ("b", (5,)))
    }
    torch_file(tmp_path / "pytorch_model.bin", tensors, legacy)
    found = checkpoints.read_tensors(tmp_path)
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("this must never run",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_rejected_and_never_runs(
    tmp_path: Path, legacy: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pytorch_model.bin"
    if legacy:
        path.write_bytes(pickle.dumps(Evil(), 2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"a": Evil()}, 2))
    with pytest.raises(PackError, match="cannot be read as tensors alone: it asks for"):
        checkpoints.read_tensors(tmp_path)
    assert capsys.readouterr().out == ""


def test_a_cut_checkpoint_is_rejected(tmp_path: Path) -> None:
    torch_file(tmp_path / "pytorch_model.bin", {"a": np.ones((100,), np.float32)}, legacy=True)
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(PackError, match="ends within a tensor"):
        checkpoints.read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "bart"}, "its model_type is 'bart'"),
        ({"normalize_before": True}, "its normalize_before is True"),
        ({"vocab_size": 7}, "does not number 7 tokens"),
        ({"encoder_layers": 2}, "another shape than the recipe expects: it has no model.encoder.layers.1"),
        (
            {"encoder_ffn_dim": 16},
            r"another shape than the recipe expects: .* is \(8, \d+\), not \(16, \d+\)",
        ),
    ],
)
def test_a_checkpoint_of_another_shape_is_rejected(
    hub: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    shutil.copytree(hub / "opus-mt-ru-en", tmp_path / "source")
    given = json.loads((tmp_path / "source" / "config.json").read_bytes())
    (tmp_path / "source" / "config.json").write_text(json.dumps({**given, **change}))
    with pytest.raises(PackError, match=reason):
        marian.convert(tmp_path / "source", tmp_path / "model")


def test_pieces_are_numbered_as_fairseq_does(hub: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer.convert(hub / "xlm-roberta", tmp_path / "tokenizer.json")
    read = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("I  love 漢")
    assert read.tokens == ["<s>", "▁", "I", "▁love", "▁", "漢", "</s>"]
    assert (read.ids[0], read.ids[-2], read.ids[-1]) == (0, 3, 2)
