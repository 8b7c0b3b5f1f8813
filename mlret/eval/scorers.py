"""Scorers of sentence pairs in a bitext: encoders of both kinds and baselines, each encoding every text once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder, calibrated, normalised
from mlret.encoders.multi_vector import AnyEncoder
from mlret.encoders.token_encoder import TokenEncoder, Tokens
from mlret.eval.baselines import BASELINES
from mlret.eval.bm25 import NAME, Bm25
from mlret.eval.matching import Scores, similarities

Mode = Literal["raw", "calibrated"]


class Side(NamedTuple):
    """One side of a bitext: the sentences, and one language code for all of them or one for each."""

    texts: Sequence[str]
    language: str | Sequence[str]

    @property
    def languages(self) -> list[str]:
        """Language code of each sentence."""
        return [self.language] * len(self.texts) if isinstance(self.language, str) else list(self.language)


class BitextScorer(Protocol):
    """Interface of a system that a bitext evaluation can score.

    Attributes
    ----------
    name
        The system's name in tables.
    fingerprint, dims
        Fingerprint and number of dimensions of the encoder; ``None`` if the system is not an encoder.
    modes
        ``("raw",)``, with ``"calibrated"`` added if the encoder has calibration.
    seconds
        Time that encoding took.
    """

    name: str
    fingerprint: str | None
    dims: int | None
    modes: Sequence[Mode]
    seconds: float

    def __len__(self) -> int:
        """Return the number of distinct texts that were encoded."""

    def similarities(self, mode: Mode, queries: Side, candidates: Side) -> Scores:
        """Compare queries with candidates.

        Parameters
        ----------
        mode
            One of :attr:`modes`.
        queries, candidates
            ``m`` and ``n`` sentences with their languages.

        Returns
        -------
        numpy.ndarray
            ``(m, n)`` float32; higher is more similar.
        """


class TextEncoder(Protocol):
    """Interface that an evaluation needs of an encoder; :class:`mlret.Encoder` and the baselines implement it."""

    name: str

    @property
    def dims(self) -> int:
        """Number of dimensions of a vector."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        language: str | Sequence[str | None] | None = None,
        calibrate: bool = True,
        batch_size: int = 64,
        show_progress: bool = False,
    ) -> Any:
        """Encode texts.

        Parameters
        ----------
        texts
            ``n`` texts.
        language
            Language code of all texts or of each.
        calibrate
            Whether to apply the encoder's calibration, if it has one.
        batch_size
            Texts in one forward pass.
        show_progress
            Show a progress bar.

        Returns
        -------
        numpy.ndarray or scipy.sparse matrix
            ``(n, dims)`` float32 unit vectors.
        """


class EncodedTexts:
    """Texts and their vectors.

    Calibration is an affine map that is applied to the vector before normalisation, so each text goes through the
    network once, regardless of the number of languages that it is calibrated for. The attributes are those of
    :class:`BitextScorer`.

    Parameters
    ----------
    encoder
        The encoder.
    texts
        The texts; repeated texts are encoded once.
    batch_size
        Texts in one forward pass.
    show_progress
        Show a progress bar.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        texts: Iterable[str],
        *,
        batch_size: int = 256,
        show_progress: bool = False,
    ) -> None:
        self.name = encoder.name
        self.dims: int | None = encoder.dims
        self.fingerprint: str | None = getattr(encoder, "fingerprint", None)
        self._encoder = encoder
        self._row = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        self._batch_size = batch_size
        self._calibration = encoder.calibration if isinstance(encoder, Encoder) else None
        has_calibration = isinstance(encoder, Encoder) and bool(encoder.calibration_languages)
        self.modes: Sequence[Mode] = ("raw", "calibrated") if has_calibration else ("raw",)
        start = time.perf_counter()
        if self._calibration is not None and isinstance(encoder, Encoder):
            # Encoder.encode would normalise the vectors, but calibration needs their original lengths.
            self._vectors: Any = encoder.embed(list(self._row), batch_size=batch_size, show_progress=show_progress)
        else:
            self._vectors = encoder.encode(
                list(self._row), calibrate=False, batch_size=batch_size, show_progress=show_progress
            )
        self.seconds = time.perf_counter() - start

    def __len__(self) -> int:
        return len(self._row)

    def similarities(self, mode: Mode, queries: Side, candidates: Side) -> Scores:
        """Return the cosines: ``(m, n)`` float32."""
        if mode == "raw":
            return similarities(self.raw(queries.texts), self.raw(candidates.texts))
        return similarities(*(self.calibrated(side.texts, side.languages) for side in (queries, candidates)))

    def raw(self, texts: Sequence[str]) -> Any:
        """Return the uncalibrated vectors of ``n`` of the encoded texts: ``(n, d)`` float32 of unit length."""
        vectors = self._vectors[[self._row[text] for text in texts]]
        return vectors if self._calibration is None else normalised(vectors)

    def calibrated(self, texts: Sequence[str], language: str | Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, calibrated for their languages.

        Parameters
        ----------
        texts
            ``n`` of the texts that were encoded.
        language
            Language code of all texts or of each.

        Returns
        -------
        numpy.ndarray
            ``(n, d)`` float32 of unit length.
        """
        if self._calibration is None:
            vectors = self._encoder.encode(texts, language=language, calibrate=True, batch_size=self._batch_size)
            return np.asarray(vectors, dtype=np.float32)
        rows = self._vectors[[self._row[text] for text in texts]]
        return normalised(calibrated(self._calibration, rows, Side(texts, language).languages))


