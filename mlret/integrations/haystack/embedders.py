"""Embedders of Haystack that run an encoder of mlret, with its prompts for queries and for documents."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from haystack import component, default_from_dict, default_to_dict
from haystack.dataclasses import Document

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.errors import InputError
from mlret.index.queries import check_queries
from mlret.integrations.haystack.opening import name_of
from mlret.integrations.stored_metadata import language_in


class _Embedder:
    """What the embedders have in common: an encoder that is loaded when it is first needed."""

    def __init__(self, encoder: AnyEncoder | str | Path | None) -> None:
        self.encoder = encoder
        self._loaded: Encoder | None = None
        self._loading = threading.Lock()

    def warm_up(self) -> None:
        """Load the encoder."""
        self._model()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the embedder that :meth:`to_dict` described.

        Parameters
        ----------
        data
            What :meth:`to_dict` returned.
        """
        return default_from_dict(cls, data)

    def _model(self) -> Encoder:
        with self._loading:
            if self._loaded is None:
                given = self.encoder
                model = load_any_encoder(given) if given is None or isinstance(given, str | Path) else given
                if not isinstance(model, Encoder):
                    raise InputError(
                        f"{model.name} gives a vector for each token, but an embedding of Haystack is one vector"
                    )
                self._loaded = model
            return self._loaded

    def _languages(self, texts: Sequence[str], given: Sequence[str | None]) -> list[str | None]:
        """Return the language of each text, detected where it is not given and the encoder is calibrated by it."""
        if not self._model().calibration_languages:
            return list(given)
        pairs = zip(texts, given, strict=True)
        return [known or detect_language(text[:DETECTION_CHARACTERS]) for text, known in pairs]


@component
class MlretTextEmbedder(_Embedder):
    """Embed a query.

    Parameters
    ----------
    encoder
        The encoder, its folder or its hub id; by default the bundled one.

    Examples
    --------
    >>> from mlret.integrations.haystack import MlretTextEmbedder
    >>> len(MlretTextEmbedder().run("Treni imechelewa.")["embedding"])
    384
    """

    def __init__(self, encoder: AnyEncoder | str | Path | None = None) -> None:
        _Embedder.__init__(self, encoder)  # `component` makes the class anew, so that super() has no effect here.

    def to_dict(self) -> dict[str, Any]:
        """Return the embedder for a serialised pipeline."""
        return default_to_dict(self, encoder=name_of(self.encoder).name)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        """Return the vector of a query, of unit length, under ``embedding``.

        Parameters
        ----------
        text
            A text in any language.

        Raises
        ------
        TypeError
            If it is no string.
        mlret.errors.InputError
            If it is blank.
        """
        if not isinstance(text, str):
            raise TypeError("MlretTextEmbedder takes a string; MlretDocumentEmbedder takes a list of documents")
        texts, _ = check_queries([text], None)
        [vector] = self._model().encode_query(texts, language=self._languages(texts, [None]))
        return {"embedding": vector.tolist()}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, list[float]]:
        """Run :meth:`run` in a thread.

        Parameters
        ----------
        text
            As for :meth:`run`.
        """
        return await asyncio.to_thread(self.run, text)


@component
class MlretDocumentEmbedder(_Embedder):
    """Embed the content of documents.

    An :class:`.MlretDocumentStore` without ``embedding_dims`` needs no embedder: it encodes documents itself.

    Parameters
    ----------
    encoder
        The encoder, its folder or its hub id; by default the bundled one.
    meta_fields_to_embed
        Names of metadata values, such as a title, that are embedded before the content.
    embedding_separator
        What stands between them.

    Examples
    --------
    >>> from haystack import Document
    >>> from mlret.integrations.haystack import MlretDocumentEmbedder
    >>> [document] = MlretDocumentEmbedder().run([Document(content="Treni imechelewa.")])["documents"]
    >>> len(document.embedding)
    384
    """

    def __init__(
        self,
        encoder: AnyEncoder | str | Path | None = None,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
    ) -> None:
        _Embedder.__init__(self, encoder)
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator

    def to_dict(self) -> dict[str, Any]:
        """Return the embedder for a serialised pipeline."""
        return default_to_dict(
            self,
            encoder=name_of(self.encoder).name,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
        )

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Return copies of documents with their vectors, of unit length, as embeddings.

        Parameters
        ----------
        documents
            The documents, which are not changed. The language of each is that of its metadata (``lang`` or
            ``language``) or is detected. One that has nothing to embed is returned as it is.

        Raises
        ------
        TypeError
            If it is no list of documents.
        """
        if not isinstance(documents, list) or not all(isinstance(one, Document) for one in documents):
            raise TypeError("MlretDocumentEmbedder takes a list of documents; MlretTextEmbedder takes a string")
        texts = {place: text for place, one in enumerate(documents) if (text := self._text(one)).strip()}
        if not texts:
            return {"documents": list(documents)}
        languages = self._languages(list(texts.values()), [language_in(documents[place].meta) for place in texts])
        vectors = self._model().encode_document(list(texts.values()), language=languages)
        found = list(documents)
        for place, vector in zip(texts, vectors.tolist(), strict=True):
            found[place] = replace(documents[place], embedding=vector)
        return {"documents": found}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Run :meth:`run` in a thread.

        Parameters
        ----------
        documents
            As for :meth:`run`.
        """
        return await asyncio.to_thread(self.run, documents)

    def _text(self, document: Document) -> str:
        values = [document.meta.get(name) for name in self.meta_fields_to_embed]
        return self.embedding_separator.join([*(str(one) for one in values if one is not None), document.content or ""])
