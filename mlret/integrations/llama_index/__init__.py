"""mlret in LlamaIndex: a vector store over the folder of an index, and an embedding."""

from mlret.integrations.llama_index.node_store import MlretVectorStore
from mlret.integrations.llama_index.text_embedding import MlretEmbedding

__all__ = ["MlretEmbedding", "MlretVectorStore"]
