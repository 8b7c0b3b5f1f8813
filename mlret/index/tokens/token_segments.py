"""Segments with a vector for each token, sealed on disk or growing in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlret.index.storage.manifest import ListsInfo, TokenSegmentInfo
from mlret.index.storage.sealed import SealedFiles, TornFileError
from mlret.index.tokens.bits import WHOLE
from mlret.index.tokens.codec import TokenCodec
from mlret.index.tokens.device import DeviceTokens
from mlret.index.tokens.kernels.dispatch import SPARE_ROWS, PackedTokens
from mlret.index.tokens.lists import Lists
from mlret.index.tokens.stored_tokens import CodedTokens, StoredTokens, WholeTokens
from mlret.index.vectors.ragged import Ragged, offsets_of
from mlret.index.vectors.segments import Rows, map_array


class TokenSegment(Rows):
    """The tokens of records.

    Parameters
    ----------
    numbers
        ``(n,)`` int64 row numbers, in ascending order.
    tokens
        The tokens of each record.
    info
        What the manifest states about the segment; ``None`` if it is in no sealed file.
    """

    def __init__(self, numbers: NDArray[np.int64], tokens: StoredTokens, info: TokenSegmentInfo | None = None) -> None:
        super().__init__(numbers, info)
        self.tokens = tokens
        self.lists: Lists | None = None
        self.device: DeviceTokens | None = None

    @property
    def size(self) -> int:
        """The number of tokens."""
        return int(self.tokens.offsets[-1])

    @property
    def kind(self) -> str:
        return "probe" if self.lists is not None else "flat"


def open_token_segment(
    files: SealedFiles, info: TokenSegmentInfo, dims: int, codec: TokenCodec | None, *, thorough: bool = False
) -> TokenSegment:
    """Open a sealed segment, memory-mapped, without its lists.

    Parameters
    ----------
    files
        The sealed files of the index.
    info
        What the manifest states about the segment.
    dims
        The number of dimensions of a token.
    codec
        The codec of the index, if it has one.
    thorough
        Hash the files even if they have not changed since they were last hashed.

    Raises
    ------
    TornFileError
        If a file is missing or is not what the manifest states, or the codec is missing.
    """
    numbers = map_array(files, info.numbers, (info.rows,), np.int64, thorough=thorough)
    offsets = map_array(files, info.offsets, (info.rows + 1,), np.int64, thorough=thorough)
    if offsets[0] != 0 or offsets[-1] != info.tokens or (np.diff(offsets) < 0).any():
        raise TornFileError(f"{info.offsets.file} does not divide {info.tokens} tokens")
    if info.bits == WHOLE:
        values = map_array(files, info.codes, (info.tokens, dims), np.float16, thorough=thorough)
        return TokenSegment(numbers, WholeTokens(Ragged(values, offsets)), info)
    if codec is None or info.units is None or info.centroids is None:
        raise TornFileError(f"{info.codes.file} is coded, but its codec is missing")
    shape = (info.tokens + SPARE_ROWS, codec.width)
    codes = map_array(files, info.codes, shape, np.uint8, thorough=thorough)
    units = map_array(files, info.units, (info.tokens,), np.uint16, thorough=thorough)
    centroids = map_array(files, info.centroids, (info.tokens,), np.uint16, np.uint32, thorough=thorough)
    packed = PackedTokens(codes, codec.bits, units, codec.unit, centroids, offsets)
    return TokenSegment(numbers, CodedTokens(codec, packed), info)


def open_lists(files: SealedFiles, info: ListsInfo, codec: TokenCodec | None, *, thorough: bool = False) -> Lists:
    """Open the lists of a segment, memory-mapped.

    Parameters
    ----------
    files
        The sealed files of the index.
    info
        What the manifest states about the lists.
    codec
        The codec of the index, if it has one.
    thorough
        Hash the files even if they have not changed since they were last hashed.

    Raises
    ------
    TornFileError
        If a file is missing or is not what the manifest states, or the codec does not have these centroids.
    """
    starts = map_array(files, info.starts, (None,), np.int64, thorough=thorough)
    documents = map_array(files, info.documents, (None,), np.int32, thorough=thorough)
    if len(starts) < 2 or starts[-1] != len(documents):
        raise TornFileError(f"{info.starts.file} does not divide {len(documents)} entries")
    if codec is None or codec.generation(info.first_centroid, len(starts) - 1) != info.generation:
        raise TornFileError(f"{info.starts.file} is of centroids that are lost")
    return Lists(starts, documents, info.first_centroid)


class TokenTail:
    """The newest tokens, which are in no sealed file yet.

    They are coded when they are first searched, as they will be when they are sealed, so that sealing changes no score.

    Parameters
    ----------
    dims
        The number of dimensions of a token.
    codec
        The codec that codes them; ``None`` if there is none yet.
    """

    def __init__(self, dims: int, codec: TokenCodec | None) -> None:
        self._numbers: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        self._tokens: list[Ragged] = [Ragged(np.empty((0, dims), np.float16), offsets_of(np.empty(0, np.int64)))]
        self._size = 0
        self._codec = codec
        self._segment: TokenSegment | None = None

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self._size

    def add(self, numbers: NDArray[np.int64], vectors: Ragged) -> int:
        """Append the tokens of ``(n,)`` row numbers, which are in ascending order and follow those in the tail.

        Returns the new number of tokens.
        """
        self._numbers.append(numbers)
        self._tokens.append(Ragged(vectors.values.astype(np.float16, copy=False), vectors.offsets))
        self._segment = None
        self._size += len(vectors.values)
        return self._size

    def segment(self) -> TokenSegment:
        """Return the present content as a segment."""
        if self._segment is None:
            lengths = np.concatenate([tokens.lengths for tokens in self._tokens])
            whole = Ragged(np.concatenate([tokens.values for tokens in self._tokens]), offsets_of(lengths))
            self._numbers, self._tokens = [np.concatenate(self._numbers)], [whole]
            tokens: StoredTokens = WholeTokens(whole)
            if self._codec is not None:
                tokens = CodedTokens(self._codec, packed(self._codec, whole))
            self._segment = TokenSegment(self._numbers[0], tokens)
        return self._segment


def packed(codec: TokenCodec, tokens: Ragged) -> PackedTokens:
    """Return tokens in codes, with spare rows for the kernels."""
    coded = codec.encode(tokens.values)
    codes = np.concatenate([coded.codes, np.zeros((SPARE_ROWS, codec.width), np.uint8)])
    return PackedTokens(codes, codec.bits, coded.units, codec.unit, coded.centroids, tokens.offsets)
