"""The network as an ONNX graph that multiplies 8-bit integers: the fastest where the processor has instructions for it.

What a matrix is multiplied by becomes integers from 0 to 255.

- At the outputs of normalisations, every channel has a centre and a step of its own, which are measured when an encoder
  is packed: ``x = centre + step * (u - 128)``. They cost almost nothing when a text is encoded: the weights of the
  normalisation are such that it gives ``(x - centre) / step``, and the matrix that follows has the steps in its
  columns. Channels that are many times as large as the others then leave these enough integers (SmoothQuant, Xiao et
  al. 2023).
- At the outputs of the attention and of GELU every token has one step, by its largest number. Ranges that are measured
  beforehand would cut texts off that are unlike the ones that were measured; and the largest number of a token at GELU
  is a hundred times that of another.

Weights have one scale for each row of their matrix.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.light.graph import MICROSOFT, Architecture, EncoderGraph
from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.light.weights import Integers, StoredWeights

# Largest magnitude of an 8-bit weight; and of one whose products are added in pairs in 16 bits.
WIDE, NARROW = 127, 63
# The integer that stands for zero, or for a channel's centre: half of the range lies on either side of it.
_HALF = np.uint8(128)
_MOST_STEPS = np.float32(127)
_TINY = np.float32(1e-12)
# GELU is nowhere less than this, which is at least this many steps below zero.
_LEAST_GELU = 0.17
_STEPS_BELOW_ZERO = np.uint8(32)
# What a normalisation's output goes into: see Steps.
_ATTENTION, _FEED_FORWARD = range(2)
_CENTRES, _STEPS = "int8.centres", "int8.steps"


class Steps(NamedTuple):
    """How the outputs of normalisations become integers.

    Attributes
    ----------
    centres, steps
        ``(layers, 2, dims)`` float32: for each layer what goes into the attention, and what goes into the feed-forward
        network.
    """

    centres: NDArray[np.float32]
    steps: NDArray[np.float32]

    @classmethod
    def read(cls, tensors: MappedTensors) -> Self:
        """Read them from what was packed with an encoder.

        Raises
        ------
        MlretError
            If they are not in the file.
        """
        return cls(tensors[_CENTRES], tensors[_STEPS])

    @classmethod
    def measured(
        cls, low: NDArray[np.float32], high: NDArray[np.float32], columns: NDArray[np.float32], *, share: float
    ) -> Self:
        """Choose centres and steps by the ranges of channels.

        Parameters
        ----------
        low, high
            ``(layers, 2, dims)`` least and largest numbers of the channels.
        columns
            ``(layers, 2, dims)`` largest magnitudes in the columns of the matrices that follow.
        share
            How much of a channel's range its step takes, from 0 to 1; the rest goes to the matrix.

        Returns
        -------
        Steps
            Steps with which the channel that needs the most integers needs all of them.
        """
        tiny = np.float32(1e-6)
        half = np.maximum((high - low) / 2, tiny)
        steps = half**share / np.maximum(columns, tiny) ** (1 - share)
        steps *= (half / steps).max(axis=-1, keepdims=True) / 127
        return cls(((low + high) / 2).astype(np.float32), steps.astype(np.float32))

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return the tensors from which :meth:`read` reads them."""
        return {_CENTRES: self.centres, _STEPS: self.steps}


def integer_graph(weights: StoredWeights, shape: Architecture, steps: Steps, *, largest: int = WIDE) -> bytes:
    """Return an ONNX model of an encoder, from the sums of its embeddings to its last hidden states.

    Parameters
    ----------
    weights, shape
        As for :func:`mlret.encoders.light.graph.encoder_graph`.
    steps
        How the inputs of matrix products become integers.
    largest
        The largest magnitude of a weight, :data:`WIDE` or :data:`NARROW`.

    Returns
    -------
    bytes
        A model as that of :func:`mlret.encoders.light.graph.encoder_graph`.
    """
    return _IntegerGraph(weights, shape, steps, largest).model()


