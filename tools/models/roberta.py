"""RoBERTa and XLM-RoBERTa sequence classifiers from the hub's layout to ONNX, in numpy.

The formulas are those of ``transformers/models/roberta/modeling_roberta.py``; XLM-RoBERTa's are the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tools.models import graph
from tools.models.checkpoints import Tensors, read_config, read_tensors, shaped
from tools.models.errors import PackError

_KINDS = ("roberta", "xlm-roberta")


def convert(source: Path, target: Path, *, quantized: bool = True) -> None:
    """Writes a hub folder's classifier as ``target``, an ONNX file; raises `PackError` for another kind."""
    encoder, head = read(source)
    graph.write(encoder, head, target, quantized=quantized)


def read(source: Path) -> tuple[graph.Encoder, graph.FirstToken]:
    """A hub folder's encoder and head; raises `PackError`."""
    config = read_config(source)
    if config.get("model_type") not in _KINDS or config.get("hidden_act") != "gelu":
        raise PackError(
            f"{source} is not a RoBERTa: its model_type is {config.get('model_type')!r}, its hidden_act"
            f" {config.get('hidden_act')!r}."
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise PackError(f"{source} cannot be converted: its positions are not absolute.")
    tensors = read_tensors(source)
    try:
        width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
        heads, count = int(config["num_attention_heads"]), int(config["num_hidden_layers"])
        padding, epsilon = int(config["pad_token_id"]), float(config["layer_norm_eps"])
        words = int(config["vocab_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise PackError(f"{source} is not a RoBERTa: its config.json has no usable {error}.") from error
    names = _Names(tensors, "roberta.")
    positions = names.tensor("embeddings.position_embeddings.weight", -1, width)[padding + 1 :]
    kinds = names.tensor("embeddings.token_type_embeddings.weight", -1, width)
    encoder = graph.Encoder(
        words=names.tensor("embeddings.word_embeddings.weight", words, width),
        # Positions are counted from behind the padding's number; all tokens are of the first type.
        positions=positions + kinds[0],
        norm=names.norm("embeddings.LayerNorm", width),
        layers=tuple(names.layer(f"encoder.layer.{number}", width, inner) for number in range(count)),
        heads=heads,
        epsilon=epsilon,
    )
    own = _Names(tensors, "classifier.")
    return encoder, graph.FirstToken(own.linear("dense", width, width), own.linear("out_proj", -1, width))


def labels(source: Path) -> list[str]:
    """The names that the checkpoint itself gives its labels, in the order of the logits, lower case.

    They may be ``label_0`` and so on; raises `PackError` if there are none.
    """
    named: dict[str, Any] = read_config(source).get("id2label") or {}
    try:
        return [str(named[str(number)]).lower() for number in range(len(named))]
    except KeyError as error:
        raise PackError(f"{source}/config.json does not number its labels from 0.") from error


class _Names:
    """Reads parts by the names that transformers gives them."""

    def __init__(self, tensors: Tensors, prefix: str) -> None:
        self._tensors, self._prefix = tensors, prefix

    def tensor(self, name: str, *shape: int) -> graph.Floats:
        return shaped(self._tensors, self._prefix + name, *shape)

    def linear(self, name: str, outputs: int, inputs: int) -> graph.Linear:
        weight = self.tensor(f"{name}.weight", outputs, inputs)
        return graph.Linear(np.ascontiguousarray(weight.T), self.tensor(f"{name}.bias", len(weight)))

    def norm(self, name: str, width: int) -> graph.Norm:
        return graph.Norm(self.tensor(f"{name}.weight", width), self.tensor(f"{name}.bias", width))

    def layer(self, name: str, width: int, inner: int) -> graph.Layer:
        return graph.Layer(
            query=self.linear(f"{name}.attention.self.query", width, width),
            key=self.linear(f"{name}.attention.self.key", width, width),
            value=self.linear(f"{name}.attention.self.value", width, width),
            attention=self.linear(f"{name}.attention.output.dense", width, width),
            attention_norm=self.norm(f"{name}.attention.output.LayerNorm", width),
            inner=self.linear(f"{name}.intermediate.dense", inner, width),
            outer=self.linear(f"{name}.output.dense", width, inner),
            outer_norm=self.norm(f"{name}.output.LayerNorm", width),
        )
