"""Counts documents that come with vectors before the first is stored, so that no document gets another's vector."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sized
from itertools import chain, islice
from pathlib import Path
from typing import IO

from mlret.data.documents import Document
from mlret.errors import InputError
from mlret.wording import counted

# Number of documents, and of characters of their texts, that are kept in memory; the rest goes to a temporary file.
_IN_MEMORY = 1 << 14
_CHARACTERS = 1 << 24


def as_many(documents: Iterable[Document], source: object, count: int, folder: Path) -> Iterable[Document]:
    """Return the documents after checking that there are as many as vectors.

    If the source has a length, nothing is read. A stream is first read to its end; what follows its beginning is kept
    in an unnamed temporary file in ``folder``, which is on the disk that the documents go to anyway. Without this
    check, one lost line of a file would give every later document the vector of another.

    Parameters
    ----------
    documents
        The documents made from ``source``, in its order; read once.
    source
        The original input, whose length counts if it has one.
    count
        The number of vectors.
    folder
        Where a temporary file may be made.

    Raises
    ------
    InputError
        If there are more or fewer documents than vectors, or a document of a stream is invalid.
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
                f"more documents than the {count} vectors; give one vector for each document (nothing was stored)"
            )
        check_counts(count, found)
    except BaseException:
        spool.close()
        raise
    return chain(first, spool)


class _Spool:
    """Documents in a temporary file.

    The file is created for the first document, and removed when the last one was read or the spool is released.
    """

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
    """Raise if the numbers of vectors and documents differ.

    Parameters
    ----------
    vectors
        The number of vectors, or of matrices of tokens.
    documents
        The number of documents.

    Raises
    ------
    InputError
        If they differ.
    """
    if vectors != documents:
        raise InputError(
            f"{counted(vectors, 'vector')} but {counted(documents, 'document')}; give one vector for each document, "
            "in the same order (nothing was stored)"
        )
