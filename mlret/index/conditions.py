"""Conditions on records as SQL over the tables of :mod:`mlret.index.records`."""

from __future__ import annotations

import json

from mlret.data.languages import codes_found_by
from mlret.index.filters import All, Compare, Condition, Exists, HasLanguage, Not, Some

Parameters = list[str | int | float | None]


def as_sql(condition: Condition) -> tuple[str, Parameters]:
    """The clause of a condition on the table ``records``, which is never NULL, and its parameters."""
    match condition:
        case HasLanguage(code):
            return ("language IS NULL", []) if code is None else _in_language(code)
        case Exists(key):
            return "row IN (SELECT row FROM fields WHERE key = ?)", [key]
        case Compare(key, comparison, value):
            clause = f"row IN (SELECT row FROM fields WHERE key = ? AND kind = ? AND value {comparison} ?)"
            return clause, [key, value.kind, value.value]
        case Not(part):
            clause, parameters = as_sql(part)
            return f"NOT ({clause})", parameters
        case All(parts):
            return _joined("AND", [as_sql(part) for part in parts], empty="1")
        case Some(parts):
            return _joined(
                "OR", [*_memberships(parts), *(as_sql(part) for part in parts if not _is_equality(part))], "0"
            )


def _in_language(code: str) -> tuple[str, Parameters]:
    """One clause for all codes that a code finds; ``-*`` stands for any script, as in a range of strings."""
    codes = codes_found_by(code)
    whole: Parameters = [one for one in codes if not one.endswith("*")]
    clauses, parameters = [f"language IN ({', '.join('?' * len(whole))})"], whole
    for one in codes:
        if one.endswith("*"):
            clauses.append("language >= ? AND language < ?")
            parameters += [one[:-1], one[:-2] + "."]
    return f"language IS NOT NULL AND ({' OR '.join(clauses)})", parameters


def _memberships(parts: tuple[Condition, ...]) -> list[tuple[str, Parameters]]:
    """One clause for all values of a key: SQLite takes no more than a thousand ``OR`` in a row."""
    values: dict[tuple[str, str], list[str | int | float]] = {}
    for part in parts:
        if isinstance(part, Compare) and _is_equality(part):
            values.setdefault((part.key, part.value.kind), []).append(part.value.value)
    clause = "row IN (SELECT row FROM fields WHERE key = ? AND kind = ? AND value IN (SELECT value FROM json_each(?)))"
    return [(clause, [key, kind, json.dumps(some)]) for (key, kind), some in values.items()]


def _is_equality(part: Condition) -> bool:
    return isinstance(part, Compare) and part.comparison == "="


def _joined(operator: str, clauses: list[tuple[str, Parameters]], empty: str) -> tuple[str, Parameters]:
    parameters = [value for _, some in clauses for value in some]
    return f" {operator} ".join(f"({clause})" for clause, _ in clauses) or empty, parameters