class _IntegerGraph(EncoderGraph):
    def __init__(self, weights: StoredWeights, shape: Architecture, steps: Steps, largest: int) -> None:
        super().__init__(weights, shape, "float32")
        self._steps, self._largest = steps, largest
        self._one = self._constant(np.float32(1))

    def _finish(self, state: str, output: str) -> None:
        normalisation = "embeddings.LayerNorm"
        for layer in range(self._shape.layers):
            prefix = f"encoder.layer.{layer}"
            state = self._attended(state, normalisation, layer)
            normalisation = f"{prefix}.attention.output.LayerNorm"
            state = self._fed_forward(state, normalisation, layer)
            normalisation = f"{prefix}.output.LayerNorm"
        self._give(self._normalised(state, normalisation), output)

    def _attended(self, state: str, normalisation: str, layer: int) -> str:
        """Normalise, attend, and add what came from the normalisation."""
        prefix = f"encoder.layer.{layer}.attention"
        scaled, integers = self._scaled(state, normalisation, layer, _ATTENTION)
        names = [f"{prefix}.self.{part}" for part in ("query", "key", "value")]
        together, bias = self._integers(names, layer, _ATTENTION)
        inputs = [
            self._node("Reshape", integers, self._of_texts),
            self._constant(np.ascontiguousarray(together.numbers.T)),
            self._constant(bias),
            self._one,
            self._constant(together.scale),
            "",  # no mask
            self._constant(_HALF),
            self._constant(np.zeros(len(bias), dtype=np.int8)),
        ]
        attended = self._node("QAttention", *inputs, domain=MICROSOFT, num_heads=self._shape.heads)
        flat = self._node("Reshape", attended, self._constant(np.array([-1, self._shape.dims])))
        high = self._node("ReduceMax", flat, self._constant(np.array([1])), keepdims=1)
        low = self._node("ReduceMin", flat, self._constant(np.array([1])), keepdims=1)
        largest = self._node("Max", high, self._node("Neg", low), self._constant(_TINY))
        step = self._node("Mul", largest, self._constant(1 / _MOST_STEPS))
        product = self._product_by_token(flat, f"{prefix}.output.dense", step, _HALF, layer, _ATTENTION)
        return self._added(product, scaled, layer, _ATTENTION)

    def _fed_forward(self, state: str, normalisation: str, layer: int) -> str:
        """Normalise, apply the feed-forward network, and add what came from the normalisation."""
        prefix = f"encoder.layer.{layer}"
        scaled, integers = self._scaled(state, normalisation, layer, _FEED_FORWARD)
        matrix, bias = self._integers([f"{prefix}.intermediate.dense"], layer, _FEED_FORWARD)
        inner = self._node("Gelu", self._product(integers, matrix, _HALF, bias), domain=MICROSOFT)
        high = self._node("ReduceMax", inner, self._constant(np.array([1])), keepdims=1)
        above_zero = np.float32(255 - _STEPS_BELOW_ZERO)
        step = self._node(
            "Max",
            self._node("Mul", high, self._constant(1 / above_zero)),
            self._constant(np.float32(_LEAST_GELU / _STEPS_BELOW_ZERO)),
        )
        product = self._product_by_token(inner, f"{prefix}.output.dense", step, _STEPS_BELOW_ZERO, layer, _FEED_FORWARD)
        return self._added(product, scaled, layer, _FEED_FORWARD)

    def _product_by_token(self, state: str, name: str, step: str, zero: np.uint8, layer: int, place: int) -> str:
        """Multiply what has one step a token, and add a bias and the centres of the residual."""
        step_of_row = self._node("Reshape", step, self._constant(np.array([-1])))
        zeros = self._node("Expand", self._constant(zero), self._node("Shape", step_of_row))
        integers = self._node("QuantizeLinear", state, step_of_row, zeros, axis=0)
        matrix, bias = self._integers([name])
        bias += self._steps.centres[layer, place]
        product = self._node("Mul", self._product(integers, matrix, zero), step)
        return self._node("Add", product, self._constant(bias))

    def _scaled(self, state: str, normalisation: str, layer: int, place: int) -> tuple[str, str]:
        """Return a normalisation's output above its centres, in steps, and the same as integers."""
        centre, step = self._steps.centres[layer, place], self._steps.steps[layer, place]
        weight, bias = (self._weights.vector(f"{normalisation}.{part}") for part in ("weight", "bias"))
        scaled = self._normalised_by(state, weight / step, (bias - centre) / step)
        return scaled, self._rounded(scaled)

    def _rounded(self, state: str) -> str:
        return self._node("QuantizeLinear", state, self._one, self._constant(_HALF))

    def _added(self, product: str, scaled: str, layer: int, place: int) -> str:
        """Add what came from a normalisation, whose centres are part of the product's bias."""
        residual = self._node("Mul", scaled, self._constant(self._steps.steps[layer, place]))
        return self._node("Add", product, residual)

    def _integers(
        self, names: list[str], layer: int | None = None, place: int = 0
    ) -> tuple[Integers, NDArray[np.float32]]:
        """Return matrices one below the other as integers, and their biases.

        With a layer and a place, the matrices' columns are multiplied by the steps, and the biases have what the
        centres contribute.
        """
        centre, step = (None, None) if layer is None else (rows[layer, place] for rows in self._steps)
        found = [self._weights.integers(f"{name}.weight", self._largest, centre=centre, columns=step) for name in names]
        bias = np.concatenate([self._weights.vector(f"{name}.bias") for name in names])
        if centre is not None:
            bias += np.concatenate([matrix.centre for matrix in found])
        return Integers(*(np.concatenate(parts) for parts in zip(*found, strict=True))), bias

    def _product(self, integers: str, matrix: Integers, zero: np.uint8, bias: NDArray[np.float32] | None = None) -> str:
        """Multiply integers, of which ``zero`` stands for 0, by a matrix, and add a bias."""
        numbers = self._constant(np.ascontiguousarray(matrix.numbers.T))
        inputs = [integers, numbers, self._one, self._constant(matrix.scale), self._constant(zero)]
        if bias is not None:
            inputs += ["", self._constant(bias)]
        return self._node("MatMulIntegerToFloat", *inputs, domain=MICROSOFT)
