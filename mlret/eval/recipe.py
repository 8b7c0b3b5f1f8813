"""Evaluation recipes: which systems to evaluate on which benchmark, and the scores that are expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mlret.errors import InputError
from mlret.eval.registry import BUNDLED, Settings, benchmarks


def read_recipe(path: Path) -> Settings:
    """Read and validate an evaluation recipe.

    Raises
    ------
    InputError
        If the file is missing or not YAML, or a key is unknown, missing or out of range.
    """
    try:
        settings: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; `mlret recipes list` names the recipes there are") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save the recipe as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not YAML; {getattr(error, 'problem', error)}") from error
    return make_recipe(settings, origin=str(path))


def make_recipe(settings: Any, *, origin: str = "") -> Settings:
    """Build a recipe from plain settings and validate it.

    Parameters
    ----------
    settings
        The keys of the recipe and their values.
    origin
        Where the settings came from; it is prefixed to error messages.

    Returns
    -------
    Settings
        The settings of the benchmark that the key ``benchmark`` names.

    Raises
    ------
    InputError
        If a key is unknown, missing or out of range.
    """
    try:
        return _validated(settings)
    except InputError as error:
        raise InputError(f"{origin}: {error}") if origin else error from error.__cause__


def under(recipe: Settings, folder: Path) -> Settings:
    """Return the recipe with its data path placed in a folder.

    Parameters
    ----------
    recipe
        The recipe. If its data is ``ir_datasets``, or comes with mlret, it is returned unchanged.
    folder
        The folder that the data path is relative to.
    """
    if str(recipe.data) in ("ir_datasets", BUNDLED):
        return recipe
    return recipe.model_copy(update={"data": folder / recipe.data})


def _validated(settings: Any) -> Settings:
    if not isinstance(settings, dict):
        raise InputError("recipe: Input should be a valid dictionary or object to extract fields from; fix this key")
    known, name = benchmarks(), settings.get("benchmark")
    if not (isinstance(name, str) and name in known):
        what = "unknown" if "benchmark" in settings else "none named"
        raise InputError(f"benchmark: {what}; there are {', '.join(known)}")
    model: type[Settings] = known[name].settings
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        way_out = "fix this key"
        if first["type"] == "extra_forbidden":
            way_out = f"the keys are {', '.join(model.model_fields)}"
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise InputError(f"{key}: {first['msg']}; {way_out}") from error
