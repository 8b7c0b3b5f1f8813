"""`mlret recipes`: list the recipes that come with mlret, and copy one to edit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from mlret.errors import InputError
from mlret.recipes import KINDS, find_recipe, list_recipes

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the recipes that come with mlret."""
    rows = [
        (name, kind, yaml.safe_load(path.read_text(encoding="utf-8")).get("description", ""))
        for kind in KINDS
        for name, path in list_recipes(kind).items()
    ]
    if json_:
        print(json.dumps([dict(zip(("name", "kind", "description"), row, strict=True)) for row in rows]))
        return
    table = Table("recipe", "kind", "what it does")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="A recipe that `mlret recipes list` names.")],
    target: Annotated[Path | None, typer.Argument(help="File to write; by default NAME.yaml here.")] = None,
) -> None:
    """Copy a recipe to a file of your own, to edit."""
    source = find_recipe(name)
    target = target or Path(source.name)
    if target.exists():
        raise InputError(f"{target} exists: name another file")
    shutil.copyfile(source, target)
    print(f"wrote {target}")
