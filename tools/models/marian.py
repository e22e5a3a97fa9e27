"""MarianMT (opus-mt) from the hub's layout to a CTranslate2 folder, in numpy.

The formulas are those of ``transformers/models/marian/modeling_marian.py``; the specification that they are
put into is CTranslate2's own.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tools.models.checkpoints import Tensors, read_config, read_tensors, shaped
from tools.models.errors import PackError

_PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"
TOKENIZERS = ("source.spm", "target.spm")
"""The SentencePiece models that stand beside a Marian checkpoint."""


def convert(source: Path, target: Path, quantization: str = "int8") -> None:
    """Writes a hub folder as a CTranslate2 model: ``model.bin config.json shared_vocabulary.json``.

    The two SentencePiece models are copied beside it. A caller encodes with ``source.spm``, appends
    ``</s>`` itself, and decodes with ``target.spm``. ``quantization`` is ``int8`` or ``float32``. Raises
    `PackError` for a checkpoint of another kind; ``target`` must not exist.
    """
    config = _checked_config(read_config(source), source)
    tensors = read_tensors(source)
    tokens = _tokens(source, config["vocab_size"])
    spec = _specification(config, tensors, tokens)
    spec.validate()
    spec.optimize(quantization=quantization)
    target.mkdir(parents=True)
    spec.save(str(target))
    for name in TOKENIZERS:
        if not (source / name).is_file():
            raise PackError(f"{source} has no {name}, which a Marian checkpoint needs.")
        shutil.copyfile(source / name, target / name)


def sinusoids(positions: int, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Marian's position embeddings: sines in the first half of the width, cosines in the second."""
    angles = np.arange(positions)[:, None] / np.power(10000, 2 * (np.arange(width) // 2) / width)
    half = width // 2 + width % 2
    table = np.zeros((positions, width), np.float32)
    table[:, :half] = np.sin(angles[:, 0::2])
    table[:, half:] = np.cos(angles[:, 1::2])
    return table


_EXPECTED = {
    "model_type": ("marian",),
    "activation_function": ("swish", "relu", "gelu"),
    "normalize_before": (False, None),
    "normalize_embedding": (False, None),
    "add_final_layer_norm": (False, None),
    "share_encoder_decoder_embeddings": (True, None),
}
_NUMBERS = (
    "d_model",
    "decoder_attention_heads",
    "decoder_ffn_dim",
    "decoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "encoder_layers",
    "vocab_size",
)


def _checked_config(config: dict[str, Any], source: Path) -> dict[str, Any]:
    for name, allowed in _EXPECTED.items():
        if config.get(name) not in allowed:
            raise PackError(
                f"{source} is not a Marian checkpoint of the known kind: its {name} is {config.get(name)!r}."
            )
    for name in _NUMBERS:
        if not isinstance(config.get(name), int) or config[name] < 1:
            raise PackError(f"{source} is not a Marian checkpoint: its config.json has no {name}.")
    if config["encoder_attention_heads"] != config["decoder_attention_heads"]:
        raise PackError(f"{source} cannot be converted: encoder and decoder differ in attention heads.")
    return config


def _tokens(source: Path, size: int) -> list[str]:
    """The vocabulary in the order of its numbers, without ``<pad>`` at its end."""
    try:
        vocabulary = json.loads((source / "vocab.json").read_bytes())
    except (OSError, ValueError) as error:
        raise PackError(f"{source} has no vocabulary: vocab.json cannot be read ({error}).") from error
    if sorted(vocabulary.values()) != list(range(size)):
        raise PackError(f"{source}/vocab.json does not number {size} tokens, as config.json says.")
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    if tokens[-1] != _PAD or _END not in vocabulary or _UNKNOWN not in vocabulary:
        raise PackError(f"{source}/vocab.json is not a Marian vocabulary: it has to end with {_PAD}.")
    return tokens[:-1]


def _specification(config: dict[str, Any], tensors: Tensors, tokens: list[str]) -> Any:
    from ctranslate2.specs import common_spec, transformer_spec

    activations = {
        "swish": common_spec.Activation.SWISH,
        "relu": common_spec.Activation.RELU,
        "gelu": common_spec.Activation.GELU,
    }
    width, size = config["d_model"], config["vocab_size"]
    spec = transformer_spec.TransformerSpec.from_config(
        (config["encoder_layers"], config["decoder_layers"]),
        config["encoder_attention_heads"],
        pre_norm=False,
        activation=activations[config["activation_function"]],
    )
    name = "model.shared.weight"
    embeddings = shaped(
        tensors, name if name in tensors else "model.encoder.embed_tokens.weight", size, width
    )[:-1]
    for part, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        stack.scale_embeddings = math.sqrt(width) if config.get("scale_embedding") else 1.0
        own = stack.embeddings[0] if isinstance(stack.embeddings, list) else stack.embeddings
        own.weight = embeddings
        positions = f"model.{part}.embed_positions.weight"
        stack.position_encodings.encodings = (
            shaped(tensors, positions, -1, width)
            if positions in tensors
            else sinusoids(config.get("max_position_embeddings", 512), width)
        )
        for number, layer in enumerate(stack.layer):
            _set_layer(
                layer, tensors, f"model.{part}.layers.{number}", width, config[f"{part}_ffn_dim"], part
            )
    # The decoder begins with <pad>, whose embedding is zero, and never says it.
    spec.decoder.start_from_zero_embedding = True
    projection = "lm_head.weight"
    spec.decoder.projection.weight = (
        shaped(tensors, projection, size, width)[:-1] if projection in tensors else embeddings
    )
    spec.decoder.projection.bias = shaped(tensors, "final_logits_bias", 1, size)[0, :-1]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.eos_token = _END
    spec.config.unk_token = _UNKNOWN
    spec.config.decoder_start_token = _END
    spec.config.add_source_eos = False
    return spec


def _set_layer(layer: Any, tensors: Tensors, name: str, width: int, inner: int, part: str) -> None:
    from ctranslate2.converters import utils
    from ctranslate2.specs import common_spec

    def linear(spec: Any, own: str, outputs: int = width, inputs: int = width) -> Any:
        spec.weight = shaped(tensors, f"{name}.{own}.weight", outputs, inputs)
        spec.bias = shaped(tensors, f"{name}.{own}.bias", outputs)
        return spec

    def norm(spec: Any, own: str) -> None:
        spec.gamma = shaped(tensors, f"{name}.{own}.weight", width)
        spec.beta = shaped(tensors, f"{name}.{own}.bias", width)

    def attention(spec: Any, own: str, fused: tuple[str, ...]) -> None:
        for target, projections in zip(spec.linear[:-1], fused, strict=True):
            parts = [linear(common_spec.LinearSpec(), f"{own}.{letter}_proj") for letter in projections]
            utils.fuse_linear(target, parts)
        linear(spec.linear[-1], f"{own}.out_proj")

    attention(layer.self_attention, "self_attn", ("qkv",))
    norm(layer.self_attention.layer_norm, "self_attn_layer_norm")
    if part == "decoder":
        attention(layer.attention, "encoder_attn", ("q", "kv"))
        norm(layer.attention.layer_norm, "encoder_attn_layer_norm")
    linear(layer.ffn.linear_0, "fc1", inner, width)
    linear(layer.ffn.linear_1, "fc2", width, inner)
    norm(layer.ffn.layer_norm, "final_layer_norm")
