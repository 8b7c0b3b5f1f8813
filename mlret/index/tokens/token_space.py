"""Storage and search of a vector for each token of a record, compared by MaxSim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.settings import Choice
from mlret.index.storage.manifest import FileInfo, Manifest, Probing, TokenSegmentInfo
from mlret.index.storage.sealed import SealedFiles
from mlret.index.storage.vector_table import Blobs, VectorTable
from mlret.index.tokens import codec_training
from mlret.index.tokens.bits import WHOLE
from mlret.index.tokens.codec import TokenCodec
from mlret.index.tokens.cost import Cost, instructions_for, least_to_probe, measured
from mlret.index.tokens.device import device_tokens
from mlret.index.tokens.effort import adapted, calibrate
from mlret.index.tokens.maxsim import Effort, compare_on_device, search_tokens
from mlret.index.tokens.stored_tokens import TokenQuery
from mlret.index.tokens.token_segments import TokenSegment, TokenTail, open_lists, open_token_segment
from mlret.index.tokens.token_writing import SharedCodec, TokenSealer
from mlret.index.vectors.exact import Device
from mlret.index.vectors.ragged import Ragged, check_tokens, offsets_of
from mlret.index.vectors.space import Found, Part, Space, Vectors, View

# With more tokens, lists are built without measuring first: comparing all takes long on every machine.
MOST_FLAT = 2**20
# Lists are made at the end of a build if more than this share of the tokens is in none.
_PLAIN = 0.25
_ON_DEVICE = 32  # Queries that share a pass over the tokens on a GPU.
_LARGEST = float(np.finfo(np.float16).max)


class ManyVectors(Blobs[Ragged]):
    """A vector for each token: ``(t, dims)`` float16; ``n`` documents are read as a :class:`Ragged`."""

    dtype = np.dtype("<f2")

    def fits(self, blob: bytes) -> bool:
        return len(blob) % (self.dims * self.dtype.itemsize) == 0

    def write(self, vectors: Iterable[NDArray[np.floating[Any]]]) -> list[bytes]:
        return [one.astype(self.dtype).tobytes() for one in vectors]

    def read(self, blobs: Sequence[bytes]) -> Ragged:
        lengths = np.array([len(blob) for blob in blobs], dtype=np.int64) // (self.dims * self.dtype.itemsize)
        values = np.frombuffer(b"".join(blobs), dtype=self.dtype).reshape(-1, self.dims)
        return Ragged(values.astype(np.float16, copy=False), offsets_of(lengths))


class MaxSimSpace(Space[TokenSegment, TokenSegmentInfo, Ragged]):
    """A vector for each token of a record. Sizes are numbers of tokens.

    Parameters
    ----------
    files
        The sealed files of the index.
    manifest
        The manifest of the index.
    device
        Where large segments are compared as a whole: ``"cuda"``; ``"cpu"``; or ``"auto"``, which takes a GPU if there
        is one.
    """

    segment_size = 2**16
    bulk_size = 2**22
    largest_segment = 2**25

    def __init__(self, files: SealedFiles, manifest: Manifest, device: Device = "cpu") -> None:
        super().__init__(files, manifest)
        self._device: Device = device
        self.blobs = ManyVectors(manifest.dims)
        self.codec: TokenCodec | None = None
        self.shared: SharedCodec | None = None  # Set if the folder is a shard that is open with the others.
        self._codec_file: FileInfo | None = None
        self._adapted: tuple[Probing, Probing] | None = None  # What the manifest states, and what fits this machine.

    def load(self, manifest: Manifest) -> None:
        """Use a new manifest, and load its codec if it has changed.

        Raises
        ------
        TornFileError
            If the codec is missing or damaged.
        """
        super().load(manifest)
        if manifest.codec is None:
            self.codec = self._codec_file = None
        elif manifest.codec != self._codec_file:
            self.codec = self._codec_file = None
            self.codec = TokenCodec.load(self.files.check(manifest.codec))
            self._codec_file = manifest.codec

    def stands_alone(self, info: TokenSegmentInfo) -> bool:
        """Return true: codes are written once, and tokens in float16 only into their segment."""
        return True

    def intact(self, info: TokenSegmentInfo, numbers: NDArray[np.int64] | None) -> TokenSegment | None:
        """Return ``None``: the files of a segment with tokens are used as a whole."""
        return None

    def tail(self) -> TokenTail:
        return TokenTail(self.manifest.dims, None if self.manifest.settings.bits == WHOLE else self.codec)

    def size_of(self, vectors: Ragged) -> int:
        return len(vectors.values)

    def size_in(self, table: VectorTable[Ragged], first_row: int, last_row: int) -> int:
        return int(table.sizes(first_row, last_row).sum()) // (2 * self.manifest.dims)

    def open(self, info: TokenSegmentInfo, *, thorough: bool = False) -> TokenSegment:
        segment = open_token_segment(self.files, info, self.manifest.dims, self.codec, thorough=thorough)
        segment.device = device_tokens(segment.tokens, self._device)
        return segment

    def open_accelerator(self, segment: TokenSegment, *, thorough: bool = False) -> None:
        if segment.info.lists is not None:
            segment.lists = open_lists(self.files, segment.info.lists, self.codec, thorough=thorough)

    def sealer(self, table: VectorTable[Ragged]) -> TokenSealer:
        return TokenSealer(self.files, table, self.manifest, self.codec, self.shared)

    def choose(self, size: int) -> Choice:
        settings = self.manifest.settings
        if settings.kind == "auto":
            if size < (least := self._least_to_probe(size)):
                return Choice("flat", f"{size:,} tokens are fewer than {least:,}: comparing with all is quick here")
            return Choice("probe", f"{size:,} tokens: lists of the documents near each centroid")
        return Choice(settings.kind, "set by the recipe")

    def _least_to_probe(self, size: int) -> int:
        """Return the number of tokens from which probing is worthwhile, measured only if that depends on the machine.

        Tokens are not coded below ``LEAST``.
        """
        if size < codec_training.LEAST:
            return codec_training.LEAST
        return size if size >= MOST_FLAT else least_to_probe(self._cost(), codec_training.LEAST)

    def _cost(self) -> Cost:
        dims, bits = self.manifest.dims, self.manifest.settings.bits
        return measured(dims if self.codec is None else self.codec.rotation.shape[1], bits)

    @property
    def probing(self) -> Probing | None:
        """The search effort: what the manifest states, chosen anew if that was measured with other instructions."""
        stated = self.manifest.probing
        if stated is None or stated.measured is None:
            return stated
        if stated.measured.instructions == instructions_for(self.manifest.settings.bits):
            return stated
        if self._adapted is None or self._adapted[0] is not stated:
            self._adapted = stated, adapted(stated, self.manifest.settings, self._cost())
        return self._adapted[1]

    def outdated(self, segment: TokenSegment) -> bool:
        """Return whether the lists of a segment belong to an older generation of centroids."""
        return segment.lists is not None and self.codec is not None and segment.lists.first != self.codec.first

    def is_due(self, parts: Sequence[Part]) -> bool:
        # All segments are searched with one effort, which a trial run finds after each compaction.
        plain, size = sum(part.plain for part in parts), sum(part.size for part in parts)
        return self.choose(plain).kind != "flat" and plain > _PLAIN * size

    def calibrated(self, segments: Sequence[TokenSegment]) -> dict[str, Any]:
        """Return the search effort that a trial run found, as a change of the manifest."""
        listed = [segment for segment in segments if segment.lists is not None]
        if not listed or self.codec is None:
            return {"probing": None} if self.manifest.probing else {}
        if self.manifest.probing is not None and self.manifest.probing.asked:
            # The queries are not kept, but what they found is, and it is the same on every machine.
            return {} if self.probing == self.manifest.probing else {"probing": self.probing}
        return {"probing": calibrate(listed, self.codec, self.manifest.settings, self._cost())}

    def tuned(
        self, segments: Sequence[TokenSegment], queries: Sequence[NDArray[np.float32]], recall: float | None
    ) -> dict[str, Any]:
        listed = [segment for segment in segments if segment.lists is not None]
        if not listed or self.codec is None:
            return super().tuned(segments, queries, recall)
        settings, cost = self.manifest.settings, self._cost()
        found = calibrate(listed, self.codec, settings, cost, queries=queries, recall=recall)
        return {"probing": found}

    def search(
        self,
        views: Sequence[View[TokenSegment]],
        queries: Sequence[NDArray[np.float32]],
        k: int,
        *,
        exact: bool,
        effort: Effort | None = None,
    ) -> Found:
        """Search as :meth:`.Space.search` does; ``effort`` overrides the calibrated search effort."""
        if exact:
            effort = None
        elif effort is None and (probing := self.probing) is not None and probing.probes is not None:
            effort = Effort(probing.probes, probing.compared)
        compared = [view for view in views if view.segment.device is not None and len(view)]
        others = [view for view in views if view.segment.device is None]
        found: Found = []
        for start in range(0, len(queries), _ON_DEVICE):
            some = queries[start : start + _ON_DEVICE]
            given = [compare_on_device(view, some, k) for view in compared]
            for place, tokens in enumerate(some):
                query, ranked = TokenQuery.of(tokens, self.codec), [one[place] for one in given]
                found.append(search_tokens(others, query, k, effort=effort, ranked=ranked))
        return found

    def score(
        self, segment: TokenSegment, query: NDArray[np.float32], positions: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return segment.tokens.score(TokenQuery.of(query, self.codec), positions)

    def check_vectors(self, vectors: Any) -> Ragged:
        """Check a list of ``(t, dims)`` arrays or tensors, or a :class:`Ragged`.

        Longer tokens are accepted only if the index keeps some of their dimensions.
        """
        return check_tokens(vectors, self.manifest.dims, wider=self.manifest.settings.dims is not None)

    def first_unusable(self, vectors: Vectors) -> tuple[int, str] | None:
        """Return the position and the reason of the first text with a NaN or a value too large for float16.

        Returns ``None`` if all tokens can be stored.
        """
        for place, tokens in enumerate(vectors):
            if (why := _unusable(tokens)) is not None:
                return place, why
        return None

    def check_queries(self, vectors: Any) -> list[NDArray[np.float32]]:
        """Check tokens of queries, which must have exactly ``dims`` dimensions."""
        found = check_tokens(vectors, self.manifest.dims, "the tokens of query")
        if (bad := self.first_unusable(found)) is not None:
            raise InputError(f"the query {bad[0]} (counted from 0) {bad[1]}; check the encoder")
        return [np.ascontiguousarray(one, dtype=np.float32) for one in found]

    def prepared(self, vectors: Vectors) -> Ragged:
        found = self.queries(vectors)
        if self.manifest.settings.pooling > 1:
            found = pooled(found, self.manifest.settings.pooling)
        return self.joined(found)

    def queries(self, vectors: Vectors) -> list[NDArray[np.float32]]:
        return [_cut(np.asarray(one, dtype=np.float32), self.manifest.dims) for one in vectors]

    def joined(self, vectors: Vectors) -> Ragged:
        """Return vectors as one :class:`Ragged`."""
        return Ragged.of(list(vectors), self.manifest.dims)

    def of_passages(self, vectors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the tokens of all passages."""
        return np.concatenate(vectors)

    def taken_out(self, segment: TokenSegment, positions: NDArray[np.int64]) -> Ragged:
        """Return the tokens at some positions of a segment, as exactly as the codes represent them."""
        return segment.tokens.matrices(positions)


