"""The network of BERT and its relatives (XLM-R among them) as an ONNX graph, in several ways to multiply matrices.

- ``"float32"``: as the model was trained.
- ``"8-bit"``: as ``"4-bit"``, of a file with 8-bit weights.
- ``"4-bit"``: the file's own 4-bit weights, multiplied by activations in 8 bits, one scale for each 32 of them
  (``MatMulNBits``). Starts at once and reads the fewest bytes.
- ``"int8"``: weights in 8 bits with one scale a row, activations in 8 bits with one range a token. The fastest where
  the processor has instructions for it. A few channels of the residual stream are many times as large as the others
  and would leave these few codes, so they are multiplied in float32.

Texts of one call have the same number of tokens, so that no mask is needed. onnxruntime's operators that fuse an
addition with a layer normalisation or a GELU are not used: on a CPU they are slower than the parts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.light.onnx_model import Graph
from mlret.encoders.light.weights import Integers, StoredWeights

Matrices = Literal["float32", "8-bit", "4-bit", "int8"]
_MICROSOFT = "com.microsoft"
# GELU is nowhere less than this.
_LEAST_GELU = -0.17
_TINY = 1e-12
_BLOCK = 32
# Numbers of types in onnx.proto.
_INT32, _INT64 = 6, 7
# Largest magnitude of an 8-bit weight; and of one whose products are added in pairs in 16 bits.
WIDE, NARROW = 127, 63


@dataclass(frozen=True)
class Architecture:
    """The sizes of a network.

    Attributes
    ----------
    layers, heads, dims
        Number of layers, of attention heads in each, and of dimensions of a token's vector.
    epsilon
        What layer normalisations add to the variance.
    first_position
        The row of the table of positions that the first token gets.
    positions
        Number of rows of that table.
    padding
        The id of the padding token.
    """

    layers: int
    heads: int
    dims: int
    epsilon: float
    first_position: int
    positions: int
    padding: int

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read ``config.json``; ``None`` if the network is of a kind for which there is no graph here."""
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config.get("model_type")
        if kind not in ("bert", "xlm-roberta", "roberta") or config.get("hidden_act") != "gelu":
            return None
        if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
            return None
        return cls(
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config["hidden_size"],
            config["layer_norm_eps"],
            0 if kind == "bert" else config["pad_token_id"] + 1,
            config["max_position_embeddings"],
            config.get("pad_token_id") or 0,
        )

    @property
    def longest(self) -> int:
        """The largest number of tokens that the table of positions allows."""
        return self.positions - self.first_position


