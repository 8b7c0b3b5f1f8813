"""The suites of langchain-tests, in which no test is overridden, run on what mlret gives to LangChain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core", reason="make test-integrations installs it")

from langchain_core.indexing.base import DocumentIndex
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.integration_tests.indexer import AsyncDocumentIndexTestSuite, DocumentIndexerTestSuite
from langchain_tests.unit_tests import EmbeddingsUnitTests

from mlret import IndexSettings
from mlret.integrations.langchain import MlretDocumentIndex, MlretEmbeddings, MlretRetriever, MlretVectorStore

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.asyncio,
    # The suites have tests of both kinds.
    pytest.mark.filterwarnings("ignore:.*it is not an async function"),
]


@pytest.fixture(scope="module")
def embeddings() -> MlretEmbeddings:
    return MlretEmbeddings()


class TestVectorStoreOfOtherEmbeddings(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[MlretVectorStore]:
        store = MlretVectorStore(tmp_path / "store", self.get_embeddings())
        yield store
        store.index.close()


class TestVectorStoreOfTheBundledEncoder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path, embeddings: MlretEmbeddings) -> Iterator[MlretVectorStore]:
        store = MlretVectorStore(tmp_path / "store", embeddings)
        yield store
        store.index.close()


class TestVectorStoreWithALexicalChannel(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path, embeddings: MlretEmbeddings) -> Iterator[MlretVectorStore]:
        store = MlretVectorStore(tmp_path / "store", embeddings, settings=IndexSettings(lexical=True))
        yield store
        store.index.close()


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[MlretEmbeddings]:
        return MlretEmbeddings


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[MlretEmbeddings]:
        return MlretEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"dims": 64}


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def stored(self, tmp_path: Path, embeddings: MlretEmbeddings) -> Iterator[None]:
        texts = ["Der Zug ist verspätet.", "Treni imechelewa.", "図書館は駅前です。", "The price of maize rose."]
        self.store = MlretVectorStore.from_texts(texts, embeddings, index=tmp_path / "store")
        yield
        self.store.index.close()

    @property
    def retriever_constructor(self) -> type[MlretRetriever]:
        return MlretRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"store": self.store}

    @property
    def retriever_query_example(self) -> str:
        return "a late train"


class TestDocumentIndex(DocumentIndexerTestSuite):
    @pytest.fixture
    def index(self, tmp_path: Path, embeddings: MlretEmbeddings) -> Iterator[DocumentIndex]:
        store = MlretVectorStore(tmp_path / "store", embeddings)
        yield MlretDocumentIndex(store=store)
        store.index.close()


class TestDocumentIndexAsync(AsyncDocumentIndexTestSuite):
    @pytest.fixture
    def index(self, tmp_path: Path, embeddings: MlretEmbeddings) -> Iterator[DocumentIndex]:
        store = MlretVectorStore(tmp_path / "store", embeddings)
        yield MlretDocumentIndex(store=store)
        store.index.close()


SUITES = (
    TestVectorStoreOfOtherEmbeddings,
    TestEmbeddings,
    TestEmbeddingsUnit,
    TestRetriever,
    TestDocumentIndex,
    TestDocumentIndexAsync,
)


@pytest.mark.parametrize("suite", SUITES)
def test_no_test_of_a_suite_is_overridden(suite: type) -> None:
    """Check what only some of the suites check themselves."""
    [standard] = suite.__bases__
    names = [name for name in dir(standard) if name.startswith("test_")]
    assert names
    assert all(getattr(suite, name) is getattr(standard, name) for name in names)