def pooled(vectors: Sequence[NDArray[np.float32]], factor: int) -> list[NDArray[np.float32]]:
    """Merge the tokens of each document until one in ``factor`` is left (Clavié et al. 2024, arXiv 2409.14683).

    Each merged token gets the mean length of the document's tokens.

    Parameters
    ----------
    vectors
        ``(t, dims)`` float32 for each document.
    factor
        The number of tokens that are merged into one on average.
    """
    import torch
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    merged = HierarchicalTokenPooling(pool_factor=factor).pool([torch.from_numpy(one) for one in vectors])
    return [_at_length(after.numpy(), before) for before, after in zip(vectors, merged, strict=True)]


def _at_length(tokens: NDArray[np.float32], before: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.full((len(tokens), 1), np.linalg.norm(before, axis=1).mean() if len(before) else 1, dtype=np.float32)
    return _rescaled(tokens, lengths)


def _unusable(tokens: NDArray[np.floating[Any]]) -> str | None:
    """Return why the tokens of a text cannot be stored, or ``None`` if they can."""
    # One pass suffices, because a NaN fails the comparison too.
    if not tokens.size or bool((np.abs(tokens) <= _LARGEST).all()):
        return None
    if not np.isfinite(tokens).all():
        return "has a NaN or an infinity"
    return f"has a value beyond {_LARGEST:.0f}, the largest in which tokens are stored (float16)"


def _cut(tokens: NDArray[np.float32], dims: int) -> NDArray[np.float32]:
    """Return the first ``dims`` of each token, at its previous length; unchanged if it has no more dimensions."""
    if tokens.shape[1] == dims:
        return tokens
    return _rescaled(tokens[:, :dims], _lengths(tokens))


def _rescaled(tokens: NDArray[np.float32], lengths: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    have = _lengths(tokens)
    return np.asarray(tokens * (lengths / np.where(have > 0, have, 1)), dtype=np.float32)


def _lengths(tokens: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the length of each token, ``(t, 1)``, in float64, because squares of small values vanish in float32."""
    found: NDArray[np.float64] = np.linalg.norm(tokens.astype(np.float64), axis=1, keepdims=True)
    return found
