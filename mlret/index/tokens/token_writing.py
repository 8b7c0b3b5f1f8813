"""Writes segments with a vector for each token. Tokens are coded once, and their codes are then copied unchanged."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import Choice
from mlret.index.storage.manifest import FileInfo, ListsInfo, Manifest, TokenSegmentInfo
from mlret.index.storage.sealed import SealedFiles, save_npy, write_npy
from mlret.index.storage.vector_table import VectorTable
from mlret.index.tokens.bits import WHOLE
from mlret.index.tokens.codec import TokenCodec, TokenCodes
from mlret.index.tokens.codec_training import DRIFT, LOOKED_AT, Batch, Tokens, plan_codec, sample_of
from mlret.index.tokens.kernels.dispatch import SPARE_ROWS
from mlret.index.tokens.lists import lists_of
from mlret.index.tokens.token_segments import TokenSegment, open_token_segment
from mlret.index.vectors.ragged import Ragged, offsets_of
from mlret.index.vectors.space import Progress, Sealer, rows_alive

_log = logging.getLogger("mlret.index")

_DOCUMENTS = 512  # Documents that are read and coded at once.
_TOKENS = 2**16


Stream = Callable[[], Iterable[Batch]]


class SharedCodec(Protocol):
    """The codec that the shards of an index share."""

    def latest(self, own: TokenCodec | None) -> TokenCodec | None:
        """Return the codec of a shard with all centroids of a shard's own codec and the most others."""

    def tokens(self, *, unsealed_only: bool) -> tuple[int, int, Stream]:
        """Return the number of tokens of all shards, and the number and a stream of all of them or of the unsealed."""


