"""The texts of a corpus divided by shard, on storage that all nodes share, before anything is encoded.

Each part of the corpus becomes one file, in which the documents of a shard form a few runs of lines; a second file
states where they are. It is written last, so that a part is divided when it exists. All documents of an id are in one
shard, and those of a shard are read in the order of the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlret.cluster.storage import Storage, temporary_name
from mlret.data.corpus import Corpus
from mlret.data.documents import Document
from mlret.errors import Corrupt
from mlret.index.sharding.placement import shard_of

# Characters of documents that wait in memory until they are written, each shard's together.
_WAITING = 1 << 24


@dataclass
class Division:
    """A part of the corpus, divided.

    Attributes
    ----------
    sources
        What it was read from: see :meth:`mlret.data.corpus.Corpus.states`.
    documents, blank
        The number of documents, and of blank passages that were skipped.
    unread
        The files that were skipped, since they cannot be read.
    runs
        Where the documents of shards are: the number of the shard, the first byte, the number of bytes and that of
        documents.
    """

    sources: list[tuple[str, int, int]]
    documents: int = 0
    blank: int = 0
    unread: list[str] = field(default_factory=list)
    runs: list[tuple[int, int, int, int]] = field(default_factory=list)

    @classmethod
    def read(cls, storage: Storage, number: int) -> Division | None:
        """Return the division of a part; ``None`` if it is not divided yet."""
        name = f"{_name(number)}.json"
        if not storage.exists(name):
            return None
        content = storage.read(name)
        content |= {key: [tuple(one) for one in content[key]] for key in ("sources", "runs")}
        return cls(**content)


def _name(number: int) -> str:
    return f"part-{number:06d}"


def divide(corpus: Corpus, shards: int, storage: Storage, number: int) -> Division:
    """Divide a part of the corpus, and write it. A part that is divided twice replaces itself.

    Parameters
    ----------
    corpus
        The part.
    shards
        The number of shards.
    storage
        Where to write.
    number
        The number of the part in the corpus.

    Raises
    ------
    InputError
        If a file is malformed; the message names the file and the line.
    """
    division = Division(corpus.states())
    waiting: dict[int, list[bytes]] = {}
    held = place = 0
    temporary = temporary_name(f"{_name(number)}.jsonl")
    with storage.open(temporary, "wb") as file:

        def write() -> None:
            nonlocal place, held
            for shard in sorted(waiting):
                content = b"".join(waiting[shard])
                file.write(content)
                division.runs.append((shard, place, len(content), len(waiting[shard])))
                place += len(content)
            waiting.clear()
            held = 0

        for document in corpus:
            line = _line(division.documents, document)
            waiting.setdefault(shard_of(document.id, shards), []).append(line)
            division.documents += 1
            held += len(line)
            if held >= _WAITING:
                write()
        write()
    division.blank, division.unread = corpus.blank, corpus.skipped
    storage.rename(temporary, f"{_name(number)}.jsonl")
    storage.write(f"{_name(number)}.json", asdict(division))
    return division


def _line(number: int, document: Document) -> bytes:
    record = [number, document.id, document.text, document.language, document.metadata, document.origin]
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"


class ShardCorpus(Corpus):
    """The documents of one shard.

    Parameters
    ----------
    storage
        Where the divided corpus is.
    shard
        The number of the shard.
    parts
        The number of parts of the corpus.

    Raises
    ------
    Corrupt
        If a part is missing.
    """

    def __init__(self, storage: Storage, shard: int, parts: int) -> None:
        self._storage = storage
        # Of each run: the number of the part, the first byte, the number of bytes, the number of documents, and the
        # number of documents of the parts before.
        self._runs: list[tuple[int, int, int, int, int]] = []
        before = 0
        for number in range(parts):
            division = Division.read(storage, number)
            if division is None:
                raise Corrupt(f"{storage.place}/{_name(number)}.json is missing: remove the folder to start again")
            self._runs += [(number, *run[1:], before) for run in division.runs if run[0] == shard]
            before += division.documents
        self.total_bytes = sum(run[2] for run in self._runs)
        self.read_bytes = self.blank = 0
        self.skipped = []

    def __len__(self) -> int:
        """Return the number of documents of the shard."""
        return sum(run[3] for run in self._runs)

    def __iter__(self) -> Iterator[Document]:
        """Stream the documents, in the order of the corpus."""
        self.read_bytes = 0
        for _, line in self._lines():
            self.read_bytes += len(line)
            _, id, text, language, metadata, origin = json.loads(line)
            yield Document.stored(id, text, language, metadata, origin)

    def places(self) -> NDArray[np.int64]:
        """Return the place of each document in the whole corpus: ``(n,)`` int64."""
        found = (before + int(line[1 : line.index(b",")]) for before, line in self._lines())
        return np.fromiter(found, dtype=np.int64, count=len(self))

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Stream the lines of the documents, each with the number of documents of the parts before."""
        opened, file = -1, None
        try:
            for number, start, _, documents, before in self._runs:
                if number != opened:
                    if file is not None:
                        file.close()
                    file = self._storage.open(f"{_name(number)}.jsonl", "rb")
                    opened = number
                assert file is not None
                file.seek(start)
                for _ in range(documents):
                    yield before, file.readline()
        finally:
            if file is not None:
                file.close()
