"""Types of values in requests, which accept what their description says and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, StrictBool, WithJsonSchema
from pydantic_core import PydanticCustomError

from mlret.index.filtering.fields import Kind


def _whole(value: Any) -> Any:
    # In JSON 10.0 is an integer, but "10" and true are none.
    if isinstance(value, bool | str) or (isinstance(value, float) and not value.is_integer()):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticCustomError("float_type", "Input should be a valid number")
    return value


Flag = StrictBool
Number = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_whole)]
# The lists of a vector are checked when they are read into an array; pydantic would report each number that is wrong.
NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "number"}, "minItems": 1}
MANY_NUMBERS: dict[str, Any] = {"type": "array", "items": NUMBERS, "minItems": 1}
LISTS_OF_NUMBERS: dict[str, Any] = {"type": "array", "items": MANY_NUMBERS, "minItems": 1}
Name = Annotated[str, Field(min_length=1)]
Language = Annotated[
    str, Field(description="An ISO 639 or BCP 47 code, e.g. `sw` or `zh-Hant`.", examples=["sw"], min_length=2)
]
Metadata = Annotated[
    dict[str, Any],
    Field(description="JSON values by name; the names `id`, `text`, `lang` and `language` are reserved."),
]

FILTER = "#/components/schemas/Filter"
_VALUE: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_ONE_OR_SEVERAL: dict[str, Any] = {"anyOf": [_VALUE, {"type": "array", "items": _VALUE}]}
_ORDERED: dict[str, Any] = {"type": ["string", "number"]}
_LANGUAGE: dict[str, Any] = {
    "description": "The language of the document.",
    "anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": ["string", "null"]}}],
}
FILTER_SCHEMA: dict[str, Any] = {
    "title": "Filter",
    "description": "What a document must have: for each name a value, a list of values of which one must match, or "
    "operators. All names must match. A value within an object is named by a path with dots: `author.born`.",
    "type": "object",
    "properties": {
        "$and": {"type": "array", "items": {"$ref": FILTER}, "minItems": 1},
        "$or": {"type": "array", "items": {"$ref": FILTER}, "minItems": 1},
        "$not": {"$ref": FILTER},
        "lang": _LANGUAGE,
        "text": {
            "type": "object",
            "properties": {"$contains": {"type": "string"}, "$icontains": {"type": "string"}},
            "minProperties": 1,
            "additionalProperties": False,
        },
    },
    "patternProperties": {
        "^[^$]": {
            "anyOf": [
                _ONE_OR_SEVERAL,
                {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": False,
                    "properties": {
                        **dict.fromkeys(("$eq", "$ne", "$in", "$nin"), _ONE_OR_SEVERAL),
                        **dict.fromkeys(("$lt", "$lte", "$gt", "$gte"), _ORDERED),
                        "$contains": {**_VALUE, "description": "An element of a list, or a part of a string."},
                        "$icontains": {"type": "string", "description": "As `$contains`, without regard to case."},
                        "$exists": {"type": "boolean"},
                        "$empty": {
                            "type": "boolean",
                            "description": "Whether there is nothing but null, an empty string or an empty list.",
                        },
                        "$type": {"enum": list(get_args(Kind))},
                    },
                },
            ]
        }
    },
    "additionalProperties": False,
    "examples": [{"lang": ["sw", "en"], "year": {"$gte": 2020}}],
}
# Pydantic writes no references to schemas that it does not know, and this one refers to itself.
_STANDS_FOR_A_FILTER = "x-filter"
Filter = Annotated[dict[str, Any], WithJsonSchema({"type": "object", _STANDS_FOR_A_FILTER: True})]


def with_filters(schema: Any) -> Any:
    """Return a description with references to the schema of filters, where fields are filters."""
    if isinstance(schema, dict):
        if schema.get(_STANDS_FOR_A_FILTER):
            kept = ("description", "title", "minProperties")
            return {"$ref": FILTER} | {key: schema[key] for key in kept if key in schema}
        return {key: with_filters(value) for key, value in schema.items()}
    return [with_filters(one) for one in schema] if isinstance(schema, list) else schema
