"""Calibrate vectors by their languages with NumPy; see :mod:`mlret.encoders.calibration`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.light.mapped import MappedTensors
from mlret.errors import MlretError

_SMALLEST_STD = 1e-6


class LightCalibration:
    """The calibration module of an encoder's folder: shift, scale and rotate.

    Parameters
    ----------
    folder
        The folder of the module.

    Attributes
    ----------
    languages
        The languages that have statistics.
    """

    def __init__(self, folder: Path) -> None:
        try:
            config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self.languages: list[str] = list(config["languages"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MlretError(f"{folder} holds no calibration ({error}): copy the encoder again") from error
        tensors = MappedTensors(folder / "calibration.safetensors")
        self._mean = _with_mean(tensors["mean"]) if config["shift"] else None
        self._std = np.maximum(_with_mean(tensors["std"]), _SMALLEST_STD) if config["scale"] else None
        self._rotation = tensors["rotation"] if config.get("rotate") else None

    def __call__(self, vectors: NDArray[np.float32], languages: Sequence[str | None]) -> NDArray[np.float32]:
        """Return ``(n, d)`` vectors, each moved by the statistics of its language; they are not normalised."""
        unknown = len(self.languages)
        rows = np.array([self._row_of(code) for code in languages], dtype=np.int64)
        if self._mean is not None:
            vectors = np.subtract(vectors, self._mean[rows], dtype=np.float32)
        if self._std is not None:
            vectors = np.divide(vectors, self._std[rows], dtype=np.float32)
        if self._rotation is not None:
            vectors = vectors.copy()
            for row in np.unique(rows[rows != unknown]):
                vectors[rows == row] = vectors[rows == row] @ self._rotation[row].T
        return vectors

    def _row_of(self, language: str | None) -> int:
        if language is None:
            return len(self.languages)
        from mlret.data.languages import normalise_language  # its tables take a while to load

        return self._rows.get(normalise_language(language), len(self.languages))

    @cached_property
    def _rows(self) -> dict[str, int]:
        from mlret.data.languages import normalise_language

        return {normalise_language(code): row for row, code in enumerate(self.languages)}


def _with_mean(statistic: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of a statistic and, for texts of unknown language, their mean."""
    return np.concatenate([statistic, statistic.mean(axis=0, keepdims=True)])
