"""mlret within Haystack: a document store over an index, retrievers for it, and embedders."""

from mlret.errors import missing_extra

try:
    from mlret.integrations.haystack.document_store import MlretDocumentStore
    from mlret.integrations.haystack.embedders import MlretDocumentEmbedder, MlretTextEmbedder
    from mlret.integrations.haystack.retrievers import (
        MlretEmbeddingRetriever,
        MlretHybridRetriever,
        MlretLexicalRetriever,
    )
except ModuleNotFoundError as error:
    raise missing_extra(error) or error from error

__all__ = [
    "MlretDocumentEmbedder",
    "MlretDocumentStore",
    "MlretEmbeddingRetriever",
    "MlretHybridRetriever",
    "MlretLexicalRetriever",
    "MlretTextEmbedder",
]
