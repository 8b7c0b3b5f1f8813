"""Encoders that return one vector per token, compared by MaxSim (late interaction, as in ColBERT)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Runtime, Similarity, longest_document_of, tagged, tokens_of
from mlret.encoders.fingerprint import fingerprint_of
from mlret.encoders.texts import checked_texts, languages_of
from mlret.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

Tokens = list[NDArray[np.float32]]
Task = Literal["query", "document"]


class TokenEncoder:
    """Encode texts of any language as token vectors, one vector for each token.

    Parameters
    ----------
    model
        A ``MultiVectorEncoder`` of sentence-transformers, which can also load checkpoints of PyLate and of Stanford's
        ColBERT.
    name
        Name for messages and manifests: a path or a hub id.

    Examples
    --------
    >>> import mlret
    >>> encoder = mlret.load_token_encoder()
    >>> [query] = encoder.encode_query(["When does the library open?"], language="en")
    >>> library, train = encoder.encode_document(["Maktaba inafunguliwa saa tatu.", "Treni imechelewa."], language="sw")
    >>> def maxsim(query, document):
    ...     return (query @ document.T).max(axis=1).sum()
    >>> bool(maxsim(query, library) > maxsim(query, train))
    True
    """

    similarity: Similarity = "maxsim"
    runtime: Runtime = "torch"
    calibration_languages: tuple[str, ...] = ()

    def __init__(self, model: MultiVectorEncoder, name: str = "") -> None:
        from mlret.encoders.longest_input import keep_within_positions

        keep_within_positions(model)
        self.model = model
        self.name = name or type(model).__name__

    def encode_query(self, texts: Sequence[str], *, language: str | Sequence[str | None] | None = None) -> Tokens:
        """Encode queries, with the markers and the query augmentation that the model uses.

        Parameters
        ----------
        texts
            A list of ``n`` strings, or any iterable that can be converted to one; a single string is rejected, as in
            :meth:`mlret.encoders.encoder.Encoder.encode`.
        language
            The language of all texts, or a sequence with the language of each, for a model with language adapters; by
            default it is detected. Other models ignore it.

        Returns
        -------
        list of numpy.ndarray
            ``n`` arrays of shape ``(t, dims)``, float32; L2-normalised if the model ends with a normalisation, as most
            do.

        Raises
        ------
        InputError
            If ``texts`` is a single string or not a list of strings, a text is not valid Unicode, or ``language`` and
            ``texts`` differ in length.

        Examples
        --------
        >>> [tokens] = encoder.encode_query(["Where is the library?"], language="en")
        >>> tokens.ndim, tokens.shape[1]
        (2, 128)
        """
        return self._encode(texts, "query", language)

    def encode_document(self, texts: Sequence[str], *, language: str | Sequence[str | None] | None = None) -> Tokens:
        """Encode documents, without the tokens that the model skips.

        Parameters
        ----------
        texts
            A list of ``n`` strings, or any iterable that can be converted to one.
        language
            The language of all texts, or a sequence with the language of each, for a model with language adapters; by
            default it is detected. Other models ignore it.

        Returns
        -------
        list of numpy.ndarray
            ``n`` arrays of shape ``(t, dims)``, float32; L2-normalised if the model ends with a normalisation.

        Raises
        ------
        InputError
            If ``texts`` is a single string or not a list of strings, a text is not valid Unicode, or ``language`` and
            ``texts`` differ in length.

        Examples
        --------
        >>> tokens = encoder.encode_document(["Maktaba iko karibu na kituo.", "図書館"], language=["sw", "ja"])
        >>> len(tokens[0]) > len(tokens[1])
        True
        """
        return self._encode(texts, "document", language)

    def _encode(self, texts: Sequence[str], task: Task, language: str | Sequence[str | None] | None) -> Tokens:
        texts = checked_texts(texts)
        texts = tagged(self.model, texts, languages_of(texts, language))
        if not texts:
            return []
        encode = self.model.encode_query if task == "query" else self.model.encode_document
        found = encode(texts, convert_to_numpy=True, show_progress_bar=False)
        return [np.asarray(tokens, dtype=np.float32).reshape(-1, self.dims) for tokens in found]

    def token_counts(self, texts: Sequence[str], *, cut: bool = True) -> list[int]:
        """Return how many tokens of each text the model reads.

        Parameters
        ----------
        texts
            A list of ``n`` strings, or any iterable that can be converted to one.
        cut
            Whether to exclude the tokens beyond the model's largest length, which it does not read.

        Returns
        -------
        list of int
            ``n`` numbers of tokens, special tokens included.

        Raises
        ------
        InputError
            If ``texts`` is a single string or not a list of strings, or the model has no tokenizer.

        Examples
        --------
        >>> short, long = encoder.token_counts(["Habari", "Treni ya Nairobi imechelewa kwa saa moja."])
        >>> short < long
        True
        """
        return tokens_of(self.model, checked_texts(texts), self.name, cut=cut)

    @cached_property
    def longest_document(self) -> int | None:
        """Number of tokens of a document that the model reads, special tokens included; ``None`` if it reads all.

        Examples
        --------
        >>> encoder.longest_document
        512
        """
        longest = longest_document_of(self.model, self.name)
        return longest and longest - 1  # A marker may take the place of a token.

    @cached_property
    def dims(self) -> int:
        """Number of dimensions of a token vector.

        Returns
        -------
        int
            The number of dimensions.

        Raises
        ------
        InputError
            If the model does not state it.

        Examples
        --------
        >>> encoder.dims
        128
        """
        dims = self.model.get_embedding_dimension()
        if dims is None:
            raise InputError(f"{self.name} does not state its number of dimensions: give it a projection (Dense)")
        return dims

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that determines a vector; see :attr:`mlret.encoders.encoder.Encoder.fingerprint`.

        Returns
        -------
        str
            The fingerprint.

        Examples
        --------
        >>> import mlret
        >>> encoder.fingerprint == mlret.load_encoder().fingerprint
        False
        """
        return fingerprint_of(self.model, self.dims)

    def __repr__(self) -> str:
        return f"TokenEncoder({self.name!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"
