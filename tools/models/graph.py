"""Builds an encoder with a classification head as an ONNX graph, in numpy: the layers of BERT and RoBERTa.

The attention, the activations and the normalizations are ONNX Runtime's own fused operators
(``com.microsoft``). Quantized, the matrices have eight bits with a scale a column. What they are multiplied
with has eight bits, too, in a range that is fixed when the graph is written: so a text's answer does not
depend on what else is in its batch. The embeddings have a scale for each 32 values, and eight bits, or four
where these lose nothing.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float32]

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "logits"
_FUSED = "com.microsoft"
_OPSET, _IR = 18, 10
_MASKED = -10_000.0
_BLOCK = 32
"""Values of an embedding that share a scale."""
_TEXTS, _TOKENS = 100, 30
"""How many texts tell the ranges of the states, and of how many tokens."""


@dataclass(frozen=True)
class Linear:
    """A matrix, inputs x outputs, and a bias."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True)
class Norm:
    """A layer normalization."""

    gamma: Floats
    beta: Floats


@dataclass(frozen=True)
class Layer:
    """One layer of the encoder; the normalizations stand behind what they are added to."""

    query: Linear
    key: Linear
    value: Linear
    attention: Linear
    attention_norm: Norm
    inner: Linear
    outer: Linear
    outer_norm: Norm


@dataclass(frozen=True)
class Encoder:
    """Embeddings and layers. ``positions[i]`` belongs to the i-th token, the type's embedding added."""

    words: Floats
    positions: Floats
    norm: Norm
    layers: tuple[Layer, ...]
    heads: int
    epsilon: float

    @property
    def width(self) -> int:
        """The length of a token's state."""
        return int(self.words.shape[1])


@dataclass(frozen=True)
class FirstToken:
    """RoBERTa's head: the first token's state through a dense layer with tanh, then the logits."""

    dense: Linear
    output: Linear


@dataclass(frozen=True)
class Mean:
    """The mean of the tokens' states, then the logits."""

    output: Linear


type Head = FirstToken | Mean


def write(encoder: Encoder, head: Head, path: Path, *, quantized: bool) -> None:
    """Writes the graph: ``input_ids`` and ``attention_mask`` (int64, batch x tokens) to ``logits``."""
    import onnx

    plain = _Graph(encoder, head)
    model = plain.model()
    if quantized:
        model = _Graph(encoder, head, _ranges(model, plain.multiplied, len(encoder.words))).model()
    onnx.save(model, path)


def _ranges(model: Any, states: Sequence[str], words: int) -> dict[str, tuple[float, float]]:
    """The least and the greatest value of each state in texts of random tokens, 0 included.

    What is great in a text is so in nearly every text, and a value beyond its range only counts for less. As
    RoBERTa's, texts begin with token 0 and end with token 2.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in states)
    with tempfile.TemporaryDirectory(prefix="x-opinion-onnx-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        session = onnxruntime.InferenceSession(path)
    found = dict.fromkeys(states, (0.0, 0.0))
    rng = np.random.default_rng(0)
    for _ in range(_TEXTS):
        text = np.array([[0, *rng.integers(words, size=_TOKENS), 2]])
        given = dict(zip(INPUTS, (text, np.ones_like(text)), strict=True))
        for name, values in zip(states, session.run(states, given), strict=True):
            least, greatest = found[name]
            found[name] = min(least, float(values.min())), max(greatest, float(values.max()))
    return {name: (-_rounded_up(-least), _rounded_up(greatest)) for name, (least, greatest) in found.items()}


def _rounded_up(value: float) -> float:
    """To five bits, so that it is the same on every processor, whose sums differ in their last bits."""
    fraction, exponent = math.frexp(value)
    return math.ldexp(math.ceil(fraction * 32) / 32, exponent)


def _blocks(values: Floats, bits: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Codes, rows x columns, and their scales, rows x blocks. The codes of zero are 8 and 128.

    The scales of four bits are those of ggml's Q4_0: what was quantized so comes out as it is.
    """
    middle = 1 << (bits - 1)
    rows, columns = values.shape
    padded = np.pad(values, ((0, 0), (0, -columns % _BLOCK))).reshape(rows, -1, _BLOCK)
    place = np.abs(padded).argmax(axis=2)[..., None]
    scales = (np.take_along_axis(padded, place, axis=2)[..., 0] / -middle).astype(np.float16)
    divisors = np.where(scales == 0, 1, scales).astype(np.float32)[..., None]
    codes = np.clip(np.rint(padded / divisors) + middle, 0, 2 * middle - 1).astype(np.uint8)
    return codes.reshape(rows, -1)[:, :columns], scales