class EncodedTokens:
    """Texts with a vector for each of their tokens, compared by MaxSim.

    Each text is encoded twice, as a query and as a document. The attributes are those of :class:`BitextScorer`.

    Parameters
    ----------
    encoder
        The encoder.
    texts
        The texts; repeated texts are encoded once.
    """

    modes: Sequence[Mode] = ("raw",)

    def __init__(self, encoder: TokenEncoder, texts: Iterable[str]) -> None:
        self.name = encoder.name
        self.dims: int | None = encoder.dims
        self.fingerprint: str | None = encoder.fingerprint
        different = list(dict.fromkeys(texts))
        start = time.perf_counter()
        self._as_query = dict(zip(different, encoder.encode_query(different), strict=True))
        self._as_document = dict(zip(different, encoder.encode_document(different), strict=True))
        self.seconds = time.perf_counter() - start

    def __len__(self) -> int:
        return len(self._as_query)

    def similarities(self, mode: Mode, queries: Side, candidates: Side) -> Scores:
        """Return the MaxSim scores: ``(m, n)`` float32."""
        asked = [self._as_query[text] for text in queries.texts]
        return maxsim_matrix(asked, [self._as_document[text] for text in candidates.texts])


def maxsim_matrix(queries: Tokens, documents: Tokens) -> Scores:
    """Compute MaxSim between ``m`` queries and ``n`` documents directly from its definition.

    Parameters
    ----------
    queries, documents
        The token vectors of each text, ``(tokens, dims)`` float32.

    Returns
    -------
    numpy.ndarray
        ``(m, n)`` float32. A document without tokens scores 0.
    """
    held = [row for row, tokens in enumerate(documents) if len(tokens)]
    scores = np.zeros((len(queries), len(documents)), dtype=np.float32)
    if not held:
        return scores
    tokens = np.concatenate([documents[row] for row in held])
    starts = np.cumsum([0, *(len(documents[row]) for row in held[:-1])])
    for row, query in enumerate(queries):
        scores[row, held] = np.maximum.reduceat(query @ tokens.T, starts, axis=1).sum(axis=0)
    return scores


class RoutedTexts:
    """Texts of an encoder with language adapters, each encoded through the adapter of its side's language.

    The attributes are those of :class:`BitextScorer`. Nothing is calibrated, and texts are encoded on demand.

    Parameters
    ----------
    encoder
        The encoder, of either kind.
    """

    modes: Sequence[Mode] = ("raw",)

    def __init__(self, encoder: AnyEncoder) -> None:
        self.name = encoder.name
        self.dims: int | None = encoder.dims
        self.fingerprint: str | None = encoder.fingerprint
        self.seconds = 0.0
        self._encoder = encoder
        self._texts = 0
        # The same candidates are usually searched from one language after another, so the last ones are cached.
        self._last: tuple[Sequence[str], Any] | None = None

    def __len__(self) -> int:
        return self._texts

    def similarities(self, mode: Mode, queries: Side, candidates: Side) -> Scores:
        """Return cosines, or MaxSim scores for an encoder of token vectors: ``(m, n)`` float32."""
        start = time.perf_counter()
        if self._last is None or self._last[0] is not candidates.texts:
            found = self._encoder.encode_document(candidates.texts, language=candidates.languages)
            self._last = candidates.texts, found
            self._texts += len(candidates.texts)
        asked = self._encoder.encode_query(queries.texts, language=queries.languages)
        self._texts += len(queries.texts)
        self.seconds += time.perf_counter() - start
        compare: Any = maxsim_matrix if isinstance(self._encoder, TokenEncoder) else similarities
        return np.asarray(compare(asked, self._last[1]), dtype=np.float32)


class Bm25Scorer:
    """BM25 between the two sides of a bitext. The attributes are those of :class:`BitextScorer`."""

    name = NAME
    fingerprint: str | None = None
    dims: int | None = None
    modes: Sequence[Mode] = ("raw",)
    seconds = 0.0

    def __init__(self) -> None:
        # The same candidates are usually searched from one language after another, so the last ones are cached.
        self._last: tuple[Sequence[str], Bm25] | None = None

    def __len__(self) -> int:
        return 0

    def similarities(self, mode: Mode, queries: Side, candidates: Side) -> Scores:
        """Return the BM25 score of each query against each candidate: ``(m, n)`` float32."""
        if self._last is None or self._last[0] is not candidates.texts:
            self._last = candidates.texts, Bm25(candidates.texts, candidates.languages)
        return np.asarray(self._last[1].scores(queries.texts, queries.languages).toarray(), dtype=np.float32)


def bitext_scorers(
    encoders: Sequence[AnyEncoder],
    texts: Sequence[str],
    *,
    floors: bool,
    batch_size: int = 256,
    show_progress: bool = False,
) -> list[BitextScorer]:
    """Build a scorer for every encoder, and for the baselines if requested.

    Parameters
    ----------
    encoders
        The encoders, of either kind.
    texts
        All texts of the evaluation. Encoders without language adapters encode them now.
    floors
        Whether to add the baselines.
    batch_size
        Texts in one forward pass.
    show_progress
        Show progress bars.

    Returns
    -------
    list of BitextScorer
        The encoders' scorers in the given order, then those of the baselines.
    """
    from mlret.encoders.adapters import routes_texts  # imports torch, which help texts must not wait for

    scorers: list[BitextScorer] = []
    for encoder in encoders:
        if encoder.runtime == "torch" and routes_texts(encoder.model):
            scorers.append(RoutedTexts(encoder))
        elif isinstance(encoder, TokenEncoder):
            scorers.append(EncodedTokens(encoder, texts))
        else:
            scorers.append(EncodedTexts(encoder, texts, batch_size=batch_size, show_progress=show_progress))
    if floors:
        scorers += [EncodedTexts(baseline(), texts) for baseline in BASELINES]
        scorers.append(Bm25Scorer())
    return scorers
