"""The vectors of a test set: every text encoded once, calibrated for whichever language is asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder, calibrated, normalised


class TextEncoder(Protocol):
    """What an evaluation needs of an encoder; :class:`mlret.Encoder` and the floors have it."""

    name: str

    @property
    def dims(self) -> int:
        """The length of a vector."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        language: str | Sequence[str | None] | None = None,
        calibrate: bool = True,
        batch_size: int = 64,
        show_progress: bool = False,
    ) -> Any:
        """Encode ``n`` texts: ``(n, dims)`` float32 unit vectors, dense or SciPy sparse."""


class EncodedTexts:
    """Texts and their vectors.

    Calibration is an affine map of the vector before it, so the texts go through the network once however
    many languages they are calibrated for.

    Parameters
    ----------
    encoder
        The encoder.
    texts
        The texts; repeated ones are encoded once.
    batch_size
        Texts in one forward pass.
    show_progress
        Show a progress bar.

    Attributes
    ----------
    has_calibration
        Whether the encoder has calibration.
    seconds
        How long encoding took.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        texts: Iterable[str],
        *,
        batch_size: int = 256,
        show_progress: bool = False,
    ) -> None:
        self._encoder = encoder
        self._row = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        self._batch_size = batch_size
        self._calibration = encoder.calibration if isinstance(encoder, Encoder) else None
        self.has_calibration = isinstance(encoder, Encoder) and bool(encoder.calibration_languages)
        start = time.perf_counter()
        if self._calibration is not None and isinstance(encoder, Encoder):
            # Encoder.encode would normalise, and the calibration must see the length of the vector.
            self._vectors: Any = encoder.embed(list(self._row), batch_size=batch_size, show_progress=show_progress)
        else:
            self._vectors = encoder.encode(
                list(self._row), calibrate=False, batch_size=batch_size, show_progress=show_progress
            )
        self.seconds = time.perf_counter() - start

    def __len__(self) -> int:
        return len(self._row)

    def raw(self, texts: Sequence[str]) -> Any:
        """The vectors of ``n`` of the texts without calibration: ``(n, d)`` float32, L2-normalised."""
        vectors = self._vectors[[self._row[text] for text in texts]]
        return vectors if self._calibration is None else normalised(vectors)

    def calibrated(self, texts: Sequence[str], language: str) -> NDArray[np.float32]:
        """The vectors of ``n`` of the texts calibrated for a language: ``(n, d)`` float32, L2-normalised."""
        if self._calibration is None:
            vectors = self._encoder.encode(texts, language=language, calibrate=True, batch_size=self._batch_size)
            return np.asarray(vectors, dtype=np.float32)
        rows = self._vectors[[self._row[text] for text in texts]]
        return normalised(calibrated(self._calibration, rows, [language] * len(texts)))
