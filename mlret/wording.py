"""Words of messages: numbers with their nouns."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun in the singular or the plural: ``1 document``, ``1,234 documents``.

    Parameters
    ----------
    count
        The number.
    noun
        The noun in the singular.
    plural
        Its plural, if that is not the noun with an ``s``.

    Returns
    -------
    str
        The number, with a comma between thousands, and the noun.

    Examples
    --------
    >>> counted(1, "document"), counted(1234, "document"), counted(2, "query", "queries")
    ('1 document', '1,234 documents', '2 queries')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
