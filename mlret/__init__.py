"""mlret: multilingual dense retrieval. Store text in any language and find it from any other."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlret.errors import (
    AlreadyExists,
    Corrupt,
    CorruptInput,
    FingerprintError,
    Forbidden,
    InputError,
    Locked,
    MissingExtraError,
    MlretError,
    NotFound,
    Unavailable,
    missing_extra,
)

__version__ = "0.2.0"

if TYPE_CHECKING:
    from mlret.client.async_client import AsyncClient
    from mlret.client.client import Client
    from mlret.encoders.colbert_export import export_encoder
    from mlret.encoders.encoder import Encoder
    from mlret.encoders.external import ExternalEncoder
    from mlret.encoders.late_interaction import multi_vector_encoder
    from mlret.encoders.loading import load_encoder
    from mlret.encoders.multi_vector import load_token_encoder
    from mlret.encoders.token_encoder import TokenEncoder
    from mlret.index.async_index import AsyncIndex
    from mlret.index.index import Hit, Index
    from mlret.index.settings import IndexSettings
    from mlret.memory.async_memory import AsyncMemory
    from mlret.memory.memory import Memory
    from mlret.vocabulary.trim import trim_vocabulary

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "AsyncIndex",
    "AsyncMemory",
    "Client",
    "Corrupt",
    "CorruptInput",
    "Encoder",
    "ExternalEncoder",
    "FingerprintError",
    "Forbidden",
    "Hit",
    "Index",
    "IndexSettings",
    "InputError",
    "Locked",
    "Memory",
    "MissingExtraError",
    "MlretError",
    "NotFound",
    "TokenEncoder",
    "Unavailable",
    "__version__",
    "export_encoder",
    "load_encoder",
    "load_token_encoder",
    "multi_vector_encoder",
    "trim_vocabulary",
]

# Importing torch takes a second, which `mlret --help` must not pay for, so names are imported when first used.
_HOMES = {
    "AsyncClient": "mlret.client.async_client",
    "AsyncIndex": "mlret.index.async_index",
    "AsyncMemory": "mlret.memory.async_memory",
    "Client": "mlret.client.client",
    "Encoder": "mlret.encoders.encoder",
    "load_encoder": "mlret.encoders.loading",
    "export_encoder": "mlret.encoders.colbert_export",
    "ExternalEncoder": "mlret.encoders.external",
    "multi_vector_encoder": "mlret.encoders.late_interaction",
    "TokenEncoder": "mlret.encoders.token_encoder",
    "load_token_encoder": "mlret.encoders.multi_vector",
    "Hit": "mlret.index.index",
    "Index": "mlret.index.index",
    "IndexSettings": "mlret.index.settings",
    "Memory": "mlret.memory.memory",
    "trim_vocabulary": "mlret.vocabulary.trim",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            return getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            raise missing_extra(error) or error from error
    raise AttributeError(f"module 'mlret' has no attribute {name!r}")
