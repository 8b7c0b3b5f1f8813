"""`mlret search`: search the documents of an index in any language."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer


def search(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")],
    query: Annotated[str, typer.Argument(help="What to look for, in any language.")],
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 5,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="The language of the query; detected by default.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            "-w",
            metavar="FILTER",
            help="Only such documents: lang=sw, year>=2020, author.name=Ada (nested), title~Berlin (a text or list "
            'that contains it); or JSON, e.g. {"year": {"$gte": 2020}}. All must hold; repeatable.',
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option("--mode", help="dense, lexical or hybrid. Default: hybrid where the index has a lexical channel."),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every document.")] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Encoder: a folder or a hub id. Default: the index's own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Find the documents of an index that are closest in meaning to a query."""
    from mlret.index.filtering.filters import parse_filter
    from mlret.index.index import Index
    from mlret.index.search import check_mode

    with Index.open(path, model) as index:
        hits = index.search(
            query, k, language=language, where=parse_filter(where or []), mode=check_mode(mode), exact=exact
        )
    if as_json:
        found = {"query": query, "hits": [dataclasses.asdict(hit) for hit in hits]}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    from rich.console import Console

    from mlret.cli.tables import hits_table

    Console().print(hits_table(hits, title=query) if hits else "no documents match")