def _values(codes: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16], bits: int) -> Floats:
    """What `_blocks` stands for."""
    repeated = np.repeat(scales.astype(np.float32), _BLOCK, axis=1)[:, : codes.shape[1]]
    return (codes.astype(np.float32) - (1 << (bits - 1))) * repeated


@dataclass
class _Graph:
    encoder: Encoder
    head: Head
    ranges: Mapping[str, tuple[float, float]] | None = None
    """Of the states that are multiplied with a matrix; None: nothing is quantized."""
    multiplied: list[str] = field(default_factory=list)
    """The states that are multiplied with a matrix of the layers."""
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)

    def model(self) -> Any:
        from onnx import TensorProto, helper

        state = self._embeddings()
        bias = self._attention_bias()
        for number, layer in enumerate(self.encoder.layers):
            state = self._layer(f"layer{number}", layer, state, bias)
        labels = self._head(state)
        graph = helper.make_graph(
            self.nodes,
            "classifier",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in INPUTS],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", labels])],
            list(self.constants.values()),
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="x-opinion")

    def _constant(self, name: str, value: npt.ArrayLike, dtype: type[np.generic] | None = np.float32) -> str:
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.array(value, dtype, order="C"), name)
        return name

    def _node(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def _norm(self, state: str, norm: Norm, output: str) -> str:
        gamma = self._constant(f"{output}.gamma", norm.gamma)
        beta = self._constant(f"{output}.beta", norm.beta)
        return self._node(
            "LayerNormalization", [state, gamma, beta], output, axis=-1, epsilon=self.encoder.epsilon
        )

    def _embeddings(self) -> str:
        self._word_states()
        zero, one = self._constant("zero", 0, np.int64), self._constant("one", 1, np.int64)
        self._node("Shape", [INPUTS[0]], "shape")
        self._node("Gather", ["shape", one], "length")
        self._node("Range", [zero, "length", one], "places")
        positions = self._constant("positions", self.encoder.positions)
        self._node("Gather", [positions, "places"], "position_states")
        self._node("Add", ["word_states", "position_states"], "embeddings")
        return self._norm("embeddings", self.encoder.norm, "state0")

    def _word_states(self) -> None:
        words = self.encoder.words
        if self.ranges is None:
            self._node("Gather", [self._constant("words", words), INPUTS[0]], "word_states")
            return
        bits = 4
        codes, scales = _blocks(words, bits)
        if words.shape[1] % 2 == 0 and np.array_equal(_values(codes, scales, bits), words):
            # Two codes a byte.
            codes = np.bitwise_or(codes[:, 0::2], np.left_shift(codes[:, 1::2], np.uint8(4)))
        else:
            bits = 8
            codes, scales = _blocks(words, bits)
        self._node(
            "GatherBlockQuantized",
            [
                self._constant("words", codes, np.uint8),
                INPUTS[0],
                self._constant("scales", scales, np.float16),
            ],
            "half_states",
            _FUSED,
            bits=bits,
            block_size=_BLOCK,
            gather_axis=0,
            quantize_axis=1,
        )
        self._node("Cast", ["half_states"], "word_states", to=1)

    def _product(self, state: str, name: str, weight: Floats) -> str:
        """A state multiplied with a matrix of a layer."""
        if self.ranges is None:
            self.multiplied.append(state)
            return self._node("MatMul", [state, self._constant(f"{name}.weight", weight)], f"{name}.product")
        least, greatest = self.ranges[state]
        scale = max(greatest - least, 1e-12) / 255
        zero = self._constant(f"{name}.zero", round(-least / scale), np.uint8)
        state_scale = self._constant(f"{name}.state_scale", scale)
        codes = self._node("QuantizeLinear", [state, state_scale, zero], f"{name}.codes")
        scales = np.maximum(np.abs(weight).max(axis=0), 1e-12) / 127
        matrix = self._constant(f"{name}.weight", np.rint(weight / scales), np.int8)
        return self._node(
            "MatMulIntegerToFloat",
            [codes, matrix, state_scale, self._constant(f"{name}.scales", scales), zero],
            f"{name}.product",
            _FUSED,
        )

    def _attention_bias(self) -> str:
        """Batch x 1 x tokens x tokens: 0 where a token may be looked at, else far below 0."""
        self._node("Cast", [INPUTS[1]], "mask", to=1)
        self._node("Unsqueeze", ["mask", self._constant("axes12", [1, 2], np.int64)], "mask4")
        self._node("Sub", [self._constant("unit", 1.0), "mask4"], "inverse")
        self._node("Mul", ["inverse", self._constant("masked", _MASKED)], "row_bias")
        first, second = self._constant("axis0", [0], np.int64), self._constant("axis1", [1], np.int64)
        self._node("Slice", ["shape", first, second], "batch_size")
        self._node("Slice", ["shape", second, self._constant("axis2", [2], np.int64)], "token_count")
        self._node("Concat", ["batch_size", second, "token_count", "token_count"], "bias_shape", axis=0)
        return self._node("Expand", ["row_bias", "bias_shape"], "attention_bias")

    def _layer(self, name: str, layer: Layer, state: str, bias: str) -> str:
        projections = (layer.query, layer.key, layer.value)
        fused = np.concatenate([linear.weight for linear in projections], axis=1)
        fused_bias = np.concatenate([linear.bias for linear in projections])
        product = self._product(state, f"{name}.qkv", fused)
        sizes = self._constant("sizes", [self.encoder.width] * 3, np.int64)
        parts = [f"{name}.query", f"{name}.key", f"{name}.value"]
        from onnx import helper

        self.nodes.append(helper.make_node("Split", [product, sizes], parts, name=f"{name}.split", axis=-1))
        attended = self._node(
            "MultiHeadAttention",
            [*parts, self._constant(f"{name}.qkv.bias", fused_bias), "", bias],
            f"{name}.attended",
            _FUSED,
            num_heads=self.encoder.heads,
        )
        middle = self._added(f"{name}.attention", layer.attention, attended, state, layer.attention_norm)
        inner = self._product(middle, f"{name}.inner", layer.inner.weight)
        inner_bias = self._constant(f"{name}.inner.bias", layer.inner.bias)
        active = self._node("BiasGelu", [inner, inner_bias], f"{name}.active", _FUSED)
        return self._added(f"{name}.outer", layer.outer, active, middle, layer.outer_norm)

    def _added(self, name: str, linear: Linear, state: str, residual: str, norm: Norm) -> str:
        product = self._product(state, name, linear.weight)
        return self._node(
            "SkipLayerNormalization",
            [
                product,
                residual,
                self._constant(f"{name}.gamma", norm.gamma),
                self._constant(f"{name}.beta", norm.beta),
                self._constant(f"{name}.bias", linear.bias),
            ],
            f"{name}.state",
            _FUSED,
            epsilon=self.encoder.epsilon,
        )

    def _head(self, state: str) -> int:
        if isinstance(self.head, FirstToken):
            self._node("Gather", [state, self._constant("zero", 0, np.int64)], "first", axis=1)
            self._gemm("first", self.head.dense, "dense")
            pooled = self._node("Tanh", ["dense"], "pooled")
        else:
            self._node("Unsqueeze", ["mask", self._constant("axis2", [2], np.int64)], "mask3")
            self._node("Mul", [state, "mask3"], "unmasked")
            axis = self._constant("axis1", [1], np.int64)
            self._node("ReduceSum", ["unmasked", axis], "sums", keepdims=0)
            self._node("ReduceSum", ["mask3", axis], "counts", keepdims=0)
            pooled = self._node("Div", ["sums", "counts"], "pooled")
        self._gemm(pooled, self.head.output, OUTPUT)
        return len(self.head.output.bias)

    def _gemm(self, state: str, linear: Linear, output: str) -> None:
        weight = self._constant(f"{output}.weight", linear.weight)
        self._node("Gemm", [state, weight, self._constant(f"{output}.bias", linear.bias)], output)
