"""An encoder of mlret as an embedding of LlamaIndex."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from numpy.typing import NDArray

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError


class MlretEmbedding(BaseEmbedding):
    """An encoder with one vector per text, for queries and for texts with the prompts that it has for each.

    If the encoder is calibrated by language, the language of each text is detected.

    Parameters
    ----------
    encoder
        The encoder, its folder or its hub id; the bundled one by default.
    model_name
        What ``encoder`` may name, as :meth:`to_dict` writes it.
    **options
        Other fields of LlamaIndex's ``BaseEmbedding``, such as ``embed_batch_size``.

    Raises
    ------
    InputError
        If the encoder cannot be loaded, or has a vector for each token.

    Examples
    --------
    >>> from mlret.integrations.llama_index import MlretEmbedding
    >>> embedding = MlretEmbedding()
    >>> len(embedding.get_query_embedding("Where is the library?"))
    384
    """

    embed_batch_size: int = Field(default=256, description="The most texts in one call of the encoder.", gt=0, le=2048)
    fingerprint: str = Field(
        description="The hash of all that determines a vector, so that caches tell encoders apart."
    )
    _encoder: Encoder = PrivateAttr()

    def __init__(
        self, encoder: AnyEncoder | str | Path | None = None, *, model_name: str | None = None, **options: Any
    ) -> None:
        loaded = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder or model_name)
        if isinstance(loaded, TokenEncoder):
            raise InputError(f"{loaded.name} has a vector for each token; LlamaIndex takes one vector for each text")
        super().__init__(**{**options, "model_name": loaded.name, "fingerprint": loaded.fingerprint})
        self._encoder = loaded

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy in another process loads the encoder by its name instead of carrying the weights along.
        return type(self).from_dict, (self.to_dict(),)

    @classmethod
    def class_name(cls) -> str:
        """Name of the class in serialised form."""
        return "MlretEmbedding"

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._encoded(self._encoder.encode_query, [query])[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._encoded(self._encoder.encode_document, [text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._encoded(self._encoder.encode_document, texts)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    def _encoded(self, encode: Callable[..., NDArray[np.float32]], texts: Sequence[str]) -> list[Embedding]:
        languages: list[str | None] = [None] * len(texts)
        if self._encoder.calibration_languages:
            languages = [detect_language(text[:DETECTION_CHARACTERS]) for text in texts]
        found: list[Embedding] = encode(texts, language=languages).tolist()
        return found
