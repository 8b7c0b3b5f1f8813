"""The network of BERT and its relatives (XLM-R among them) as an ONNX graph, in several ways to multiply matrices.

- ``"float32"``: as the model was trained.
- ``"8-bit"``: as ``"4-bit"``, of a file with 8-bit weights.
- ``"4-bit"``: the file's own 4-bit weights, multiplied by activations in 8 bits, one scale for each 32 of them
  (``MatMulNBits``). Starts at once and reads the fewest bytes.

:mod:`mlret.encoders.light.integer_graph` has one more. Texts of one call have the same number of tokens, so that no
mask is needed. onnxruntime's operators that fuse an addition with a layer normalisation or a GELU are not used: on a
CPU they are slower than the parts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.light.onnx_model import Graph
from mlret.encoders.light.weights import StoredWeights

Matrices = Literal["float32", "8-bit", "4-bit"]
# The domain of operators that onnxruntime has in addition to those of ONNX.
MICROSOFT = "com.microsoft"
_BLOCK = 32
# Keeps the length of a vector of zeros from being divided by.
_TINY = 1e-12
# Numbers of types in onnx.proto.
_INT32, _INT64 = 6, 7


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


class EncoderGraph:
    """Adds the nodes of an encoder to a graph.

    Parameters
    ----------
    weights
        The weights, by the names that transformers gives them.
    shape
        The sizes of the network.
    matrices
        How matrices are multiplied.
    """

    def __init__(self, weights: StoredWeights, shape: Architecture, matrices: Matrices) -> None:
        self._weights, self._shape, self._matrices = weights, shape, matrices
        self._graph = Graph("encoder")
        self._names = 0
        self._mask: list[str] = []

    def model(self) -> bytes:
        """Return a model from the sums of embeddings to the last hidden states."""
        dims = self._shape.dims
        embeddings = self._graph.input("embeddings", "float32", ["texts", "tokens", dims])
        # Matrix products and normalisations work on the tokens of all texts in one list.
        self._of_texts = self._node("Shape", embeddings)
        flat = self._node("Reshape", embeddings, self._constant(np.array([-1, dims])))
        self._finish(flat, "hidden")
        return self._graph.model()

    def _finish(self, state: str, output: str) -> None:
        """Add all layers, and the output, to the sums of embeddings."""
        state = self._normalised(state, "embeddings.LayerNorm")
        for layer in range(self._shape.layers):
            prefix = f"encoder.layer.{layer}"
            attended = self._attention(state, f"{prefix}.attention.self")
            added = self._linear(attended, [f"{prefix}.attention.output.dense"])
            state = self._normalised(self._node("Add", added, state), f"{prefix}.attention.output.LayerNorm")
            inner = self._linear(state, [f"{prefix}.intermediate.dense"])
            inner = self._node("Gelu", inner, domain=MICROSOFT)
            added = self._linear(inner, [f"{prefix}.output.dense"])
            state = self._normalised(self._node("Add", added, state), f"{prefix}.output.LayerNorm")
        self._give(state, output)

    def _give(self, state: str, output: str) -> None:
        """Make vectors of tokens the output."""
        self._graph.node("Reshape", [state, self._of_texts], output)
        self._graph.output(output, "float32", ["texts", "tokens", self._shape.dims])

    def _attention(self, state: str, prefix: str) -> str:
        names = [f"{prefix}.{part}" for part in ("query", "key", "value")]
        together = self._linear(state, names)
        parts = self._graph.node("Split", [together], [self._name() for _ in names], axis=-1, num_outputs=len(names))
        texts = [self._node("Reshape", part, self._of_texts) for part in parts]
        attended = self._node("MultiHeadAttention", *texts, *self._mask, domain=MICROSOFT, num_heads=self._shape.heads)
        return self._node("Reshape", attended, self._constant(np.array([-1, self._shape.dims])))

    def _linear(self, state: str, names: list[str]) -> str:
        """Multiply by matrices one below the other and add their biases."""
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
                return self._node("MatMulNBits", state, *inputs, domain=MICROSOFT, accuracy_level=4, **sizes)

    def _normalised(self, state: str, name: str) -> str:
        return self._normalised_by(state, *(self._weights.vector(f"{name}.{part}") for part in ("weight", "bias")))

    def _normalised_by(self, state: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        inputs = [state, self._constant(weight), self._constant(bias)]
        return self._node("LayerNormalization", *inputs, axis=-1, epsilon=float(self._shape.epsilon))

    def _node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name: str = self._graph.node(kind, inputs, self._name(), domain=domain, **attributes)
        return name

    def _constant(self, value: Any) -> str:
        return self._graph.constant(self._name(), np.asarray(value))

    def _name(self) -> str:
        self._names += 1
        return f"n{self._names}"


class _WholeEncoder(EncoderGraph):
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
        self._finish(flat, "last_hidden_state")
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
        return self._node("GatherBlockQuantized", table, numbers, scales, domain=MICROSOFT, **options)


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
    return _WholeEncoder(weights, shape, matrices).whole_model(projection)


def encoder_graph(weights: StoredWeights, shape: Architecture, matrices: Matrices) -> bytes:
    """Return an ONNX model of an encoder, from the sums of its embeddings to its last hidden states.

    Parameters
    ----------
    weights
        The weights, by the names that transformers gives them; matrices in 4 bits for ``"4-bit"``.
    shape
        The sizes of the network.
    matrices
        How matrices are multiplied.

    Returns
    -------
    bytes
        A model with the input ``embeddings`` and the output ``hidden``, both ``(texts, tokens, dims)`` float32.
    """
    return EncoderGraph(weights, shape, matrices).model()
