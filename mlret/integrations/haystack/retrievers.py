"""Retrievers of Haystack that search an :class:`.MlretDocumentStore`."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from haystack import component, default_from_dict, default_to_dict
from haystack.dataclasses import Document
from haystack.document_stores.types import FilterPolicy, apply_filter_policy

from mlret.integrations.haystack.document_store import MlretDocumentStore

Filters = dict[str, Any]


class _Retriever:
    """What the retrievers have in common.

    Parameters
    ----------
    document_store
        The store to search.
    filters
        Filters as for :meth:`.MlretDocumentStore.filter_documents`.
    top_k
        The most documents to return.
    return_embedding
        Whether the documents come with their embeddings.
    filter_policy
        Whether filters that are given at run time replace ``filters`` or are merged with them.

    Raises
    ------
    TypeError
        If ``document_store`` is another store.
    ValueError
        If ``top_k`` is not positive.
    """

    def __init__(
        self,
        document_store: MlretDocumentStore,
        filters: Filters | None = None,
        top_k: int = 10,
        return_embedding: bool = False,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        if not isinstance(document_store, MlretDocumentStore):
            raise TypeError(f"document_store is a MlretDocumentStore, not {type(document_store).__name__}")
        if top_k <= 0:
            raise ValueError(f"top_k is {top_k}; it must be at least 1")
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.return_embedding = return_embedding
        self.filter_policy = filter_policy

    def to_dict(self) -> dict[str, Any]:
        """Return the retriever for a serialised pipeline."""
        return default_to_dict(
            self,
            document_store=self.document_store,
            filters=self.filters,
            top_k=self.top_k,
            return_embedding=self.return_embedding,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the retriever that :meth:`to_dict` described.

        Parameters
        ----------
        data
            What :meth:`to_dict` returned; it is not changed.
        """
        given = dict(data.get("init_parameters", {}))
        if isinstance(policy := given.get("filter_policy"), str):
            given["filter_policy"] = FilterPolicy.from_str(policy)
        return default_from_dict(cls, {**data, "init_parameters": given})

    def warm_up(self) -> None:
        """Open the index of the store."""
        _ = self.document_store.index

    def close(self) -> None:
        """Close the store; see :meth:`.MlretDocumentStore.close`."""
        self.document_store.close()

    def _options(self, filters: Filters | None, top_k: int | None) -> dict[str, Any]:
        return {
            "filters": apply_filter_policy(self.filter_policy, self.filters, filters),
            "top_k": self.top_k if top_k is None else top_k,
            "return_embedding": self.return_embedding,
        }


@component
class MlretEmbeddingRetriever(_Retriever):
    """Find the documents whose embeddings are nearest to that of a query.

    Parameters
    ----------
    document_store
        The store to search.
    filters
        Filters as for :meth:`.MlretDocumentStore.filter_documents`.
    top_k
        The most documents to return.
    return_embedding
        Whether the documents come with their embeddings.
    filter_policy
        Whether filters that are given at run time replace ``filters`` or are merged with them.

    Examples
    --------
    >>> from haystack import Document
    >>> from mlret.integrations.haystack import MlretDocumentStore, MlretEmbeddingRetriever, MlretTextEmbedder
    >>> store = MlretDocumentStore("embedding.index")
    >>> store.write_documents([Document(content="Bei ya mahindi imepanda."), Document(content="Der Zug ist spät.")])
    2
    >>> query = MlretTextEmbedder().run("the train is late")["embedding"]
    >>> [found.content for found in MlretEmbeddingRetriever(store, top_k=1).run(query)["documents"]]
    ['Der Zug ist spät.']
    >>> store.close()
    """

    @component.output_types(documents=list[Document])
    def run(
        self, query_embedding: list[float], filters: Filters | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Return the nearest documents under ``documents``, best first; their scores are cosines.

        Parameters
        ----------
        query_embedding
            The embedding of the query, made by the model that made those of the documents.
        filters, top_k
            By default those of the retriever.
        """
        options = self._options(filters, top_k)
        return {"documents": self.document_store.embedding_retrieval(query_embedding, **options)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query_embedding: list[float], filters: Filters | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Run :meth:`run` in a thread.

        Parameters
        ----------
        query_embedding, filters, top_k
            As for :meth:`run`.
        """
        return await asyncio.to_thread(self.run, query_embedding, filters, top_k)


@component
class MlretLexicalRetriever(_Retriever):
    """Find the documents that share most characters with a query: names, numbers, codes, in any script.

    Parameters
    ----------
    document_store
        The store to search, with a lexical channel.
    filters
        Filters as for :meth:`.MlretDocumentStore.filter_documents`.
    top_k
        The most documents to return.
    return_embedding
        Whether the documents come with their embeddings.
    filter_policy
        Whether filters that are given at run time replace ``filters`` or are merged with them.

    Examples
    --------
    >>> from haystack import Document
    >>> from mlret.integrations.haystack import MlretDocumentStore, MlretLexicalRetriever
    >>> store = MlretDocumentStore("lexical.index")
    >>> store.write_documents([Document(content="Printer LX-4410 jams."), Document(content="LX-4470 is offline.")])
    2
    >>> [found.content for found in MlretLexicalRetriever(store, top_k=1).run("LX-4470")["documents"]]
    ['LX-4470 is offline.']
    >>> store.close()
    """

    @component.output_types(documents=list[Document])
    def run(self, query: str, filters: Filters | None = None, top_k: int | None = None) -> dict[str, list[Document]]:
        """Return the best documents under ``documents``, best first; their scores are BM25 over character n-grams.

        Parameters
        ----------
        query
            A text.
        filters, top_k
            By default those of the retriever.
        """
        return {"documents": self.document_store.lexical_retrieval(query, **self._options(filters, top_k))}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: Filters | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Run :meth:`run` in a thread.

        Parameters
        ----------
        query, filters, top_k
            As for :meth:`run`.
        """
        return await asyncio.to_thread(self.run, query, filters, top_k)


@component
class MlretHybridRetriever(_Retriever):
    """Find documents by meaning and by characters, so that no second retriever and no joiner is needed.

    Parameters
    ----------
    document_store
        The store to search, with a lexical channel.
    filters
        Filters as for :meth:`.MlretDocumentStore.filter_documents`.
    top_k
        The most documents to return.
    return_embedding
        Whether the documents come with their embeddings.
    filter_policy
        Whether filters that are given at run time replace ``filters`` or are merged with them.

    Examples
    --------
    >>> from haystack import Document
    >>> from mlret.integrations.haystack import MlretDocumentStore, MlretHybridRetriever
    >>> store = MlretDocumentStore("both.index")
    >>> store.write_documents([Document(content="LX-4470 ist offline."), Document(content="La pantalla parpadea.")])
    2
    >>> [found.content for found in MlretHybridRetriever(store, top_k=1).run("the printer LX-4470")["documents"]]
    ['LX-4470 ist offline.']
    >>> store.close()
    """

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: Filters | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Document]]:
        """Return the best documents under ``documents``, best first; their scores are between 0 and 1.

        Parameters
        ----------
        query
            A text in any language.
        query_embedding
            The embedding of the query. It may be left out if the store encodes documents itself.
        filters, top_k
            By default those of the retriever.
        """
        options = self._options(filters, top_k)
        return {"documents": self.document_store.hybrid_retrieval(query, query_embedding, **options)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: Filters | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Document]]:
        """Run :meth:`run` in a thread.

        Parameters
        ----------
        query, query_embedding, filters, top_k
            As for :meth:`run`.
        """
        return await asyncio.to_thread(self.run, query, query_embedding, filters, top_k)
