"""A document store of Haystack over an index of mlret."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from haystack import default_from_dict, default_to_dict
from haystack.dataclasses import Document as HaystackDocument
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.index.filtering.filters import All, Condition
from mlret.index.index import Index
from mlret.index.ingest import Intake
from mlret.index.store import compaction
from mlret.index.store.store import Store
from mlret.integrations.haystack.filter_translation import to_condition
from mlret.integrations.haystack.metadata_fields import (
    distinct_values,
    field_name,
    field_types,
    smallest_and_largest,
)
from mlret.integrations.haystack.opening import encoder_in, name_of, one_vector_each, open_or_create
from mlret.integrations.haystack.searching import Wanted, search
from mlret.integrations.haystack.stored_documents import EMBEDDING, from_document, shown
from mlret.integrations.haystack.threads import in_thread
from mlret.integrations.haystack.writing import Writer
from mlret.integrations.stored_metadata import from_stored, to_stored

Filters = dict[str, Any]

_BATCH = 256
_EVERYTHING = All(())


class MlretDocumentStore:
    """A document store of Haystack whose documents are in the folder of an mlret index.

    The store encodes the content of documents itself, unless they carry embeddings. With ``embedding_dims`` it encodes
    nothing: documents carry the embeddings of another model, and those without are stored, too, and found by filters
    and lexical search.

    Several stores, in one process or in several, may use one folder: each call sees what was written before it.

    Parameters
    ----------
    index
        The folder of the index, which is created when it is first needed; or an open index.
    encoder
        The encoder, its folder or its hub id; by default the one that the index has, or the bundled one. With
        ``embedding_dims``, any name for the model that makes the embeddings, so that those of different models are
        never mixed.
    embedding_dims
        The number of dimensions of the embeddings that documents carry, if mlret does not encode them.
    lexical
        Whether a new index gets a lexical channel, which :class:`.MlretLexicalRetriever` and
        :class:`.MlretHybridRetriever` need.

    Examples
    --------
    >>> from haystack import Document
    >>> from mlret.integrations.haystack import MlretDocumentStore
    >>> store = MlretDocumentStore("haystack.index")
    >>> store.write_documents([Document(content="Bei ya mahindi imepanda sokoni.", meta={"year": 2025})])
    1
    >>> [found.content for found in store.filter_documents({"field": "meta.year", "operator": ">", "value": 2024})]
    ['Bei ya mahindi imepanda sokoni.']
    >>> store.close()
    """

    def __init__(
        self,
        index: str | Path | Index,
        encoder: AnyEncoder | str | Path | None = None,
        *,
        embedding_dims: int | None = None,
        lexical: bool = True,
    ) -> None:
        if isinstance(index, Index) and (encoder is not None or embedding_dims is not None):
            raise InputError("an open index has its encoder; leave out encoder and embedding_dims")
        if not isinstance(index, str | Path | Index):
            raise InputError(f"index is the folder of an index or an open Index, not {type(index).__name__}")
        self._given = one_vector_each(index) if isinstance(index, Index) else None
        self._path = index.path if isinstance(index, Index) else Path(index)
        self._encoder, self._embedding_dims, self._lexical = encoder, embedding_dims, lexical
        self._open: Index | None = self._given
        self._opening = threading.Lock()

    @property
    def index(self) -> Index:
        """The open index, which is opened or created when it is first needed."""
        with self._opening:
            if self._open is None:
                self._open = open_or_create(self._path, self._encoder, self._embedding_dims, self._lexical)
            return self._open

    def close(self) -> None:
        """Close the index, unless it was given open. The next call opens it again."""
        with self._opening:
            if self._open is not None and self._given is None:
                self._open.close()
                self._open = None

    def to_dict(self) -> dict[str, Any]:
        """Return the store for a serialised pipeline: the folder and the encoder, not the documents."""
        name = name_of(self._encoder, self._embedding_dims) if self._given is None else encoder_in(self._given)
        lexical = self._lexical if self._given is None else self._given.manifest.settings.lexical
        return default_to_dict(
            self, index=str(self._path), encoder=name.name, embedding_dims=name.embedding_dims, lexical=lexical
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MlretDocumentStore:
        """Return the store that :meth:`to_dict` described.

        Parameters
        ----------
        data
            What :meth:`to_dict` returned.
        """
        return default_from_dict(cls, data)

    def count_documents(self) -> int:
        """Return the number of documents."""
        return len(self._fresh())

    def count_documents_by_filter(self, filters: Filters) -> int:
        """Return the number of documents that match filters.

        Parameters
        ----------
        filters
            As for :meth:`filter_documents`.
        """
        condition = to_condition(filters)
        return len(self._fresh()) if condition is None else len(self._fresh().matching(condition))

    def filter_documents(self, filters: Filters | None = None) -> list[HaystackDocument]:
        """Return the documents that match filters, with their embeddings, in the order in which they were written.

        Parameters
        ----------
        filters
            Filters as Haystack documents them; ``None`` or an empty dict for all documents. Every comparison is with
            the whole value of a field; in particular a list equals a list, not its elements. A path through objects
            has dots: ``meta.author.born``. A string that is an ISO 8601 date is compared as a date.

        Returns
        -------
        list of haystack.Document
            The documents, as they were written.

        Raises
        ------
        haystack.errors.FilterError
            If the filters are malformed or cannot be evaluated: for instance an order against a list, or against a
            string that is no ISO 8601 date.
        """
        condition = to_condition(filters)
        found: list[HaystackDocument] = []
        store = self._fresh()
        for documents in self._batches(store, condition):
            vectors = _own_vectors(store, documents)
            found += [from_document(one.id, one.text, one.metadata, vectors.get(row)) for row, one in documents.items()]
        return found

    def write_documents(self, documents: list[HaystackDocument], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Store documents.

        All documents are checked before the first is stored.

        Parameters
        ----------
        documents
            The documents, which are not changed. The language of each is that of its metadata (``lang`` or
            ``language``) or is detected.
        policy
            What to do with a document whose id is stored already: ``FAIL`` (and ``NONE``) raises before anything is
            stored, ``SKIP`` leaves the stored one, ``OVERWRITE`` replaces it.

        Returns
        -------
        int
            The number of documents that were written.

        Raises
        ------
        ValueError
            If ``documents`` is no list of documents.
        haystack.document_stores.errors.DuplicateDocumentError
            If an id is stored already, or given twice, and the policy is ``FAIL`` or ``NONE``.
        mlret.errors.InputError
            If a document cannot be stored: its metadata is not JSON, or its embedding has other dimensions.
        """
        documents = _checked(documents)
        writer = Writer(self.index)
        checked = writer.checked(documents)
        failing = policy in (DuplicatePolicy.NONE, DuplicatePolicy.FAIL)
        store = self.index.store
        with store.writing():
            if failing and (known := _repeated([one.id for one in documents], store)) is not None:
                raise DuplicateDocumentError(f"the id {known!r} is stored already, or given twice; nothing was written")
            written = writer.write(checked, replacing=policy is DuplicatePolicy.OVERWRITE)
        return written if policy is DuplicatePolicy.SKIP else len(documents)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents; ids that are not stored are skipped.

        Parameters
        ----------
        document_ids
            The ids.
        """
        if ids := list(document_ids):
            self.index.delete(ids, ignore_missing=True)

    def delete_all_documents(self, recreate_index: bool = False) -> None:
        """Delete all documents.

        Parameters
        ----------
        recreate_index
            Also remove from disk what was deleted. Otherwise a later compaction does that.
        """
        self._delete(_EVERYTHING)
        if recreate_index:
            self.index.compact()

    def delete_by_filter(self, filters: Filters) -> int:
        """Delete the documents that match filters, and return how many there were.

        Parameters
        ----------
        filters
            As for :meth:`filter_documents`. Empty filters are refused, so that no mistake deletes everything.
        """
        return self._delete(_required(filters))

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Merge metadata into that of the documents that match filters, and return how many there were.

        Parameters
        ----------
        filters
            As for :meth:`filter_documents`; not empty.
        meta
            Values by name. Other values of the documents stay as they are.
        """
        condition, changes = _required(filters), to_stored(meta)
        store = self.index.store
        # Neither texts nor languages change, so that vectors are kept and nothing is encoded.
        intake = Intake(store, lambda: self.index.encoder, "replace")
        with store.writing():
            rows = store.matching(condition).tolist()
            batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
            for batch in batches:
                intake.store_batch(
                    [
                        Document(one.id, one.text, one.language, one.metadata | changes)
                        for one in store.records.fetch(batch).values()
                    ]
                )
                compaction.maintain(store, more=batch is not batches[-1])
        return len(rows)

    def count_unique_metadata_by_filter(self, filters: Filters, metadata_fields: list[str]) -> dict[str, int]:
        """Return how many different values fields have among the documents that match filters.

        Parameters
        ----------
        filters
            As for :meth:`filter_documents`.
        metadata_fields
            The names of the fields, with or without ``meta.``.
        """
        some = list(self._metadata(filters))
        return {field_name(field): len(distinct_values(some, field)) for field in metadata_fields}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return the type of each metadata field: ``keyword``, ``int``, ``float`` or ``boolean``."""
        return field_types(self._metadata(None))

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return the smallest and the largest value of a field; ``None`` for both if it has no comparable values.

        Parameters
        ----------
        metadata_field
            The name of the field, with or without ``meta.``.
        """
        return smallest_and_largest(self._metadata(None), metadata_field)

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Return a page of the different values of a field, and how many there are in all.

        Parameters
        ----------
        metadata_field
            The name of the field, with or without ``meta.``.
        search_term
            Only values that contain this, regardless of case.
        from_
            The number of values to skip.
        size
            The most values to return.
        filters
            As for :meth:`filter_documents`.
        """
        values = distinct_values(self._metadata(filters), metadata_field)
        if search_term:
            values = [value for value in values if search_term.lower() in str(value).lower()]
        return values[from_ : from_ + size], len(values)

    def embedding_retrieval(
        self,
        query_embedding: Sequence[float],
        filters: Filters | None = None,
        top_k: int = 10,
        return_embedding: bool = False,
    ) -> list[HaystackDocument]:
        """Return the documents whose embeddings are nearest to that of a query; their scores are cosines.

        Documents without an embedding are not found.

        Parameters
        ----------
        query_embedding
            The embedding of the query.
        filters
            As for :meth:`filter_documents`.
        top_k
            The most documents to return.
        return_embedding
            Whether the documents come with their embeddings.
        """
        return search(self.index, "dense", Wanted("", query_embedding, to_condition(filters), top_k, return_embedding))

    def lexical_retrieval(
        self, query: str, filters: Filters | None = None, top_k: int = 10, return_embedding: bool = False
    ) -> list[HaystackDocument]:
        """Return the documents that share most characters with a query; their scores are BM25 over n-grams.

        Parameters
        ----------
        query
            A text.
        filters, top_k, return_embedding
            As for :meth:`embedding_retrieval`.
        """
        return search(self.index, "lexical", Wanted(query, None, to_condition(filters), top_k, return_embedding))

    def hybrid_retrieval(
        self,
        query: str,
        query_embedding: Sequence[float] | None = None,
        filters: Filters | None = None,
        top_k: int = 10,
        return_embedding: bool = False,
    ) -> list[HaystackDocument]:
        """Return the best documents by meaning and by characters; their scores are between 0 and 1.

        Parameters
        ----------
        query
            A text in any language.
        query_embedding
            The embedding of the query; by default the store encodes the text.
        filters, top_k, return_embedding
            As for :meth:`embedding_retrieval`.
        """
        return search(
            self.index, "hybrid", Wanted(query, query_embedding, to_condition(filters), top_k, return_embedding)
        )

    def _fresh(self) -> Store:
        """Return the store of the index, which shows what was written until now."""
        store = self.index.store
        store.refresh()
        return store

    def _batches(self, store: Store, condition: Condition | None) -> Iterator[dict[int, Document]]:
        if condition is None:
            yield from (dict(batch) for batch in store.records.stream(batch_size=_BATCH))
            return
        rows = store.matching(condition).tolist()
        for start in range(0, len(rows), _BATCH):
            documents = store.records.fetch(rows[start : start + _BATCH])
            yield dict(sorted(documents.items()))

    def _metadata(self, filters: Filters | None) -> Iterator[dict[str, Any]]:
        for documents in self._batches(self._fresh(), to_condition(filters)):
            yield from (from_stored(shown(one.metadata)) for one in documents.values())

    def _delete(self, condition: Condition) -> int:
        store = self.index.store
        with store.writing():
            rows = store.matching(condition).tolist()
            if rows:
                store.remove(rows)
                compaction.maintain(store)
        return len(rows)

    count_documents_async = in_thread(count_documents)
    count_documents_by_filter_async = in_thread(count_documents_by_filter)
    filter_documents_async = in_thread(filter_documents)
    write_documents_async = in_thread(write_documents)
    delete_documents_async = in_thread(delete_documents)
    delete_all_documents_async = in_thread(delete_all_documents)
    delete_by_filter_async = in_thread(delete_by_filter)
    update_by_filter_async = in_thread(update_by_filter)
    count_unique_metadata_by_filter_async = in_thread(count_unique_metadata_by_filter)
    get_metadata_fields_info_async = in_thread(get_metadata_fields_info)
    get_metadata_field_min_max_async = in_thread(get_metadata_field_min_max)
    get_metadata_field_unique_values_async = in_thread(get_metadata_field_unique_values)
    embedding_retrieval_async = in_thread(embedding_retrieval)
    lexical_retrieval_async = in_thread(lexical_retrieval)
    hybrid_retrieval_async = in_thread(hybrid_retrieval)


def _checked(documents: object) -> list[HaystackDocument]:
    if not isinstance(documents, Iterable) or isinstance(documents, str | bytes):
        raise ValueError(f"give a list of haystack.Document, not {type(documents).__name__}")
    found = list(documents)
    for one in found:
        if not isinstance(one, HaystackDocument):
            raise ValueError(f"give a list of haystack.Document; it holds {type(one).__name__}")
    return found


def _repeated(ids: Sequence[str], store: Store) -> str | None:
    """Return the first id that is stored already or comes twice; ``None`` if there is none."""
    seen = set(store.records.rows_of(ids))
    for id in ids:
        if id in seen:
            return id
        seen.add(id)
    return None


def _own_vectors(store: Store, documents: dict[int, Document]) -> dict[int, NDArray[Any]]:
    """Return the stored vectors of those documents of which they are the embeddings, by row number."""
    return store.vectors_of([row for row, one in documents.items() if one.metadata.get(EMBEDDING) is True])


def _required(filters: Filters) -> Condition:
    condition = to_condition(filters)
    if condition is None:
        raise ValueError("the filters are empty; delete_all_documents deletes everything")
    return condition
