"""The vectors that a teacher gives the source side of parallel text, for a student to learn in every language."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.data.durable import write_atomically
from mlret.encoders.encoder import load_encoder
from mlret.training.pairs import TranslationPairs


class TeacherVectors:
    """What a teacher makes of the pairs' anchors; kept in a folder, so that it is computed once.

    Reimers and Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation"
    (arXiv 2004.09813): a text and its translation are both to have the vector that the teacher gives the text.

    Parameters
    ----------
    pairs
        Aligned texts.
    teacher
        ``"bundled"``, a folder or a hub id.
    folder
        Gets ``FINGERPRINT-TEXTS.npy``, which another stage on other texts does not take for its own. It must exist.

    Attributes
    ----------
    dims
        The length of a teacher's vector.

    Raises
    ------
    InputError
        If the teacher cannot be loaded.
    """

    def __init__(self, pairs: TranslationPairs, teacher: str, folder: Path) -> None:
        encoder = load_encoder(None if teacher == "bundled" else teacher)
        self.dims = encoder.dims
        self._anchors = pairs.anchors
        texts = [pairs.strings[row] for row in self._anchors]
        languages = pairs.spoken(0, self._anchors)
        asked = sha256(json.dumps([texts, languages]).encode()).hexdigest()
        path = folder / f"{encoder.fingerprint}-{asked[:16]}.npy"
        if not path.is_file():
            vectors = encoder.encode(texts, language=languages, show_progress=True)

            def write(target: Path) -> None:
                with target.open("wb") as file:
                    np.save(file, vectors, allow_pickle=False)

            write_atomically(path, write)
        self._vectors: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)

    def __call__(self, anchors: NDArray[np.int64]) -> NDArray[np.float32]:
        """``(n, dims)`` float32 unit vectors of some anchors' texts."""
        return np.asarray(self._vectors[np.searchsorted(self._anchors, anchors)])