class _Encoder:
    """Adds the nodes of an encoder to a graph."""

    def __init__(
        self,
        weights: StoredWeights,
        shape: Architecture,
        matrices: Matrices,
        largest: int,
        outliers: NDArray[np.int64],
    ) -> None:
        self._weights, self._shape, self._matrices, self._largest = weights, shape, matrices, largest
        self._outliers = outliers
        self._none: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._graph = Graph("encoder")
        self._names = 0
        self._mask: list[str] = []

    def model(self) -> bytes:
        dims = self._shape.dims
        embeddings = self._graph.input("embeddings", "float32", ["texts", "tokens", dims])
        # Matrix products and normalisations work on the tokens of all texts in one list.
        self._of_texts = self._node("Shape", embeddings)
        flat = self._node("Reshape", embeddings, self._constant(np.array([-1, dims])))
        state = self._normalised(flat, "embeddings.LayerNorm")
        self._finish(state, "hidden")
        return self._graph.model()

    def _finish(self, state: str, output: str) -> None:
        """Add all layers, and the output, to the normalised embeddings."""
        if self._matrices == "int8":
            self._ones = self._ones_like(state)
        for layer in range(self._shape.layers):
            prefix = f"encoder.layer.{layer}"
            attended = self._attention(state, f"{prefix}.attention.self")
            added = self._linear(attended, [f"{prefix}.attention.output.dense"])
            state = self._normalised(self._node("Add", added, state), f"{prefix}.attention.output.LayerNorm")
            inner = self._linear(state, [f"{prefix}.intermediate.dense"], outliers=self._outliers)
            inner = self._node("Gelu", inner, domain=_MICROSOFT)
            added = self._linear(inner, [f"{prefix}.output.dense"], least=_LEAST_GELU)
            state = self._normalised(self._node("Add", added, state), f"{prefix}.output.LayerNorm")
        self._graph.node("Reshape", [state, self._of_texts], output)
        self._graph.output(output, "float32", ["texts", "tokens", self._shape.dims])

    def _attention(self, state: str, prefix: str) -> str:
        names = [f"{prefix}.{part}" for part in ("query", "key", "value")]
        together = self._linear(state, names, outliers=self._outliers)
        parts = self._graph.node("Split", [together], [self._name() for _ in names], axis=-1, num_outputs=len(names))
        texts = [self._node("Reshape", part, self._of_texts) for part in parts]
        attended = self._node("MultiHeadAttention", *texts, *self._mask, domain=_MICROSOFT, num_heads=self._shape.heads)
        return self._node("Reshape", attended, self._constant(np.array([-1, self._shape.dims])))

    def _linear(
        self,
        state: str,
        names: list[str],
        *,
        least: float | None = None,
        outliers: NDArray[np.int64] | None = None,
    ) -> str:
        """Multiply by matrices one below the other and add their biases.

        ``least`` is a lower bound of what is in ``state``; ``outliers`` are channels of it that are large.
        """
        bias = np.concatenate([self._weights.vector(f"{name}.bias") for name in names])
        matrices = [f"{name}.weight" for name in names]
        match self._matrices:
            case "float32":
                weight = np.concatenate([self._weights.matrix(name) for name in matrices])
                product = self._node("MatMul", state, self._constant(weight.T))
                return self._node("Add", product, self._constant(bias))
            case "4-bit" | "8-bit":
                bits = 4 if self._matrices == "4-bit" else 8
                packed = np.concatenate([self._weights.packed(name, bits) for name in matrices])
                scale = np.concatenate([self._weights.scales(name) for name in matrices])
                inputs = [self._constant(packed), self._constant(scale), "", "", self._constant(bias)]
                sizes = {"K": packed.shape[1] * _BLOCK, "N": len(packed), "bits": bits, "block_size": _BLOCK}
                return self._node("MatMulNBits", state, *inputs, domain=_MICROSOFT, accuracy_level=4, **sizes)
            case "int8":
                if least is not None:
                    return self._product_from(state, matrices, bias, least)
                return self._product_in_range(state, matrices, bias, self._none if outliers is None else outliers)

    def _product_in_range(
        self, state: str, matrices: list[str], bias: NDArray[np.float32], outliers: NDArray[np.int64]
    ) -> str:
        """Multiply in 8 bits, and the channels that are outliers in float32.

        With ``x = low + step * u`` for the other channels, ``W x = step * (W u) + low * (sum of each row of W)``. What
        follows the plus is one product of a few columns: the lows, ones for the bias, and the outliers.
        """
        others = state
        if len(outliers):
            mask = np.ones(self._shape.dims, dtype=np.float32)
            mask[outliers] = 0
            others = self._node("Mul", state, self._constant(mask))
        low = self._node("ReduceMin", others, self._constant(np.array([1])), keepdims=1)
        integers = self._integers(matrices, outliers)
        product = self._quantised_product(others, low, integers)
        sums = integers.numbers.sum(axis=1, dtype=np.float32) * integers.scale
        columns, rows = [low, self._ones], [sums, bias]
        if len(outliers):
            columns.append(self._node("Gather", state, self._constant(outliers), axis=1))
            rows.extend(np.concatenate([self._weights.columns(name, outliers) for name in matrices]).T)
        return self._node("Gemm", self._node("Concat", *columns, axis=1), self._constant(np.stack(rows)), product)

    def _product_from(self, state: str, matrices: list[str], bias: NDArray[np.float32], least: float) -> str:
        """Multiply in 8 bits what is nowhere less than ``least``, which is then the low of every token."""
        integers = self._integers(matrices, self._none)
        product = self._quantised_product(state, self._constant(np.float32(least)), integers)
        sums = integers.numbers.sum(axis=1, dtype=np.float32) * integers.scale
        return self._node("Add", product, self._constant(bias + np.float32(least) * sums))

    def _quantised_product(self, state: str, low: str, integers: Integers) -> str:
        """Return ``step * (W u)``, where ``u`` are the steps, up to 255, of ``state`` above ``low``."""
        high = self._node("ReduceMax", state, self._constant(np.array([1])), keepdims=1)
        span = self._node("Max", self._node("Sub", high, low), self._constant(np.float32(_TINY)))
        step = self._node("Mul", span, self._constant(np.float32(1 / 255)))
        step_of_row = self._node("Reshape", step, self._constant(np.array([-1])))
        steps = self._node("QuantizeLinear", self._node("Sub", state, low), step_of_row, axis=0)
        numbers = self._constant(np.ascontiguousarray(integers.numbers.T))
        inputs = [steps, numbers, self._constant(np.float32(1)), self._constant(integers.scale)]
        return self._node("Mul", self._node("MatMulIntegerToFloat", *inputs, domain=_MICROSOFT), step)

    def _integers(self, matrices: list[str], outliers: NDArray[np.int64]) -> Integers:
        """Return matrices one below the other as integers, with zeros for the channels that are outliers."""
        found = [self._weights.integers(name, self._largest, without=outliers) for name in matrices]
        numbers = np.concatenate([matrix.numbers for matrix in found])
        return Integers(numbers, np.concatenate([matrix.scale for matrix in found]))

    def _ones_like(self, state: str) -> str:
        """Return a column of ones, one for each token."""
        column = self._node("ReduceMax", state, self._constant(np.array([1])), keepdims=1)
        return self._node("Exp", self._node("Sub", column, column))

    def _normalised(self, state: str, name: str) -> str:
        weight, bias = (self._constant(self._weights.vector(f"{name}.{part}")) for part in ("weight", "bias"))
        return self._node("LayerNormalization", state, weight, bias, axis=-1, epsilon=float(self._shape.epsilon))

    def _node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name: str = self._graph.node(kind, inputs, self._name(), domain=domain, **attributes)
        return name

    def _constant(self, value: Any) -> str:
        return self._graph.constant(self._name(), np.asarray(value))

    def _name(self) -> str:
        self._names += 1
        return f"n{self._names}"


