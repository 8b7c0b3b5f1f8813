"""mlret in LangChain: a vector store, a retriever, embeddings and a document index over the folder of an index."""

from mlret.errors import missing_extra

try:
    from mlret.integrations.langchain.embeddings import MlretEmbeddings
    from mlret.integrations.langchain.store_retrievers import MlretDocumentIndex, MlretRetriever
    from mlret.integrations.langchain.vector_store import MlretVectorStore
except ModuleNotFoundError as error:
    raise missing_extra(error) or error from error

__all__ = ["MlretDocumentIndex", "MlretEmbeddings", "MlretRetriever", "MlretVectorStore"]
