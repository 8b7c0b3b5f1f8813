"""Check lists of texts and their languages as callers pass them, before any work is done on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlret.data.unicode_text import check_unicode
from mlret.errors import InputError
from mlret.wording import counted

_DECODE = "decode its bytes in the encoding that they are in"


def checked_texts(texts: Iterable[str], *, what: str = "text") -> list[str]:
    """Return texts as a list, or raise an error that names what is wrong with them.

    A single string is rejected, since Python would treat it as a list of its characters.

    Parameters
    ----------
    texts
        Strings: a list, a tuple, a generator, a NumPy array or a pandas column.
    what
        Word for one of the texts in error messages.

    Returns
    -------
    list of str
        The texts.

    Raises
    ------
    InputError
        If ``texts`` is a single string, bytes, a mapping, a set or anything that is not iterable, or if a text is not a
        string or not valid Unicode.
    """
    found = _listed(texts, what)
    for position, text in enumerate(found):
        if type(text) is not str:
            if not isinstance(text, str):
                raise InputError(f"{what} {position} is {type(text).__name__}, not a string")
            if type(text).__module__ == "numpy":
                found[position] = str(text)
    try:
        "".join(found).encode("utf-8")
    except UnicodeEncodeError:
        for position, text in enumerate(found):
            check_unicode(text, f"{what} {position}", _DECODE)
    return found


def _listed(texts: Any, what: str) -> list[Any]:
    if isinstance(texts, str):
        raise InputError(f"the {what}s are one string, {_shown(texts)}: give a list, [{_shown(texts)}]")
    if texts is None or isinstance(texts, bytes | bytearray | memoryview | Mapping | set | frozenset):
        kind = "nothing (None)" if texts is None else f"of type {type(texts).__name__}"
        raise InputError(f"the {what}s are {kind}: give a list of strings")
    try:
        return list(texts)
    except TypeError as error:
        raise InputError(f"the {what}s are of type {type(texts).__name__}: give a list of strings") from error


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:39] + "…") if not text.isprintable() else repr(text[:40])


def languages_of(texts: Sequence[str], language: str | Sequence[str | None] | None) -> list[str | None]:
    """Return the language of each text.

    Parameters
    ----------
    texts
        ``n`` texts.
    language
        One language for all texts, or a sequence of ``n`` languages; ``None`` stands for an unknown language.

    Raises
    ------
    InputError
        If the numbers of languages and texts differ, or a language is not a string.
    """
    if isinstance(language, str | None):
        return [language] * len(texts)
    try:
        languages = list(language)
    except TypeError as error:
        raise InputError(f"the language is of type {type(language).__name__}: give a code such as 'sw'") from error
    if len(languages) != len(texts):
        raise InputError(
            f"{counted(len(texts), 'text')} but {counted(len(languages), 'language')}: give one language for each text"
        )
    for position, code in enumerate(languages):
        if not isinstance(code, str | None):
            raise InputError(f"language {position} is {type(code).__name__}: give a code such as 'sw', or None")
    return languages
