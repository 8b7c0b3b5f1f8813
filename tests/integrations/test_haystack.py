"""The document store, retrievers and embedders for Haystack: its own suite of tests, and what that does not cover."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("haystack", reason="make test-integrations installs it")

from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.testing import document_store as suite
from haystack.testing import document_store_async as async_suite

from mlret.integrations.haystack import MlretDocumentStore

pytestmark = pytest.mark.frameworks


class _WithStore:
    @pytest.fixture
    def document_store(self, tmp_path: Path) -> Iterator[MlretDocumentStore]:
        # The documents of the suite carry embeddings of 768 numbers, or none.
        store = MlretDocumentStore(tmp_path / "suite.index", embedding_dims=768)
        yield store
        store.close()


class _WithDefaultPolicy(_WithStore):
    def test_write_documents(self, document_store: MlretDocumentStore) -> None:
        """The suite asks each store to say what it does without a policy: this one fails as with FAIL."""
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document], policy=DuplicatePolicy.NONE)
        assert document_store.filter_documents() == [document]


class TestBase(_WithDefaultPolicy, suite.DocumentStoreBaseTests):
    pass


class TestExtended(_WithDefaultPolicy, suite.DocumentStoreBaseExtendedTests):
    pass


class TestMetadata(
    _WithStore,
    suite.CountDocumentsByFilterTest,
    suite.CountUniqueMetadataByFilterTest,
    suite.GetMetadataFieldsInfoTest,
    suite.GetMetadataFieldMinMaxTest,
    suite.GetMetadataFieldUniqueValuesTest,
):
    pass


class TestAsynchronous(
    _WithStore,
    async_suite.CountDocumentsAsyncTest,
    async_suite.WriteDocumentsAsyncTest,
    async_suite.FilterDocumentsAsyncTest,
    async_suite.DeleteDocumentsAsyncTest,
    async_suite.DeleteAllAsyncTest,
    async_suite.DeleteByFilterAsyncTest,
    async_suite.UpdateByFilterAsyncTest,
    async_suite.CountDocumentsByFilterAsyncTest,
    async_suite.CountUniqueMetadataByFilterAsyncTest,
    async_suite.GetMetadataFieldsInfoAsyncTest,
    async_suite.GetMetadataFieldMinMaxAsyncTest,
    async_suite.GetMetadataFieldUniqueValuesAsyncTest,
):
    @pytest.mark.asyncio
    async def test_write_documents_async(self, document_store: MlretDocumentStore) -> None:
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async([document])
        assert await document_store.filter_documents_async() == [document]
