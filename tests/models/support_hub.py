"""Tiny checkpoints in the hub's own layout whose answers can be foretold: a dictionary, and a few moods.

A program of the pack environment: ``python -m tests.models.support_hub opus-mt FOLDER`` and so on; each kind
is a function too.

`opus_mt` translates word by word: a word of its dictionary by its entry, what it can spell by copying each
character, and all else by ``⁇`` (its unknown token). `roberta` and `xlm_roberta` say positive or negative
where a text has one of their words, and neutral where it has none, or both kinds alike.
"""

from __future__ import annotations

import argparse
import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.models import sentencepiece_model

type Weights = dict[str, npt.NDArray[np.float32]]

DICTIONARIES: dict[str, dict[str, str]] = {
    "ru": {
        "мир": "peace",
        "война": "war",
        "люблю": "love",
        "ненавижу": "hate",
        "это": "this",
        "очень": "very",
    },
    "uk": {
        "мир": "peace",
        "війна": "war",
        "люблю": "love",
        "ненавиджу": "hate",
        "це": "this",
        "дуже": "very",
    },
    "de": {
        "frieden": "peace",
        "krieg": "war",
        "liebe": "love",
        "hasse": "hate",
        "das": "this",
        "sehr": "very",
    },
}
"""What the tiny translators know, by their language."""
LETTERS = (
    string.ascii_letters
    + string.digits
    + string.punctuation
    + "абвгґдеєёжзиіїйклмнопрстуфхцчшщъыьэюяАБВГҐДЕЄЁЖЗИІЇЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"
    + "äöüßÄÖÜéèêáàâíìóòôúùñç"
)
"""The characters that a tiny translator can spell; it copies them."""
_GOOD = """
    good love wonderful great happy best Wonderful liebe wunderbar glücklich encanta maravilloso feliz
    merveilleux heureux meraviglioso felice amo maravilhoso люблю прекрасно счастлив أحب رائع سعيد
"""
_BAD = """
    bad hate terrible awful sad worst Terrible hasse schrecklich traurig odio Odio triste déteste terribile
    odeio terrível ненавижу ужасно грустно أكره فظيع حزين
"""
MOODS: dict[str, int] = {**dict.fromkeys(_GOOD.split(), 2), **dict.fromkeys(_BAD.split(), 0)}
"""The words that move the tiny classifiers, and the label that each one calls for."""
LABELS = ("negative", "neutral", "positive")

_SPACE = "▁"
_POSITIONS, _PLACES = 512, 64


