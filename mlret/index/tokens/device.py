"""Holds the tokens of a segment on a GPU, where comparing a query with all of them takes as long as reading them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.tokens.bits import LANES, WHOLE, centre
from mlret.index.tokens.stored_tokens import CodedTokens, StoredTokens, WholeTokens
from mlret.index.vectors.exact import Device, may_have_gpu
from mlret.index.vectors.ragged import Ragged

if TYPE_CHECKING:
    import torch

# Smaller segments are not copied to a GPU, because the CPU compares them in some ten milliseconds.
_ON_DEVICE = 2**20
# Size of the chunks of codes that are copied to the device; if they do not all fit, they are copied one by one.
_CHUNK_BYTES = 2**29
# The share of the free memory that the codes may take.
_PART = 0.8
_TOKENS = 2**16  # Tokens that are decoded at once without triton.


@dataclass(frozen=True)
class Chunk:
    """A part of the documents, on a device or on the way there.

    Attributes
    ----------
    codes
        ``(t, width)`` uint8, or ``(t, dims)`` float16.
    units, centroids
        ``(t,)`` int32 each; empty if tokens are not coded.
    offsets
        ``(n + 1,)`` int64, beginning with 0; every document has at least one token.
    bits, unit
        As in :class:`mlret.index.tokens.kernels.dispatch.PackedTokens`; ``bits`` is 16 if tokens are not coded.
    """

    codes: torch.Tensor
    units: torch.Tensor
    centroids: torch.Tensor
    offsets: torch.Tensor
    bits: int
    unit: float

    def to(self, device: torch.device) -> Chunk:
        """Return a copy on a device. A pinned chunk may still be on its way when this returns."""
        codes, units, centroids, offsets = (one.to(device, non_blocking=True) for one in self.tensors)
        return Chunk(codes, units, centroids, offsets, self.bits, self.unit)

    def pinned(self) -> Chunk:
        """Return a copy in pinned memory, from which a GPU copies by itself."""
        codes, units, centroids, offsets = (one.pin_memory() for one in self.tensors)
        return Chunk(codes, units, centroids, offsets, self.bits, self.unit)

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """All tensors of the chunk."""
        return self.codes, self.units, self.centroids, self.offsets


class DeviceTokens:
    """Tokens on a device, where a query is compared with all of them.

    Parameters
    ----------
    stored
        The tokens of a segment.
    device
        A device of torch.
    fused
        Use the triton kernel; by default if the device is a GPU and triton is installed.
    """

    def __init__(self, stored: StoredTokens, device: str = "cuda", *, fused: bool | None = None) -> None:
        import torch

        self._device = torch.device(device)
        cuda = self._device.type == "cuda"
        self._fused = find_spec("triton") is not None and cuda if fused is None else fused
        self._count = len(stored)
        self._filled = np.flatnonzero(np.diff(stored.offsets))
        codec = self._codec = stored.codec if isinstance(stored, CodedTokens) else None
        self._centroids: torch.Tensor | None = None
        if codec is not None:
            self._centroids = torch.from_numpy(codec.centroids.vectors).to(self._device)
        chunks = list(_chunks(stored, self._filled))
        self.nbytes = sum(one.nbytes for chunk in chunks for one in chunk.tensors)
        self.resident = not cuda or self.nbytes < _PART * torch.cuda.mem_get_info(self._device)[0]
        self._chunks = [chunk.to(self._device) if self.resident else chunk.pinned() for chunk in chunks]

    def best(
        self, queries: Sequence[NDArray[np.float32]], k: int, visible: NDArray[np.int64] | None = None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Return the ``k`` best documents for each query, up to the accuracy of half precision.

        Parameters
        ----------
        queries
            ``(t, dims)`` float32 each; all share one pass over the tokens.
        k
            The number of documents.
        visible
            ``(m,)`` in ascending order: the only documents to find; all by default.

        Returns
        -------
        list of (documents, scores)
            ``(c,)`` int64 and ``(c,)`` float32, in no particular order.
        """
        import torch

        scores = self.scores(queries)
        if visible is not None:
            hidden = torch.ones(self._count, dtype=torch.bool, device=self._device)
            hidden[torch.from_numpy(visible).to(self._device)] = False
            scores = scores.masked_fill(hidden, -torch.inf)
        values, documents = torch.topk(scores, min(k, self._count), dim=1)
        found = []
        for some, best in zip(documents.cpu().numpy(), values.cpu().numpy(), strict=True):
            found.append((some[best > -np.inf].astype(np.int64), best[best > -np.inf]))
        return found

    def scores(self, queries: Sequence[NDArray[np.float32]]) -> torch.Tensor:
        """Return the MaxSim of every document with each query: ``(q, n)`` float32."""
        import torch

        with torch.inference_mode():
            lanes, owners = self._lanes(queries)
            near = torch.empty((len(lanes), 0, LANES), device=self._device)
            if self._centroids is not None:
                near = torch.einsum("ki,bil->bkl", self._centroids, lanes)
            blocks = torch.empty((len(lanes), len(self._filled)), device=self._device)
            done, halves = 0, lanes.half().contiguous()
            for chunk in self._on_device():
                count = len(chunk.offsets) - 1
                part = torch.empty((len(lanes), count), device=self._device)
                (_fused if self._fused else _unfused)(chunk, halves, near.contiguous(), part)
                blocks[:, done : done + count] = part
                done += count
            lengths = torch.tensor([float(len(query)) for query in queries], device=self._device)
            found = (-lengths)[:, None].repeat(1, self._count)
            filled = torch.from_numpy(self._filled).to(self._device)
            sums = torch.zeros((len(queries), len(self._filled)), device=self._device)
            found[:, filled] = sums.index_add_(0, owners, blocks) + self._constants(queries)[:, None]
        return found

    def _lanes(self, queries: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens of queries in blocks of lanes, and the query of each block.

        The tokens are ``(blocks, inner, LANES)``; unused lanes are zero and add nothing.
        """
        import torch

        parts, owners = [], []
        for place, query in enumerate(queries):
            rotated = query if self._codec is None else query @ self._codec.rotation
            for start in range(0, len(rotated), LANES):
                some = rotated[start : start + LANES]
                parts.append(np.pad(some, ((0, LANES - len(some)), (0, 0))).T)
                owners.append(place)
        lanes = torch.from_numpy(np.ascontiguousarray(np.stack(parts), dtype=np.float32))
        return lanes.to(self._device), torch.tensor(owners, device=self._device)

    def _constants(self, queries: Sequence[NDArray[np.float32]]) -> torch.Tensor:
        import torch

        if self._codec is None:
            return torch.zeros(len(queries), device=self._device)
        constants = [float((query @ self._codec.mean).sum()) for query in queries]
        return torch.tensor(constants, device=self._device)

    def _on_device(self) -> Iterator[Chunk]:
        """Iterate over the chunks. If they are in the host's memory, the next one is copied while one is compared."""
        if self.resident:
            yield from self._chunks
            return
        import torch

        copying = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        coming: Chunk | None = None
        for place in range(len(self._chunks) + 1):
            arrived, coming = coming, None
            if arrived is not None:
                torch.cuda.current_stream(self._device).wait_stream(copying)
            if place < len(self._chunks):
                with torch.cuda.stream(copying):
                    coming = self._chunks[place].to(self._device)
            if arrived is not None:
                for one in arrived.tensors:
                    one.record_stream(torch.cuda.current_stream(self._device))
                yield arrived


def _chunks(stored: StoredTokens, filled: NDArray[np.int64]) -> Iterator[Chunk]:
    """Split the documents that have tokens into chunks."""
    import torch

    offsets = stored.offsets
    width = stored.packed.codes.shape[1] + 8 if isinstance(stored, CodedTokens) else 2 * _whole(stored).values.shape[1]
    sizes = np.diff(offsets)[filled]
    piece = (np.cumsum(sizes) - sizes) * width // _CHUNK_BYTES
    for one in np.unique(piece):
        some = filled[piece == one]
        rows = slice(int(offsets[some[0]]), int(offsets[some[-1] + 1]))
        ends = torch.from_numpy(np.concatenate([[0], np.cumsum(np.diff(offsets)[some])]).astype(np.int64))
        none = torch.empty(0, dtype=torch.int32)
        if isinstance(stored, CodedTokens):
            packed = stored.packed
            codes = torch.from_numpy(np.array(packed.codes[rows]))
            units = torch.from_numpy(packed.units[rows].astype(np.int32))
            centroids = torch.from_numpy(packed.centroids[rows].astype(np.int32))
            yield Chunk(codes, units, centroids, ends, packed.bits, packed.unit)
        else:
            yield Chunk(torch.from_numpy(np.array(_whole(stored).values[rows])), none, none, ends, WHOLE, 1.0)


def _whole(stored: StoredTokens) -> Ragged:
    assert isinstance(stored, WholeTokens)
    return stored.tokens


def _fused(chunk: Chunk, queries: torch.Tensor, near: torch.Tensor, scores: torch.Tensor) -> None:
    from mlret.index.tokens.kernels.gpu_kernels import fused_maxsim

    fused_maxsim(chunk, queries, near, scores)


def _unfused(chunk: Chunk, queries: torch.Tensor, near: torch.Tensor, scores: torch.Tensor) -> None:
    """Compute the same scores by torch alone: decode the tokens block by block, then multiply and reduce them."""
    import torch

    offsets = chunk.offsets.tolist()
    start = 0
    while start < len(offsets) - 1:
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + _TOKENS, side="right")) - 1)
        rows = slice(offsets[start], offsets[stop])
        values = chunk.codes[rows]
        if chunk.bits < WHOLE:
            parts = [values >> (place * chunk.bits) & (2**chunk.bits - 1) for place in range(8 // chunk.bits)]
            values = torch.cat(parts, dim=1).to(queries.dtype) - centre(chunk.bits)  # type: ignore[arg-type]
        precise = queries.dtype if queries.is_cuda else torch.float32
        products = torch.einsum("ti,bil->btl", values.to(precise), queries.to(precise)).float()
        if chunk.bits < WHOLE:
            products *= (chunk.units[rows] * chunk.unit)[None, :, None]
            products += near[:, chunk.centroids[rows].long()]
        lengths = torch.diff(chunk.offsets[start : stop + 1])
        scores[:, start:stop] = torch.segment_reduce(
            products, "max", lengths=lengths.expand(len(products), -1), axis=1
        ).sum(2)
        start = stop


def device_tokens(stored: StoredTokens, device: Device) -> DeviceTokens | None:
    """Copy the tokens of a segment to a GPU if that is asked for, or worthwhile; else return ``None``.

    Parameters
    ----------
    stored
        The tokens of a segment.
    device
        ``"cpu"``, ``"cuda"``, or ``"auto"``, which uses a GPU if there is one and the segment is large enough.

    Raises
    ------
    InputError
        If ``"cuda"`` is asked for and there is no GPU.
    """
    tokens = int(stored.offsets[-1])
    if device == "cpu" or not tokens or (device == "auto" and (tokens < _ON_DEVICE or not may_have_gpu())):
        return None
    import torch

    if torch.cuda.is_available():
        return DeviceTokens(stored)
    if device == "cuda":
        raise InputError("torch sees no GPU: search on the CPU (device='cpu')")
    return None
