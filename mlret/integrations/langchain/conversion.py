"""Documents, filters and vectors of LangChain as an index stores and reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from mlret.data.documents import Document as Record
from mlret.errors import InputError, first_line
from mlret.index.filtering.filters import DEEPEST_FILTER, Where
from mlret.index.hits import Hit
from mlret.integrations.stored_metadata import from_stored, language_in, stored_name, to_stored

# LangChain has documents without text, and an index has none: such a document is stored with a dash, which has no
# n-grams, and its own blank text under a name that no metadata of LangChain is stored under.
_DASH = "—"
_BLANK_TEXT = "~page_content"


class ArgumentError(InputError, ValueError):
    """An invalid argument for which LangChain's interfaces prescribe a ``ValueError``."""


def to_record(document: Document, id: str) -> Record:
    """Return a document of LangChain as an index stores it under ``id``; the input is not changed."""
    metadata, text = to_stored(document.metadata), document.page_content
    if not text.strip():
        metadata[_BLANK_TEXT], text = text, _DASH
    return Record(id, text, language_in(document.metadata), metadata)


def is_blank(found: Record | Hit) -> bool:
    """Return whether a stored document has no text in LangChain."""
    return _BLANK_TEXT in found.metadata


def text_of(found: Record | Hit) -> str:
    """Return the text of a stored document in LangChain."""
    text: str = found.metadata.get(_BLANK_TEXT, found.text)
    return text


def to_langchain(found: Record | Hit, *, show_language: bool) -> Document:
    """Return a stored document as one of LangChain.

    Parameters
    ----------
    found
        The stored document, or a hit.
    show_language
        Whether the metadata gets the language that the index stores, under ``language``.
    """
    metadata = from_stored({name: value for name, value in found.metadata.items() if name != _BLANK_TEXT})
    if show_language and found.language is not None:
        metadata["language"] = found.language
    return Document(text_of(found), id=found.id, metadata=metadata)


def to_where(filter: Any, *, show_language: bool) -> Where | None:
    """Return a filter on metadata of LangChain as a filter of an index.

    Parameters
    ----------
    filter
        A filter as for :func:`mlret.index.filtering.filters.read_filter`, with LangChain's names.
    show_language
        Whether ``language`` is the language that the index stores, rather than metadata of LangChain.

    Raises
    ------
    InputError
        If the filter is a function. Other mistakes are left to ``read_filter``.
    """
    if callable(filter):
        raise InputError(
            'a filter is a dict such as {"year": {"$gte": 2020}}, because the index evaluates it; this is a function'
        )
    kept = {"language"} if show_language else set()
    return _renamed(filter, kept, 1) if isinstance(filter, Mapping) else filter


def _renamed(filter: Mapping[Any, Any], kept: set[str], depth: int) -> dict[Any, Any]:
    """Return a filter with the names under which an index stores metadata, except those that are kept."""

    def part(one: Any) -> Any:
        # What is nested more deeply, or is no filter, is refused when the filter is read.
        return _renamed(one, kept, depth + 1) if isinstance(one, Mapping) and depth <= DEEPEST_FILTER else one

    renamed: dict[Any, Any] = {}
    for name, wanted in filter.items():
        if not isinstance(name, str) or name in kept:
            renamed[name] = wanted
        elif name.startswith("$"):
            renamed[name] = [part(one) for one in wanted] if isinstance(wanted, list | tuple) else part(wanted)
        else:
            renamed[stored_name(name)] = wanted
    return renamed


def to_matrix(vectors: Any) -> NDArray[np.floating[Any]]:
    """Return vectors of LangChain, lists of floats or integers, as a matrix.

    Raises
    ------
    InputError
        If they are not numbers, or vectors of different lengths.
    """
    try:
        found = np.asarray(vectors)
        return found if np.issubdtype(found.dtype, np.floating) else found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the vectors are not lists of numbers of one length ({first_line(error)})") from error