class _WholeEncoder(_Encoder):
    """An encoder from token ids on, which other programs can run: with the table of embeddings, and padding."""

    def whole_model(self, projection: NDArray[np.float32] | None) -> bytes:
        ids = self._graph.input("input_ids", "int64", ["texts", "tokens"])
        mask = self._graph.input("attention_mask", "int64", ["texts", "tokens"])
        self._mask = ["", self._node("Cast", mask, to=_INT32)]
        words = self._rows("embeddings.word_embeddings.weight", ids)
        if self._shape.first_position:
            padded = self._node("Equal", ids, self._constant(np.int64(self._shape.padding)))
            real = self._node("Cast", self._node("Not", padded), to=_INT64)
            counted = self._node("Mul", self._node("CumSum", real, self._constant(np.int64(1))), real)
            places = self._node("Add", counted, self._constant(np.int64(self._shape.padding)))
            kind = self._constant(self._weights.matrix("embeddings.token_type_embeddings.weight")[0])
        else:
            ones = self._node("Add", self._node("Mul", ids, self._constant(np.int64(0))), self._constant(np.int64(1)))
            counted = self._node("CumSum", ones, self._constant(np.int64(1)))
            places = self._node("Sub", counted, self._constant(np.int64(1)))
            types = self._graph.input("token_type_ids", "int64", ["texts", "tokens"])
            kind = self._rows("embeddings.token_type_embeddings.weight", types)
        added = self._node("Add", words, self._rows("embeddings.position_embeddings.weight", places))
        embeddings = self._node("Add", added, kind)
        self._of_texts = self._node("Shape", embeddings)
        flat = self._node("Reshape", embeddings, self._constant(np.array([-1, self._shape.dims])))
        if projection is not None:  # programs that read one output alone read the first
            self._graph.output("token_embeddings", "float32", ["texts", "tokens", len(projection)])
        self._finish(self._normalised(flat, "embeddings.LayerNorm"), "last_hidden_state")
        if projection is not None:
            self._project("last_hidden_state", projection)
        return self._graph.model()

    def _project(self, state: str, projection: NDArray[np.float32]) -> None:
        """Add each token's projection, of unit length, as an output."""
        projected = self._node("MatMul", state, self._constant(np.ascontiguousarray(projection.T, dtype=np.float32)))
        length = self._node("ReduceL2", projected, self._constant(np.array([-1])), keepdims=1)
        length = self._node("Max", length, self._constant(np.float32(_TINY)))
        self._graph.node("Div", [projected, length], "token_embeddings")

    def _rows(self, name: str, numbers: str) -> str:
        """Look rows of a table up, which stays in few bits if it is stored so."""
        bits = self._weights.bits(name)
        if bits not in (4, 8):
            return self._node("Gather", self._constant(self._weights.matrix(name)), numbers, axis=0)
        packed = self._weights.packed(name, bits)
        table = self._constant(packed.reshape(len(packed), -1))
        options = {"bits": bits, "block_size": _BLOCK, "gather_axis": 0, "quantize_axis": 1}
        scales = self._constant(self._weights.scales(name))
        return self._node("GatherBlockQuantized", table, numbers, scales, domain=_MICROSOFT, **options)


