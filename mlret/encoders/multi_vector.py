"""Encoders that return one vector per token, compared by MaxSim (late interaction, as in ColBERT)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder, Similarity, tagged
from mlret.encoders.fingerprint import fingerprint_of
from mlret.encoders.loading import BUNDLED, from_hub, is_multi_vector, load_encoder, own_modules
from mlret.encoders.precision import Precision, check_precision
from mlret.encoders.texts import checked_texts, languages_of
from mlret.errors import InputError, first_line

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

Tokens = list[NDArray[np.float32]]


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

    def _encode(self, texts: Sequence[str], task: str, language: str | Sequence[str | None] | None) -> Tokens:
        texts = checked_texts(texts)
        texts = tagged(self.model, texts, languages_of(texts, language))
        if not texts:
            return []
        encode = self.model.encode_query if task == "query" else self.model.encode_document
        found = encode(texts, convert_to_numpy=True, show_progress_bar=False)
        return [np.asarray(tokens, dtype=np.float32).reshape(-1, self.dims) for tokens in found]

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


AnyEncoder = Encoder | TokenEncoder
# Name of the bundled encoder's multi-vector head.
BUNDLED_TOKENS = "bundled:multi-vector"
# Prefix of the names of encoders that come with mlret.
_BUNDLED = "bundled:"


def load_token_encoder(name: str | Path | None = None, *, device: str | None = None) -> TokenEncoder:
    """Load an encoder that returns one vector per token.

    Parameters
    ----------
    name
        ``None`` or ``"bundled:multi-vector"`` for the bundled encoder's multi-vector head; otherwise a folder or the id
        of a model on the hub. Models of sentence-transformers, PyLate, Stanford's ColBERT and XM-retrievers are
        supported and give the same scores as in those libraries. A model without a projection gets a randomly
        initialised one, which must be trained; :func:`mlret.encoders.late_interaction.multi_vector_encoder` offers more
        options for this.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.

    Returns
    -------
    TokenEncoder
        The encoder, ready to encode.

    Raises
    ------
    InputError
        If the model cannot be loaded.

    Examples
    --------
    >>> import mlret
    >>> encoder = mlret.load_token_encoder()
    >>> tokens = encoder.encode_document(["Der Zug ist pünktlich."])
    >>> tokens[0].shape[1] == encoder.dims
    True
    """
    from sentence_transformers import MultiVectorEncoder

    from mlret.encoders.adapters import route_if_modular
    from mlret.encoders.colbert_loading import mend_checkpoint
    from mlret.encoders.head import load_head

    if name is None or str(name) == BUNDLED_TOKENS:
        return TokenEncoder(load_head(BUNDLED / "multi-vector", load_encoder(device=device).model), BUNDLED_TOKENS)
    try:
        if Path(name).is_dir():
            model = MultiVectorEncoder._load_with_module_classes(
                str(name), own_modules(), device=device, local_files_only=True
            )
        else:
            model = from_hub(
                name, lambda: MultiVectorEncoder._load_with_module_classes(str(name), own_modules(), device=device)
            )
        mend_checkpoint(model, name)
        route_if_modular(model)
        return TokenEncoder(model, str(name))
    except (OSError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise InputError(f"{name} cannot be loaded as a multi-vector encoder: {reason}") from error


def load_any_encoder(name: str | Path | None, *, precision: Precision = "float32", emulate: bool = False) -> AnyEncoder:
    """Load a single-vector or multi-vector encoder, depending on what the model folder declares.

    Models from the hub are loaded as single-vector encoders.

    Parameters
    ----------
    name
        A model folder or hub id; ``None`` and names that start with ``bundled:`` are the encoders that come with mlret.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"int8"``, of encoders with one vector for each text.
    emulate
        Compute int8 vectors even if the processor is slow in int8.

    Returns
    -------
    Encoder or TokenEncoder
        The loaded encoder.

    Raises
    ------
    InputError
        If the encoder cannot be loaded or does not support the precision.
    """
    check_precision(precision)
    if str(name).startswith(_BUNDLED) and str(name) != BUNDLED_TOKENS:
        name = None
    if name is None or (str(name) != BUNDLED_TOKENS and not is_multi_vector(Path(name))):
        return load_encoder(name, precision=precision, emulate=emulate)
    if precision != "float32":
        raise InputError(f"{name} has a vector for each token and runs in float32 alone; leave the precision out")
    return load_token_encoder(name)
