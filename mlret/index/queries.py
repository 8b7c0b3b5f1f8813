"""What an index is asked for: checks of queries, ids and numbers of hits, and the vectors of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from mlret.data.detection import detect_language
from mlret.data.languages import normalise_language
from mlret.data.unicode_text import check_unicode
from mlret.errors import InputError, MissingExtraError
from mlret.index.filtering.filters import Condition, Where, read_filter
from mlret.wording import counted

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.index.vectors.space import AnySpace, Vectors


def check_k(k: object, name: str = "k") -> None:
    """Check a number of hits, or of what has the name.

    Raises
    ------
    InputError
        If it is not an integer of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"{name} is {k!r}; it must be an integer of at least 1")


def check_queries(
    queries: Sequence[str], language: str | Sequence[str | None] | None
) -> tuple[list[str], list[str | None]]:
    """Check queries, and return them with the language code of each, ``None`` if it was not given.

    Parameters
    ----------
    queries
        Texts that are not blank.
    language
        The language of all queries, or a sequence with one for each.

    Raises
    ------
    InputError
        If a query is blank or no string, a language code is unknown, or there are more or fewer languages than queries.
    """
    if isinstance(queries, str):
        raise InputError("search_batch takes a list of queries; use search for one")
    queries = list(queries)
    for query in queries:
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"the query {query!r} is empty or no string; write a few words")
        check_unicode(query, f"the query {query!r}")
    languages = [language] * len(queries) if isinstance(language, str | None) else list(language)
    if len(languages) != len(queries):
        raise InputError(
            f"{counted(len(queries), 'query', 'queries')} but {counted(len(languages), 'language')}: give one language "
            "a query"
        )
    return queries, [None if code is None else normalise_language(code) for code in languages]


def check_filters(where: Where | None, ids: Iterable[str] | None) -> tuple[Condition | None, list[str] | None]:
    """Check what restricts a search, and return the condition and the ids without duplicates; ``None`` for none.

    Raises
    ------
    InputError
        If the filter is invalid, or ``ids`` is a string or holds anything but strings of valid Unicode.
    """
    if isinstance(ids, str):
        raise InputError("ids takes a list; write [id] for one")
    return read_filter(where), None if ids is None else check_ids(ids)


def check_ids(ids: Iterable[str]) -> list[str]:
    """Return ids without duplicates.

    Raises
    ------
    InputError
        If an id is not a string of valid Unicode.
    """
    found = list(dict.fromkeys(ids))
    for id in found:
        if not isinstance(id, str):
            raise InputError(f"the id {id!r} is {type(id).__name__}; ids are strings")
        check_unicode(id, f"the id {id!r}")
    return found


def encoded(
    encoder: Callable[[], AnyEncoder], space: AnySpace, texts: Sequence[str], languages: Sequence[str | None]
) -> Vectors:
    """Return the vectors of queries in the form that an index compares.

    Parameters
    ----------
    encoder
        Returns the encoder of the index.
    space
        The space of the index.
    texts, languages
        ``n`` queries, and the language of each, ``None`` if it was not given. It is then detected if the encoder needs
        it.

    Returns
    -------
    numpy.ndarray or list of numpy.ndarray
        ``(n, dims)`` float32; in a multi-vector index ``n`` arrays of shape ``(t, dims)``.
    """
    model = encoder()
    if model.calibration_languages:
        languages = [code or detect_language(text) for text, code in zip(texts, languages, strict=True)]
    return space.queries(model.encode_query(texts, language=languages))


def encoded_if_possible(
    encoder: Callable[[], AnyEncoder], space: AnySpace, texts: Sequence[str], languages: Sequence[str | None]
) -> Vectors | Sequence[None]:
    """Return the vectors of queries, or ``None`` for each if the index's encoder has changed or cannot be used here.

    Parameters
    ----------
    encoder, space, texts, languages
        As for :func:`encoded`.
    """
    try:
        return encoded(encoder, space, texts, languages)
    except (InputError, MissingExtraError):
        return [None] * len(texts)
