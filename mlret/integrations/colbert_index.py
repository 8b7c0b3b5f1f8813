"""Read and write indexes of colbert-ai (Stanford's ColBERT, PLAID) without colbert-ai.

The format is that of version 0.2.22: chunks of passages, each with a centroid and a packed residual for every token
(Santhanam et al. 2022, arXiv 2112.01488, section 3.3), and for each centroid the passages that have a token near it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.errors import AlreadyExists, InputError
from mlret.index.index import Index
from mlret.index.tokens.clustering import Centroids, k_means
from mlret.index.tokens.codec import centroids_for
from mlret.index.tokens.lists import lists_of
from mlret.index.vectors.ragged import Ragged, offsets_of

BITS = (1, 2, 4, 8)
_CHUNK = 25_000  # passages per chunk
_SAMPLE = 2**20  # number of tokens to sample
_BATCH = 512
_BLOCK = 2**15


def read_colbert_index(folder: str | Path) -> Ragged:
    """Read the token vectors of all passages of a colbert-ai index, in passage order.

    Parameters
    ----------
    folder
        A folder with ``metadata.json``, ``centroids.pt``, ``buckets.pt`` and the chunks.

    Returns
    -------
    Ragged
        ``(t, dims)`` float16 of unit length, as colbert-ai decompresses them; they take 2 bytes per dimension in
        memory.

    Raises
    ------
    InputError
        If a file is missing or malformed.
    """
    folder = Path(folder)
    try:
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        dims, bits = int(metadata["config"]["dim"]), int(metadata["config"]["nbits"])
        centroids = _load(folder / "centroids.pt").astype(np.float32)
        weights = _load(folder / "buckets.pt", 1).astype(np.float32)
        values = np.empty((int(metadata["num_embeddings"]), dims), dtype=np.float16)
        lengths: list[int] = []
        done = 0
        for chunk in range(int(metadata["num_chunks"])):
            lengths += json.loads((folder / f"doclens.{chunk}.json").read_text(encoding="utf-8"))
            codes, residuals = _load(folder / f"{chunk}.codes.pt"), _load(folder / f"{chunk}.residuals.pt")
            for start in range(0, len(codes), _BLOCK):
                part = slice(start, start + _BLOCK)
                tokens = centroids[codes[part]] + weights[_unpacked(residuals[part], bits)]
                tokens /= np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
                values[done : done + len(tokens)] = tokens
                done += len(tokens)
    except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder} is not a complete index of colbert-ai: {error}") from error
    if done != len(values) or sum(lengths) != len(values):
        raise InputError(f"{folder}: {len(values)} tokens are declared, but {done} are stored, of {sum(lengths)}")
    return Ragged(values, offsets_of(np.array(lengths, dtype=np.int64)))


def write_colbert_index(
    index: Index, folder: str | Path, *, bits: int = 2, progress: Callable[[int], None] | None = None
) -> int:
    """Write the documents of a multi-vector index as an index that colbert-ai can search.

    A passage's number is its line in ``collection.tsv`` (number, text), counted from 0; ``ids.json`` lists the
    documents' ids in the same order. The encoder is not written, so give colbert-ai the same encoder.

    Parameters
    ----------
    index
        An index with a vector for each token, of unit length and with a multiple of 8 dimensions.
    folder
        The new folder. It is created atomically: completely or not at all.
    bits
        Bits per dimension of a residual: 1, 2, 4 or 8.
    progress
        Called with the number of documents written so far.

    Returns
    -------
    int
        The number of documents.

    Raises
    ------
    InputError
        If the index has one vector per text or no documents, a document has no tokens, ``folder`` exists, or the bits
        or dimensions do not fit the format.
    """
    folder = Path(folder)
    dims = index.manifest.dims
    if index.manifest.similarity != "maxsim":
        raise InputError(f"{index.path} has one vector per text; colbert-ai needs one for each token")
    if bits not in BITS or dims * bits % 8 or dims % 8:
        raise InputError(f"{bits} bits of {dims} dimensions: colbert-ai takes 1, 2, 4 or 8 bits and a multiple of 8")
    if folder.exists():
        raise AlreadyExists(f"{folder} already exists: name a new folder, or remove it first")
    if not len(index):
        raise InputError(f"{index.path} has no documents")
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        count = _Writer(temporary, dims, bits, _sample(index)).write(index, progress)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


@dataclass(frozen=True)
class _Part:
    """A batch of documents and their token vectors."""

    ids: list[str]
    texts: list[str]
    tokens: Ragged


class _Writer:
    """Writer of an index's files.

    Parameters
    ----------
    folder
        The folder to write to.
    dims, bits
        Number of dimensions of a token vector, and bits per dimension of its residual.
    sample
        ``(s, dims)`` float32 token vectors to train the centroids on; overwritten.
    """

    def __init__(self, folder: Path, dims: int, bits: int, sample: NDArray[np.float32]) -> None:
        self._folder, self._dims, self._bits = folder, dims, bits
        vectors = k_means(sample, min(len(sample), centroids_for(len(sample)))).vectors
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self._centroids = Centroids(vectors.astype(np.float16).astype(np.float32))
        residuals = sample - self._centroids.vectors[self._centroids.nearest(sample)]
        steps = 2**bits
        self._cutoffs = np.quantile(residuals, np.arange(1, steps) / steps).astype(np.float32)
        self._weights = np.quantile(residuals, (np.arange(steps) + 0.5) / steps).astype(np.float32)
        self._mean = np.abs(residuals).mean(axis=0)

    def write(self, index: Index, progress: Callable[[int], None] | None) -> int:
        """Write the documents of an index and return their number."""
        import torch

        torch.save(torch.from_numpy(self._centroids.vectors).half(), self._folder / "centroids.pt")
        torch.save((torch.from_numpy(self._cutoffs), torch.from_numpy(self._weights)), self._folder / "buckets.pt")
        torch.save(torch.from_numpy(self._mean), self._folder / "avg_residual.pt")
        lengths: list[NDArray[np.int64]] = []
        centroids: list[NDArray[np.int64]] = []
        ids: list[str] = []
        with (self._folder / "collection.tsv").open("w", encoding="utf-8") as collection:
            for number, chunk in enumerate(_chunks(index)):
                codes, residuals, sizes = [], [], []
                for part in chunk:
                    found = self._centroids.nearest(part.tokens.values.astype(np.float32))
                    codes.append(found)
                    residuals.append(self._packed(part.tokens.values - self._centroids.vectors[found]))
                    sizes.append(part.tokens.lengths)
                    for place, text in enumerate(part.texts, start=len(ids)):
                        collection.write(f"{place}\t{' '.join(text.split())}\n")
                    ids += part.ids
                    if progress is not None:
                        progress(len(ids))
                self._write_chunk(number, codes, residuals, sizes, len(ids), sum(map(len, centroids)))
                lengths += sizes
                centroids.append(np.concatenate(codes))
        offsets, every = offsets_of(np.concatenate(lengths)), np.concatenate(centroids)
        lists = lists_of(every, offsets, len(self._centroids))
        entries = np.diff(lists.starts)
        # colbert-ai reads strides beyond the end of the last list, so the array is padded.
        padding = np.zeros(int(entries.max()), dtype=np.int32)
        passages = torch.from_numpy(np.concatenate([lists.documents, padding]))
        torch.save((passages, torch.from_numpy(entries)), self._folder / "ivf.pid.pt")
        self._write_json("ids.json", ids)
        config = {
            "dim": self._dims,
            "nbits": self._bits,
            "similarity": "cosine",
            "doc_maxlen": int(np.diff(offsets).max()),
        }
        plan = {"config": config, "num_chunks": len(centroids), "num_partitions": len(self._centroids)}
        average = len(every) / len(ids)
        self._write_json("plan.json", plan | {"num_embeddings_est": len(every), "avg_doclen_est": average})
        self._write_json("metadata.json", plan | {"num_embeddings": len(every), "avg_doclen": average})
        return len(ids)

    def _write_chunk(
        self, number: int, codes: list[Any], residuals: list[Any], sizes: list[Any], written: int, before: int
    ) -> None:
        import torch

        lengths = np.concatenate(sizes)
        torch.save(torch.from_numpy(np.concatenate(codes).astype(np.int32)), self._folder / f"{number}.codes.pt")
        torch.save(torch.from_numpy(np.concatenate(residuals)), self._folder / f"{number}.residuals.pt")
        self._write_json(f"doclens.{number}.json", lengths.tolist())
        about = {"passage_offset": written - len(lengths), "num_passages": len(lengths)}
        about |= {"num_embeddings": int(lengths.sum()), "embedding_offset": before}
        self._write_json(f"{number}.metadata.json", about)

    def _packed(self, residuals: NDArray[np.float32]) -> NDArray[np.uint8]:
        codes = np.searchsorted(self._cutoffs, residuals).astype(np.uint8)
        bits = (codes[:, :, None] >> np.arange(self._bits, dtype=np.uint8)) & 1
        return np.packbits(bits.reshape(len(codes), -1), axis=1)

    def _write_json(self, name: str, content: Any) -> None:
        (self._folder / name).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _unpacked(packed: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    """Return the ``(t, dims)`` codes that are packed in bytes, lowest bit first."""
    single = np.unpackbits(packed, axis=1).reshape(len(packed), -1, bits)
    return np.asarray((single.astype(np.int64) << np.arange(bits)).sum(axis=2))


def _load(path: Path, part: int | None = None) -> NDArray[Any]:
    import torch

    found = torch.load(path, map_location="cpu", weights_only=True)
    return np.asarray((found if part is None else found[part]).numpy())


def _chunks(index: Index) -> Iterator[Iterator[_Part]]:
    """Yield the documents in chunks, each of which must be read before the next."""
    documents = index.documents()
    while first := list(islice(documents, _BATCH)):
        rest = islice(documents, _CHUNK - len(first))
        yield _batches(index, chain(first, rest))


def _batches(index: Index, documents: Iterator[Document]) -> Iterator[_Part]:
    while batch := list(islice(documents, _BATCH)):
        ids = [document.id for document in batch]
        tokens = index.vectors(ids)
        assert isinstance(tokens, Ragged)
        if not tokens.lengths.all():
            raise InputError(
                f"the document {ids[int(np.argmin(tokens.lengths))]!r} has no token; colbert-ai takes none such"
            )
        yield _Part(ids, [document.text for document in batch], tokens)


def _sample(index: Index) -> NDArray[np.float32]:
    """Return ``(s, dims)`` float32 token vectors of documents drawn at random from the whole index."""
    every = [document.id for document in index.documents()]
    order = np.random.default_rng(0).permutation(len(every))
    found, size = [], 0
    for start in range(0, len(every), _BATCH):
        tokens = index.vectors([every[place] for place in order[start : start + _BATCH]])
        assert isinstance(tokens, Ragged)
        found.append(tokens.values.astype(np.float32))
        size += len(tokens.values)
        if size >= _SAMPLE:
            break
    return np.concatenate(found)
