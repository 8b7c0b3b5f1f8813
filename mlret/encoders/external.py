"""Vectors that were made elsewhere: an index of them, without their encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from mlret.data.unicode_text import is_unicode
from mlret.encoders.encoder import Encoder, Side, Similarity
from mlret.errors import InputError

EXTERNAL = "external:"


class ExternalEncoder(Encoder):
    """Stands for an encoder that mlret does not run: documents and queries come with their vectors.

    Parameters
    ----------
    name
        Names the encoder; vectors of two names are never mixed.
    dims
        The length of a vector.
    similarity
        ``"cosine"``: one vector a text; ``"maxsim"``: one a token.
    """

    def __init__(self, name: str, dims: int, similarity: Similarity = "cosine") -> None:
        good = isinstance(name, str) and name.strip() and type(dims) is int and dims >= 1
        if not good or not is_unicode(name):
            raise InputError(f"an external encoder needs a name and a number of dimensions, not {name!r} and {dims!r}")
        if similarity not in get_args(Similarity):
            raise InputError(f"no similarity {similarity!r}; there are {', '.join(get_args(Similarity))}")
        self.name = EXTERNAL + name.removeprefix(EXTERNAL)
        self._dims = dims
        self.similarity = similarity

    @property
    def dims(self) -> int:
        """The length of a vector."""
        return self._dims

    @property
    def fingerprint(self) -> str:
        """A hash of the name: all that is known. 16 hexadecimal digits."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:16]

    @property
    def calibration_languages(self) -> list[str]:
        """None: what comes is taken as it is."""
        return []

    def _behind_prompt(
        self, side: Side, texts: Sequence[str], language: str | Sequence[str | None] | None
    ) -> NDArray[np.float32]:
        return self.encode(texts, language=language)

    def encode(
        self,
        texts: Sequence[str],
        *,
        language: str | Sequence[str | None] | None = None,
        calibrate: bool = True,
        batch_size: int = 64,
        show_progress: bool = False,
    ) -> NDArray[np.float32]:
        """Not possible.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            f"the vectors of this index come from {self.name.removeprefix(EXTERNAL)!r}, which mlret does not run: give "
            "vectors with the documents (add(documents, vectors=...)) and search with search_vectors"
        )
