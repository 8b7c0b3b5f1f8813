"""Networks that onnxruntime runs: token ids in, a vector for each token out."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.light.graph import Architecture, encoder_graph
from mlret.encoders.light.integer_graph import NARROW, WIDE, Steps, integer_graph
from mlret.encoders.light.onnx_model import Graph
from mlret.encoders.light.threads import usable_threads
from mlret.encoders.light.weights import StoredWeights
from mlret.errors import InputError, MlretError

# How an encoder of few bits can be multiplied: see mlret.encoders.light.graph and integer_graph.
Way = Literal["float32", "4-bit", "int8"]
# How the light runtime multiplies: the network's own way for this processor, or one way for all texts.
Arithmetic = Literal["fast", "float32", "4-bit", "int8"]
_WORDS, _POSITIONS, _KINDS = (f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type"))
# Numbers in each row and column of the product that shows how products are added.
_PRODUCTS = 16
# Without an instruction for 8-bit products, inputs of more tokens than this are multiplied in 8 bits, others in 4.
_LEAST_TOKENS_OF_INT8 = 48


class Network(Protocol):
    """A network that turns token ids into vectors.

    Attributes
    ----------
    dims
        Number of dimensions of a token's vector.
    longest
        The largest number of tokens that it accepts.
    """

    dims: int
    longest: int

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``(n, t, dims)`` vectors of the tokens ``(n, t)`` of texts that are all of one length."""
        ...


