"""Adds incoming documents to a store: completes the documents, and encodes them or checks their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import numpy as np

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.documents import Document, document_from_mapping
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import AlreadyExists, InputError, MlretError
from mlret.index.hits import Updated
from mlret.index.storage.store import Store
from mlret.index.vectors.pairing import as_many
from mlret.index.vectors.space import Vectors

Existing = Literal["error", "skip", "replace"]
Incoming = str | Mapping[str, Any] | Document


class Intake:
    """Stores documents batch by batch, each in one transaction. Use it within ``store.writing()``.

    Parameters
    ----------
    store
        The store to write to.
    encoder
        Encodes documents that come without a vector.
    existing
        What to do with a document whose id is stored already.
    """

    def __init__(self, store: Store, encoder: AnyEncoder, existing: Existing) -> None:
        self._store = store
        self._encoder = encoder
        self._existing = existing

    def batches(self, documents: Iterable[Incoming], batch_size: int, vectors: Vectors | None) -> Iterator[Updated]:
        """Store documents, and yield what was done after each batch, which survives a crash from then on.

        Parameters
        ----------
        documents
            The documents.
        batch_size
            Number of documents in one transaction.
        vectors
            One for each document in the same order, which the space of the index has checked; ``None`` to encode the
            texts. If vectors are given, the documents are counted before the first is stored; see
            :func:`mlret.index.vectors.pairing.as_many`.
        """
        source = self._read(documents)
        if vectors is not None:
            source = iter(as_many(source, documents, len(vectors), self._store.folder))
        start = 0
        while batch := list(islice(source, batch_size)):
            given = None if vectors is None else _some(vectors, start, start + len(batch))
            yield self._store_batch(batch, given)
            start += len(batch)

    def _store_batch(self, batch: Sequence[Document], given: Vectors | None) -> Updated:
        rows = self._store.records.rows_of([document.id for document in batch])
        fresh: dict[str, Document] = {}
        places: dict[str, int] = {}  # The position of each document in the batch, where its vector is.
        for place, document in enumerate(batch):
            there = document.id in fresh or document.id in rows
            if there and self._existing == "error":
                self._refuse(document)
            # Of two documents with one id in a batch, the later one counts.
            if not there or self._existing == "replace":
                fresh[document.id] = _with_language(document)
                places[document.id] = place
        stored = self._store.records.fetch([rows[id] for id in fresh if id in rows])
        for document in stored.values():
            if given is None and fresh[document.id] == document:
                del fresh[document.id]
        replaced = [rows[id] for id in fresh if id in rows]
        if fresh:
            documents = list(fresh.values())
            if given is None:
                vectors = self._encoded(documents, {row: stored[row] for row in replaced})
            else:
                chosen = _at(given, [places[document.id] for document in documents])
                vectors = self._store.space.taken_in(chosen, [f"document {one.id!r}" for one in documents])
            self._store.append(documents, self._store.space.joined(vectors), replaced)
        return Updated(len(fresh) - len(replaced), len(replaced), len(batch) - len(fresh))

    def _refuse(self, document: Document) -> None:
        where = f"{document.origin}: " if document.origin else ""
        raise AlreadyExists(
            f"{where}the id {document.id!r} is in the index already, or twice in what is added; give the document "
            "another id, skip what is stored (--skip-existing), or replace it (`mlret index update`)"
        )

    def _encoded(self, documents: Sequence[Document], stored: Mapping[int, Document]) -> Vectors:
        """Return the vectors of documents; if only the metadata of a document changed, its stored vector is reused."""
        rows = {(old.id, old.text, old.language): row for row, old in stored.items()}
        same = {d.id: rows[d.id, d.text, d.language] for d in documents if (d.id, d.text, d.language) in rows}
        known = self._store.vectors_of(list(same.values()))
        unknown = [document for document in documents if same.get(document.id) not in known]
        encoded = dict(zip((document.id for document in unknown), self._encode(unknown), strict=True))
        return [encoded[d.id] if d.id in encoded else known[same[d.id]] for d in documents]

    def _encode(self, documents: Sequence[Document]) -> Vectors:
        if not documents:
            return []
        texts, languages = [d.text for d in documents], [d.language for d in documents]
        vectors = self._encoder.encode_document(texts, language=languages)
        if bad := _not_finite(documents, vectors):
            raise MlretError(
                f"{self._encoder.name} gives document {bad!r} a vector that is not finite; check its weights"
            )
        return self._store.space.prepared(vectors)

    def _read(self, documents: Iterable[Incoming]) -> Iterator[Document]:
        # Row numbers only grow and each automatic id takes a row, so a later call starts with a higher number.
        number = self._store.last_row
        for document in documents:
            if isinstance(document, Document):
                yield document
                continue
            number += 1
            if isinstance(document, str):
                yield Document(f"auto-{number}", document)
            elif isinstance(document, Mapping):
                yield document_from_mapping(document, id=f"auto-{number}")
            else:
                raise InputError(f"a document is a string, a dict or a Document, not {type(document).__name__}")


def _with_language(document: Document) -> Document:
    if document.language is not None:
        return document
    return replace(document, language=detect_language(document.text[:DETECTION_CHARACTERS]))


def _some(vectors: Vectors, start: int, end: int) -> Vectors:
    """Return the vectors of consecutive documents; of a memory map only these are read."""
    return vectors[start:end] if isinstance(vectors, np.ndarray) else [vectors[place] for place in range(start, end)]


def _at(vectors: Vectors, places: list[int]) -> Vectors:
    return vectors[places] if isinstance(vectors, np.ndarray) else [vectors[place] for place in places]


def _not_finite(documents: Sequence[Document], vectors: Vectors) -> str | None:
    """Return the id of the first document that has a value that is not finite, or ``None``."""
    finite = (bool(np.isfinite(one).all()) for one in vectors)
    return next((document.id for document, good in zip(documents, finite, strict=True) if not good), None)
