"""The vectors of a test set: every text encoded once, calibrated for whichever language is asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder

if TYPE_CHECKING:
    from mlret.encoders.calibration import Calibration


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
        self._calibration = _last_calibration(encoder)
        self.has_calibration = isinstance(encoder, Encoder) and bool(encoder.calibration_languages)
        start = time.perf_counter()
        if self._calibration is not None and isinstance(encoder, Encoder):
            self._device = encoder.model.device
            # Encoder.encode would normalise, and the calibration must see the length of the vector.
            self._vectors: Any = encoder.model.encode(
                list(self._row),
                batch_size=batch_size,
                show_progress_bar=show_progress,
                convert_to_numpy=True,
                normalize_embeddings=False,
                calibrate=False,
            )
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
        return vectors if self._calibration is None else _normalised(vectors)

    def calibrated(self, texts: Sequence[str], language: str) -> NDArray[np.float32]:
        """The vectors of ``n`` of the texts calibrated for a language: ``(n, d)`` float32, L2-normalised."""
        if self._calibration is None:
            vectors = self._encoder.encode(texts, language=language, calibrate=True, batch_size=self._batch_size)
            return np.asarray(vectors, dtype=np.float32)
        import torch

        rows = torch.from_numpy(self._vectors[[self._row[text] for text in texts]])
        with torch.inference_mode():
            features = {"sentence_embedding": rows.to(self._device)}
            moved = self._calibration(features, language=language)["sentence_embedding"]
        return _normalised(moved.float().cpu().numpy())


def _last_calibration(encoder: TextEncoder) -> Calibration | None:
    """The calibration module, where the model ends with it: only then is its input what the model returns."""
    if not isinstance(encoder, Encoder) or not encoder.calibration_languages:
        return None
    from mlret.encoders.calibration import Calibration

    last = list(encoder.model.children())[-1]
    if not isinstance(last, Calibration) or encoder.model.truncate_dim is not None:
        return None
    return last


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
