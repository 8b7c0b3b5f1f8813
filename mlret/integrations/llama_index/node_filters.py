"""Metadata filters of LlamaIndex as filters of an index."""

from __future__ import annotations

from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from mlret.errors import InputError
from mlret.integrations.llama_index.stored_nodes import SOURCE
from mlret.integrations.stored_metadata import stored_name

# The names under which LlamaIndex's stores keep the id of the document that a node comes from.
_SOURCE_NAMES = ("ref_doc_id", "doc_id", "document_id")
_RANGES = {
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
}
_TEXT = {FilterOperator.TEXT_MATCH: "$contains", FilterOperator.TEXT_MATCH_INSENSITIVE: "$icontains"}


def where_of(filters: MetadataFilters | None) -> dict[str, Any] | None:
    """Return the filter of an index that a node passes if it passes the filters of LlamaIndex.

    Parameters
    ----------
    filters
        Filters, which may contain others. ``not`` holds if none of its filters does; without filters, all three
        conditions hold.

    Returns
    -------
    dict or None
        As :func:`mlret.index.filtering.filters.read_filter` takes it; ``None`` if every node passes.

    Raises
    ------
    InputError
        If a value does not suit the operator.

    Examples
    --------
    >>> from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
    >>> where_of(MetadataFilters(filters=[MetadataFilter(key="year", value=2020, operator=">=")]))
    {'year': {'$gte': 2020}}
    """
    if filters is None or not filters.filters:
        return None
    parts = [(where_of(one) or {}) if isinstance(one, MetadataFilters) else _one(one) for one in filters.filters]
    if filters.condition == FilterCondition.NOT:
        return {"$not": {"$or": parts}}
    if len(parts) == 1:
        return parts[0]
    return {"$or" if filters.condition == FilterCondition.OR else "$and": parts}


def _one(one: MetadataFilter) -> dict[str, Any]:
    name = SOURCE if one.key in _SOURCE_NAMES else stored_name(one.key)
    operator, value = one.operator, one.value
    if operator == FilterOperator.IS_EMPTY:
        return {name: {"$empty": True}}
    if operator in (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL):
        if not isinstance(value, list):
            raise InputError(f"the operator {operator.value!r} on {one.key!r} takes a list, not {value!r}")
        if operator == FilterOperator.ANY:
            return {"$or": [_contains(name, some) for some in value]} if value else {name: {"$in": []}}
        if operator == FilterOperator.ALL:
            return {"$and": [_contains(name, some) for some in value]} if value else _not_null(name)
        return _equals(name, value) if operator == FilterOperator.IN else {"$not": _equals(name, value)}
    if not isinstance(value, str | int | float):
        raise InputError(
            f"the operator {operator.value!r} on {one.key!r} takes a string or a number, not {value!r}; "
            "there are is_empty for missing values, and in, nin, any and all for lists"
        )
    if operator in (FilterOperator.EQ, FilterOperator.NE):
        return _equals(name, [value]) if operator == FilterOperator.EQ else {"$not": _equals(name, [value])}
    if operator in _RANGES:
        return {"$and": [{name: {_RANGES[operator]: value}}, _no_list(name)]}
    if operator == FilterOperator.CONTAINS:
        return _contains(name, value)
    if not isinstance(value, str):
        raise InputError(f"the operator {operator.value!r} on {one.key!r} takes a string, not {value!r}")
    return {"$and": [{name: {_TEXT[operator]: value}}, _no_list(name)]}


def _equals(name: str, values: list[Any]) -> dict[str, Any]:
    """Return a filter for a value that is one of some and no list: LlamaIndex has other operators for lists."""
    return {"$and": [{name: {"$in": [reading for value in values for reading in _readings(value)]}}, _no_list(name)]}


def _contains(name: str, value: Any) -> dict[str, Any]:
    """Return a filter for a list with an element, or a string with a part."""
    if isinstance(value, str):
        return {name: {"$contains": value}}
    return {name: {"$in": _readings(value), "$type": "list"}}


def _no_list(name: str) -> dict[str, Any]:
    return {"$not": {name: {"$type": "list"}}}


def _not_null(name: str) -> dict[str, Any]:
    return {"$and": [{name: {"$exists": True}}, {"$not": {"$and": [{name: None}, _no_list(name)]}}]}


def _readings(value: Any) -> list[Any]:
    """Return what a value of a filter may equal: it cannot be true or false, for which LlamaIndex has 1 and 0."""
    return [value] if isinstance(value, str) or value not in (0, 1) else [value, bool(value)]
