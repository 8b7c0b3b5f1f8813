"""Measure mlret's index: python with_mlret_store.py DATA FOLDER float32|float16|int8 build|use|verify."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss  # noqa: F401  # imported first, so that only opening is measured
import numpy as np
from numpy.typing import NDArray
from store_calls import Block, Found, K, measure, size_of

from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.verify import verify_index

DIMS = 384


class Mlret:
    """An index with a graph."""

    filters = True
    durable = True

    def __init__(self, folder: Path, dtype: Any) -> None:
        encoder = ExternalEncoder("made", DIMS)
        if folder.exists():
            self._index = Index.open(folder, encoder)
        else:
            self._index = Index.create(folder, encoder, settings=IndexSettings(kind="hnsw", dtype=dtype))

    def build(self, blocks: Iterator[Block]) -> None:
        """Add all documents and compact."""
        for block in blocks:
            self._add(block)
        self._index.compact()

    def search(self, query: NDArray[np.float32], since: int | None) -> Found:
        """Search by the vector."""
        where = None if since is None else {"year": {"$gte": since}}
        [hits] = self._index.search_vectors(query[None], K, where=where)
        return Found([int(hit.id) for hit in hits], [hit.text for hit in hits])

    def add(self, block: Block) -> None:
        """Add one document."""
        self._add(block)

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def _add(self, block: Block) -> None:
        documents = [
            {"id": str(number), "text": text, "lang": "en", "year": year}
            for number, text, year in zip(block.numbers, block.texts, block.years, strict=True)
        ]
        self._index.add(documents, vectors=block.vectors, batch_size=len(documents))


if __name__ == "__main__":
    if sys.argv[4] != "verify":
        measure(f"mlret {version('mlret')}", Mlret)
    clock, used = time.perf_counter(), time.process_time()
    if problems := verify_index(sys.argv[2]):
        raise SystemExit(str(problems))
    seconds, used = time.perf_counter() - clock, time.process_time() - used
    gb = size_of(Path(sys.argv[2])) / 1e9
    print(json.dumps({"verify_gb_per_cpu_s": gb / used, "verify_gb_per_s": gb / seconds, "verify_cpu_s": used}))
