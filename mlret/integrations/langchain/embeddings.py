"""Embeddings for LangChain by an encoder of mlret's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from mlret.data.detection import detect_language
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.index.vectors.cosine import cut


class MlretEmbeddings(Embeddings):
    """The vectors of an encoder with one vector for each text, with its prompts for queries and for documents.

    Parameters
    ----------
    encoder
        The encoder, its folder or hub id; the bundled one by default.
    dims
        The number of dimensions to keep of each vector (Matryoshka); all by default.

    Raises
    ------
    InputError
        If the encoder cannot be loaded, has a vector for each token, or gives fewer dimensions than ``dims``.

    Examples
    --------
    >>> embeddings = MlretEmbeddings()
    >>> len(embeddings.embed_query("a place to read books"))
    384
    """

    def __init__(self, encoder: AnyEncoder | str | Path | None = None, *, dims: int | None = None) -> None:
        loaded = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)
        if isinstance(loaded, TokenEncoder):
            raise InputError(
                f"{loaded.name} has a vector for each token, but Embeddings have one for each text: "
                "give an index of it to MlretVectorStore, without embeddings"
            )
        if dims is not None and not 1 <= dims <= loaded.dims:
            raise InputError(f"dims is {dims}; {loaded.name} gives {loaded.dims} dimensions, of which some can be kept")
        self.encoder: Encoder = loaded
        self.dims = dims

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._lists(self.encoder.encode_document(texts, language=self._languages(texts)))

    def embed_query(self, text: str) -> list[float]:
        return self._lists(self.encoder.encode_query([text], language=self._languages([text])))[0]

    def _languages(self, texts: Iterable[str]) -> list[str | None] | None:
        # An index, too, detects the languages that were not given, if the encoder is calibrated by language.
        return [detect_language(text) for text in texts] if self.encoder.calibration_languages else None

    def _lists(self, vectors: NDArray[np.float32]) -> list[list[float]]:
        found: list[list[float]] = (vectors if self.dims is None else cut(vectors, self.dims)).tolist()
        return found
