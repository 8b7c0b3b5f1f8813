"""Errors of tools: texts from which an agent learns which argument to change, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from mlret.serve.problems import KINDS, Problem, pointer, problem_of

# The most errors of one call that are listed.
_MOST = 10


def problem_of_call(error: Exception, folders: Mapping[str, str], arguments: type[BaseModel]) -> Problem:
    """Return the problem that a call ended with.

    Parameters
    ----------
    error
        What was raised.
    folders
        Path of a folder on the server -> the name that clients know it by.
    arguments
        The model of the tool's arguments.
    """
    if isinstance(error, ValidationError):
        return _of_arguments(error, arguments)
    return problem_of(error, folders=folders)


def text_of(problem: Problem, request: str | None = None) -> str:
    """Return a problem as a text for an agent.

    Parameters
    ----------
    problem
        The problem.
    request
        Id of the request, which the log holds; told if the server failed.

    Examples
    --------
    >>> print(text_of(Problem("invalid", "k is 0", field="/k", fix="Ask for at least one hit.")))
    k is 0
    Argument: /k
    What to do: Ask for at least one hit.
    """
    lines = [problem.detail]
    if problem.errors[1:]:
        lines = [one["detail"] for one in problem.errors[:_MOST]]
        if problem.errors[_MOST:]:
            lines.append(f"and {len(problem.errors) - _MOST} more errors")
    if problem.field:
        lines.append(f"Argument: {problem.field}")
    general = problem.kind == "invalid" and problem.fix == KINDS["invalid"].meaning
    lines.append(f"What to do: {'Correct it and call the tool again.' if general else problem.fix}")
    if problem.status >= 500 and request:
        lines.append(f"Request: {request}")
    return "\n".join(lines)


def _of_arguments(error: ValidationError, arguments: type[BaseModel]) -> Problem:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    errors = [{"field": pointer(one["loc"]), "in": "body", "detail": _detail(one)} for one in found]
    known = ", ".join(arguments.model_fields)
    return Problem(
        "invalid",
        errors[0]["detail"],
        field=errors[0]["field"] or None,
        place="body",
        fix=f"Correct it and call the tool again; its arguments are {known}, and its input schema says what is valid.",
        errors=errors,
    )


def _detail(error: Mapping[str, Any]) -> str:
    field = pointer(error["loc"]) or "the arguments"
    if error["type"] == "extra_forbidden":
        return f"{field}: there is no such argument"
    if error["type"] == "missing":
        return f"{field}: it is needed"
    return f"{field}: {error['msg'][:1].lower()}{error['msg'][1:]}"
