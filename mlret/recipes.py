"""Find the recipes that come with mlret.

In a checkout they are in the folders ``training/``, ``index/`` and ``eval/`` at the top of the repository; in an
installed wheel they are in the folder ``recipes/`` beside this file.
"""

from __future__ import annotations

from pathlib import Path

from mlret.errors import NotFound

KINDS = ("training", "index", "eval")


def recipes_root() -> Path:
    """Return the folder that contains the recipe folders."""
    installed = Path(__file__).parent / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[1]


def list_recipes(kind: str | None = None) -> dict[str, Path]:
    """Map recipe names to files, for one kind (``"training"``, ``"index"``, ``"eval"``) or for all.

    The steps of one encoder share a folder, which is part of their names: ``"mlret-mini/taught"``.
    """
    found = {}
    for folder in (recipes_root() / k for k in (KINDS if kind is None else (kind,))):
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]):
            found[path.relative_to(folder).with_suffix("").as_posix()] = path
    return found


def find_recipe(name: str, kind: str | None = None) -> Path:
    """Return the file of a recipe.

    Parameters
    ----------
    name
        A path, or the name of a recipe that comes with mlret.
    kind
        ``"training"``, ``"index"`` or ``"eval"``; ``None`` for all kinds.

    Raises
    ------
    InputError
        If there is no such file or recipe; the message lists the available recipes.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise NotFound(f"{path}: no such file; `mlret recipes list` names the recipes that come with mlret")
        return path
    known = list_recipes(kind)
    if name not in known:
        raise NotFound(f"no recipe {name!r}; there are {', '.join(sorted(known)) or 'none'}, or give a .yaml file")
    return known[name]
