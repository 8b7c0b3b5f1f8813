"""`mlret memory`: remember texts, and find them from any language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Remember texts, and find them from any language.", no_args_is_help=True)

Store = Annotated[Path, typer.Option("--store", help="The folder of the memory store; made if missing.")]
Scope = Annotated[
    list[str],
    typer.Option(
        "--scope",
        "-s",
        metavar="NAME=VALUE",
        help="Whose memory: tenant=, user=, agent= or run=; repeatable.",
    ),
]
Language = Annotated[
    str | None, typer.Option("--language", "-l", help="The language of the text; detected by default.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Encoder: a folder or a hub id. Default: the store's own, else the bundled one."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def add(
    text: Annotated[str, typer.Argument(help="What to remember, in any language.")],
    store: Store,
    scope: Scope,
    language: Language = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Remember a text."""
    from mlret.memory.memory import Memory, parse_scope

    whose = parse_scope(scope)
    with Memory.open(store, model) as memory:
        added = memory.add(text, whose, language=language)
    typer.echo(json.dumps(added.as_json(), ensure_ascii=False, indent=1) if as_json else added.id)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in any language.")],
    store: Store,
    scope: Scope,
    k: Annotated[int, typer.Option("-k", help="How many memories.")] = 5,
    language: Language = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Find the memories of a scope that are nearest in meaning to a query."""
    from mlret.errors import InputError
    from mlret.memory.memory import Memory, parse_scope

    whose = parse_scope(scope)
    if not store.exists():  # a search makes nothing
        raise InputError(f"{store}: no such memory store; make it with `mlret memory add --store {store}`")
    with Memory.open(store, model) as memory:
        hits = memory.search(query, whose, k, language=language)
    if as_json:
        typer.echo(json.dumps({"query": query} | hits.as_json(), ensure_ascii=False, indent=1))
        return
    from rich.console import Console

    from mlret.cli.tables import hits_table

    Console().print(hits_table(hits, title=query) if hits else "no memories in this scope")