class PackedNetwork:
    """An encoder of few bits, from the file in which :mod:`mlret.encoders.quantised` stores it.

    Parameters
    ----------
    weights
        Its weights.
    shape
        Its sizes.
    steps
        How what its matrices are multiplied by becomes integers.
    arithmetic
        ``"fast"``: in 8 bits where the processor has an instruction for it; otherwise short inputs in 4 bits, longer
        ones in 8. Or one of the ways of :mod:`mlret.encoders.light.graph`.
    extra
        Embeddings of tokens beyond the vocabulary, ``(n, dims)``, such as markers that a head brings along.
    threads
        As for :func:`start_session`.
    """

    def __init__(
        self,
        weights: StoredWeights,
        shape: Architecture,
        steps: Steps,
        *,
        arithmetic: Arithmetic = "fast",
        extra: NDArray[np.float32] | None = None,
        threads: int | None = None,
    ) -> None:
        if arithmetic not in get_args(Arithmetic):
            raise InputError(f"no arithmetic {arithmetic!r}: there are {', '.join(get_args(Arithmetic))}")
        self.dims, self.longest = shape.dims, shape.longest
        self._weights, self._shape, self._arithmetic = weights, shape, arithmetic
        self._steps, self._extra, self._threads = steps, extra, threads
        self._vocabulary = len(weights.tensors[f"{_WORDS}.scale" if weights.bits(_WORDS) else _WORDS])
        # What every token of a place gets: its position's embedding and that of the only type.
        places = weights.matrix(_POSITIONS)[shape.first_position :] + weights.matrix(_KINDS)[0]
        self._places: NDArray[np.float32] = places
        self._sessions: dict[Way, Any] = {}

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``(n, t, dims)`` vectors of the tokens ``(n, t)`` of texts that are all of one length."""
        embeddings = self._embeddings(ids)
        embeddings += self._places[: ids.shape[1]]
        session = self._session(self.way(ids.shape[1]))
        hidden: NDArray[np.float32] = session.run(None, {"embeddings": embeddings})[0]
        return hidden

    def way(self, tokens: int) -> Way:
        """Return how an input of some number of tokens is multiplied; the same for every text of that length."""
        if self._arithmetic != "fast":
            return self._arithmetic
        if adds_products_in_32_bits() or tokens > _LEAST_TOKENS_OF_INT8:
            return "int8"
        return "4-bit"

    def with_extra(self, extra: NDArray[np.float32]) -> PackedNetwork:
        """Return a network that shares this one's sessions and knows more tokens."""
        other = copy.copy(self)
        other._extra = extra
        return other

    def _embeddings(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._extra is None:
            return self._weights.rows(_WORDS, ids)
        beyond = ids >= self._vocabulary
        embeddings = self._weights.rows(_WORDS, np.where(beyond, 0, ids))
        embeddings[beyond] = self._extra[ids[beyond] - self._vocabulary]
        return embeddings

    def model(self, way: Way) -> bytes:
        """Return the network as an ONNX model that takes sums of embeddings, ``(texts, tokens, dims)``."""
        if way == "int8":
            largest = WIDE if adds_products_in_32_bits() else NARROW
            return integer_graph(self._weights, self._shape, self._steps, largest=largest)
        return encoder_graph(self._weights, self._shape, way)

    def _session(self, way: Way) -> Any:
        session = self._sessions.get(way)
        if session is None:
            session = self._sessions[way] = start_session(self.model(way), self._threads)
        return session


class ExportedNetwork:
    """A network in a file of its own, as sentence-transformers' ONNX backend reads it (``onnx/model.onnx``).

    Parameters
    ----------
    path
        The file.
    longest
        The largest number of tokens that the model accepts.
    threads
        As for :func:`start_session`.

    Raises
    ------
    InputError
        If the file is no such network.
    """

    def __init__(self, path: Path, *, longest: int, threads: int | None = None) -> None:
        self._session = start_session(path, threads)
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        known = {"input_ids", "attention_mask", "token_type_ids"}
        names = [entry.name for entry in self._session.get_outputs()]
        wanted = next((name for name in ("token_embeddings", "last_hidden_state") if name in names), None)
        if not self._inputs <= known or wanted is None:
            raise InputError(f"{path} is no encoder: it takes {sorted(self._inputs)} and gives {names}")
        self._output = wanted
        width = next(entry.shape[-1] for entry in self._session.get_outputs() if entry.name == wanted)
        self.longest = longest
        self.dims = width if isinstance(width, int) else self(np.zeros((1, 1), dtype=np.int64)).shape[-1]

    def __call__(self, ids: NDArray[np.int64], attended: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Return ``(n, t, dims)`` vectors of the tokens ``(n, t)`` of texts that are all of one length.

        ``attended``, ``(n, t)``, says which tokens others attend to; by default all.
        """
        mask = np.ones_like(ids) if attended is None else attended.astype(np.int64)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        chosen = {name: feeds[name] for name in self._inputs}
        hidden: NDArray[np.float32] = self._session.run([self._output], chosen)[0]
        return hidden.astype(np.float32, copy=False)


def start_session(model: bytes | Path, threads: int | None = None) -> Any:
    """Return a session of onnxruntime on the CPU.

    Parameters
    ----------
    model
        An ONNX model, or the file that holds one.
    threads
        The number of threads of one call; ``None`` for :func:`mlret.encoders.light.threads.usable_threads`.

    Raises
    ------
    MlretError
        If onnxruntime is not installed or refuses the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MlretError("encoding needs the package onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_threads()
    options.inter_op_num_threads = 1
    # Threads that wait for work would take time from others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        source = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        name = "the network" if isinstance(model, bytes) else model
        reason = str(error).strip().splitlines()[0]
        raise MlretError(f"onnxruntime cannot run {name}: {reason}") from error


@cache
def adds_products_in_32_bits() -> bool:
    """Whether onnxruntime multiplies 8-bit integers here with an instruction that adds the products in 32 bits.

    Without one (VNNI on x86) it adds two products in 16 bits, where large ones are cut off: weights must then be
    smaller, and 8 bits gain less. Such a sum is computed, because that is what counts, and because onnxruntime does not
    say which instructions it uses.
    """
    graph = Graph("sum")
    numbers = graph.input("numbers", "uint8", [1, _PRODUCTS])
    weights = np.full((_PRODUCTS, _PRODUCTS), WIDE, dtype=np.int8)
    graph.node("MatMulInteger", [numbers, graph.constant("weights", weights)], "sum")
    graph.output("sum", "int32", [1, _PRODUCTS])
    large = np.full((1, _PRODUCTS), 255, dtype=np.uint8)
    (found,) = start_session(graph.model()).run(None, {"numbers": large})
    return bool((found == 255 * WIDE * _PRODUCTS).all())
