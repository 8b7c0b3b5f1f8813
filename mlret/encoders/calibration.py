"""Cross-lingual calibration: a module of the encoder that shifts, scales and rotates the vectors of each language.

After contrastive pretraining on one language at a time, the embeddings of each language form a separate cluster.
Moving every cluster to the origin (shift), scaling its dimensions to unit variance (scale) and rotating it towards a
pivot language (rotate) makes texts of different languages comparable (Contrastive Context Prediction, arXiv
2206.03281, cross-lingual calibration). The statistics are computed from monolingual text alone. The paper does not
state which text to compute them from or what to rotate towards; mlret uses a sample of running text and one pivot
language for all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module
from torch import Tensor
from torch.nn import functional

from mlret.data.languages import language_name, normalise_language
from mlret.encoders.longest_input import keep_within_positions
from mlret.encoders.rotation import FittedRotation, fit_rotation
from mlret.encoders.texts import checked_texts
from mlret.errors import InputError

_WEIGHTS = "calibration.safetensors"
_SMALLEST_STD = 1e-6


def _switch(step: str, statistic: str) -> property:
    """Return a property that switches a step on or off; switching it on requires the step's statistic."""

    def is_on(self: Calibration) -> bool:
        return self._on[step]

    def turn(self: Calibration, on: bool) -> None:
        if on and getattr(self, statistic) is None:
            raise InputError(
                f"{step!r} cannot be switched on: this calibration was fitted without it; fit one with {step}=True "
                f"(mlret calibrate MODEL --{step})"
            )
        self._on[step] = bool(on)

    return property(is_on, turn, doc=f"Whether the step {step!r} applies; on only where ``{statistic}`` was fitted.")


