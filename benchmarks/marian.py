"""A MarianMT checkpoint of opus-mt's architecture and size with random weights, and texts for it.

A real checkpoint comes from the hub, which a benchmark must not need. What a token costs does not depend on
the weights, but random ones never end a translation. So a few weights are set, by which a translation ends
after as many tokens as its source has: the lengths are the same one tweet a call, in one payload, quantized
and not.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LANGUAGE = "de"
NAME = f"opus-mt-{LANGUAGE}-en"

_LAYERS, _WIDTH, _HEADS, _INNER, _POSITIONS = 6, 512, 8, 2048, 512
_TOKENS = 58_101
"""The vocabulary of Helsinki-NLP/opus-mt-de-en, with ``<pad>``."""
_SOURCE_PIECES = 32_000
_SHORTEST, _LONGEST = 8, 50
"""Tokens of a text, its link and its hashtag not counted."""
_PLACES = _WIDTH // _HEADS
"""The first so many numbers of a state tell its position: just what one head of attention sees."""
_ENDS = _PLACES
"""The number of a state that tells the end of the source."""
_SPACE = "\u2581"


def texts(count: int) -> Iterator[str]:
    """Posts of words that are a token each, without a sentence's end; always the same."""
    chance = random.Random(11)  # noqa: S311 - synthetic data, no secret
    words = list(itertools.islice(_words(), _SOURCE_PIECES))
    for _ in range(count):
        text = " ".join(chance.choices(words, k=chance.randint(_SHORTEST, _LONGEST)))
        yield f"{text} #news https://t.co/{chance.randrange(16**10):010x}"


def write(folder: Path) -> None:
    """Writes the checkpoint as the hub lays it out; needs the pack environment."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    words = [_SPACE + word for word in itertools.islice(_words(), _TOKENS - 3)]
    tokens = ["</s>", "<unk>", *words, "<pad>"]
    numbers = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(numbers, ensure_ascii=False), encoding="utf-8")
    for name in ("source.spm", "target.spm"):
        _write_pieces(folder / name, words[:_SOURCE_PIECES])
    parts = ("encoder", "decoder")
    config = {
        "model_type": "marian",
        "activation_function": "swish",
        "d_model": _WIDTH,
        **{f"{part}_layers": _LAYERS for part in parts},
        **{f"{part}_attention_heads": _HEADS for part in parts},
        **{f"{part}_ffn_dim": _INNER for part in parts},
        "max_position_embeddings": _POSITIONS,
        "normalize_before": False,
        "normalize_embedding": False,
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": True,
        "vocab_size": _TOKENS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: np.ascontiguousarray(value) for name, value in _tensors()}, folder / "model.safetensors")


def _words() -> Iterator[str]:
    """Distinct words of three syllables."""
    syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprstvwz", "aeiou")]
    return map("".join, itertools.product(syllables, repeat=3))


def _write_pieces(path: Path, words: list[str]) -> None:
    from tools.models import sentencepiece_model

    model = sentencepiece_model.model()
    for piece in ("<unk>", "<s>", "</s>"):
        kind = sentencepiece_model.UNKNOWN if piece == "<unk>" else sentencepiece_model.CONTROL
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for piece in words:
        model.pieces.add(piece=piece, score=-1.0, type=sentencepiece_model.NORMAL)
    model.trainer_spec.model_type = 1
    model.trainer_spec.vocab_size = len(model.pieces)
    model.normalizer_spec.name = "identity"
    path.write_bytes(model.SerializeToString())


def _tensors() -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    import numpy as np

    chance = np.random.default_rng(7)

    def matrix(outputs: int, inputs: int) -> npt.NDArray[np.float32]:
        return chance.normal(0, 0.02, (outputs, inputs)).astype(np.float32)

    def linear(name: str, weight: npt.NDArray[np.float32]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        yield f"{name}.weight", weight
        yield f"{name}.bias", np.zeros(len(weight), np.float32)

    embeddings = matrix(_TOKENS, _WIDTH)
    embeddings[:, : _ENDS + 1] = 0
    embeddings[[0, -1]] = 0
    embeddings[0, _ENDS] = 0.5
    yield "model.shared.weight", embeddings
    never_unknown = np.zeros((1, _TOKENS), np.float32)
    never_unknown[0, 1] = -1e4
    yield "final_logits_bias", never_unknown
    positions = np.zeros((_POSITIONS, _WIDTH), np.float32)
    signs = np.tile([1.0, -1.0], _PLACES // 2)
    positions[:, :_PLACES] = [3 * chance.permutation(signs) for _ in range(_POSITIONS)]
    look = np.zeros((_PLACES, _WIDTH), np.float32)
    look[:, :_PLACES] = 3 * np.eye(_PLACES)
    for part in ("encoder", "decoder"):
        yield f"model.{part}.embed_positions.weight", positions
        for number in range(_LAYERS):
            layer = f"model.{part}.layers.{number}"
            for attention in ("self_attn", "encoder_attn") if part == "decoder" else ("self_attn",):
                weights = {name: matrix(_WIDTH, _WIDTH) for name in ("q", "k", "v", "out")}
                weights["out"][: _ENDS + 1] = 0
                if attention == "encoder_attn" and number == _LAYERS - 1:
                    # Its first head looks at the source's token of the same position: is that its end?
                    weights["q"][:_PLACES] = weights["k"][:_PLACES] = look
                    weights["v"][:_PLACES] = 0
                    weights["v"][0, _ENDS] = 1
                    weights["out"][:, :_PLACES] = 0
                    weights["out"][_ENDS, 0] = 40
                for name, weight in weights.items():
                    yield from linear(f"{layer}.{attention}.{name}_proj", weight)
            outer = matrix(_WIDTH, _INNER)
            outer[: _ENDS + 1] = 0
            yield from linear(f"{layer}.fc1", matrix(_INNER, _WIDTH))
            yield from linear(f"{layer}.fc2", outer)
            norms = ["self_attn_layer_norm", "final_layer_norm"]
            for norm in norms + (["encoder_attn_layer_norm"] if part == "decoder" else []):
                yield f"{layer}.{norm}.weight", np.ones(_WIDTH, np.float32)
                yield f"{layer}.{norm}.bias", np.zeros(_WIDTH, np.float32)
