"""Encoders with a vector for each token, compared by MaxSim (late interaction, as in ColBERT)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import (
    BUNDLED,
    Encoder,
    Precision,
    Similarity,
    check_precision,
    fingerprint_of,
    from_hub,
    is_multi_vector,
    load_encoder,
    own_modules,
    tagged,
)
from mlret.encoders.texts import checked_texts, languages_of
from mlret.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

Tokens = list[NDArray[np.float32]]


class TokenEncoder:
    """Texts of any language to a vector for each token.

    Parameters
    ----------
    model
        A ``MultiVectorEncoder`` of sentence-transformers, which also loads checkpoints of PyLate and of Stanford's
        ColBERT.
    name
        What to call it in messages and manifests: a path or a hub id.
    """

    similarity: Similarity = "maxsim"
    calibration_languages: tuple[str, ...] = ()

    def __init__(self, model: MultiVectorEncoder, name: str = "") -> None:
        from mlret.encoders.longest_input import keep_within_positions

        keep_within_positions(model)
        self.model = model
        self.name = name or type(model).__name__

    def encode_query(self, texts: Sequence[str], *, language: str | Sequence[str | None] | None = None) -> Tokens:
        """The tokens of queries, with the markers and the augmentation that the model gives them.

        Parameters
        ----------
        texts
            ``n`` strings in a list; one string alone is refused, as by
            :meth:`mlret.encoders.encoder.Encoder.encode`.
        language
            The language of all texts, or of each, for a model with language adapters; by default it is detected.
            Other models treat all alike.

        Returns
        -------
        list of numpy.ndarray
            ``n`` times ``(t, dims)`` float32; L2-normalised, if the model ends with that, as most do.

        Raises
        ------
        InputError
            If ``texts`` is one string or no list of strings, a text is not valid Unicode, or ``language`` has another
            length than ``texts``.
        """
        return self._encode(texts, "query", language)

    def encode_document(self, texts: Sequence[str], *, language: str | Sequence[str | None] | None = None) -> Tokens:
        """The tokens of documents, without those that the model skips; otherwise as :meth:`encode_query`."""
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
        """The length of a token's vector."""
        dims = self.model.get_embedding_dimension()
        if dims is None:
            raise InputError(f"{self.name} does not say how long its vectors are: give it a projection (Dense)")
        return dims

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides a vector, as of :class:`mlret.encoders.encoder.Encoder`."""
        return fingerprint_of(self.model, self.dims)

    def __repr__(self) -> str:
        return f"TokenEncoder({self.name!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"


AnyEncoder = Encoder | TokenEncoder
# The name of the bundled encoder's second head.
BUNDLED_TOKENS = "bundled:multi-vector"
# What the names of encoders that come with mlret start with.
_BUNDLED = "bundled:"


def load_token_encoder(name: str | Path | None = None, *, device: str | None = None) -> TokenEncoder:
    """Load an encoder with a vector for each token.

    Parameters
    ----------
    name
        ``None`` or ``"bundled:multi-vector"`` for the bundled encoder's second head; a folder, or the id of a model on
        the hub: of sentence-transformers, or of PyLate, Stanford's ColBERT or XM-retrievers, with the scores that it
        has there. Of a model without a projection one is made at random, to be trained;
        :func:`mlret.encoders.late_interaction.multi_vector_encoder` makes more of it.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.

    Raises
    ------
    InputError
        If it cannot be loaded.
    """
    from sentence_transformers import MultiVectorEncoder

    from mlret.encoders.adapters import route_if_modular
    from mlret.encoders.colbert_checkpoint import mend_checkpoint
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
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name} cannot be loaded as a multi-vector encoder: {reason}") from error


def load_any_encoder(name: str | Path | None, *, precision: Precision = "float32", emulate: bool = False) -> AnyEncoder:
    """An encoder of either kind, by what the folder says of itself; from the hub one vector a text.

    ``None`` and names that start with ``bundled:`` are the encoders that come with mlret. ``precision`` and
    ``emulate`` are as for :class:`mlret.encoders.encoder.Encoder`.

    Raises
    ------
    InputError
        If it cannot be loaded, or has no such precision.
    """
    check_precision(precision)
    if str(name).startswith(_BUNDLED) and str(name) != BUNDLED_TOKENS:
        name = None
    if name is None or (str(name) != BUNDLED_TOKENS and not is_multi_vector(Path(name))):
        return load_encoder(name, precision=precision, emulate=emulate)
    if precision != "float32":
        raise InputError(f"{name} has a vector for each token and runs in float32 alone; leave the precision out")
    return load_token_encoder(name)
