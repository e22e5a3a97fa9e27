"""MarianMT and RoBERTa by the formulas of transformers' code, in numpy: what conversions must equal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from tools.models.checkpoints import read_tensors
from tools.models.marian import sinusoids

type Floats = npt.NDArray[Any]


class Reference:
    """What both share: linear maps, normalizations and attention by a checkpoint's names."""

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
        self.tensors = read_tensors(folder)
        self.epsilon = float(self.config.get("layer_norm_eps", 1e-5))

    def linear(self, state: Floats, name: str) -> Floats:
        return state @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, state: Floats, name: str) -> Floats:
        centered = state - state.mean(-1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + self.epsilon)
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def attend(self, query: Floats, key: Floats, value: Floats, heads: int, causal: bool = False) -> Floats:
        size = query.shape[-1] // heads
        q, k, v = (part.reshape(len(part), heads, size).swapaxes(0, 1) for part in (query, key, value))
        scores = q @ k.swapaxes(1, 2) / math.sqrt(size)
        if causal:
            scores = np.where(np.tril(np.ones(scores.shape[1:], bool)), scores, -np.inf)
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        odds /= odds.sum(-1, keepdims=True)
        return (odds @ v).swapaxes(0, 1).reshape(len(query), -1)


class Marian(Reference):
    """Greedy translation of pieces that end with ``</s>``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.numbers = json.loads((folder / "vocab.json").read_bytes())
        self.pieces = {number: piece for piece, number in self.numbers.items()}

    def translate(self, pieces: list[str], most: int) -> list[str]:
        unknown = self.numbers["<unk>"]
        seen = self._stack([self.numbers.get(piece, unknown) for piece in pieces], "encoder", None)
        pad = len(self.numbers) - 1
        said = [pad]
        while len(said) <= most:
            state = self._stack(said, "decoder", seen)[-1]
            logits = state @ self.tensors["model.shared.weight"].T + self.tensors["final_logits_bias"][0]
            logits[pad] = -np.inf
            said.append(int(logits.argmax()))
            if said[-1] == self.numbers["</s>"]:
                said.pop()
                break
        return [self.pieces[number] for number in said[1:]]

    def _stack(self, numbers: list[int], part: str, seen: Floats | None) -> Floats:
        width, heads = self.config["d_model"], self.config["encoder_attention_heads"]
        name = f"model.{part}.embed_positions.weight"
        positions = self.tensors[name] if name in self.tensors else sinusoids(512, width)
        words = self.tensors["model.shared.weight"][numbers] * math.sqrt(width)
        state = words + positions[: len(numbers)]
        for number in range(self.config[f"{part}_layers"]):
            layer = f"model.{part}.layers.{number}"
            state = self._attention(f"{layer}.self_attn", state, state, heads, part == "decoder")
            if seen is not None:
                state = self._attention(f"{layer}.encoder_attn", state, seen, heads, False)
            inner = self.linear(state, f"{layer}.fc1")
            inner = inner / (1 + np.exp(-inner))
            state = self.norm(state + self.linear(inner, f"{layer}.fc2"), f"{layer}.final_layer_norm")
        return state

    def _attention(self, name: str, state: Floats, other: Floats, heads: int, causal: bool) -> Floats:
        query, key, value = (
            self.linear(of, f"{name}.{own}_proj")
            for own, of in zip("qkv", (state, other, other), strict=True)
        )
        attended = self.attend(query, key, value, heads, causal)
        return self.norm(state + self.linear(attended, f"{name}.out_proj"), f"{name}_layer_norm")


class Roberta(Reference):
    """The logits of one text's token numbers, its first and last tokens included."""

    def logits(self, numbers: list[int]) -> Floats:
        embeddings = "roberta.embeddings"
        begin = self.config["pad_token_id"] + 1
        state = (
            self.tensors[f"{embeddings}.word_embeddings.weight"][numbers]
            + self.tensors[f"{embeddings}.position_embeddings.weight"][begin : begin + len(numbers)]
            + self.tensors[f"{embeddings}.token_type_embeddings.weight"][0]
        )
        state = self.norm(state, f"{embeddings}.LayerNorm")
        for number in range(self.config["num_hidden_layers"]):
            layer = f"roberta.encoder.layer.{number}"
            query, key, value = (
                self.linear(state, f"{layer}.attention.self.{own}") for own in ("query", "key", "value")
            )
            attended = self.attend(query, key, value, self.config["num_attention_heads"])
            attended = self.linear(attended, f"{layer}.attention.output.dense")
            state = self.norm(state + attended, f"{layer}.attention.output.LayerNorm")
            inner = self.linear(state, f"{layer}.intermediate.dense")
            inner = inner * (1 + erf(inner / math.sqrt(2))) / 2
            state = self.norm(
                state + self.linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm"
            )
        pooled = np.tanh(self.linear(state[:1], "classifier.dense"))
        return self.linear(pooled, "classifier.out_proj")[0]
