"""Documents, the records that an index stores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlret.data.languages import normalise_language
from mlret.data.metadata import checked_metadata
from mlret.data.unicode_text import check_unicode
from mlret.data.values import as_json
from mlret.errors import InputError

_LANGUAGE_KEYS = ("lang", "language")
SENTENCE_KEYS = ("sents", "sentences")
# BEIR has "_id", MIRACL "docid".
ID_KEYS = ("id", "_id", "docid")
TEXT_KEYS = ("text", "contents")
# The vectors that `mlret index export --vectors` writes come from an encoder and are not metadata of the document.
VECTOR = "vector"
# The layout of Mr.TyDi's contents: the title, a blank line, the text.
_TITLE_LINE = re.compile(r"[^\S\n]*(\S[^\n]*)\n[^\S\n]*\n")
# A filter on these names refers to the document's own fields, so metadata may not use them.
RESERVED_KEYS = frozenset({"id", "text", *_LANGUAGE_KEYS})


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an id, an optional language and optional metadata.

    Parameters
    ----------
    id
        Name of the document within an index; any non-empty string.
    text
        The text, in any language; not blank.
    language
        A language code in any spelling, which is stored in normalised form; ``None`` if it is unknown.
    metadata
        JSON values by name. They are copied, and tuples become lists. The names ``id``, ``text``, ``lang`` and
        ``language`` are reserved. See :func:`mlret.data.metadata.checked_metadata`.
    origin
        ``file:line`` from which the document was read, for messages; ignored in comparisons.

    Raises
    ------
    InputError
        If the id or the text is empty or not valid Unicode, the language code is unknown, or the metadata is not JSON,
        nested too deeply or uses a reserved name.
    """

    id: str
    text: str
    language: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    origin: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        where = f"{self.origin}: " if self.origin else ""
        _check_string(self.id, f"{where}the id", "give each document a name of its own")
        name = where or f"document {self.id!r}: "
        check_text(self.text, name)
        if self.language is not None:
            if not isinstance(self.language, str):
                raise InputError(
                    f"{name}the language is {type(self.language).__name__}, not a string; "
                    "use an ISO 639 or BCP 47 code such as 'sw'"
                )
            try:
                code = normalise_language(self.language)
            except InputError as error:
                raise InputError(f"{name}{error}") from error
            object.__setattr__(self, "language", code)
        object.__setattr__(self, "metadata", check_metadata(self.metadata, name))

    @classmethod
    def stored(cls, id: str, text: str, language: str | None, metadata: dict[str, Any], origin: str = "") -> Document:
        """Return a document as read back from disk, without checking its fields again.

        Parameters
        ----------
        id, text, language, metadata, origin
            The fields of a document that was checked when it was created.
        """
        document = object.__new__(cls)
        put = object.__setattr__
        put(document, "id", id)
        put(document, "text", text)
        put(document, "language", language)
        put(document, "metadata", metadata)
        put(document, "origin", origin)
        return document


def check_text(text: object, name: str = "") -> None:
    """Raise an error if a document cannot have this text.

    Parameters
    ----------
    text
        The text.
    name
        Start of error messages: the name of the document.

    Raises
    ------
    InputError
        If it is not a string, is blank or is not valid Unicode.
    """
    _check_string(text, f"{name}the text", "drop the document, or fill it in")


def check_metadata(metadata: object, name: str = "") -> dict[str, Any]:
    """Return a copy of a document's metadata as it comes back from disk.

    Parameters
    ----------
    metadata
        A dict of JSON values whose keys are strings.
    name
        Start of error messages: the name of the document.

    Raises
    ------
    InputError
        If it is not JSON, is nested too deeply (see :func:`mlret.data.metadata.checked_metadata`) or uses a reserved
        name.
    """
    found = checked_metadata(metadata, name)
    if taken := RESERVED_KEYS & found.keys():
        raise InputError(f"{name}metadata may not use the name {min(taken)!r}; rename it")
    return found


def document_from_mapping(record: Mapping[str, Any], *, id: str | None = None, origin: str = "") -> Document:
    """Convert a decoded JSON object to a document.

    Parameters
    ----------
    record
        An object with the text under ``text`` (or ``contents``, as in Mr.TyDi), or ``sents``/``sentences`` (a list,
        joined with spaces); the id under ``id``, ``_id`` (BEIR) or ``docid`` (MIRACL), a string, an integer or a UUID;
        and optionally the language under ``lang``/``language``. A dict under ``metadata`` and all other keys become
        metadata, except for ``vector``, which is skipped. In records of BEIR and MIRACL the title becomes the first
        line of the text, as it is in Mr.TyDi's ``contents`` (tokenizers treat the line break like the space that BEIR's
        own code inserts); in all three it is also kept as metadata.
    id
        The id to use if ``record`` has none.
    origin
        ``file:line``, for messages.

    Returns
    -------
    Document
        The document.

    Raises
    ------
    InputError
        If a key is missing, a value has the wrong type, or a key is both in ``metadata`` and beside it.
    """
    where = f"{origin}: " if origin else ""
    rest = {key: value for key, value in record.items() if key != VECTOR}
    names = [(key, rest.pop(key)) for key in ID_KEYS if rest.get(key) is not None]
    if not names and id is None:
        raise InputError(f"{where}the key 'id' is missing; a document needs 'id' and 'text'")
    key, name = names[0] if names else ("id", id)
    rest |= dict(names[1:])
    rest = {key: value for key, value in rest.items() if key not in ID_KEYS or value is not None}
    if not isinstance(name, str):
        name = as_json(name)  # A UUID becomes a string, NumPy's integers become Python's.
        name = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    contents = "text" not in rest and "contents" in rest
    text = _text_of(rest, where)
    title = rest.get("title")
    if key != "id" and isinstance(title, str) and title.strip() and isinstance(text, str | None):
        text = titled(title, text or "")
    elif contents and title is None and isinstance(text, str) and (found := _TITLE_LINE.match(text)):
        rest["title"] = found[1].strip()
    languages = [value for key in _LANGUAGE_KEYS if (value := rest.pop(key, None)) is not None]
    nested = rest.pop("metadata", None) or {}
    if not isinstance(nested, Mapping):
        raise InputError(f"{where}'metadata' must be an object")
    if twice := nested.keys() & rest.keys():
        raise InputError(f"{where}the key {min(twice)!r} is both in 'metadata' and beside it; keep one")
    return Document(name, text, languages[0] if languages else None, {**nested, **rest}, origin)


def titled(title: str, text: str) -> str:
    """Return the text of a passage with its title, if any, as the first line.

    Parameters
    ----------
    title
        The title; may be empty.
    text
        The text; may be empty.
    """
    return f"{title.strip()}\n{text}".rstrip() if title.strip() else text  # some passages of BEIR are only a title


def _text_of(rest: dict[str, Any], where: str) -> Any:
    """Remove the text from a record and return it."""
    sentences = [rest.pop(key) for key in SENTENCE_KEYS if key in rest]
    for key in TEXT_KEYS:
        if key in rest:
            return rest.pop(key)
    if not sentences:
        raise InputError(f"{where}the key 'text' is missing; a document needs 'id' and 'text' (or 'sents')")
    if not isinstance(sentences[0], list) or not all(isinstance(s, str) for s in sentences[0]):
        raise InputError(f"{where}the sentences must be a list of strings")
    return " ".join(sentences[0])


def _check_string(value: object, what: str, way_out: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{what} is {type(value).__name__}, not a string; {way_out}")
    if not value.strip():
        raise InputError(f"{what} is empty; {way_out}")
    check_unicode(value, what, way_out)
