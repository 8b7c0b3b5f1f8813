"""The teacher's vectors for the source side of parallel text, which a student learns in every language."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.data.durable import write_atomically
from mlret.encoders.encoder import prompt_of_side
from mlret.encoders.loading import load_encoder
from mlret.training.batches.pairs import TranslationPairs


class TeacherVectors:
    """The teacher's vectors of the pairs' anchors, cached in a folder so that they are computed only once.

    In Reimers and Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation"
    (arXiv 2004.09813), a text and its translation are both trained towards the teacher's vector of the text. If the
    teacher has a prompt for queries, the text is encoded with it, as such models recommend when both sides are of the
    same kind.

    Parameters
    ----------
    pairs
        Aligned texts.
    teacher
        ``"bundled"``, a folder or a hub id.
    folder
        An existing folder for the cache, ``FINGERPRINT-TEXTS.npy`` and ``.keys``. Vectors that another stage has stored
        there are reused.

    Attributes
    ----------
    dims
        The number of dimensions of a teacher's vector.

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
        languages = pairs.languages_of(0, self._anchors)
        keys = _keys(texts, languages)
        path = folder / f"{encoder.fingerprint}-{sha256(keys.tobytes()).hexdigest()[:16]}.npy"
        if not path.is_file():
            vectors = _known(folder, encoder.fingerprint, keys, self.dims)
            new = np.flatnonzero(np.isnan(vectors[:, 0]))
            prompt = prompt_of_side(encoder.model, "query")
            some, codes = [prompt + texts[row] for row in new], [languages[row] for row in new]
            vectors[new] = encoder.encode(some, language=codes, show_progress=True)
            # The vectors are written last, so that their file implies that both files are complete.
            for target, array in ((path.with_suffix(_KEYS), keys), (path, vectors)):
                write_atomically(target, partial(_save, array))
        self._vectors: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)

    def __call__(self, anchors: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the unit vectors of the texts of some anchors, ``(n, dims)`` float32."""
        return np.asarray(self._vectors[np.searchsorted(self._anchors, anchors)])


_KEYS = ".keys"


def _keys(texts: list[str], languages: list[str]) -> NDArray[np.uint64]:
    digests = (
        sha256(f"{language}\0{text}".encode()).digest()[:8] for text, language in zip(texts, languages, strict=True)
    )
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _known(folder: Path, fingerprint: str, keys: NDArray[np.uint64], dims: int) -> NDArray[np.float32]:
    """Return the cached vectors of the keys, ``(n, dims)``, with NaN in the rows of keys that are not cached."""
    vectors = np.full((len(keys), dims), np.nan, dtype=np.float32)
    for path in sorted(folder.glob(f"{fingerprint}-*.npy")):
        before = np.load(path.with_suffix(_KEYS), allow_pickle=False)
        order = np.argsort(before)
        at = order[np.minimum(np.searchsorted(before, keys, sorter=order), len(before) - 1)]
        rows = np.flatnonzero(before[at] == keys)
        vectors[rows] = np.load(path, mmap_mode="r", allow_pickle=False)[at[rows]]
    return vectors


def _save(array: NDArray[np.generic], target: Path) -> None:
    with target.open("wb") as file:
        np.save(file, array, allow_pickle=False)
