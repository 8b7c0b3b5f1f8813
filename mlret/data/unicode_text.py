"""Check that strings are valid Unicode.

Bytes of a command line that are not UTF-8 reach Python as lone surrogates.
"""

from __future__ import annotations

from mlret.errors import InputError


def is_unicode(text: str) -> bool:
    """Whether a string can be encoded as UTF-8, that is, contains no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_unicode(text: str, what: str, way_out: str = "give valid Unicode (UTF-8)") -> None:
    """Raise an error if a string cannot be encoded as UTF-8.

    Parameters
    ----------
    text
        Any string.
    what
        Name of the string in the error message.
    way_out
        How to fix it, for the error message.

    Raises
    ------
    InputError
        If the string contains a lone surrogate.
    """
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        where = f"{text[error.start]!a} at character {error.start}"
        raise InputError(f"{what} holds half a surrogate pair, {where}; {way_out}") from error
