"""Strings that are valid Unicode: what is not UTF-8 on a command line reaches Python as halves of surrogate pairs."""

from __future__ import annotations

from mlret.errors import InputError


def is_unicode(text: str) -> bool:
    """Whether a string can be written as UTF-8: it holds no half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_unicode(text: str, what: str, way_out: str = "give valid Unicode (UTF-8)") -> None:
    """Fail where a string cannot be written as UTF-8.

    Parameters
    ----------
    text
        Any string.
    what
        Names it in the message.
    way_out
        What to do about it.

    Raises
    ------
    InputError
        If it holds half a surrogate pair.
    """
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{what} holds half a surrogate pair at character {error.start}; {way_out}") from error
