"""Adds incoming documents to a store: completes the documents, and encodes them or checks their vectors."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.data.columns import Columns
from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.documents import Document
from mlret.data.given import Given, check_several, documents_of, sized
from mlret.data.given import Incoming as Incoming
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import AlreadyExists, InputError, MlretError
from mlret.index.cutting import Cutter
from mlret.index.hits import Updated
from mlret.index.storage.passages import Spans
from mlret.index.storage.unread import Note, notes_on
from mlret.index.store.compaction import maintain
from mlret.index.store.noting import notes_of
from mlret.index.store.store import Store
from mlret.index.vectors.mapped import release_pages
from mlret.index.vectors.pairing import as_many
from mlret.index.vectors.ragged import Ragged
from mlret.index.vectors.space import AnySpace, Joined, Vectors
from mlret.wording import counted

Existing = Literal["error", "skip", "replace"]
# (text, language) -> its vector, or the vectors of its tokens, as the encoder gives it.
Known = Mapping[tuple[str, str | None], NDArray[np.float32]]
Also = Callable[[sqlite3.Connection, NDArray[np.int64]], None]


class Adding(ABC):
    """Stores documents batch by batch.

    Attributes
    ----------
    columns
        Columns, or keys of records, that are read under another name; see :func:`mlret.data.given.documents_of`.
    """

    columns: Columns

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder of the index."""

    @property
    def scale(self) -> int:
        """The factor by which a batch is larger than one transaction."""
        return 1

    @abstractmethod
    def writing(self) -> AbstractContextManager[None]:
        """Keep other processes from writing."""

    @abstractmethod
    def last_row(self) -> int:
        """Return a number that is at least the number of documents that were ever stored, and only grows."""

    @abstractmethod
    def checked(self, vectors: Vectors) -> Vectors:
        """Check document vectors, and return them in the form that the index stores."""

    @abstractmethod
    def store_next(self, batch: Sequence[Document], given: Vectors | None, *, more: bool) -> Updated:
        """Store the next batch of documents.

        Parameters
        ----------
        batch
            The documents.
        given
            Their checked vectors in the same order; ``None`` to encode the texts.
        more
            Whether another batch will follow.
        """

    @abstractmethod
    def finish(self) -> None:
        """Do what is needed after the last batch, if that was a complete one."""

    @abstractmethod
    def report(self) -> None:
        """Warn of documents that were longer than the encoder reads and not cut."""

    def add(self, documents: Given, vectors: Vectors | None, batch_size: int) -> Updated:
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
            raise type(error)(f"{error} (stored before it: {counted(stored, 'document')} of this call)") from error
        return Updated(added, replaced, skipped)

    def batches(self, documents: Given, vectors: Vectors | None, batch_size: int) -> Iterator[Updated]:
        """Store documents, and yield what was done after each batch, which survives a crash from then on.

        Parameters
        ----------
        documents
            The documents, as for :func:`mlret.data.given.documents_of`.
        vectors
            One for each document in the same order; ``None`` to encode the texts. If vectors are given, the documents
            are counted before the first is stored; see :func:`mlret.index.vectors.pairing.as_many`.
        batch_size
            Number of documents in one transaction.
        """
        check_several(documents)
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        if vectors is not None:
            vectors = self.checked(vectors)
        try:
            with self.writing():
                # Row numbers only grow and each automatic id takes a row, so a later call starts with a higher number.
                source = documents_of(documents, self.columns, after=self.last_row())
                if vectors is not None:
                    source = iter(as_many(source, sized(documents), len(vectors), self.folder))
                start, size = 0, batch_size * self.scale
                while batch := list(islice(source, size)):
                    given = None if vectors is None else some_of(vectors, start, start + len(batch))
                    start += len(batch)
                    more = len(batch) == size  # A shorter batch is the last one.
                    done = self.store_next(batch, given, more=more)
                    release_pages(vectors)
                    yield done
                    if not more:
                        return
                self.finish()
        finally:
            self.report()


