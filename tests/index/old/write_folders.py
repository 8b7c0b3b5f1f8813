"""Write folders of format 2, and the answers of the build that wrote them.

They were written by commit ``a5b616b``, the last one of format 2, with that commit checked out in ``FOLDER``:

    PYTHONPATH=FOLDER:. python tests/index/old/write_folders.py

``index-cosine`` and ``index-maxsim`` have sealed segments, a tail, deleted documents and a lexical index.
``index-with-log`` was copied while it was open, with its write-ahead log. ``tests/memory/old`` has a memory of two
users, with versions, links and deleted records. ``answers.json`` has the documents and hits of each.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from mlret.encoders.encoder import Similarity
from mlret.index.index import Index
from mlret.memory.memory import Memory
from tests.index.made import encoder, settings, shrink, vector_of, vectors_of
from tests.memory.made import add, open_memory

HERE = Path(__file__).parent
QUERIES = ("query", "another query")
WORDS = ("river", "mountain", "harbour", "garden", "market", "bridge", "forest")


def documents(start: int, stop: int) -> list[dict[str, Any]]:
    """Return documents with words to find, and numbers and lists to filter by."""
    return [
        {
            "id": f"doc-{number}",
            "text": f"The {WORDS[number % 7]} number {number} lies beside the {WORDS[number % 3]}.",
            "lang": ("en", "sw")[number % 2],
            "year": 2000 + number % 10,
            "tags": [WORDS[number % 7], WORDS[number % 3]],
            "place": {"town": WORDS[number % 5]},
        }
        for number in range(start, stop)
    ]


def store(index: Index, some: list[dict[str, Any]], similarity: Similarity) -> None:
    """Add documents with the vectors of their texts."""
    index.add(some, vectors=vectors_of([one["text"] for one in some], similarity))


def write_index(folder: Path, similarity: Similarity) -> dict[str, Any]:
    """Write a large segment, small ones, a tail, and deleted documents in each of them."""
    with Index.create(folder, encoder(similarity), settings=settings(similarity)) as index:
        store(index, documents(0, 40), similarity)
        index.compact()
        store(index, documents(40, 70), similarity)
        store(index, documents(70, 80), similarity)
        index.delete(["doc-3", "doc-45", "doc-75"])
        return answers(index, similarity)


def answers(index: Index, similarity: Similarity) -> dict[str, Any]:
    """Return all answers of the index."""
    return {
        "documents": [[one.id, one.text, one.language, dict(one.metadata)] for one in index.documents()],
        "dense": {
            query: [[hit.id, hit.score] for hit in index.search_vectors(vectors_of([query], similarity), 12)[0]]
            for query in QUERIES
        },
        "lexical": lexical(index),
        "filtered": [
            hit.id for hit in index.search_vectors(vectors_of(["query"], similarity), 99, where={"year": 2003})[0]
        ],
    }


def lexical(index: Index) -> list[list[Any]]:
    """Return rows and scores of the lexical channel alone, which needs no encoder."""
    scores, rows = index.store.records.match("harbour beside the river", 12, None)
    return [[int(row), float(score)] for row, score in zip(rows, scores, strict=True)]


def write_memory(folder: Path) -> dict[str, Any]:
    """Write a memory of two users; records of one of them were changed, linked and deleted."""
    with open_memory(folder) as memory:
        first = [add(memory, f"Note {number} about the {WORDS[number % 7]}", {"user": "u1"}).id for number in range(30)]
        for number in range(8):
            add(memory, f"Secret {number} of the {WORDS[number % 5]}", {"user": "u2"})
        changed = "Note 2 about the harbour, corrected"
        memory.update(first[2], {"user": "u1"}, changed, vector=vector_of(changed))
        memory.link(first[4], "about", first[5], {"user": "u1"})
        memory.delete([first[6]], {"user": "u1"})
        return memory_answers(memory)


def memory_answers(memory: Memory) -> dict[str, Any]:
    """Return the records of each user, and their search results."""
    found: dict[str, Any] = {}
    for user in ("u1", "u2"):
        scope = {"user": user}
        hits = memory.search("the harbour", scope, k=5, vector=vector_of("the harbour"), language="en")
        found[user] = {
            "texts": sorted(record.text for record in memory.list(scope)),
            "hits": [hit.text for hit in hits],
        }
    return found


def pack(folder: Path, beside: Path = HERE) -> None:
    """Return a small archive of a folder; its lock names no machine."""
    (folder / "writer.lock").write_text(json.dumps({"pid": 1, "host": "host"}).ljust(320), encoding="utf-8")
    with tarfile.open(beside / f"{folder.name}-format-2.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)


def main() -> None:
    """Write all folders."""
    shrink()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for similarity in ("cosine", "maxsim"):
            found[f"index-{similarity}"] = write_index(root / f"index-{similarity}", similarity)
            pack(root / f"index-{similarity}")
        with Index.create(root / "open", encoder(), settings=settings("cosine")) as index:
            store(index, documents(0, 30), "cosine")
            index.delete(["doc-1"])
            store(index, documents(30, 35), "cosine")
            shutil.copytree(root / "open", root / "index-with-log")
            found["index-with-log"] = answers(index, "cosine")
        pack(root / "index-with-log")
        found["memory"] = write_memory(root / "memory")
        pack(root / "memory", HERE.parents[1] / "memory" / "old")
    text = json.dumps(found, ensure_ascii=False)
    (HERE / "answers.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
