"""Writes documents of Haystack to an index: those that carry embeddings, and those that the index encodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from haystack.dataclasses import Document as HaystackDocument
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.encoders.external import EXTERNAL
from mlret.index.index import Index
from mlret.index.ingest import Intake, encode_documents
from mlret.index.store import compaction
from mlret.integrations.haystack.stored_documents import (
    EMBEDDING,
    UNEMBEDDED,
    embedding_of,
    has_text,
    stored_embedding,
    to_document,
)

_BATCH = 256


class Checked(NamedTuple):
    """A document in the form that the index stores, and its vector; ``None`` if the index is to encode it."""

    document: Document
    vector: NDArray[np.float32] | None


class Writer:
    """Writes documents to an index.

    Parameters
    ----------
    index
        The open index, with one vector for each document.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._store = index.store
        self._dims = self._store.manifest.dims
        self._encodes = not self._store.manifest.encoder.startswith(EXTERNAL)
        self._zero = np.zeros(self._dims, dtype=np.float32)

    def checked(self, documents: Sequence[HaystackDocument]) -> list[Checked]:
        """Check documents, and return them in the form that the index stores.

        Parameters
        ----------
        documents
            The documents.

        Raises
        ------
        InputError
            At the first document that cannot be stored.
        """
        found: list[Checked] = []
        for start in range(0, len(documents), _BATCH):
            found += self._batch(documents[start : start + _BATCH])
        return found

    def _batch(self, given: Sequence[HaystackDocument]) -> list[Checked]:
        embeddings = {
            place: embedding_of(one, self._widths(one)) for place, one in enumerate(given) if one.embedding is not None
        }
        vectors: dict[int, NDArray[np.float32]] = {}
        if embeddings:
            names = [f"document {given[place].id!r}" for place in embeddings]
            matrix = np.stack([one[: self._dims] for one in embeddings.values()])
            vectors = dict(zip(embeddings, self._store.space.taken_in(matrix, names), strict=True))
        found = []
        for place, one in enumerate(given):
            if place in vectors:
                also = {EMBEDDING: stored_embedding(embeddings[place], vectors[place])}
                found.append(Checked(to_document(one, also), vectors[place]))
            elif self._encodes and has_text(one):
                found.append(Checked(to_document(one, {}), None))
            else:
                found.append(Checked(to_document(one, {UNEMBEDDED: True}), self._zero))
        return found

    def _widths(self, given: HaystackDocument) -> set[int]:
        """Return the numbers of dimensions that an embedding may have.

        An index may keep fewer dimensions than its encoder gives. The encoder is loaded only to learn that.
        """
        same = given.embedding is not None and len(given.embedding) == self._dims
        return {self._dims} if same else {self._dims, self._index.encoder.dims}

    def write(self, documents: Sequence[Checked], *, replacing: bool) -> int:
        """Store documents, and return how many were added or replaced. Call it within ``writing`` of the store.

        Parameters
        ----------
        documents
            The documents.
        replacing
            Whether to replace stored documents with the same ids; otherwise those are skipped.
        """
        intake = Intake(self._store, lambda: self._index.encoder, "replace" if replacing else "skip")
        written = 0
        for start in range(0, len(documents), _BATCH):
            batch = documents[start : start + _BATCH]
            done = intake.store_batch([one.document for one in batch], self._vectors(batch, replacing))
            written += done.added + done.replaced
            compaction.maintain(self._store, more=start + _BATCH < len(documents))
        return written

    def _vectors(self, batch: Sequence[Checked], replacing: bool) -> NDArray[np.float32] | None:
        """Return the vectors of a batch; ``None`` if the index is to encode all of them."""
        lacking = [one.document for one in batch if one.vector is None]
        if len(lacking) == len(batch) and not (replacing and self._carried(lacking)):
            return None
        encoded = iter(encode_documents(self._index.encoder, self._store.space, lacking) if lacking else ())
        return np.stack([next(encoded) if one.vector is None else one.vector for one in batch])

    def _carried(self, documents: Sequence[Document]) -> bool:
        """Return whether one of the stored documents with the same ids carried its vector.

        The index keeps the vector of a document whose text has not changed. A vector that the document had carried is
        not the one that the encoder gives for this text.
        """
        rows = self._store.records.rows_of([one.id for one in documents])
        return any(
            EMBEDDING in one.metadata or UNEMBEDDED in one.metadata
            for one in self._store.records.fetch(list(rows.values())).values()
        )
