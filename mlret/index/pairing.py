"""Documents that come with vectors: counted before the first is stored, so that none gets the vector of another."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from pathlib import Path
from typing import IO

from mlret.data.documents import Document
from mlret.errors import InputError

_IN_MEMORY = 1 << 24  # bytes of documents that are kept in memory; more go to a temporary file


def as_many(documents: Iterable[Document], source: object, count: int, folder: Path) -> Iterable[Document]:
    """The documents, once it is known that they are as many as their vectors.

    Where the source says how many it has, nothing is read for that. A stream is read to its end first and kept in a
    temporary file without a name, in ``folder``, which is on the disk that the documents go to anyway: had its 5th line
    been lost, all documents after it would be stored with the vector of another.

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
    # The file is closed, and so is gone, when the last document was read or nobody holds the generator any more.
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, mode="w+", encoding="utf-8", newline="\n", dir=folder)  # noqa: SIM115
    found = 0
    try:
        for document in islice(documents, count + 1):
            values = (document.id, document.text, document.language, document.metadata, document.origin)
            file.write(json.dumps(values) + "\n")
            found += 1
        if found > count:
            raise InputError(
                f"more documents than the {count} vectors; give one vector a document (nothing was stored)"
            )
        check_counts(count, found)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return _read_back(file)


def check_counts(vectors: int, documents: int) -> None:
    """Fail where there is not one vector, or one matrix of tokens, for each document."""
    if vectors != documents:
        raise InputError(
            f"{vectors} vectors but {documents} documents; give one vector a document, in the same order "
            "(nothing was stored)"
        )


def _read_back(file: IO[str]) -> Iterator[Document]:
    with file:
        for line in file:
            yield Document.stored(*json.loads(line))
