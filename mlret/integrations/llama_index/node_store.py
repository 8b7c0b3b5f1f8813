"""An index as a vector store of LlamaIndex."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.index.filtering.filters import read_filter
from mlret.index.fusion import in_unit
from mlret.index.hits import Hit
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.storage.manifest import has_manifest
from mlret.integrations.llama_index.diversity import marginally_relevant
from mlret.integrations.llama_index.node_filters import where_of
from mlret.integrations.llama_index.stored_nodes import SOURCE, to_document, to_node

# The fewest candidates among which a search chooses by marginal relevance, or with a weight of its own.
_CANDIDATES = 100
_CANDIDATES_PER_RESULT = 4


class MlretVectorStore(BasePydanticVectorStore):
    """A vector store of LlamaIndex that keeps nodes, with their texts, in the folder of an index.

    Every change is on disk when the call returns. Searches use what is in the folder when it was opened and what this
    store has changed since; ``client.refresh()`` loads what other processes have changed.

    Of the modes of a query there are ``default`` (by embedding), ``sparse`` (by words, BM25), ``hybrid`` (both) and
    ``mmr``; ``sparse`` and ``hybrid`` need an index that was created with ``IndexSettings(lexical=True)``. A hybrid
    query without ``alpha`` is ranked as :meth:`mlret.Index.search` ranks it. With ``alpha``, the score by embedding has
    this weight and the score by words the rest, where both apply; 1 is the same as ``default``, 0 as ``sparse``.

    Parameters
    ----------
    index
        An open index with one vector for each text, or the folder of one. Its encoder must be the one that the
        embeddings of the nodes come from.

    Raises
    ------
    InputError
        If there is no index in the folder, or the index has a vector for each token.

    Examples
    --------
    >>> from llama_index.core import Document, StorageContext, VectorStoreIndex
    >>> from mlret.integrations.llama_index import MlretEmbedding, MlretVectorStore
    >>> store = MlretVectorStore.from_params("nodes.index")
    >>> index = VectorStoreIndex.from_documents(
    ...     [Document(text="Der Zug nach Berlin hat Verspätung."), Document(text="Bei ya mahindi imepanda.")],
    ...     storage_context=StorageContext.from_defaults(vector_store=store),
    ...     embed_model=MlretEmbedding(),
    ... )
    >>> [found] = index.as_retriever(similarity_top_k=1).retrieve("When does the train arrive?")
    >>> found.text
    'Der Zug nach Berlin hat Verspätung.'
    """

    stores_text: bool = True
    folder: str
    _index: Index = PrivateAttr()

    def __init__(self, index: Index | str | Path) -> None:
        opened = index if isinstance(index, Index) else Index.open(index)
        if opened.manifest.similarity != "cosine":
            raise InputError(f"{opened.path} has a vector for each token; LlamaIndex takes one vector for each text")
        super().__init__(folder=str(opened.path))  # type: ignore[call-arg]
        self._index = opened

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder,)

    @classmethod
    def class_name(cls) -> str:
        """Name of the class in serialised form."""
        return "MlretVectorStore"

    @classmethod
    def from_params(
        cls,
        folder: str | Path,
        encoder: AnyEncoder | str | Path | None = None,
        settings: IndexSettings | None = None,
    ) -> MlretVectorStore:
        """Open the index in a folder, or create it if there is none.

        Parameters
        ----------
        folder
            The folder of the index.
        encoder
            The encoder of the index, as for :meth:`mlret.Index.create`; the bundled one by default. If another program
            makes the embeddings, an :class:`mlret.ExternalEncoder`, which states their name and dimensions.
        settings
            The settings of a new index; ``IndexSettings(lexical=True)`` for the modes ``sparse`` and ``hybrid``.

        Raises
        ------
        InputError
            If the folder holds something else, or an index of another encoder.
        """
        if has_manifest(Path(folder)):
            return cls(Index.open(folder, encoder))
        return cls(Index.create(folder, encoder, settings=settings))

    @classmethod
    def from_persist_path(cls, persist_path: str, fs: Any = None) -> MlretVectorStore:
        """Open the index in a folder.

        Parameters
        ----------
        persist_path
            The folder.
        fs
            Must be left out: an index is a folder of the local file system.
        """
        _check_local(fs)
        return cls(persist_path)

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> MlretVectorStore:
        """Open the index that :meth:`to_dict` named.

        Parameters
        ----------
        data
            What ``to_dict`` returned.
        **kwargs
            Values that replace those in ``data``.
        """
        return cls({**data, **kwargs}["folder"])

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Do nothing: all nodes are in the folder of the index already. Copy the folder to have them elsewhere.

        Parameters
        ----------
        persist_path, fs
            Ignored.
        """

    @property
    def client(self) -> Index:
        """The open index."""
        return self._index

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes, and replace the stored nodes that have the same ids.

        Parameters
        ----------
        nodes
            The nodes. The index's encoder embeds those without an embedding.
        **kwargs
            Ignored.

        Returns
        -------
        list of str
            The ids of the nodes.

        Raises
        ------
        InputError
            If an embedding has other dimensions than the index, or a node cannot be stored; then nothing is stored.
        """
        if nodes:
            documents = [to_document(node) for node in nodes]
            self._index.update(documents, vectors=self._embeddings(nodes))
        return [node.node_id for node in nodes]

    def _embeddings(self, nodes: Sequence[BaseNode]) -> NDArray[np.float32]:
        found: dict[int, Sequence[float] | NDArray[np.float32]] = {
            place: node.embedding for place, node in enumerate(nodes) if node.embedding is not None
        }
        if missing := [place for place in range(len(nodes)) if place not in found]:
            texts = [nodes[place].get_content(metadata_mode=MetadataMode.EMBED) for place in missing]
            found |= zip(missing, np.asarray(self._index.encoder.encode_document(texts)), strict=True)
        if len(lengths := {len(one) for one in found.values()}) > 1:
            raise InputError(f"the nodes have embeddings of {sorted(lengths)} dimensions; embed them with one model")
        return np.array([found[place] for place in range(len(nodes))], dtype=np.float32)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return stored nodes without their embeddings, in the order in which they were stored.

        Parameters
        ----------
        node_ids
            Only nodes with these ids; ids that are not stored are skipped.
        filters
            Only nodes that pass.
        """
        return [to_node(one.id, one.text, one.metadata) for one in self._documents(node_ids, filters)]

    def _documents(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> Iterable[Document]:
        store = self._index.store
        condition = read_filter(where_of(filters))
        if node_ids is None and condition is None:
            return self._index.documents()
        rows: NDArray[np.int64] | None = None if condition is None else store.matching(condition)
        if node_ids is not None:
            some = np.array(sorted(store.records.rows_of(node_ids).values()), dtype=np.int64)
            rows = some if rows is None else np.intersect1d(some, rows, assume_unique=True)
        assert rows is not None
        return store.records.fetch(rows.tolist()).values()

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes that come from a document.

        Parameters
        ----------
        ref_doc_id
            The id of the document. If no node comes from it, nothing is done.
        **delete_kwargs
            Ignored.
        """
        if ref_doc_id:
            self._index.delete(where={SOURCE: ref_doc_id})

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes.

        Parameters
        ----------
        node_ids
            The ids of the nodes; ids that are not stored are skipped.
        filters
            Only nodes that pass.
        **delete_kwargs
            Ignored.

        Raises
        ------
        InputError
            If neither ids nor filters are given; :meth:`clear` deletes all nodes.
        """
        if node_ids is None and where_of(filters) is None:
            raise InputError("give node_ids or filters to delete; clear() deletes all nodes")
        found = [document.id for document in self._documents(node_ids, filters)]
        if found:
            self._index.delete(found, ignore_missing=True)

    def clear(self) -> None:
        """Delete all nodes."""
        self._index.delete(where={"text": {"$exists": True}})

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find nodes.

        Parameters
        ----------
        query
            The query. Nodes are found that pass ``filters``, come from one of ``doc_ids`` and have one of ``node_ids``,
            of which an empty list counts as none given: a retriever of LlamaIndex passes one if it restricts nothing.
            The index's encoder embeds ``query_str`` if there is no ``query_embedding``. A hybrid query returns
            ``hybrid_top_k`` nodes and a sparse one ``sparse_top_k``, if given, and otherwise ``similarity_top_k``.
        **kwargs
            ``mmr_threshold``, if the query has none, and ``mmr_prefetch_k``: the number of nearest nodes among which a
            query in the mode ``mmr`` chooses; by default 100, or four times ``similarity_top_k`` if that is more.

        Returns
        -------
        VectorStoreQueryResult
            The nodes without their embeddings, best first, with their ids and scores.

        Raises
        ------
        InputError
            If the mode is another than those of this class, the index has no lexical channel for it, or the query lacks
            what the mode needs.
        """
        search: dict[VectorStoreQueryMode, Callable[..., list[tuple[Hit, float]]]] = {
            VectorStoreQueryMode.DEFAULT: self._by_embedding,
            VectorStoreQueryMode.SPARSE: self._by_words,
            VectorStoreQueryMode.HYBRID: self._by_both,
            VectorStoreQueryMode.MMR: self._by_marginal_relevance,
        }
        mode = VectorStoreQueryMode(query.mode)
        if mode not in search:
            raise InputError(f"no mode {mode.value!r}; there are {', '.join(one.value for one in search)}")
        parts = [] if (where := where_of(query.filters)) is None else [where]
        if query.doc_ids is not None:
            parts.append({SOURCE: {"$in": query.doc_ids}})
        limits = {"where": {"$and": parts} if parts else None, "ids": query.node_ids or None}
        found = search[mode](query, limits, **kwargs)
        return VectorStoreQueryResult(
            nodes=[to_node(hit.id, hit.text, hit.metadata) for hit, _ in found],
            similarities=[score for _, score in found],
            ids=[hit.id for hit, _ in found],
        )

    def _by_embedding(self, query: VectorStoreQuery, limits: dict[str, Any], **kwargs: Any) -> list[tuple[Hit, float]]:
        [hits] = self._index.search_vectors(self._embedding(query), query.similarity_top_k, **limits)
        return [(hit, hit.score) for hit in hits]

    def _by_words(self, query: VectorStoreQuery, limits: dict[str, Any], **kwargs: Any) -> list[tuple[Hit, float]]:
        k = query.sparse_top_k or query.similarity_top_k
        vectors = None if query.query_embedding is None else self._embedding(query)
        [hits] = self._index.search_batch([_text(query)], k, vectors=vectors, mode="lexical", **limits)
        return [(hit, hit.score) for hit in hits]

    def _by_both(self, query: VectorStoreQuery, limits: dict[str, Any], **kwargs: Any) -> list[tuple[Hit, float]]:
        k, alpha = query.hybrid_top_k or query.similarity_top_k, query.alpha
        if alpha is not None and not 0 <= alpha <= 1:
            raise InputError(f"alpha is {alpha!r}; it must be from 0 (by words) to 1 (by embedding)")
        if alpha == 1:
            return self._by_embedding(query, limits)
        if alpha == 0:
            return self._by_words(query, limits)
        candidates = k if alpha is None else max(_CANDIDATES, _CANDIDATES_PER_RESULT * k)
        vectors = self._embedding(query)
        [hits] = self._index.search_batch([_text(query)], candidates, vectors=vectors, mode="hybrid", **limits)
        if alpha is None:
            return [(hit, hit.score) for hit in hits]
        scored = [(hit, _weighted(hit, alpha)) for hit in hits]
        return sorted(scored, key=lambda one: (-one[1], one[0].id))[:k]

    def _by_marginal_relevance(
        self,
        query: VectorStoreQuery,
        limits: dict[str, Any],
        *,
        mmr_threshold: float | None = None,
        mmr_prefetch_k: int | None = None,
        **kwargs: Any,
    ) -> list[tuple[Hit, float]]:
        given = query.mmr_threshold if query.mmr_threshold is not None else mmr_threshold
        threshold = 0.5 if given is None else given
        if not 0 <= threshold <= 1:
            raise InputError(f"mmr_threshold is {threshold!r}; it must be from 0 to 1")
        k = query.similarity_top_k
        embedding = self._embedding(query)
        [hits] = self._index.search_vectors(
            embedding, mmr_prefetch_k or max(_CANDIDATES, _CANDIDATES_PER_RESULT * k), **limits
        )
        vectors = np.asarray(self._index.vectors([hit.id for hit in hits]))
        places, scores = marginally_relevant(embedding[0], vectors, k, threshold)
        return [(hits[place], score) for place, score in zip(places, scores, strict=True)]

    def _embedding(self, query: VectorStoreQuery) -> NDArray[np.float32]:
        """Return the embedding of a query: ``(1, dims)`` float32."""
        if query.query_embedding is not None:
            return np.array([query.query_embedding], dtype=np.float32)
        return np.asarray(self._index.encode_queries([_text(query)]))

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Run :meth:`add` in a thread.

        Parameters
        ----------
        nodes, **kwargs
            As for :meth:`add`.
        """
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Run :meth:`get_nodes` in a thread.

        Parameters
        ----------
        node_ids, filters
            As for :meth:`get_nodes`.
        """
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Run :meth:`delete` in a thread.

        Parameters
        ----------
        ref_doc_id, **delete_kwargs
            As for :meth:`delete`.
        """
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Run :meth:`delete_nodes` in a thread.

        Parameters
        ----------
        node_ids, filters, **delete_kwargs
            As for :meth:`delete_nodes`.
        """
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aclear(self) -> None:
        """Run :meth:`clear` in a thread."""
        await asyncio.to_thread(self.clear)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Run :meth:`query` in a thread.

        Parameters
        ----------
        query, **kwargs
            As for :meth:`query`.
        """
        return await asyncio.to_thread(self.query, query, **kwargs)


def _check_local(fs: Any) -> None:
    if fs is not None:
        raise InputError("an index is a folder of the local file system: leave fs out")


def _text(query: VectorStoreQuery) -> str:
    if query.query_str is None:
        raise InputError(f"a query in the mode {VectorStoreQueryMode(query.mode).value!r} needs query_str here")
    return query.query_str


def _weighted(hit: Hit, alpha: float) -> float:
    """Return a fused score in which the score by embedding has the weight ``alpha``.

    A hit's terms are standard scores divided by their number. A channel that does not apply to the hit has no term; the
    other one then counts alone.
    """
    terms = hit.terms
    if len(terms) < 2:
        return float(in_unit(sum(terms.values())))
    return float(in_unit(2 * (alpha * terms["dense"] + (1 - alpha) * terms["lexical"])))
