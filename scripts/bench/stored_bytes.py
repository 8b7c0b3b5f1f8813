"""Measure how many bytes a document takes in each part of an index, for each type in which vectors can be stored.

    python scripts/bench/stored_bytes.py
    python scripts/bench/stored_bytes.py --lexical --documents 5000

The documents are made: vectors of 384 dimensions with 64 dimensions of structure around 500 centres, texts of 75
characters, and a year. The index has a graph (``hnsw``). Processor time is reported beside the bytes, and how far
scores are from those of float32. The tables of the database are those of SQLite's ``dbstat``.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.index.settings import Dtype, IndexSettings

DIMS, K = 384, 10
# Bytes a document of lancedb 0.40 for the same data with its HNSW, as measured beside mlret in another run.
LANCEDB = 2_162
DTYPES: tuple[Dtype, ...] = ("float32", "float16", "int8")
WORDS = ("river", "mountain", "harbour", "garden", "market", "bridge", "forest", "castle", "engine", "window", "letter")


def made(count: int, seed: int) -> NDArray[np.float32]:
    """Return ``(count, DIMS)`` unit vectors."""
    shape, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres, basis = shape.standard_normal((500, 64)), shape.standard_normal((64, DIMS))
    found = (centres[rng.integers(500, size=count)] + 0.7 * rng.standard_normal((count, 64))) @ basis
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


def documents(count: int) -> list[dict[str, Any]]:
    """Return documents with a text of 75 characters and a year."""
    chosen = np.random.default_rng(1).integers(len(WORDS), size=(count, 15))
    texts = [" ".join(WORDS[place] for place in some)[:75] for some in chosen.tolist()]
    return [
        {"id": f"doc-{place}", "text": text, "lang": "en", "year": 1950 + place % 75}
        for place, text in enumerate(texts)
    ]


def bytes_by_part(folder: Path) -> dict[str, int]:
    """Return the bytes of each kind of file, and of each table of the database."""
    parts: dict[str, int] = {}
    for path in (folder / "vectors").iterdir():
        name = "vectors/*." + path.name.partition(".")[2].partition(".")[2]
        parts[name] = parts.get(name, 0) + path.stat().st_size
    with closing(sqlite3.connect(folder / "records.db")) as connection:
        for table, size in connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"):
            parts[f"records.db: {table}"] = size
    return parts


def measured(folder: Path, dtype: Dtype, given: argparse.Namespace) -> dict[str, Any]:
    """Build an index, and return its bytes for each document, seconds, recall, and how far its scores are off."""
    vectors, queries = made(given.documents, 2), made(given.queries, 3)
    settings = IndexSettings(kind="hnsw", dtype=dtype, lexical=given.lexical)
    start = time.process_time()
    with Index.create(folder, ExternalEncoder("made", DIMS), settings=settings) as index:
        index.add(documents(given.documents), vectors=vectors, batch_size=1024)
        index.compact()
        figures: dict[str, Any] = {"build_cpu_s": time.process_time() - start}
        index.search_vectors(queries[:1], K)
        start = time.process_time()
        hits = [index.search_vectors(query[None], K)[0] for query in queries]
        figures["query_cpu_ms"] = 1000 * (time.process_time() - start) / len(queries)
    cosines = queries @ vectors.T
    best = np.argsort(-cosines, axis=1)[:, :K]
    found = [[int(hit.id.removeprefix("doc-")) for hit in some] for some in hits]
    figures["recall"] = float(np.mean([len({*some} & {*right}) / K for some, right in zip(found, best, strict=True)]))
    errors = [
        abs(hit.score - float(cosines[query, place]))
        for query, (some, places) in enumerate(zip(hits, found, strict=True))
        for hit, place in zip(some, places, strict=True)
    ]
    figures["score_error"] = float(np.mean(errors))
    parts = bytes_by_part(folder)
    figures["bytes"] = sum(parts.values()) / given.documents
    figures["parts"] = {name: size / given.documents for name, size in sorted(parts.items(), key=lambda one: -one[1])}
    return figures


def main() -> None:
    """Measure, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--lexical", action="store_true", help="with character n-grams")
    parser.add_argument("--quick", action="store_true", help="2,000 documents")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    given.documents = 2_000 if given.quick else given.documents
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        for dtype in DTYPES:
            one = figures[dtype] = measured(Path(place) / dtype, dtype, given)
            print(
                f"{one['bytes'] / LANCEDB:5.2f}  {dtype:<8} {one['bytes']:6.0f} bytes, build {one['build_cpu_s']:.1f} "
                f"s, query {one['query_cpu_ms']:.2f} ms, recall@{K} {one['recall']:.3f}, scores off by "
                f"{one['score_error']:.1e}"
            )
    print()
    for name in dict.fromkeys(name for one in figures.values() for name in one["parts"]):
        sizes = "".join(f"{one['parts'].get(name, 0):10.1f}" for one in figures.values())
        print(f"{name:<45}{sizes}")
    if given.json is not None:
        ratios = {f"overhead_bytes_{dtype}": one["bytes"] / LANCEDB for dtype, one in figures.items()}
        given.json.write_text(json.dumps({"ratios": ratios, "figures": figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
