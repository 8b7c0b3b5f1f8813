"""A vector store for LangChain over an index."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from mlret.data.documents import Document as Record
from mlret.encoders.texts import checked_texts
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError, MissingExtraError, NotFound
from mlret.index.filtering.filters import Where
from mlret.index.hits import Hit
from mlret.index.index import Index
from mlret.index.queries import check_ids, check_queries
from mlret.index.search import Mode
from mlret.index.settings import IndexSettings
from mlret.integrations.langchain.conversion import (
    ArgumentError,
    is_blank,
    text_of,
    to_langchain,
    to_matrix,
    to_record,
    to_where,
)
from mlret.integrations.langchain.embeddings import MlretEmbeddings
from mlret.integrations.langchain.store_opening import opened

_EVERYTHING: Where = {"text": {"$exists": True}}


class MlretVectorStore(VectorStore):
    """A vector store over the folder of an :class:`mlret.Index`, which keeps everything that is added.

    Documents come back with the ids, texts and metadata with which they were added. A document whose id is stored
    already replaces the stored one. If the metadata has a language code under ``lang`` or ``language``, that is the
    document's language; else it is detected. Metadata must be JSON. A document without text is found by its id and by
    filters; its own encoder's vector is zero, so that it ranks behind everything that is similar to the query.

    Several threads and tasks may use one store. It shows what other processes have written since after
    ``store.index.refresh()``.

    Parameters
    ----------
    index
        An open index, or its folder, which is created if there is none. It may also have been built by
        ``mlret index build``.
    embedding
        What turns texts into vectors. By default, and with :class:`MlretEmbeddings`, mlret does so itself: with the
        encoder of the index, the bundled one in a new index. With the ``Embeddings`` of others a new index records
        their class and model, and a folder opens only with the same. An open index of external vectors is taken as it
        is: that they were made with the same model is then up to the caller.
    settings
        The settings of the index: ``IndexSettings(lexical=True)`` for hybrid search. A stored index must have the same.
    show_language
        Whether the documents that are found have the language that mlret stores with each of them, given or detected,
        in their metadata under ``language``, and filters refer to that. By default the metadata is exactly what was
        added, and documents that were not added by LangChain show no language.

    Raises
    ------
    InputError
        If the index and the embeddings or the settings do not belong together.

    Examples
    --------
    >>> store = MlretVectorStore("news.index", settings=IndexSettings(lexical=True))
    >>> store.add_texts(["Treni imechelewa.", "駅前に図書館がある。"], [{"year": 2024}, {"year": 2025}], ids=["a", "b"])
    ['a', 'b']
    >>> store.similarity_search("a place to read books", k=1, filter={"year": {"$gte": 2025}})
    [Document(id='b', metadata={'year': 2025}, page_content='駅前に図書館がある。')]
    """

    def __init__(
        self,
        index: Index | str | Path,
        embedding: Embeddings | None = None,
        *,
        settings: IndexSettings | None = None,
        show_language: bool = False,
    ) -> None:
        own = embedding if isinstance(embedding, MlretEmbeddings) else None
        self._foreign = None if own is embedding else embedding
        self._show_language = show_language
        # A writer waits for those of other processes for some seconds only, but for those of this store until its turn.
        self._writing = threading.Lock()
        self.index = opened(index, own, self._foreign, settings)

    @property
    def embeddings(self) -> Embeddings | None:
        """What turns queries into vectors; ``None`` for a vector for each token, or without the index's encoder."""
        if self._foreign is not None:
            return self._foreign
        try:
            encoder = self.index.encoder
        except (InputError, MissingExtraError):  # It cannot be loaded here, but words can still be searched for.
            return None
        if isinstance(encoder, TokenEncoder):
            return None
        return MlretEmbeddings(encoder, dims=self.index.manifest.dims)

    # The signatures below name the options, so that an unknown one is an error.

    def add_texts(  # type: ignore[override]
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int = 256,
    ) -> list[str]:
        texts = checked_texts(texts)
        given = list(metadatas or ()) or [{} for _ in texts]
        if len(given) != len(texts):
            raise ArgumentError(f"{len(texts)} texts but {len(given)} metadatas; give one for each text")
        documents = [Document(text, metadata=metadata) for text, metadata in zip(texts, given, strict=True)]
        return self.add_documents(documents, ids=ids, batch_size=batch_size)

    def add_documents(  # type: ignore[override]
        self,
        documents: Iterable[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int = 256,
    ) -> list[str]:
        documents = list(documents)
        if wrong := [one for one in documents if not isinstance(one, Document)]:
            raise InputError(f"give a list of LangChain's documents, not of {type(wrong[0]).__name__}")
        names = list(ids or ()) or [document.id for document in documents]
        if len(names) != len(documents):
            raise ArgumentError(f"{len(documents)} documents but {len(names)} ids; give one for each document")
        given = [to_record(one, name or str(uuid4())) for one, name in zip(documents, names, strict=True)]
        # As in Index.update, the later of two documents with one id counts.
        self._store(list({record.id: record for record in given}.values()), batch_size)
        return [record.id for record in given]

    def _store(self, records: Sequence[Record], batch_size: int) -> None:
        if not records:
            return
        if self._foreign is not None:
            vectors = to_matrix(self._foreign.embed_documents([text_of(record) for record in records]))
            with self._writing:
                self.index.update(records, vectors=vectors, batch_size=batch_size)
            return
        blank = [record for record in records if is_blank(record)]
        with self._writing:
            self.index.update((one for one in records if not is_blank(one)), batch_size=batch_size)
            if blank:
                manifest = self.index.manifest
                cosine = manifest.similarity == "cosine"
                zeros = np.zeros((len(blank), int(cosine), manifest.dims), dtype=np.float32)
                self.index.update(blank, vectors=zeros[:, 0] if cosine else list(zeros), batch_size=batch_size)

    def delete(  # type: ignore[override]
        self, ids: Sequence[str] | None = None, *, filter: Where | None = None
    ) -> bool:
        """Delete the documents with these ids, or all that match a filter; with neither, all documents."""
        if ids is not None and filter is not None:
            raise InputError("give ids or a filter to delete, not both")
        if ids is not None:
            self.deleted(ids)
        else:
            with self._writing:
                self.index.delete(where=_EVERYTHING if filter is None else self._where(filter))
        return True

    def deleted(self, ids: Sequence[str]) -> list[str]:
        """Delete documents, and return the ids of those that were stored."""
        ids = _listed(ids)
        with self._writing:
            if found := [id for id in ids if id in self.index]:
                self.index.delete(found, ignore_missing=True)
        return found

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        return [self._document(record) for id in _listed(ids) if (record := self.index.get(id)) is not None]

    def search(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        return super().search(query, **_with_search_type(search_type, kwargs))

    async def asearch(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        return await super().asearch(query, **_with_search_type(search_type, kwargs))

    def as_retriever(self, **kwargs: Any) -> VectorStoreRetriever:
        """Return a retriever; ``search_type`` may also be ``"dense"``, ``"lexical"`` or ``"hybrid"``."""
        if (search_type := kwargs.get("search_type")) in get_args(Mode):
            options = {**kwargs.get("search_kwargs", {}), "mode": search_type}
            kwargs = {**kwargs, "search_type": "similarity", "search_kwargs": options}
        return super().as_retriever(**kwargs)

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Where | None = None,
        mode: Mode | None = None,
        language: str | None = None,
    ) -> list[tuple[Document, float]]:
        """Return the documents that are most similar to a query, with the scores of the mode; higher is better.

        Parameters
        ----------
        query
            A text in any language.
        k
            The number of documents.
        filter
            What the metadata must have, as in :meth:`mlret.Index.search_batch`: ``{"year": {"$gte": 2020}}``.
        mode
            ``"dense"`` (cosines), ``"lexical"`` (BM25) or ``"hybrid"`` (values from 0 to 1); by default hybrid if the
            index has a lexical channel, else dense.
        language
            The language code of the query; detected if it is needed.
        """
        return [(self._document(hit), hit.score) for hit in self._hits(query, k, filter, mode, language)]

    def _hits(
        self,
        query: str,
        k: int,
        filter: Where | None = None,
        mode: Mode | None = None,
        language: str | None = None,
    ) -> list[Hit]:
        where = self._where(filter)
        if self._foreign is None or mode == "lexical":
            return self.index.search(query, k, language=language, where=where, mode=mode)
        check_queries([query], language)  # before others are asked for a vector, which may cost money
        vectors = to_matrix([self._foreign.embed_query(query)])
        return self.index.search_batch([query], k, language=language, vectors=vectors, where=where, mode=mode)[0]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return relevance scores: the cosines of a dense search, 0 if negative, and the scores of a hybrid one."""
        hits = self._hits(query, k, **kwargs)
        for hit in hits:
            if hit.kind not in ("cosine", "fused"):
                raise InputError(
                    f"scores of the kind {hit.kind} have no largest value, so they are no relevance between 0 and 1; "
                    'search with mode="hybrid", or without relevance scores'
                )
        return [(self._document(hit), max(0.0, hit.score)) for hit in hits]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        return await run_in_executor(None, self._similarity_search_with_relevance_scores, query, k, **kwargs)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        return [document for document, _ in self.similarity_search_with_score_by_vector(embedding, k, **kwargs)]

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, *, filter: Where | None = None
    ) -> list[tuple[Document, float]]:
        [hits] = self.index.search_vectors(to_matrix([embedding]), k, where=self._where(filter))
        return [(self._document(hit), hit.score) for hit in hits]

    def max_marginal_relevance_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Where | None = None,
        language: str | None = None,
    ) -> list[Document]:
        check_queries([query], language)
        if self._foreign is not None:
            vector = self._foreign.embed_query(query)
        else:
            vector = self.index.encode_queries([query], language=language)[0].tolist()
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, filter=filter)

    def max_marginal_relevance_search_by_vector(  # type: ignore[override]
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Where | None = None,
    ) -> list[Document]:
        if self.index.manifest.similarity != "cosine":
            raise InputError(
                f"{self.index.path} has a vector for each token; maximal marginal relevance compares texts"
            )
        query, where = to_matrix([embedding]), self._where(filter)
        if not query.any():
            raise InputError("the query vector is zero, so no document is more relevant than another; give another one")
        while True:
            [hits] = self.index.search_vectors(query, fetch_k, where=where)
            try:
                vectors = np.asarray(self.index.vectors([hit.id for hit in hits]))
                break
            except NotFound:  # Another thread has deleted one of them meanwhile.
                continue
        # Zero vectors, such as those of blank texts, have no similarity to choose them by.
        known = np.flatnonzero(vectors.any(axis=1))
        chosen = maximal_marginal_relevance(query[0], list(vectors[known]), lambda_mult, k)
        return [self._document(hits[known[place]]) for place in chosen]

    @classmethod
    def from_texts(  # type: ignore[override]
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        index: Index | str | Path,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> MlretVectorStore:
        """Return a store over ``index``, as for the class, after adding texts to it."""
        store = cls(index, embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Iterable[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> MlretVectorStore:
        return await run_in_executor(None, cls.from_texts, texts, embedding, metadatas, **kwargs)

    @classmethod
    def from_documents(  # type: ignore[override]
        cls,
        documents: Iterable[Document],
        embedding: Embeddings | None = None,
        *,
        index: Index | str | Path,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> MlretVectorStore:
        """Return a store over ``index``, as for the class, after adding documents to it."""
        store = cls(index, embedding, **kwargs)
        store.add_documents(documents, ids=ids)
        return store

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | None = None, **kwargs: Any
    ) -> MlretVectorStore:
        return await run_in_executor(None, cls.from_documents, documents, embedding, **kwargs)

    def _document(self, found: Record | Hit) -> Document:
        return to_langchain(found, show_language=self._show_language)

    def _where(self, filter: Any) -> Where | None:
        return to_where(filter, show_language=self._show_language)


def _listed(ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str):
        raise InputError(f"the ids are one string, {ids!r}; write a list of them")
    return check_ids(ids)


def _with_search_type(search_type: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a search by a type, which may be one of mlret's modes."""
    if search_type in get_args(Mode):
        return {**options, "search_type": "similarity", "mode": search_type}
    return {**options, "search_type": search_type}
