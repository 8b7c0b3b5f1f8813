"""A retriever and a document index for LangChain over a vector store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.indexing.base import DeleteResponse, DocumentIndex, UpsertResponse
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import run_in_executor
from pydantic import BeforeValidator

from mlret.index.index import Index
from mlret.index.search import Mode
from mlret.integrations.langchain.conversion import ArgumentError
from mlret.integrations.langchain.vector_store import MlretVectorStore


def _as_store(given: Any) -> Any:
    """Return an index, or a folder that holds one, as a store."""
    given = Index.open(given) if isinstance(given, str | Path) else given
    return MlretVectorStore(given) if isinstance(given, Index) else given


class MlretRetriever(BaseRetriever):
    """Retrieve documents from a vector store, an index, or a folder, for example one that ``mlret index build`` made.

    Parameters
    ----------
    store
        A :class:`MlretVectorStore`, an open index, or the folder of an index that exists.
    k, filter, mode, language
        As for :meth:`MlretVectorStore.similarity_search_with_score`. Each may also be given to ``invoke``.

    Examples
    --------
    >>> retriever = MlretRetriever(store="news.index", k=1)
    >>> [document.id for document in retriever.invoke("the train is late")]
    ['a']
    """

    store: Annotated[MlretVectorStore, BeforeValidator(_as_store)]
    k: int = 4
    filter: dict[str, Any] | None = None
    mode: Mode | None = None
    language: str | None = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        options = {"k": self.k, "filter": self.filter, "mode": self.mode, "language": self.language, **kwargs}
        return self.store.similarity_search(query, **options)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        sync = run_manager.get_sync()
        return await run_in_executor(None, self._get_relevant_documents, query, run_manager=sync, **kwargs)


class MlretDocumentIndex(MlretRetriever, DocumentIndex):
    """A retriever to which documents can be added: what ``langchain_core.indexing.index`` writes to.

    It has the parameters of :class:`MlretRetriever`. For a new folder give ``MlretVectorStore("new.index")``.

    Examples
    --------
    >>> index = MlretDocumentIndex(store="news.index")
    >>> index.upsert([Document(id="c", page_content="Der Zug fällt aus.")])
    {'succeeded': ['c'], 'failed': []}
    """

    def upsert(self, items: Sequence[Document], /, **kwargs: Any) -> UpsertResponse:
        return UpsertResponse(succeeded=self.store.add_documents(items, **kwargs), failed=[])

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        if ids is None:
            raise ArgumentError("give the ids of the documents to delete")
        deleted = self.store.deleted(ids)
        return DeleteResponse(succeeded=deleted, num_deleted=len(deleted), failed=[], num_failed=0)

    def get(self, ids: Sequence[str], /, **kwargs: Any) -> list[Document]:
        return self.store.get_by_ids(ids)