class Calibration(Module):
    """Shift, scale and rotate sentence embeddings by the statistics of their language, then L2-normalise them.

    Each step can be switched off and on again (``calibration.rotate = False``); it can only be switched on if it was
    fitted. Scale and rotation were fitted to the output of the steps that were on then, so they fit less well if those
    steps are switched off. The switches are part of an encoder's fingerprint, so set them before reading it.

    A text whose language is unknown or has no statistics is shifted and scaled by the mean over all languages and is
    not rotated.

    Parameters
    ----------
    languages
        The ``L`` languages that have statistics, as normalised codes (``"sw"``, ``"zh-Hant"``).
    mean
        ``(L, d)`` float32: the mean embedding of each language; ``None`` without shift.
    std
        ``(L, d)`` float32: the standard deviation of each dimension within each language; ``None`` without scale.
    rotation
        ``(L, d, d)`` float32: the orthogonal matrix ``W`` of each language, which is the identity for the pivot;
        ``None`` without rotation.
    shift, scale, rotate
        Whether each step applies; by default the steps that have their statistic do.
    pivot
        The language that ``rotation`` rotates towards.

    Raises
    ------
    InputError
        If a step is switched on without its statistic, or a statistic does not have ``L`` rows.
    """

    forward_kwargs: set[str] = {"language", "calibrate"}
    config_keys: list[str] = ["languages", "shift", "scale"]
    shift = _switch("shift", "mean")
    scale = _switch("scale", "std")
    rotate = _switch("rotate", "rotation")

    def __init__(
        self,
        languages: list[str],
        mean: Tensor | None = None,
        std: Tensor | None = None,
        rotation: Tensor | None = None,
        *,
        shift: bool | None = None,
        scale: bool | None = None,
        rotate: bool | None = None,
        pivot: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.languages = list(languages)
        self.pivot = pivot
        # A calibration that was fitted by an earlier version may have codes that are normalised differently now.
        self._row = {normalise_language(language): row for row, language in enumerate(self.languages)}
        for name, statistic in (("mean", mean), ("std", std), ("rotation", rotation)):
            if statistic is not None and len(statistic) != len(self.languages):
                raise InputError(
                    f"calibration has {len(self.languages)} languages, but {name!r} {len(statistic)} rows: fit it again"
                )
        # The last row is for texts of unknown language.
        self.register_buffer("mean", None if mean is None else torch.cat([mean, mean.mean(0, keepdim=True)]))
        self.register_buffer("std", None if std is None else torch.cat([std, std.mean(0, keepdim=True)]))
        self.register_buffer("rotation", rotation)
        self._on: dict[str, bool] = {}
        self.shift = mean is not None if shift is None else shift
        self.scale = std is not None if scale is None else scale
        self.rotate = rotation is not None if rotate is None else rotate

    @classmethod
    def fit(
        cls,
        embeddings: Mapping[str, NDArray[np.float32]],
        *,
        shift: bool = True,
        scale: bool = True,
        rotate: bool = False,
        pivot: str = "en",
        adversarial: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        on_rotation: Callable[[str, FittedRotation], None] | None = None,
    ) -> Calibration:
        """Compute the statistics of each language for the requested steps.

        Parameters
        ----------
        embeddings
            Language -> ``(n, d)`` float32 embeddings of monolingual sentences, before calibration.
        shift, scale, rotate
            Which steps to fit. Each step is fitted to the output of the steps before it.
        pivot
            The language to rotate towards.
        adversarial
            Whether to initialise each rotation with :func:`mlret.encoders.rotation.adversarial_rotation`.
        seed
            Random seed of the rotations.
        device
            Device on which rotations are computed.
        on_rotation
            Called with each language and its rotation when it is found, in alphabetical order of the codes.

        Returns
        -------
        Calibration
            The fitted module.

        Raises
        ------
        InputError
            If there is no language, two codes mean the same language, a language has fewer than two sentences, an
            embedding is not finite, or the pivot is missing.
        """
        rows_of = _checked_embeddings(embeddings)
        languages = sorted(rows_of)
        mean = std = rotation = None
        if shift:
            mean = torch.stack(
                [torch.from_numpy(rows_of[code].mean(0, dtype=np.float64)).float() for code in languages]
            )
        if scale:
            std = torch.stack([torch.from_numpy(rows_of[code].std(0, dtype=np.float64)).float() for code in languages])
            # A dimension that never varies in a language would dominate all others if it were divided by almost zero.
            std[std < _SMALLEST_STD] = 1.0
        if not rotate:
            return cls(languages, mean, std)
        towards = normalise_language(pivot)
        if towards not in rows_of:
            raise InputError(f"no text in the pivot language {pivot!r}: add some, or choose another pivot")
        before = cls(languages, mean, std)

        def cloud(language: str) -> NDArray[np.float32]:
            features = {"sentence_embedding": torch.from_numpy(np.asarray(rows_of[language], dtype=np.float32))}
            return np.asarray(before(features, language=language)["sentence_embedding"].numpy(), dtype=np.float32)

        target = cloud(towards)
        rotation = torch.eye(target.shape[1]).repeat(len(languages), 1, 1)
        for row, language in enumerate(languages):
            if language == towards:
                continue
            found = fit_rotation(cloud(language), target, adversarial=adversarial, seed=seed, device=device)
            rotation[row] = torch.from_numpy(found.matrix)
            if on_rotation is not None:
                on_rotation(language, found)
        return cls(languages, mean, std, rotation, pivot=towards)

    def forward(
        self, features: dict[str, Any], language: str | None = None, calibrate: bool = True, **kwargs: Any
    ) -> dict[str, Any]:
        """Calibrate ``features["sentence_embedding"]``, ``(n, d)``, whose rows are all in ``language``.

        Parameters
        ----------
        features
            Features of sentence-transformers; ``"sentence_embedding"`` is replaced.
        language
            The language of all rows in any spelling; ``None`` if it is unknown.
        calibrate
            If false, the features are returned unchanged.
        """
        if not calibrate:
            return features
        unknown = len(self.languages)
        row = unknown
        if language is not None:
            row = self._row.get(normalise_language(language), unknown)
        embedding: Tensor = features["sentence_embedding"]
        if self.shift:
            embedding = embedding - self.mean[row].to(embedding.dtype)
        if self.scale:
            embedding = embedding / self.std[row].clamp_min(_SMALLEST_STD).to(embedding.dtype)
        if self.rotate and row != unknown:
            embedding = embedding @ self.rotation[row].T.to(embedding.dtype)
        features["sentence_embedding"] = functional.normalize(embedding, dim=-1)
        return features

    def get_config_dict(self) -> dict[str, Any]:
        """Return the languages and the switches; the entries for rotation are only present if one was fitted.

        Encoders without rotation thus keep the fingerprint that they had before rotation was introduced.
        """
        config: dict[str, Any] = super().get_config_dict()
        return config if self.rotation is None else config | {"rotate": self.rotate, "pivot": self.pivot}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the statistics (safetensors) and the switches (JSON) to the folder ``output_path``."""
        rows = len(self.languages)
        fitted = {"mean": self.mean, "std": self.std, "rotation": self.rotation}
        tensors = {name: rows_of[:rows].contiguous() for name, rows_of in fitted.items() if rows_of is not None}
        save_file(tensors, Path(output_path) / _WEIGHTS)
        self.save_config(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Calibration:  # type: ignore[override]
        """Load what :meth:`save` wrote, from a folder or the hub.

        Parameters
        ----------
        model_name_or_path
            A folder or hub id.
        subfolder
            Folder of the module within it.
        **kwargs
            ``token``, ``cache_folder``, ``revision`` and ``local_files_only`` of sentence-transformers.

        Returns
        -------
        Calibration
            The loaded module.

        Raises
        ------
        InputError
            If a step is switched on but its statistic is not in the file.
        OSError
            If the file of statistics is missing.
        """
        known = {k: kwargs[k] for k in ("token", "cache_folder", "revision", "local_files_only") if k in kwargs}
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **known)
        weights = cls.load_file_path(model_name_or_path, filename=_WEIGHTS, subfolder=subfolder, **known)
        if weights is None:
            raise OSError(f"{Path(subfolder) / _WEIGHTS} is missing")
        tensors = load_file(weights)
        return cls(
            config["languages"],
            *(tensors.get(name) for name in ("mean", "std", "rotation")),
            shift=config["shift"],
            scale=config["scale"],
            rotate=config.get("rotate", False),
            pivot=config.get("pivot"),
        )


@dataclass(frozen=True, slots=True)
class LanguageCalibration:
    """Effect of calibration on one language.

    Attributes
    ----------
    language
        Language code.
    sentences
        Number of sentences that the calibration was fitted to.
    distance_before, distance_after
        Euclidean distance from the mean of the language's unit vectors to the mean of all languages' means, without and
        with calibration, measured on the sentences that it was fitted to.
    rotation
        The fitted rotation; ``None`` for the pivot, and if no rotation was requested.
    """

    language: str
    sentences: int
    distance_before: float
    distance_after: float
    rotation: FittedRotation | None


def calibrate_model(
    model: SentenceTransformer,
    sentences: Mapping[str, Sequence[str]],
    *,
    shift: bool = True,
    scale: bool = False,
    rotate: bool = False,
    pivot: str = "en",
    adversarial: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> list[LanguageCalibration]:
    """Fit a calibration and add it to a model, replacing its current calibration module if it has one.

    Parameters
    ----------
    model
        Any sentence-transformers model; changed in place. Without a calibration module, the new one becomes the last.
    sentences
        Normalised language code -> at least two monolingual sentences.
    shift, scale, rotate, pivot, adversarial, seed
        As for :meth:`Calibration.fit`.
    say
        Called with one short line of progress at a time.

    Returns
    -------
    list of LanguageCalibration
        One entry for each language, sorted by language code.

    Raises
    ------
    InputError
        As :meth:`Calibration.fit`.
    """
    keep_within_positions(model)
    modules = list(model.named_children())
    present = [position for position, (_, module) in enumerate(modules) if isinstance(module, Calibration)]
    position = present[0] if present else len(modules)
    # The module receives the output of the modules before it, neither normalised nor truncated.
    before = SentenceTransformer(
        modules=OrderedDict(modules[:position]),  # type: ignore[arg-type]
        device=str(model.device),
    )
    before.prompts, before.default_prompt_name = model.prompts, model.default_prompt_name
    before.module_kwargs = model.module_kwargs
    embeddings: dict[str, NDArray[np.float32]] = {}
    for number, (language, lines) in enumerate(sorted(sentences.items()), start=1):
        say(f"encoding {language_name(language)} ({number} of {len(sentences)})")
        vectors = before.encode(
            checked_texts(lines, what=f"{language} sentence"), batch_size=64, show_progress_bar=False
        )
        embeddings[language] = np.asarray(vectors, dtype=np.float32)
    rotations: dict[str, FittedRotation] = {}
    if rotate:
        say("rotating")

    def on_rotation(language: str, found: FittedRotation) -> None:
        rotations[language] = found
        say(f"rotating: {len(rotations)} of {len(embeddings) - 1} languages done")

    calibration = Calibration.fit(
        embeddings,
        shift=shift,
        scale=scale,
        rotate=rotate,
        pivot=pivot,
        adversarial=adversarial,
        seed=seed,
        device=model.device,
        on_rotation=on_rotation,
    )
    distances_before = _distances({code: functional.normalize(torch.from_numpy(e)) for code, e in embeddings.items()})
    distances_after = _distances(
        {
            code: calibration({"sentence_embedding": torch.from_numpy(e)}, language=code)["sentence_embedding"]
            for code, e in embeddings.items()
        }
    )
    if present:
        model[position] = calibration.to(model.device)
        for extra in reversed(present[1:]):
            del model[extra]
    else:
        model.append(calibration.to(model.device))
    return [
        LanguageCalibration(code, len(e), distances_before[code], distances_after[code], rotations.get(code))
        for code, e in embeddings.items()
    ]


def _distances(clouds: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the distance from the mean of each cluster to the mean of these means."""
    means = {code: cloud.double().mean(0) for code, cloud in clouds.items()}
    centre = torch.stack(list(means.values())).mean(0)
    return {code: (mean - centre).norm().item() for code, mean in means.items()}


def _checked_embeddings(embeddings: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the embeddings by normalised language; raise an `InputError` if statistics of some cannot be computed."""
    if not embeddings:
        raise InputError("calibration needs the embeddings of at least one language")
    rows_of: dict[str, NDArray[np.float32]] = {}
    for code, rows in embeddings.items():
        language = normalise_language(code)
        if language in rows_of:
            raise InputError(f"calibration was given {language!r} under two codes, one of them {code!r}: join them")
        if len(rows) < 2:
            raise InputError(f"calibration of {code!r} needs at least 2 sentences, got {len(rows)}")
        if not np.isfinite(rows).all():
            raise InputError(f"the embeddings of {code!r} hold NaN or infinity: encode them again in float32")
        rows_of[language] = rows
    return rows_of
