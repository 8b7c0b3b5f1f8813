"""mlret in LangChain: a vector store, a retriever, embeddings and a document index over the folder of an index."""

from mlret.integrations.langchain.embeddings import MlretEmbeddings
from mlret.integrations.langchain.store_retrievers import MlretDocumentIndex, MlretRetriever
from mlret.integrations.langchain.vector_store import MlretVectorStore

__all__ = ["MlretDocumentIndex", "MlretEmbeddings", "MlretRetriever", "MlretVectorStore"]
