"""Read documents that a client sends: each becomes a checked document, or a problem that names the bad field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.documents import ID_KEYS, SENTENCE_KEYS, TEXT_KEYS, VECTOR, Document, document_from_mapping
from mlret.data.json_text import RepeatedKeyError, read_json
from mlret.data.languages import normalise_language
from mlret.errors import InputError
from mlret.serve.operations.given_numbers import read_vector
from mlret.serve.operations.invalid_values import invalid
from mlret.serve.problems import Problem

# Stands for the id of a document that has none, until the writer chooses one. No stored id is blank.
_UNNAMED = "unnamed"
_LANGUAGE_KEYS = ("lang", "language")


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """A document that can be stored.

    Attributes
    ----------
    document
        The document. If it is not named, its id is meaningless.
    named
        Whether the client gave an id.
    vector
        The vector that the client gave: ``(dims,)`` float32, in a multi-vector index ``(t, dims)``; ``None`` to encode
        the text.
    """

    document: Document
    named: bool
    vector: NDArray[np.float32] | None = None

    def called(self, id: str) -> Document:
        """Return the document under its own id, or under ``id`` if it has none."""
        one = self.document
        return one if self.named else Document.stored(id, one.text, one.language, one.metadata)


def read_document(record: object, location: Sequence[str | int] = ()) -> IncomingDocument | Problem:
    """Read one document.

    Parameters
    ----------
    record
        The decoded JSON value, as for :func:`mlret.data.documents.document_from_mapping`; ``vector`` is its vector.
    location
        Where it is in the body, for the ``field`` of a problem.

    Returns
    -------
    IncomingDocument or Problem
        The document with its language, which is detected if it was not given; or what is wrong with it.
    """
    if not isinstance(record, Mapping):
        return invalid(f"a document is an object, not {_json_type(record)}", location, 'Send {"id": …, "text": …}.')
    if not isinstance(record.get("metadata"), Mapping | None):
        return invalid("'metadata' is not an object", [*location, "metadata"], "Send an object, or leave it out.")
    named = any(record.get(key) is not None for key in ID_KEYS)
    try:
        document = document_from_mapping(record, id=_UNNAMED)
    except InputError as error:
        return invalid(str(error), [*location, *field_of(record)])
    vector = record.get(VECTOR)
    if vector is not None:
        vector = read_vector(vector)
        if vector is None:
            return invalid(
                "the vector is not a list of finite numbers", [*location, VECTOR], "Send numbers, or leave it out."
            )
    if document.language is None:
        language = detect_language(document.text[:DETECTION_CHARACTERS])
        document = Document.stored(document.id, document.text, language, document.metadata)
    return IncomingDocument(document, named, vector)


def read_line(line: bytes) -> IncomingDocument | Problem:
    """Read the document of one line of NDJSON."""
    try:
        record = read_json(line.decode("utf-8"))
    except RepeatedKeyError as error:
        return invalid(str(error), ())
    except UnicodeDecodeError as error:
        return Problem("malformed", f"the line is not UTF-8 (byte {error.start})", place="body", fix="Send UTF-8.")
    except (ValueError, RecursionError) as error:
        return Problem(
            "malformed", f"the line is not JSON ({error})", place="body", fix="Send one JSON object on each line."
        )
    return read_document(record)


def read_array(body: bytes) -> list[IncomingDocument]:
    """Read a JSON array of documents.

    Raises
    ------
    Problem
        If it is not JSON, or a document is invalid. All invalid documents are listed, up to a number.
    """
    records = _decoded(body)
    if not isinstance(records, list):
        raise invalid(
            f"the body is {_json_type(records)}, not an array of documents",
            (),
            "Send an array, even for one document; or NDJSON with the header Content-Type: application/x-ndjson.",
        )
    found = [read_document(record, [place]) for place, record in enumerate(records)]
    if problems := [one for one in found if isinstance(one, Problem)]:
        first = problems[0]
        errors = [{"field": one.field or "", "in": "body", "detail": one.detail} for one in problems[:_MOST_ERRORS]]
        raise Problem(
            first.kind,
            first.detail + (f" ({len(problems)} documents are invalid; nothing was stored)" if problems[1:] else ""),
            field=first.field,
            place="body",
            fix=first.fix,
            errors=errors if problems[1:] else None,
        )
    return [one for one in found if isinstance(one, IncomingDocument)]


_MOST_ERRORS = 100


def _decoded(body: bytes) -> Any:
    try:
        return read_json(body.decode("utf-8-sig"))
    except RepeatedKeyError as error:
        raise invalid(str(error), ()) from error
    except UnicodeDecodeError as error:
        raise Problem(
            "malformed", f"the body is not UTF-8 (byte {error.start})", place="body", fix="Send UTF-8."
        ) from error
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", f"the body is not JSON ({error})", place="body", fix="Send valid JSON.") from error


def field_of(record: Mapping[str, Any]) -> list[str]:
    """Return which key of an invalid document is to blame: a list of one name, or an empty one.

    It is empty if a key is missing, or if several keys contradict each other.
    """
    for key in ID_KEYS:
        id = record.get(key)
        if (
            id is not None
            and not (isinstance(id, str) and _is_text(id))
            and (isinstance(id, bool) or type(id) is not int)
        ):
            return [key]
    for key in (*TEXT_KEYS, *SENTENCE_KEYS):
        if key in record and (key in SENTENCE_KEYS or not _is_text(record[key])):
            return [key]
    for key in _LANGUAGE_KEYS:
        code = record.get(key)
        if code is not None and not _is_language(code):
            return [key]
    metadata = record.get("metadata")
    return ["metadata"] if metadata is not None and not isinstance(metadata, Mapping) else []


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(value.strip()) and bool(value.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _is_language(code: object) -> bool:
    try:
        return isinstance(code, str) and bool(normalise_language(code))
    except InputError:
        return False


def _json_type(value: object) -> str:
    """Name the JSON type of a decoded value."""
    if value is None:
        return "null"
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)
