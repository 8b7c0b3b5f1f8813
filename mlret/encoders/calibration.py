"""Cross-lingual calibration: per-language shift and scale, as a module of the encoder.

Contrastive pretraining on one language at a time leaves each language in a cloud of its own. Moving every
cloud to the origin (shift) and giving its dimensions unit spread (scale) lets texts of different languages be
compared (Contrastive Context Prediction, arXiv 2206.03281, section on cross-lingual calibration). The
statistics come from monolingual text alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import Module
from torch import Tensor
from torch.nn import functional

from mlret.data.languages import normalise_language
from mlret.errors import InputError

_WEIGHTS = "calibration.safetensors"


class Calibration(Module):
    """Shift and scale sentence embeddings by the statistics of their language, then L2-normalise.

    A text whose language is unknown, or has no statistics, is moved by the mean over all languages.

    Parameters
    ----------
    languages
        The ``L`` languages that have statistics, in mlret's form (``"sw"``, ``"zh-Hant"``).
    mean
        ``(L, d)`` float32: the mean embedding of each language.
    std
        ``(L, d)`` float32: the standard deviation of each dimension within each language.
    shift, scale
        Which of the steps apply.
    """

    forward_kwargs: set[str] = {"language", "calibrate"}
    config_keys: list[str] = ["languages", "shift", "scale"]

    def __init__(
        self, languages: list[str], mean: Tensor, std: Tensor, *, shift: bool = True, scale: bool = True
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.languages = list(languages)
        self.shift = shift
        self.scale = scale
        self._row = {language: row for row, language in enumerate(self.languages)}
        # The last row serves texts of unknown language.
        self.register_buffer("mean", torch.cat([mean, mean.mean(0, keepdim=True)]))
        self.register_buffer("std", torch.cat([std, std.mean(0, keepdim=True)]))

    @classmethod
    def fit(
        cls, embeddings: Mapping[str, NDArray[np.float32]], *, shift: bool = True, scale: bool = True
    ) -> Calibration:
        """Measure the statistics of each language.

        Parameters
        ----------
        embeddings
            Language -> ``(n, d)`` float32 embeddings of monolingual sentences, before calibration.
        shift, scale
            Which steps the fitted module applies.

        Raises
        ------
        InputError
            If there is no language, or a language has fewer than two sentences.
        """
        if not embeddings:
            raise InputError("calibration needs the embeddings of at least one language")
        for language, rows in embeddings.items():
            if len(rows) < 2:
                raise InputError(f"calibration of {language!r} needs at least 2 sentences, got {len(rows)}")
        languages = sorted(embeddings)
        mean = np.stack([embeddings[language].mean(0) for language in languages])
        std = np.stack([embeddings[language].std(0) for language in languages])
        return cls(
            languages,
            torch.from_numpy(mean.astype(np.float32)),
            torch.from_numpy(std.astype(np.float32)),
            shift=shift,
            scale=scale,
        )

    def forward(
        self, features: dict[str, Any], language: str | None = None, calibrate: bool = True, **kwargs: Any
    ) -> dict[str, Any]:
        """Calibrate ``features["sentence_embedding"]``, ``(n, d)``, whose rows are all in ``language``."""
        if not calibrate:
            return features
        row = len(self.languages)
        if language is not None:
            row = self._row.get(normalise_language(language), row)
        embedding: Tensor = features["sentence_embedding"]
        if self.shift:
            embedding = embedding - self.mean[row].to(embedding.dtype)
        if self.scale:
            embedding = embedding / self.std[row].clamp_min(1e-6).to(embedding.dtype)
        features["sentence_embedding"] = functional.normalize(embedding, dim=-1)
        return features

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the statistics (float32 safetensors) and the switches (JSON) to ``output_path``."""
        rows = len(self.languages)
        save_file(
            {"mean": self.mean[:rows].contiguous(), "std": self.std[:rows].contiguous()},
            Path(output_path) / _WEIGHTS,
        )
        self.save_config(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Calibration:  # type: ignore[override]
        """Read what :meth:`save` wrote, from a folder or the hub."""
        known = {k: kwargs[k] for k in ("token", "cache_folder", "revision", "local_files_only") if k in kwargs}
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **known)
        weights = cls.load_file_path(model_name_or_path, filename=_WEIGHTS, subfolder=subfolder, **known)
        if weights is None:
            raise OSError(f"{Path(subfolder) / _WEIGHTS} is missing")
        tensors = load_file(weights)
        return cls(config["languages"], tensors["mean"], tensors["std"], shift=config["shift"], scale=config["scale"])
