"""Documents of Haystack as an index stores them.

An index stores a text and JSON metadata. What a document of Haystack has besides is kept in metadata under names that
:func:`mlret.integrations.stored_metadata.stored_name` never gives:

==================  ====================================================================================================
name                value
==================  ====================================================================================================
``~content``        the content, if it is ``None`` or blank; the text is then a character that no search finds
``~embedding``      ``true`` if the embedding is exactly the stored vector; otherwise the embedding itself
``~unembedded``     ``true`` if the stored vector is zero because there was no embedding and nothing to encode
``~blob``           the binary data, its type and its metadata
``~score``          the score
``~sparse``         the indices and values of the sparse embedding
==================  ====================================================================================================

Values that no filter can name are lists within lists, so that they take no space in the table of filterable fields.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.dataclasses import Document as HaystackDocument
from numpy.typing import NDArray

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.documents import Document
from mlret.errors import InputError
from mlret.integrations.stored_metadata import from_stored, language_in, to_stored

CONTENT, EMBEDDING, UNEMBEDDED, SCORE = "~content", "~embedding", "~unembedded", "~score"
BLOB, SPARSE = "~blob", "~sparse"
_HIDDEN = frozenset({CONTENT, EMBEDDING, UNEMBEDDED, SCORE, BLOB, SPARSE})
# An index stores no empty text. This character (WORD JOINER) has no n-grams, so that lexical search cannot find it.
_NO_TEXT = "\u2060"


def has_text(document: HaystackDocument) -> bool:
    """Return whether a document has content that can be encoded and searched."""
    return document.content is not None and bool(document.content.strip())


def to_document(document: HaystackDocument, embedding: Mapping[str, Any]) -> Document:
    """Return a document of Haystack in the form that an index stores.

    Parameters
    ----------
    document
        The document; it is not changed.
    embedding
        What the metadata holds of the embedding, by name.

    Returns
    -------
    mlret.data.documents.Document
        Its language is that of the metadata (``lang`` or ``language``) or the detected one.

    Raises
    ------
    InputError
        If the id or the content is not valid Unicode, the id is blank, or the metadata is not JSON.
    """
    name = f"document {document.id!r}: "
    if not isinstance(document.meta, Mapping):
        raise InputError(f"{name}meta is {type(document.meta).__name__}, not a dict")
    metadata = {**to_stored(document.meta), **embedding}
    text, language = document.content or "", None
    if has_text(document):
        language = language_in(document.meta) or detect_language(text[:DETECTION_CHARACTERS])
    else:
        text, metadata[CONTENT] = _NO_TEXT, document.content
    if (blob := document.blob) is not None:
        data = base64.b64encode(blob.data).decode("ascii")
        metadata[BLOB] = [[data, blob.mime_type, blob.meta]]
    if document.score is not None:
        metadata[SCORE] = float(document.score)
    if (sparse := document.sparse_embedding) is not None:
        metadata[SPARSE] = [[list(sparse.indices), list(sparse.values)]]
    return Document(document.id, text, language, metadata)


def embedding_of(document: HaystackDocument, widths: set[int]) -> NDArray[np.float64]:
    """Return the embedding of a document that has one.

    Parameters
    ----------
    document
        The document.
    widths
        The numbers of dimensions that the index takes.

    Returns
    -------
    numpy.ndarray
        ``(dims,)`` float64.

    Raises
    ------
    InputError
        If it is no list of finite numbers, or has another number of dimensions.
    """
    try:
        found = np.asarray(document.embedding, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"document {document.id!r}: the embedding is no list of numbers ({error})") from error
    if found.ndim != 1 or len(found) not in widths:
        raise InputError(
            f"document {document.id!r}: the embedding has the shape {found.shape}, but the index takes "
            f"{' or '.join(map(str, sorted(widths)))} dimensions; embed documents and queries with one model, and give "
            "a new store its number of dimensions (embedding_dims)"
        )
    return found


def stored_embedding(embedding: NDArray[np.float64], vector: NDArray[np.float32]) -> Any:
    """Return what the metadata holds of an embedding, so that it comes back exactly.

    Parameters
    ----------
    embedding
        ``(dims,)`` float64.
    vector
        ``(d,)`` float32: what the index stores of it, which has unit length and may have fewer dimensions.

    Returns
    -------
    bool or list
        ``True`` if the vector is the embedding; otherwise its type and its values in base64, in half precision of
        Python's numbers where that loses nothing.
    """
    if len(embedding) == len(vector) and bool((vector.astype(np.float64) == embedding).all()):
        return True
    with np.errstate(over="ignore"):  # What is beyond float32 becomes infinite there and is kept as float64.
        single = embedding.astype("<f4")
    exact = single if bool((single.astype(np.float64) == embedding).all()) else embedding.astype("<f8")
    return [[exact.dtype.str, base64.b64encode(exact.tobytes()).decode("ascii")]]


def from_document(
    id: str,
    text: str,
    metadata: Mapping[str, Any],
    vector: NDArray[np.float32] | None,
    *,
    embedding: bool = True,
    score: float | None = None,
) -> HaystackDocument:
    """Return a stored document as Haystack has it.

    Parameters
    ----------
    id, text, metadata
        The fields of the stored document.
    vector
        Its stored vector, if the embedding is that.
    embedding
        Whether to return the embedding.
    score
        The score of a search; by default the score with which the document was written.
    """
    blob, sparse = metadata.get(BLOB), metadata.get(SPARSE)
    values: list[float] | None = None
    if embedding and (stored := metadata.get(EMBEDDING)) is not None:
        if stored is not True:
            [[kind, encoded]] = stored
            values = np.frombuffer(base64.b64decode(encoded), dtype=kind).astype(np.float64).tolist()
        elif vector is not None:
            values = vector.astype(np.float64).tolist()
    return HaystackDocument(
        id=id,
        content=metadata.get(CONTENT, text),
        blob=None if blob is None else _blob(*blob[0]),
        meta=from_stored(shown(metadata)),
        score=metadata.get(SCORE) if score is None else score,
        embedding=values,
        sparse_embedding=None if sparse is None else SparseEmbedding(*sparse[0]),
    )


def shown(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored metadata without what this module adds to it."""
    return {name: value for name, value in metadata.items() if name not in _HIDDEN}


def _blob(data: str, mime_type: str | None, meta: dict[str, Any]) -> ByteStream:
    return ByteStream(base64.b64decode(data), meta, mime_type)