class TokenSealer(Sealer[TokenSegment, TokenSegmentInfo, Ragged]):
    """Writes segments with a vector for each token, and trains the codec once there are enough tokens."""

    def __init__(
        self,
        files: SealedFiles,
        table: VectorTable[Ragged],
        manifest: Manifest,
        codec: TokenCodec | None,
        shared: SharedCodec | None = None,
    ) -> None:
        super().__init__(files, table, manifest)
        self.codec = codec
        self.shared = shared
        if codec is None and manifest.codec is not None:
            self.changes["codec"] = None  # The codec is damaged, and what it coded is coded again.

    def from_records(self, first_row: int, last_row: int) -> TokenSegmentInfo | None:
        sizes = self.table.sizes(first_row, last_row) // (2 * self.manifest.dims)
        total = int(sizes.sum())

        def batches() -> Iterator[Batch]:
            return stored_batches(self.table, first_row, last_row)

        if total:
            self._train(total + self._sealed(), batches, total, tail=True)
        return self.write(first_row, last_row, sizes, batches())

    def merge(self, segments: Sequence[TokenSegment], dead: NDArray[np.int64]) -> TokenSegmentInfo | None:
        """Seal neighbouring segments as one; codes are copied unchanged."""
        alive = rows_alive(segments, dead)
        lengths = [np.diff(one.tokens.offsets)[some] for one, some in zip(segments, alive, strict=True)]
        sizes = np.concatenate(lengths)

        def batches() -> Iterator[Batch]:
            for segment, some in zip(segments, alive, strict=True):
                yield from batches_of(segment, some)

        if (len(segments) > 1 or self.codec is None) and sizes.sum():
            self._train(self._sealed(), batches, int(sizes.sum()))
        return self.write(segments[0].info.first_row, segments[-1].info.last_row, sizes, batches())

    def accelerate(self, info: TokenSegmentInfo, choice: Choice, progress: Progress | None = None) -> TokenSegmentInfo:
        """Build the lists of a sealed segment; none if the choice is ``flat``."""
        if choice.kind == "flat":
            return info.model_copy(update={"lists": None})
        if self.codec is None:  # All tokens are in float16; centroids are needed for the lists only.
            whole = open_token_segment(self.files, info, self.manifest.dims, None)
            everything = np.ones(info.rows, dtype=np.bool_)
            self._train(info.tokens, lambda: batches_of(whole, everything), info.tokens, must=True)
        assert self.codec is not None
        segment = open_token_segment(self.files, info, self.manifest.dims, self.codec)
        count = len(self.codec.centroids) - self.codec.first
        lists = lists_of(segment.tokens.latest(self.codec), segment.tokens.offsets, count, self.codec.first)
        name = self.name(info.first_row, info.last_row)
        found = ListsInfo(
            starts=self._save(f"{name}.starts.npy", lists.starts),
            documents=self._save(f"{name}.documents.npy", lists.documents),
            first_centroid=lists.first,
            generation=self.codec.generation(lists.first, count),
            why=choice.why,
        )
        if progress is not None:
            progress(info.tokens)
        return info.model_copy(update={"lists": found})

    def _sealed(self) -> int:
        return sum(info.size for info in self.manifest.segments)

    def _train(self, total: int, stream: Stream, count: int, *, must: bool = False, tail: bool = False) -> None:
        """Train the codec or let it grow, if that is needed.

        In an index that is divided into shards, all of them use one codec: that of another shard is taken over, or one
        is trained on the tokens of all shards.

        Parameters
        ----------
        total
            The number of tokens of the index.
        stream
            Returns the tokens that can be sampled.
        count
            Their number.
        must
            Train a codec even if there are few tokens.
        tail
            Whether these tokens are those that were in no segment.
        """
        settings, dims = self.manifest.settings, self.manifest.dims
        if self.shared is not None:
            latest = self.shared.latest(self.codec)
            if latest is not None and latest is not self.codec:
                self._use(latest)
                return
            if self.codec is not None and not tail and 2 * count < total:
                return
            total, count, stream = self.shared.tokens(unsealed_only=tail)
        drift = 1.0
        if self.codec is not None:
            drift = self.codec.drift(sample_of(stream, LOOKED_AT, settings.seed, self.codec, dims))
        plan = plan_codec(settings, dims, total, count, self.codec, drift=drift)
        if not (plan.due or must):
            if drift > DRIFT:
                _log.warning(
                    "new tokens are %.1f times as far from their centroids as those that were trained on; "
                    "`mlret index compact` adds centroids where many are",
                    math.sqrt(drift),
                )
            return
        sample = sample_of(stream, plan.sample, settings.seed, self.codec, dims)
        self._use(plan.train(self.codec, sample, settings, self.counting("clustering tokens", 6 * len(sample))))

    def _use(self, codec: TokenCodec) -> None:
        """Store a codec in the folder, and code by it."""
        self.codec = codec
        name = f"codec.{self.manifest.generation + 1}.safetensors"
        self.changes["codec"] = self.files.seal(name, codec.save)

    def write(
        self, first_row: int, last_row: int, sizes: NDArray[np.int64], batches: Iterator[Batch]
    ) -> TokenSegmentInfo | None:
        """Seal the tokens of records; codes are copied unchanged.

        Parameters
        ----------
        first_row, last_row
            The rows that the segment covers.
        sizes
            ``(n,)`` int64: the number of tokens of each record.
        batches
            The records in ascending order.

        Returns
        -------
        TokenSegmentInfo or None
            What the manifest should state about the segment; ``None`` if there are no records.
        """
        if not len(sizes):
            return None
        name, total = self.name(first_row, last_row), int(sizes.sum())
        numbers = np.empty(len(sizes), dtype=np.int64)
        coded = self.codec is not None and self.manifest.settings.bits != WHOLE and total > 0
        units = np.empty(total if coded else 0, dtype=np.uint16)
        centroids = np.empty(len(units), dtype=np.uint32)
        write = partial(self._fill, sizes=sizes, batches=batches, numbers=numbers, units=units, centroids=centroids)
        codes = self.files.seal(f"{name}.codes.npy", write)
        extra: dict[str, Any] = {}
        if coded:
            assert self.codec is not None
            small = np.uint16 if len(self.codec.centroids) <= 2**16 else np.uint32
            extra["units"] = self._save(f"{name}.units.npy", units)
            extra["centroids"] = self._save(f"{name}.centroids.npy", centroids.astype(small))
        return TokenSegmentInfo(
            first_row=first_row,
            last_row=last_row,
            rows=len(sizes),
            tokens=total,
            bits=self.manifest.settings.bits if coded else WHOLE,
            codes=codes,
            offsets=self._save(f"{name}.offsets.npy", offsets_of(sizes)),
            numbers=self._save(f"{name}.rows.npy", numbers),
            **extra,
        )

    def _fill(
        self,
        path: Path,
        sizes: NDArray[np.int64],
        batches: Iterator[Batch],
        numbers: NDArray[np.int64],
        units: NDArray[np.uint16],
        centroids: NDArray[np.uint32],
    ) -> None:
        """Write codes, or tokens in float16, and collect the content of the smaller files."""
        total = int(sizes.sum())
        counted = self.counting("coding tokens", total)

        def blocks() -> Iterator[NDArray[Any]]:
            row = token = 0
            for batch in batches:
                numbers[row : row + len(batch.numbers)] = batch.numbers
                assert np.array_equal(sizes[row : row + len(batch.numbers)], batch.lengths)
                row += len(batch.numbers)
                if not len(units):
                    assert not isinstance(batch.tokens, TokenCodes)
                    yield batch.tokens
                    continue
                coded = self._coded(batch.tokens)
                part = slice(token, token + len(coded))
                units[part], centroids[part] = coded.units, coded.centroids
                token += len(coded)
                if counted is not None:
                    counted(token)
                yield coded.codes
            assert row == len(sizes)
            if len(units):
                assert self.codec is not None
                yield np.zeros((SPARE_ROWS, self.codec.width), dtype=np.uint8)

        if len(units):
            assert self.codec is not None
            write_npy(path, "|u1", (total + SPARE_ROWS, self.codec.width), blocks())
        else:
            write_npy(path, "<f2", (total, self.manifest.dims), blocks())

    def _coded(self, tokens: Tokens) -> TokenCodes:
        if isinstance(tokens, TokenCodes):
            return tokens
        assert self.codec is not None
        return self.codec.encode(tokens)

    def _save(self, name: str, array: NDArray[Any]) -> FileInfo:
        return self.files.seal(name, partial(save_npy, array=array))


def stored_batches(table: VectorTable[Ragged], first_row: int, last_row: int) -> Iterator[Batch]:
    """Iterate over the records of a range of rows, with their tokens as the database has them."""
    for numbers, tokens in table.batches(first_row, last_row, batch_size=_DOCUMENTS):
        yield Batch(numbers, tokens.lengths, tokens.values)


def batches_of(segment: TokenSegment, alive: NDArray[np.bool_]) -> Iterator[Batch]:
    """Iterate over some records of a segment, with their tokens as they are stored.

    Parameters
    ----------
    segment
        The segment.
    alive
        ``(n,)`` bool: which records are wanted.
    """
    offsets = segment.tokens.offsets
    start = 0
    while start < len(segment):
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + _TOKENS, side="right")) - 1)
        lengths = np.diff(offsets[start : stop + 1])
        kept = alive[start:stop]
        rows = np.flatnonzero(np.repeat(kept, lengths)) + int(offsets[start])
        yield Batch(segment.numbers[start:stop][kept], lengths[kept], segment.tokens.raw(rows))
        start = stop
