"""Training text as token ids, stored contiguously in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from mlret.data.durable import write_atomically
from mlret.data.monolingual import MonolingualDocument
from mlret.encoders.tokenizing import unbounded
from mlret.training.progress import counted

_TEXTS_TOGETHER = 8192


@dataclass(frozen=True)
class PackedTexts:
    """The token ids of many texts, without special tokens.

    Attributes
    ----------
    ids
        ``(total,)`` int32, the ids of all texts, concatenated; may be a memory map.
    offsets
        ``(n + 1,)`` int64: text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each text, ``(n,)`` int64."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, *, max_length: int) -> PackedTexts:
        """Tokenize texts, truncated to ``max_length`` tokens including the two special tokens."""
        rows = list(_token_ids(texts, tokenizer, max_length))
        return cls(np.concatenate(rows) if rows else np.empty(0, np.int32), _offsets(map(len, rows)))

    @classmethod
    def kept(cls, path: Path, make: Callable[[], PackedTexts]) -> PackedTexts:
        """Load the texts from a file; if it does not exist, call ``make`` and write it first."""
        if not path.is_file():
            made = make()
            arrays: dict[str, NDArray[Any]] = {"ids": made.ids, "offsets": made.offsets}
            write_atomically(path, lambda target: _save_arrays(target, arrays))
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["ids"], stored["offsets"])

    @classmethod
    def joined(cls, parts: Sequence[PackedTexts]) -> PackedTexts:
        """Concatenate the texts of all parts."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.ids for part in parts]), _offsets(lengths.tolist()))


@dataclass(frozen=True)
class PackedDocuments:
    """The token ids of the sentences of documents, memory-mapped. Sentences without tokens are excluded.

    Attributes
    ----------
    sentences
        The sentences of all documents, concatenated.
    first
        ``(documents + 1,)`` int64: document ``d`` is sentences ``first[d]:first[d + 1]``.
    language
        ``(documents,)`` int64 positions in ``languages``.
    languages
        The language codes, sorted.
    """

    sentences: PackedTexts
    first: NDArray[np.int64]
    language: NDArray[np.int64]
    languages: list[str]

    @classmethod
    def prepare(
        cls,
        documents: Iterable[MonolingualDocument],
        languages: Iterable[str],
        tokenizer: PreTrainedTokenizerFast,
        folder: Path,
        *,
        max_length: int,
    ) -> PackedDocuments:
        """Tokenize documents to files in ``folder``, or load the files if they exist.

        Parameters
        ----------
        documents
            The documents, which are read as a stream, and only if the files do not exist.
        languages
            The languages of the documents.
        tokenizer
            The tokenizer whose ids are stored.
        folder
            An existing folder for the files.
        max_length
            The maximum number of tokens of a sentence, including the two special tokens.
        """
        codes = sorted(languages)
        ids, index = folder / "ids.npy", folder / "index.npz"
        if not index.is_file():
            row_of = {code: row for row, code in enumerate(codes)}
            lengths: list[NDArray[np.int32]] = []
            counts: list[int] = []
            owners: list[int] = []

            def stream() -> Iterator[NDArray[np.int32]]:
                remaining = iter(counted(documents, "tokenizing documents"))
                while some := list(islice(remaining, _TEXTS_TOGETHER)):
                    texts = [sentence for document in some for sentence in document.sentences]
                    rows = list(_token_ids(texts, tokenizer, max_length))
                    lengths.append(np.asarray([len(row) for row in rows if len(row)], dtype=np.int32))
                    at = 0
                    for document in some:
                        own = rows[at : at + len(document.sentences)]
                        at += len(own)
                        counts.append(sum(len(row) > 0 for row in own))
                        owners.append(row_of[document.language])
                    yield np.concatenate([*rows, np.empty(0, np.int32)])

            _write_growing(ids, stream())
            offsets = _offsets(length for chunk in lengths for length in chunk.tolist())
            arrays = {"offsets": offsets, "first": _offsets(counts), "language": np.asarray(owners, dtype=np.int64)}
            # The index is written last, so its existence implies that the files are complete.
            write_atomically(index, lambda target: _save_arrays(target, arrays))
        with np.load(index, allow_pickle=False) as stored:
            return cls(
                PackedTexts(np.load(ids, mmap_mode="r", allow_pickle=False), stored["offsets"]),
                stored["first"],
                stored["language"],
                codes,
            )


def _token_ids(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> Iterator[NDArray[np.int32]]:
    for start in range(0, len(texts), _TEXTS_TOGETHER):
        # A token has at least one byte, so text far beyond the cut need not be tokenized.
        batch = [text[: 16 * max_length] for text in texts[start : start + _TEXTS_TOGETHER]]
        with unbounded(tokenizer.backend_tokenizer) as backend:
            encodings = backend.encode_batch_fast(batch, add_special_tokens=False)
        for encoding in encodings:
            yield np.asarray(encoding.ids[: max_length - 2], dtype=np.int32)


def _offsets(lengths: Iterable[int]) -> NDArray[np.int64]:
    sizes = np.fromiter(lengths, dtype=np.int64)
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def _save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]


def _write_growing(path: Path, chunks: Iterable[NDArray[np.int32]]) -> None:
    """Write an array to a .npy file whose length is known only at the end, without holding it in memory."""
    raw = path.with_suffix(".raw")
    with raw.open("wb") as handle:
        for chunk in chunks:
            chunk.tofile(handle)
    whole = np.memmap(raw, dtype=np.int32, mode="r") if raw.stat().st_size else np.empty(0, np.int32)

    def save(target: Path) -> None:
        with target.open("wb") as handle:
            np.save(handle, whole, allow_pickle=False)

    write_atomically(path, save)
    raw.unlink()
