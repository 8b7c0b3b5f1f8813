"""Documents that come with vectors: counted before the first is stored, so that none gets the vector of another."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sized
from itertools import chain, islice
from pathlib import Path
from typing import IO

from mlret.data.documents import Document
from mlret.errors import InputError

# Documents, and characters of their texts, that are kept in memory; what comes after them goes to a temporary file.
_IN_MEMORY = 1 << 14
_CHARACTERS = 1 << 24


def as_many(documents: Iterable[Document], source: object, count: int, folder: Path) -> Iterable[Document]:
    """The documents, once it is known that they are as many as their vectors.

    Where the source says how many it has, nothing is read for that. A stream is read to its end first; what
    follows its beginning is kept in a temporary file without a name, in ``folder``, which is on the disk that the
    documents go to anyway. Had its 5th line been lost, all later documents would be stored with the vector of another.

    Parameters
    ----------
    documents
        What was made of ``source``, in its order; read once.
    source
        What came in; its length counts if it has one.
    count
        How many vectors there are.
    folder
        Where a temporary file may be made.

    Raises
    ------
    InputError
        If there are more or fewer documents than vectors, or a document of a stream is bad.
    """
    if isinstance(source, Sized):
        check_counts(count, len(source))
        return documents
    spool, found, characters = _Spool(folder), 0, 0
    try:
        first: list[Document] = []
        for document in islice(documents, count + 1):
            found += 1
            characters += len(document.text)
            if found <= _IN_MEMORY and characters <= _CHARACTERS:
                first.append(document)
            else:
                spool.write(document)
        if found > count:
            raise InputError(
                f"more documents than the {count} vectors; give one vector a document (nothing was stored)"
            )
        check_counts(count, found)
    except BaseException:
        spool.close()
        raise
    return chain(first, spool)


class _Spool:
    """Documents in a temporary file, which is made for the first, and gone when the last was read or nobody holds the
    spool any more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[str] | None = None

    def write(self, document: Document) -> None:
        """Append a document."""
        if self._file is None:
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n", dir=self._folder)  # noqa: SIM115
        values = (document.id, document.text, document.language, document.metadata, document.origin)
        self._file.write(json.dumps(values) + "\n")

    def __iter__(self) -> Iterator[Document]:
        if self._file is not None:
            self._file.seek(0)
            for line in self._file:
                yield Document.stored(*json.loads(line))
        self.close()

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()


def check_counts(vectors: int, documents: int) -> None:
    """Fail where there is not one vector, or one matrix of tokens, for each document."""
    if vectors != documents:
        raise InputError(
            f"{vectors} vectors but {documents} documents; give one vector a document, in the same order "
            "(nothing was stored)"
        )
