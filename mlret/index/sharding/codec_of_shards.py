"""The token codec that all shards of a multi-vector index share, so that their scores are those of one index.

Each shard keeps a copy of its own, which its manifest names. A codec only grows: the centroids that codes refer to
stay, so a shard that has an earlier state takes the latest over when it next writes a segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np

from mlret.index.storage.vector_table import VectorTable
from mlret.index.store.store import Store
from mlret.index.tokens.codec import TokenCodec
from mlret.index.tokens.codec_training import Batch
from mlret.index.tokens.token_segments import TokenSegment
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.tokens.token_writing import Stream, batches_of, stored_batches
from mlret.index.vectors.ragged import Ragged


class CodecOfShards:
    """The codec of several open shards.

    Parameters
    ----------
    stores
        Returns the shards.
    """

    def __init__(self, stores: Callable[[], Sequence[Store]]) -> None:
        self._stores = stores

    def latest(self, own: TokenCodec | None) -> TokenCodec | None:
        """Return the codec of a shard with all centroids of a shard's own codec and the most others.

        A codec that another one does not continue, such as that of a shard that was written by itself, is kept.
        """
        best = own
        for store in self._stores():
            codec = store.space.codec if isinstance(store.space, MaxSimSpace) else None
            if codec is not None and (best is None or continues(codec, best)):
                best = codec
        return best

    def tokens(self, *, unsealed_only: bool) -> tuple[int, int, Stream]:
        """Return the number of tokens of all shards, and the number and a stream of all of them or of the unsealed."""
        stores = self._stores()
        tail = sum(store.tail_size() for store in stores)
        total = tail + sum(segment.size for store in stores for segment in store.segments)

        def batches() -> Iterator[Batch]:
            for store in stores:
                for segment in () if unsealed_only else store.segments:
                    assert isinstance(segment, TokenSegment)
                    alive = np.ones(len(segment), dtype=np.bool_)
                    alive[segment.positions_of(store.records.tombstones.read())] = False
                    yield from batches_of(segment, alive)
                table = cast("VectorTable[Ragged]", store.vectors)
                yield from stored_batches(table, store.last_sealed_row + 1, store.last_row)

        return total, tail if unsealed_only else total, batches


def continues(codec: TokenCodec, earlier: TokenCodec) -> bool:
    """Return whether a codec is an earlier one with further centroids."""
    count = len(earlier.centroids)
    return (
        len(codec.centroids) > count
        and np.array_equal(codec.mean, earlier.mean)
        and codec.generation(0, count) == earlier.generation(0, count)
    )


def share_codec(stores: Callable[[], Sequence[Store]]) -> None:
    """Let open shards share one codec.

    Parameters
    ----------
    stores
        Returns the shards.
    """
    for store in stores():
        if isinstance(store.space, MaxSimSpace):
            store.space.shared = CodecOfShards(stores)