def whole_graph(
    weights: StoredWeights,
    shape: Architecture,
    matrices: Matrices,
    *,
    projection: NDArray[np.float32] | None = None,
) -> bytes:
    """Return an ONNX model of an encoder from token ids to last hidden states, as sentence-transformers names them.

    Parameters
    ----------
    weights
        As for :func:`encoder_graph`.
    shape
        The sizes of the network.
    matrices
        ``"float32"``, ``"8-bit"`` or ``"4-bit"``.
    projection
        ``(projected, dims)``: what makes a multi-vector encoder of it.

    Returns
    -------
    bytes
        A model with the inputs ``input_ids`` and ``attention_mask`` (and ``token_type_ids``, of BERT), ``(texts,
        tokens)`` int64, and the output ``last_hidden_state``, ``(texts, tokens, dims)`` float32; with a projection
        before it ``token_embeddings``, ``(texts, tokens, projected)``, of unit length.
    """
    return _WholeEncoder(weights, shape, matrices, WIDE, np.empty(0, np.int64)).whole_model(projection)


def encoder_graph(
    weights: StoredWeights,
    shape: Architecture,
    matrices: Matrices,
    *,
    largest: int = WIDE,
    outliers: NDArray[np.int64] | None = None,
) -> bytes:
    """Return an ONNX model of an encoder, from the sums of its embeddings to its last hidden states.

    Parameters
    ----------
    weights
        The weights, by the names that transformers gives them; matrices in 4 bits for ``"4-bit"``.
    shape
        The sizes of the network.
    matrices
        How matrices are multiplied.
    largest
        For ``"int8"``: the largest magnitude of a weight, :data:`WIDE` or :data:`NARROW`.
    outliers
        For ``"int8"``: the channels of the residual stream that are multiplied in float32.

    Returns
    -------
    bytes
        A model with the input ``embeddings`` and the output ``hidden``, both ``(texts, tokens, dims)`` float32.
    """
    return _Encoder(weights, shape, matrices, largest, np.empty(0, np.int64) if outliers is None else outliers).model()
