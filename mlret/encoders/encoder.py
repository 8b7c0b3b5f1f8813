"""Load an encoder and turn texts into vectors.

An encoder is a sentence-transformers model folder; mlret adds a calibration module and a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError, MlretError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED = Path(__file__).parent / "bundled" / "mlret-mini"


class Encoder:
    """Texts of any language to unit vectors.

    Parameters
    ----------
    model
        A sentence-transformers model, with or without mlret's calibration module.
    name
        What to call it in messages and manifests: a path or a hub id.
    """

    def __init__(self, model: SentenceTransformer, name: str = "") -> None:
        self.model = model
        self.name = name or type(model).__name__

    def encode(
        self,
        texts: Sequence[str],
        *,
        language: str | Sequence[str | None] | None = None,
        calibrate: bool = True,
        batch_size: int = 64,
        show_progress: bool = False,
    ) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        texts
            ``n`` strings.
        language
            The language of all texts, or of each. Calibration needs it; a text of language ``None`` is
            calibrated by the mean over all languages.
        calibrate
            Apply the calibration module, where the encoder has one.
        batch_size
            Texts in one forward pass. Texts are sorted by length first, so that padding stays small.
        show_progress
            Show a progress bar.

        Returns
        -------
        numpy.ndarray
            ``(n, dims)`` float32, L2-normalised.

        Raises
        ------
        InputError
            If a text is not a string, or ``language`` has another length than ``texts``.
        """
        texts = list(texts)
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"text {position} is {type(text).__name__}, not a string")
        languages = [language] * len(texts) if isinstance(language, str | None) else list(language)
        if len(languages) != len(texts):
            raise InputError(f"{len(texts)} texts but {len(languages)} languages: give one language a text")
        if not self._calibrated or not calibrate:
            return self._forward(texts, None, calibrate, batch_size, show_progress)
        rows_of: dict[str | None, list[int]] = defaultdict(list)
        for row, code in enumerate(languages):
            rows_of[code].append(row)
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for code, rows in rows_of.items():
            vectors[rows] = self._forward([texts[row] for row in rows], code, True, batch_size, show_progress)
        return vectors

    def _forward(
        self, texts: list[str], language: str | None, calibrate: bool, batch_size: int, show_progress: bool
    ) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dims), dtype=np.float32)
        options: dict[str, Any] = {"language": language, "calibrate": calibrate} if self._calibrated else {}
        vectors = self.model.encode(
            texts,
            batch_size=batch_size,
            show_progress_bar=show_progress,
            convert_to_numpy=True,
            normalize_embeddings=True,
            **options,
        )
        return np.asarray(vectors, dtype=np.float32)

    @cached_property
    def _calibrated(self) -> bool:
        from mlret.encoders.calibration import Calibration

        return any(isinstance(module, Calibration) for module in self.model.children())

    @property
    def calibration_languages(self) -> list[str]:
        """The languages that the calibration module has statistics for; empty without one."""
        from mlret.encoders.calibration import Calibration

        return [
            code for module in self.model.children() if isinstance(module, Calibration) for code in module.languages
        ]

    @cached_property
    def dims(self) -> int:
        """The length of a vector."""
        dims = self.model.get_embedding_dimension()
        if dims is None:
            raise InputError(f"{self.name} does not say how long its vectors are: give it a pooling module")
        return dims

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides a vector: weights, tokenizer, modules, calibration, prompts, dims.

        Vectors of two fingerprints must never be compared. 16 hexadecimal digits.
        """
        digest = hashlib.sha256()
        for key, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{key}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
        tokenizer = json.loads(self.model.tokenizer.backend_tokenizer.to_str())
        # These two are left behind by whichever text was encoded last.
        tokenizer.pop("truncation"), tokenizer.pop("padding")
        digest.update(json.dumps(tokenizer, sort_keys=True).encode())
        for module in self.model.children():
            config: dict[str, Any] = getattr(module, "get_config_dict", dict)()
            digest.update(json.dumps([type(module).__qualname__, config], sort_keys=True, default=str).encode())
        digest.update(json.dumps([self.model.prompts, self.model.max_seq_length, self.dims]).encode())
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"


def load_encoder(name: str | Path | None = None, *, device: str | None = None) -> Encoder:
    """Load an encoder.

    Parameters
    ----------
    name
        ``None`` for the bundled encoder, a folder, or the id of a model on the hub.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.

    Raises
    ------
    InputError
        If the folder is missing, is no sentence-transformers model, or has no weights.
    """
    if name is None:
        if not (BUNDLED / "modules.json").is_file():
            raise MlretError(
                f"the bundled encoder is missing from {BUNDLED.parent.name}/{BUNDLED.name}: reinstall mlret, "
                "or name an encoder of your own with --model"
            )
        return Encoder(_load_folder(BUNDLED, device), name=f"bundled:{BUNDLED.name}")
    path = Path(name)
    if path.is_dir():
        return Encoder(_load_folder(path, device), name=str(name))
    if path.is_absolute() or len(path.parts) > 2 or str(name).startswith((".", "~")):
        raise InputError(f"no encoder folder at {name}: give a folder that `mlret train` wrote, or a hub id")
    from sentence_transformers import SentenceTransformer

    try:
        return Encoder(SentenceTransformer(str(name), device=device), name=str(name))
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name} is neither a folder nor a model on the hub that can be reached ({reason})") from error


def _load_folder(path: Path, device: str | None) -> SentenceTransformer:
    """Load a local folder; of code outside sentence-transformers, only mlret's own module may run."""
    modules = path / "modules.json"
    if not modules.is_file():
        raise InputError(f"{path} is no encoder: modules.json is missing; give a sentence-transformers folder")
    if not any(path.rglob("*.safetensors")):
        raise InputError(f"{path} has no weights (*.safetensors): train the encoder, or copy the whole folder")
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.calibration import Calibration
    from mlret.encoders.token_weights import TokenWeights

    own = {f"{module.__module__}.{module.__qualname__}": module for module in (Calibration, TokenWeights)}
    try:
        return SentenceTransformer._load_with_module_classes(str(path), own, device=device, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} cannot be loaded as an encoder: {reason}") from error
