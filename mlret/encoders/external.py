"""A placeholder encoder for an index whose vectors were computed elsewhere."""

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
    """Represent an encoder that mlret does not run: documents and queries are given together with their vectors.

    Parameters
    ----------
    name
        Name of the encoder; vectors of encoders with different names are never mixed.
    dims
        Number of dimensions of a vector.
    similarity
        ``"cosine"`` for one vector per text, ``"maxsim"`` for one vector per token.

    Raises
    ------
    InputError
        If the name is empty or not valid Unicode, ``dims`` is not a positive integer, or the similarity is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from mlret import ExternalEncoder, Index
    >>> encoder = ExternalEncoder("my-model-v2", dims=4)
    >>> with Index.create("given.index", encoder) as index:
    ...     vectors = np.eye(2, 4, dtype="float32")
    ...     stored = index.add(["Der Zug hat Verspätung.", "駅前に図書館がある。"], vectors=vectors)
    ...     [hits] = index.search_vectors([[0.9, 0.1, 0, 0]], k=1)
    >>> hits[0].text
    'Der Zug hat Verspätung.'
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
        """Number of dimensions of a vector.

        Examples
        --------
        >>> encoder.dims
        4
        """
        return self._dims

    @property
    def fingerprint(self) -> str:
        """Hash of the name, which is all that is known of the encoder: 16 hexadecimal digits.

        Examples
        --------
        >>> encoder.fingerprint == ExternalEncoder("my-model-v3", dims=4).fingerprint
        False
        """
        return hashlib.sha256(self.name.encode()).hexdigest()[:16]

    @property
    def longest_document(self) -> int | None:
        """Always ``None``: vectors are used as they are given.

        Examples
        --------
        >>> encoder.longest_document is None
        True
        """
        return None

    @property
    def calibration_languages(self) -> list[str]:
        """Always empty: vectors are used as they are given.

        Examples
        --------
        >>> encoder.calibration_languages
        []
        """
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
        """Raise an error, because mlret does not run this encoder.

        Parameters
        ----------
        texts
            Ignored.
        language
            Ignored.
        calibrate
            Ignored.
        batch_size
            Ignored.
        show_progress
            Ignored.

        Returns
        -------
        numpy.ndarray
            Never.

        Raises
        ------
        InputError
            Always.

        Examples
        --------
        >>> encoder.encode(["Treni imechelewa."])
        Traceback (most recent call last):
        ...
        mlret.errors.InputError: the vectors of this index come from 'my-model-v2', which mlret does not run: ...
        """
        raise InputError(
            f"the vectors of this index come from {self.name.removeprefix(EXTERNAL)!r}, which mlret does not run: give "
            "vectors with the documents (add(documents, vectors=...)) and search with search_vectors"
        )

    def token_counts(self, texts: Sequence[str], *, cut: bool = True) -> list[int]:
        """Raise an error, because mlret does not run this encoder.

        Parameters
        ----------
        texts
            Ignored.
        cut
            Ignored.

        Returns
        -------
        list of int
            Never.

        Raises
        ------
        InputError
            Always.

        Examples
        --------
        >>> encoder.token_counts(["Treni imechelewa."])
        Traceback (most recent call last):
        ...
        mlret.errors.InputError: mlret does not run 'my-model-v2' and cannot count its tokens
        """
        raise InputError(f"mlret does not run {self.name.removeprefix(EXTERNAL)!r} and cannot count its tokens")
