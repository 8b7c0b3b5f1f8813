"""mlret in LlamaIndex: a vector store over the folder of an index, and an embedding."""

from mlret.errors import missing_extra

try:
    from mlret.integrations.llama_index.node_store import MlretVectorStore
    from mlret.integrations.llama_index.text_embedding import MlretEmbedding
except ModuleNotFoundError as error:
    raise missing_extra(error) or error from error

__all__ = ["MlretEmbedding", "MlretVectorStore"]
