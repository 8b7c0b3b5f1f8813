"""Measure what it costs to search an index that is divided into shards, compared with one index of the same documents.

    python scripts/bench/shards.py
    python scripts/bench/shards.py --documents 100000 --shards 8 --queries 200

The documents have words of the sample in ten languages and random vectors of 384 dimensions. Each query is searched
once, alternately in both indexes, after fifty others; the medians of wall time and of processor time (of all threads)
are printed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from mlret.data.sample import load_sample
from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.index.search import Mode
from mlret.index.settings import IndexSettings

DIMS = 384
BATCH = 20_000
# Languages with fewer words are written without spaces.
_SPACED = 500
# Queries that are searched before the measurement, so that files are in memory.
_FIRST = 50


def vectors_of(count: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMS)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def texts_of(count: int, seed: int) -> Iterator[str]:
    """Yield texts of 10 to 30 words, each drawn from the passages of the sample in one language."""
    chance = random.Random(seed)
    words: dict[str, list[str]] = {}
    for passage in load_sample().passages:
        words.setdefault(passage.language or "", []).extend(passage.text.split())
    spaced = [some for some in words.values() if len(some) > _SPACED]
    for _ in range(count):
        yield " ".join(chance.choices(chance.choice(spaced), k=chance.randint(10, 30)))


def built(folder: Path, documents: int, shards: int | None) -> Index:
    settings = IndexSettings(lexical=True, kind="flat")
    index = Index.create(folder, ExternalEncoder("made", DIMS), settings=settings, shards=shards)
    texts = texts_of(documents, 1)
    for start in range(0, documents, BATCH):
        count = min(BATCH, documents - start)
        some = [{"id": f"d{start + place}", "text": next(texts), "lang": "en"} for place in range(count)]
        index.add(some, vectors=vectors_of(count, start), batch_size=2048)
    index.compact()
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="keep the indexes here, and use those that are there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        indexes = []
        for name, shards in (("one", None), (f"shards-{given.shards}", given.shards)):
            path = folder / f"{name}-{given.documents}"
            indexes.append(Index.open(path) if path.exists() else built(path, given.documents, shards))
        compare(indexes, given.queries)


def compare(indexes: list[Index], queries: int) -> None:
    queries += _FIRST
    texts = [" ".join(text.split()[:6]) for text in texts_of(queries, 2)]
    vectors = vectors_of(queries, 7)
    for mode in get_args(Mode):
        wall: list[list[float]] = [[] for _ in indexes]
        processor: list[list[float]] = [[] for _ in indexes]
        for text, vector in zip(texts, vectors, strict=True):
            found = []
            for place, index in enumerate(indexes):
                start, used = time.perf_counter(), time.process_time()
                [hits] = index.search_batch([text], 10, language="en", vectors=vector[None], mode=mode)
                wall[place].append(1000 * (time.perf_counter() - start))
                processor[place].append(1000 * (time.process_time() - used))
                found.append([hit.id for hit in hits])
            assert all(ids == found[0] for ids in found), (text, found)
        for what, measured in (("wall", wall), ("processor", processor)):
            one, divided = (statistics.median(some[_FIRST:]) for some in measured)
            print(f"{mode:8} {what:9} one {one:6.2f} ms, {len(indexes[1].shards)} shards {divided:6.2f} ms")


if __name__ == "__main__":
    main()
