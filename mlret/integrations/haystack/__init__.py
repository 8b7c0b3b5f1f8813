"""mlret within Haystack: a document store over an index, retrievers for it, and embedders."""

from mlret.integrations.haystack.document_store import MlretDocumentStore
from mlret.integrations.haystack.embedders import MlretDocumentEmbedder, MlretTextEmbedder
from mlret.integrations.haystack.retrievers import (
    MlretEmbeddingRetriever,
    MlretHybridRetriever,
    MlretLexicalRetriever,
)

__all__ = [
    "MlretDocumentEmbedder",
    "MlretDocumentStore",
    "MlretEmbeddingRetriever",
    "MlretHybridRetriever",
    "MlretLexicalRetriever",
    "MlretTextEmbedder",
]