@dataclass(frozen=True)
class Intake(Adding):
    """Stores documents batch by batch in one folder, each batch in one transaction.

    Parameters
    ----------
    store
        The store to write to.
    encoder
        Returns the encoder of documents that come without a vector; called when it is first needed.
    existing
        What to do with a document whose id is stored already.
    columns
        Columns, or keys of records, that are read under another name; see :func:`mlret.data.given.documents_of`.
    known
        Vectors of texts that the encoder has made already.
    """

    store: Store
    encoder: Callable[[], AnyEncoder]
    existing: Existing
    columns: Columns = field(default_factory=dict, kw_only=True)
    known: Known = field(default_factory=dict, kw_only=True)

    @property
    def folder(self) -> Path:
        return self.store.folder

    def writing(self) -> AbstractContextManager[None]:
        return self.store.writing()

    def last_row(self) -> int:
        return self.store.last_row

    def store_next(self, batch: Sequence[Document], given: Vectors | None, *, more: bool) -> Updated:
        done = self.store_batch(batch, given)
        maintain(self.store, more=more)
        return done

    def finish(self) -> None:
        maintain(self.store)

    def report(self) -> None:
        if "cutter" in self.__dict__:
            self.cutter.report()

    @cached_property
    def cutter(self) -> Cutter:
        """Cuts documents that the encoder does not read to their end."""
        return Cutter(self.encoder(), self.store.manifest.settings)

    def checked(self, vectors: Vectors) -> Vectors:
        return checked_vectors(vectors, self.store.space, self.encoder)

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
            notes: Sequence[Note | None] = ()
            spans: Sequence[Spans] = ()
            if given is None:
                old = {row: stored[row] for row in replaced}
                vectors, spans = self._encoded(fresh, old)
                if self.store.manifest.kind == "index":
                    given_languages = {batch[place].id for place in chosen if batch[place].language is not None}
                    notes = self._notes(fresh, old, [document.id not in given_languages for document in fresh])
                    read = zip(notes, spans, strict=True)
                    notes = [note and (note.of_passages() if some else note) for note, some in read]
            else:  # Whoever gives a vector for a document has decided what it stands for.
                vectors = self.store.space.taken_in(
                    vectors_at(given, chosen), [f"document {one.id!r}" for one in fresh]
                )
            self.store.append(fresh, vectors, replaced, also, notes, spans)
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
                raise already_exists(document)
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
        every = {
            row: passages.expanded(np.array([row], dtype=np.int64)).tolist() if row in cut else [row]
            for row in same.values()
        }
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

    def _notes(
        self, documents: Sequence[Document], stored: Mapping[int, Document], detected: Sequence[bool]
    ) -> list[Note | None]:
        """Return what the encoder does not read of documents; those of a text that was stored before are kept."""
        rows = {(old.id, old.text, old.language): row for row, old in stored.items()}
        before = [rows.get((one.id, one.text, one.language)) for one in documents]
        known = notes_on(self.store.records, [row for row in before if row is not None]) if rows else {}
        places = [place for place, row in enumerate(before) if row is None]
        some = [documents[place] for place in places]
        found = notes_of(self.encoder(), some, [detected[place] for place in places]) if some else []
        notes = [None if row is None else known.get(row) for row in before]
        for place, note in zip(places, found, strict=True):
            notes[place] = note
        return notes

    def _encode(self, documents: Sequence[Document]) -> Joined:
        return _prepared(self.vectors_of(documents), self.encoder(), self.store.space, documents)

    def vectors_of(self, documents: Sequence[Document]) -> Vectors:
        """Return what the encoder gives for documents or passages."""
        pairs = [(one.text, one.language) for one in documents]
        unknown = [pair for pair in pairs if pair not in self.known]
        given: Vectors = []
        if unknown:
            texts, languages = [text for text, _ in unknown], [language for _, language in unknown]
            given = self.encoder().encode_document(texts, language=languages)
        if len(unknown) == len(pairs):
            return given
        every: dict[tuple[str, str | None], Any] = {**self.known, **dict(zip(unknown, given, strict=True))}
        vectors: list[NDArray[np.float32]] = [every[pair] for pair in pairs]
        return np.stack(vectors) if self.store.manifest.similarity == "cosine" else vectors


def already_exists(document: Document) -> AlreadyExists:
    """Return the error of a document whose id is stored already, or occurs twice."""
    where = f"{document.origin}: " if document.origin else ""
    return AlreadyExists(
        f"{where}the id {document.id!r} is in the index already, or twice in what is added; give the "
        "document another id, skip what is stored (`skip_existing=True`), or replace it (`Index.update`)"
    )


def checked_vectors(vectors: Vectors, space: AnySpace, encoder: Callable[[], AnyEncoder]) -> Vectors:
    """Check document vectors that were made elsewhere, and return them in the form that an index stores.

    Parameters
    ----------
    vectors
        The vectors.
    space
        The space of the index.
    encoder
        Returns its encoder; called only if the vectors have more dimensions than the index keeps.

    Raises
    ------
    InputError
        If they do not have the dimensions of the index or of its encoder.
    """
    found, kept = space.check_vectors(vectors), space.manifest.dims
    dims = (found.values if isinstance(found, Ragged) else np.asarray(found)).shape[1]
    # The dimensions of an encoder that mlret does not run are unknown once the index is reopened, except those kept.
    if dims == kept or isinstance(model := encoder(), ExternalEncoder) or dims == model.dims:
        return found
    raise InputError(
        f"the vectors have {counted(dims, 'dimension')}; {model.name} gives {model.dims}, of which the index "
        f"keeps the first {kept}"
    )


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


def some_of(vectors: Vectors, start: int, end: int) -> Vectors:
    """Return the vectors of consecutive documents; of a memory map only these are read."""
    return vectors[start:end] if isinstance(vectors, np.ndarray) else [vectors[place] for place in range(start, end)]


def vectors_at(vectors: Vectors, places: list[int]) -> Vectors:
    """Return the vectors of documents at some places."""
    return vectors[places] if isinstance(vectors, np.ndarray) else [vectors[place] for place in places]


def _first_not_finite(vectors: Vectors) -> int | None:
    """Return the position of the first document that has a value that is not finite, or ``None``."""
    if isinstance(vectors, np.ndarray) and np.isfinite(vectors).all():
        return None
    return next((place for place, one in enumerate(vectors) if not np.isfinite(one).all()), None)
