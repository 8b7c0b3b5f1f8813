"""Adds incoming documents to a store: completes the documents, and encodes them or checks their vectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.documents import Document, document_from_mapping
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import AlreadyExists, InputError, MlretError
from mlret.index.cutting import Cutter
from mlret.index.hits import Updated
from mlret.index.storage.passages import Spans
from mlret.index.store.compaction import maintain
from mlret.index.store.store import Store
from mlret.index.vectors.pairing import as_many
from mlret.index.vectors.ragged import Ragged
from mlret.index.vectors.space import AnySpace, Joined, Vectors

Existing = Literal["error", "skip", "replace"]
Incoming = str | Mapping[str, Any] | Document
Also = Callable[[sqlite3.Connection, NDArray[np.int64]], None]


@dataclass(frozen=True)
class Intake:
    """Stores documents batch by batch, each in one transaction.

    Parameters
    ----------
    store
        The store to write to.
    encoder
        Returns the encoder of documents that come without a vector; called when it is first needed.
    existing
        What to do with a document whose id is stored already.
    """

    store: Store
    encoder: Callable[[], AnyEncoder]
    existing: Existing

    def add(self, documents: Iterable[Incoming], vectors: Vectors | None, batch_size: int) -> Updated:
        """Store documents, and return what was done with them.

        Parameters
        ----------
        documents, vectors, batch_size
            As for :meth:`batches`.

        Raises
        ------
        InputError
            At the first document that cannot be stored; the message states how many documents were stored before it.
        """
        added = replaced = skipped = 0
        try:
            for done in self.batches(documents, vectors, batch_size):
                added, replaced, skipped = added + done.added, replaced + done.replaced, skipped + done.skipped
        except InputError as error:
            if not (stored := added + replaced):
                raise
            raise type(error)(f"{error} (the first {stored} documents of this call are stored)") from error
        return Updated(added, replaced, skipped)

    def batches(self, documents: Iterable[Incoming], vectors: Vectors | None, batch_size: int) -> Iterator[Updated]:
        """Store documents, and yield what was done after each batch, which survives a crash from then on.

        Parameters
        ----------
        documents
            The documents.
        vectors
            One for each document in the same order; ``None`` to encode the texts. If vectors are given, the documents
            are counted before the first is stored; see :func:`mlret.index.vectors.pairing.as_many`.
        batch_size
            Number of documents in one transaction.
        """
        if isinstance(documents, str | Mapping | Document):
            raise InputError(f"give a list of documents to add, not one {type(documents).__name__}")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        if vectors is not None:
            vectors = self._checked(vectors)
        try:
            with self.store.writing():
                source = self._read(documents)
                if vectors is not None:
                    source = iter(as_many(source, documents, len(vectors), self.store.folder))
                start = 0
                while batch := list(islice(source, batch_size)):
                    given = None if vectors is None else _some(vectors, start, start + len(batch))
                    done = self.store_batch(batch, given)
                    start += len(batch)
                    more = len(batch) == batch_size  # A shorter batch is the last one.
                    maintain(self.store, more=more)
                    yield done
                    if not more:
                        return
                maintain(self.store)
        finally:
            self.report()

    def report(self) -> None:
        """Warn of documents that were longer than the encoder reads and not cut."""
        if "cutter" in self.__dict__:
            self.cutter.report()

    @cached_property
    def cutter(self) -> Cutter:
        """Cuts documents that the encoder does not read to their end."""
        return Cutter(self.encoder(), self.store.manifest.settings)

    def _checked(self, vectors: Vectors) -> Vectors:
        """Check document vectors, and return them in the form that the index stores."""
        found, kept = self.store.space.check_vectors(vectors), self.store.manifest.dims
        dims = (found.values if isinstance(found, Ragged) else np.asarray(found)).shape[1]
        # The dimensions of an encoder that mlret does not run are unknown once the index is reopened, except those
        # kept.
        if dims == kept or isinstance(encoder := self.encoder(), ExternalEncoder) or dims == encoder.dims:
            return found
        raise InputError(
            f"the vectors have {dims} dimensions; {encoder.name} gives {encoder.dims}, of which the index "
            f"keeps the first {kept}"
        )

    def store_batch(self, batch: Sequence[Document], given: Vectors | None = None, also: Also | None = None) -> Updated:
        """Store documents in one transaction. Call it within ``writing``, and :func:`maintain` after it.

        Parameters
        ----------
        batch
            The documents.
        given
            Their checked vectors in the same order; ``None`` to encode the texts.
        also
            Called with the connection and the new row numbers, to write further tables in the same transaction. It is
            not called if there is nothing to store.
        """
        rows = self.store.records.rows_of([document.id for document in batch])
        chosen = self._chosen(batch, rows)
        documents = {batch[place].id: _with_language(batch[place]) for place in chosen}
        stored = self.store.records.fetch([rows[id] for id in documents if id in rows]) if rows else {}
        if given is None:
            for document in stored.values():
                if documents[document.id] == document:
                    del documents[document.id]
        replaced = [rows[id] for id in documents if id in rows]
        if documents:
            fresh = list(documents.values())
            spans: Sequence[Spans] = ()
            if given is None:
                vectors, spans = self._encoded(fresh, {row: stored[row] for row in replaced})
            else:  # Whoever gives a vector for a document has decided what it stands for.
                vectors = self.store.space.taken_in(_at(given, chosen), [f"document {one.id!r}" for one in fresh])
            self.store.append(fresh, vectors, replaced, also, spans)
        return Updated(len(documents) - len(replaced), len(replaced), len(batch) - len(documents))

    def _chosen(self, batch: Sequence[Document], rows: Mapping[str, int]) -> list[int]:
        """Return the positions of the documents of a batch that are to be stored.

        Parameters
        ----------
        batch
            The documents.
        rows
            The row numbers of their ids that are stored already.
        """
        places: dict[str, int] = {}
        for place, document in enumerate(batch):
            there = document.id in places or document.id in rows
            if there and self.existing == "error":
                where = f"{document.origin}: " if document.origin else ""
                raise AlreadyExists(
                    f"{where}the id {document.id!r} is in the index already, or twice in what is added; give the "
                    "document another id, skip what is stored (--skip-existing), or replace it (`mlret index update`)"
                )
            # Of two documents with one id in a batch, the later one counts.
            if not there or self.existing == "replace":
                places[document.id] = place
        return list(places.values())

    def _encoded(self, documents: Sequence[Document], stored: Mapping[int, Document]) -> tuple[Joined, Sequence[Spans]]:
        """Return the vectors and the passages of documents.

        If only the metadata of a document changed, its stored vectors are reused.

        Parameters
        ----------
        documents
            The documents.
        stored
            The documents that they replace, by row number.

        Returns
        -------
        (vectors, spans)
            One vector for each document or passage, and the passages of each document.
        """
        passages = self.store.records.passages
        cut = passages.of(list(stored))
        rows = {old.id: row for row, old in stored.items()}
        same = {
            place: rows[one.id]
            for place, one in enumerate(documents)
            if one.id in rows and _same_vectors(stored[rows[one.id]], one, rows[one.id] in cut)
        }
        every = {row: passages.expanded(np.array([row], dtype=np.int64)).tolist() for row in same.values()}
        known = self.store.vectors_of([row for some in every.values() for row in some]) if same else {}
        same = {place: row for place, row in same.items() if all(one in known for one in every[row])}
        unknown = [one for place, one in enumerate(documents) if place not in same]
        spans_of_unknown = self.cutter.spans(unknown) if unknown else []
        new = self._encode(self.cutter.pieces(unknown, spans_of_unknown)) if unknown else self.store.space.joined([])
        if not same:
            return new, spans_of_unknown
        joined: list[NDArray[Any]] = []
        spans: list[Spans] = []
        of_unknown, encoded = iter(spans_of_unknown), iter(new)
        for place in range(len(documents)):
            if place in same:
                joined += [known[row] for row in every[same[place]]]
                spans.append(cut.get(same[place], ()))
            else:
                spans.append(next(of_unknown))
                joined += islice(encoded, len(spans[-1]) or 1)
        return self.store.space.joined(joined), spans

    def _encode(self, documents: Sequence[Document]) -> Joined:
        return _prepared(self.vectors_of(documents), self.encoder(), self.store.space, documents)

    def vectors_of(self, documents: Sequence[Document]) -> Vectors:
        """Return what the encoder gives for documents or passages. A subclass may know some of it already."""
        texts, languages = [d.text for d in documents], [d.language for d in documents]
        return self.encoder().encode_document(texts, language=languages)

    def _read(self, documents: Iterable[Incoming]) -> Iterator[Document]:
        # Row numbers only grow and each automatic id takes a row, so a later call starts with a higher number.
        number = self.store.last_row
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


def _same_vectors(old: Document, new: Document, cut: bool) -> bool:
    """Return whether the vectors of a document are those of another; the title stands in front of passages."""
    if (old.text, old.language) != (new.text, new.language):
        return False
    return not cut or old.metadata.get("title") == new.metadata.get("title")


def encode_documents(encoder: AnyEncoder, space: AnySpace, documents: Sequence[Document]) -> Joined:
    """Return the vectors of documents in the form that an index stores.

    Parameters
    ----------
    encoder
        The encoder of the index.
    space
        The space of the index.
    documents
        ``n`` documents.

    Raises
    ------
    MlretError
        If the encoder gives a vector that is not finite.
    """
    texts, languages = [d.text for d in documents], [d.language for d in documents]
    return _prepared(encoder.encode_document(texts, language=languages), encoder, space, documents)


def _prepared(vectors: Vectors, encoder: AnyEncoder, space: AnySpace, documents: Sequence[Document]) -> Joined:
    """Return what an encoder gave for documents in the form that an index stores, after checking it."""
    if (bad := _first_not_finite(vectors)) is not None:
        raise MlretError(
            f"{encoder.name} gives document {documents[bad].id!r} a vector that is not finite; check its weights"
        )
    return space.prepared(vectors)


def _with_language(document: Document) -> Document:
    if document.language is not None:
        return document
    language = detect_language(document.text[:DETECTION_CHARACTERS])
    return Document.stored(document.id, document.text, language, document.metadata, document.origin)


def _some(vectors: Vectors, start: int, end: int) -> Vectors:
    """Return the vectors of consecutive documents; of a memory map only these are read."""
    return vectors[start:end] if isinstance(vectors, np.ndarray) else [vectors[place] for place in range(start, end)]


def _at(vectors: Vectors, places: list[int]) -> Vectors:
    return vectors[places] if isinstance(vectors, np.ndarray) else [vectors[place] for place in places]


def _first_not_finite(vectors: Vectors) -> int | None:
    """Return the position of the first document that has a value that is not finite, or ``None``."""
    if isinstance(vectors, np.ndarray) and np.isfinite(vectors).all():
        return None
    return next((place for place, one in enumerate(vectors) if not np.isfinite(one).all()), None)