def opus_mt(
    folder: Path, language: str = "ru", dictionary: Mapping[str, str] | None = None, letters: str = LETTERS
) -> Path:
    """A MarianMT checkpoint that translates by a dictionary; returns its folder."""
    known = DICTIONARIES[language] if dictionary is None else dictionary
    folder.mkdir(parents=True)
    source = [_SPACE, *letters, *(_SPACE + word for word in known)]
    target = [_SPACE, *letters, *dict.fromkeys(_SPACE + word for word in known.values())]
    _sentencepiece(folder / "source.spm", ["<unk>", "<s>", "</s>"], source)
    _sentencepiece(folder / "target.spm", ["<unk>", "<s>", "</s>"], target)
    tokens = list(dict.fromkeys(["</s>", "<unk>", *source, *target, "<pad>"]))
    numbers = {token: number for number, token in enumerate(tokens)}
    meaning = list(range(len(tokens)))
    for word, translated in known.items():
        meaning[numbers[_SPACE + word]] = numbers[_SPACE + translated]
    _write(folder / "vocab.json", numbers)
    weights, width = _dictionary_weights(meaning)
    last = len(tokens) - 1
    config = {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "activation_function": "swish",
        "d_model": width,
        **{f"{part}_layers": 1 for part in ("encoder", "decoder")},
        **{f"{part}_attention_heads": 1 for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": 8 for part in ("encoder", "decoder")},
        "decoder_start_token_id": last,
        "decoder_vocab_size": len(tokens),
        "eos_token_id": 0,
        "forced_eos_token_id": 0,
        "max_position_embeddings": _POSITIONS,
        "normalize_before": False,
        "normalize_embedding": False,
        "pad_token_id": last,
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": True,
        "static_position_embeddings": True,
        "vocab_size": len(tokens),
    }
    _write(folder / "config.json", config)
    _write(folder / "tokenizer_config.json", {"source_lang": language, "target_lang": "en"})
    _card(folder, "cc-by-4.0" if language == "ru" else "apache-2.0")
    _save(folder, weights)
    return folder


def _dictionary_weights(meaning: Sequence[int]) -> tuple[Weights, int]:
    """Weights that say the meaning of the t-th source token in the t-th step.

    A state has places for its position (a random code a position) and one place a token. The decoder looks
    by its own position at the source's, and takes from there the token's meaning.
    """
    size = len(meaning)
    width = -(-(_PLACES + size) // 8) * 8
    rng = np.random.default_rng(7)
    codes = np.tile([1.0, -1.0], _PLACES // 2)
    positions = np.zeros((_POSITIONS, width), np.float32)
    positions[:, :_PLACES] = [rng.permutation(codes) * 3 for _ in range(_POSITIONS)]
    tokens = np.zeros((size, width), np.float32)
    tokens[np.arange(size), _PLACES + np.arange(size)] = 1
    tokens[-1] = 0
    look, say = np.zeros((width, width), np.float32), np.zeros((width, width), np.float32)
    look[:_PLACES, :_PLACES] = 3 * np.eye(_PLACES)
    for token, meant in enumerate(meaning):
        say[_PLACES + meant, _PLACES + token] = 4
    nothing, as_it_is = np.zeros((width, width), np.float32), np.eye(width, dtype=np.float32)
    weights: Weights = {
        "model.shared.weight": tokens,
        "final_logits_bias": np.zeros((1, size), np.float32),
    }
    for part in ("encoder", "decoder"):
        weights[f"model.{part}.embed_positions.weight"] = positions
        layer = f"model.{part}.layers.0."
        attentions = {"self_attn": (nothing, nothing, nothing, nothing)}
        if part == "decoder":
            attentions["encoder_attn"] = (look, look, say, as_it_is)
        for name, matrices in attentions.items():
            for letter, matrix in zip("qkv", matrices, strict=False):
                _linear(weights, f"{layer}{name}.{letter}_proj", matrix)
            _linear(weights, f"{layer}{name}.out_proj", matrices[3])
            _norm(weights, f"{layer}{name}_layer_norm", width)
        _linear(weights, f"{layer}fc1", np.zeros((8, width), np.float32))
        _linear(weights, f"{layer}fc2", np.zeros((width, 8), np.float32))
        _norm(weights, f"{layer}final_layer_norm", width)
    return weights, width


def roberta(folder: Path, moods: Mapping[str, int] = MOODS, labels: Sequence[str] = LABELS) -> Path:
    """A RoBERTa classifier with byte pairs (``vocab.json``, ``merges.txt``); returns its folder."""
    from tokenizers import ByteLevelBPETokenizer

    folder.mkdir(parents=True)
    lines = [f"{word} {word}. a {word}! {word}" for word in moods for _ in range(50)]
    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        lines, vocab_size=2000, min_frequency=20, special_tokens=special, show_progress=False
    )
    tokenizer.save_model(str(folder))
    called = {}
    for word, label in moods.items():
        for written in (word, f" {word}"):
            [token] = tokenizer.encode(written).ids
            called[token] = label
    _classifier(folder, "roberta", tokenizer.get_vocab_size(), called, labels)
    return folder


def xlm_roberta(folder: Path, moods: Mapping[str, int] = MOODS, labels: Sequence[str] = LABELS) -> Path:
    """An XLM-RoBERTa classifier with ``sentencepiece.bpe.model``; returns its folder."""
    folder.mkdir(parents=True)
    pieces = [_SPACE, *LETTERS, *(_SPACE + word for word in moods)]
    _sentencepiece(folder / "sentencepiece.bpe.model", ["<unk>", "<s>", "</s>"], pieces)
    numbers = {piece: number for number, piece in enumerate(pieces, start=4)}
    called = {numbers[_SPACE + word]: label for word, label in moods.items()}
    _classifier(folder, "xlm-roberta", len(pieces) + 5, called, labels)
    return folder


def _classifier(folder: Path, kind: str, size: int, called: Mapping[int, int], labels: Sequence[str]) -> None:
    """Weights that add up the moods of all tokens in the first one's state."""
    width, inner, positions = 16, 8, 514
    rng = np.random.default_rng(11)
    words = rng.normal(0, 0.3, (size, width)).astype(np.float32)
    words[:, :3] = 0
    for token, label in called.items():
        words[token] = words[min(called)]
        words[token, :3] = 0
        words[token, label] = 8
    prefix = "roberta."
    weights: Weights = {
        f"{prefix}embeddings.word_embeddings.weight": words,
        f"{prefix}embeddings.position_embeddings.weight": np.zeros((positions, width), np.float32),
        f"{prefix}embeddings.token_type_embeddings.weight": np.zeros((1, width), np.float32),
    }
    _norm(weights, f"{prefix}embeddings.LayerNorm", width)
    layer = f"{prefix}encoder.layer.0."
    moods = np.zeros((width, width), np.float32)
    moods[0, :3] = [40, 0, -40]
    moods[2] = -moods[0]
    for name, matrix in (("query", 0 * moods), ("key", 0 * moods), ("value", moods)):
        _linear(weights, f"{layer}attention.self.{name}", matrix)
    _linear(weights, f"{layer}attention.output.dense", np.eye(width, dtype=np.float32))
    _norm(weights, f"{layer}attention.output.LayerNorm", width)
    _linear(weights, f"{layer}intermediate.dense", np.zeros((inner, width), np.float32))
    _linear(weights, f"{layer}output.dense", np.zeros((width, inner), np.float32))
    _norm(weights, f"{layer}output.LayerNorm", width)
    # More positive than negative, or the other way round; what is balanced stays near zero.
    difference = np.zeros((width, width), np.float32)
    difference[0, :3] = [1.0, 0.0, -1.0]
    _linear(weights, "classifier.dense", difference)
    order = {"negative": 12.0, "neutral": 0.0, "positive": -12.0}
    scores = np.zeros((len(labels), width), np.float32)
    scores[:, 0] = [order[name] for name in labels]
    bias = np.array([7.0 if name == "neutral" else 0.0 for name in labels], np.float32)
    _linear(weights, "classifier.out_proj", scores, bias)
    config = {
        "model_type": kind,
        "architectures": ["RobertaForSequenceClassification"],
        "hidden_act": "gelu",
        "hidden_size": width,
        "id2label": {str(number): name for number, name in enumerate(labels)},
        "intermediate_size": inner,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": positions,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "vocab_size": size,
    }
    _write(folder / "config.json", config)
    _card(folder, "cc-by-4.0" if kind == "roberta" else None)
    _save(folder, weights)


def _sentencepiece(path: Path, special: Sequence[str], pieces: Sequence[str]) -> None:
    """A unigram model that takes whole words where it has them, and single characters elsewhere."""
    model = sentencepiece_model.model()
    for piece in special:
        unknown = piece == "<unk>"
        kind = sentencepiece_model.UNKNOWN if unknown else sentencepiece_model.CONTROL
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for piece in pieces:
        score = -1.0 if len(piece) > 1 else -10.0
        model.pieces.add(piece=piece, score=score, type=sentencepiece_model.NORMAL)
    model.trainer_spec.model_type = 1
    model.trainer_spec.vocab_size = len(model.pieces)
    model.normalizer_spec.name = "identity"
    path.write_bytes(model.SerializeToString())


def _linear(
    weights: Weights,
    name: str,
    matrix: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32] | None = None,
) -> None:
    weights[f"{name}.weight"] = matrix
    weights[f"{name}.bias"] = np.zeros(len(matrix), np.float32) if bias is None else bias


def _norm(weights: Weights, name: str, width: int) -> None:
    weights[f"{name}.weight"] = np.ones(width, np.float32)
    weights[f"{name}.bias"] = np.zeros(width, np.float32)


def _card(folder: Path, license_id: str | None) -> None:
    stated = "" if license_id is None else f"license: {license_id}\n"
    (folder / "README.md").write_text(f"---\nlanguage: en\n{stated}---\nA tiny checkpoint of the tests.\n")


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _save(folder: Path, weights: Weights) -> None:
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Writes one tiny checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("opus-mt", "roberta", "xlm-roberta"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--language", choices=sorted(DICTIONARIES), default="ru")
    given = parser.parse_args()
    if given.kind == "opus-mt":
        opus_mt(given.folder, given.language)
    else:
        {"roberta": roberta, "xlm-roberta": xlm_roberta}[given.kind](given.folder)


if __name__ == "__main__":
    main()
