"""Read JSON files of benchmarks and check their parts, with errors that name the file and the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mlret.data.files import read_blocks
from mlret.errors import InputError

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    InputError
        If the file is missing or not JSON.
    """
    try:
        return json.loads("".join(read_blocks(path)))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}; get the file again") from error


def parsed(model: type[ModelT], values: Any, where: str) -> ModelT:
    """Return a part of a file as a model.

    Parameters
    ----------
    model
        The model.
    values
        The part.
    where
        The file and the place in it, for errors.

    Raises
    ------
    InputError
        If a value is missing or of another type.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        key = ".".join(map(str, first["loc"])) or "value"
        raise InputError(f"{where}: {key}: {first['msg']}; give the file as it is published") from error
