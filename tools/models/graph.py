"""Builds an encoder with a classification head as an ONNX graph, in numpy: the layers of BERT and RoBERTa.

The attention, the activations and the normalizations are ONNX Runtime's own fused operators
(``com.microsoft``). Quantized, the matrices have eight bits with a scale a column, and the embeddings eight
bits with a scale a row.
"""

from __future__ import annotations

import tempfile
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
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = _Graph(encoder, head, quantized).model()
    if not quantized:
        onnx.save(model, path)
        return
    # There is nothing left to fuse: without this, it advises to run its own optimizer first.
    add_pre_process_metadata(model)
    with tempfile.TemporaryDirectory(prefix="x-opinion-onnx-") as folder:
        plain = Path(folder) / "model.onnx"
        onnx.save(model, plain)
        quantize_dynamic(
            plain,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            # What follows a fused operator has no type that ONNX could infer.
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
        )


@dataclass
class _Graph:
    encoder: Encoder
    head: Head
    quantized: bool
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
        words = self.encoder.words
        if self.quantized:
            scales = np.maximum(np.abs(words).max(axis=1, keepdims=True), 1e-12) / 127
            codes = np.rint(words / scales)
            self._node("Gather", [self._constant("words", codes, np.int8), INPUTS[0]], "codes")
            self._node("Gather", [self._constant("scales", scales), INPUTS[0]], "code_scales")
            self._node("Cast", ["codes"], "code_values", to=1)
            self._node("Mul", ["code_values", "code_scales"], "word_states")
        else:
            self._node("Gather", [self._constant("words", words), INPUTS[0]], "word_states")
        zero, one = self._constant("zero", 0, np.int64), self._constant("one", 1, np.int64)
        self._node("Shape", [INPUTS[0]], "shape")
        self._node("Gather", ["shape", one], "length")
        self._node("Range", [zero, "length", one], "places")
        positions = self._constant("positions", self.encoder.positions)
        self._node("Gather", [positions, "places"], "position_states")
        self._node("Add", ["word_states", "position_states"], "embeddings")
        return self._norm("embeddings", self.encoder.norm, "state0")

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
        self._node("MatMul", [state, self._constant(f"{name}.qkv.weight", fused)], f"{name}.qkv")
        sizes = self._constant("sizes", [self.encoder.width] * 3, np.int64)
        parts = [f"{name}.query", f"{name}.key", f"{name}.value"]
        from onnx import helper

        self.nodes.append(
            helper.make_node("Split", [f"{name}.qkv", sizes], parts, name=f"{name}.split", axis=-1)
        )
        attended = self._node(
            "MultiHeadAttention",
            [*parts, self._constant(f"{name}.qkv.bias", fused_bias), "", bias],
            f"{name}.attended",
            _FUSED,
            num_heads=self.encoder.heads,
        )
        middle = self._added(f"{name}.attention", layer.attention, attended, state, layer.attention_norm)
        weight = self._constant(f"{name}.inner.weight", layer.inner.weight)
        self._node("MatMul", [middle, weight], f"{name}.inner")
        inner_bias = self._constant(f"{name}.inner.bias", layer.inner.bias)
        active = self._node("BiasGelu", [f"{name}.inner", inner_bias], f"{name}.active", _FUSED)
        return self._added(f"{name}.outer", layer.outer, active, middle, layer.outer_norm)

    def _added(self, name: str, linear: Linear, state: str, residual: str, norm: Norm) -> str:
        self._node("MatMul", [state, self._constant(f"{name}.weight", linear.weight)], f"{name}.product")
        return self._node(
            "SkipLayerNormalization",
            [
                f"{name}.product",
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
