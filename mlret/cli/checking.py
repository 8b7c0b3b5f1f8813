"""`mlret index check`: ask an index for its own documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlret.cli.common import print_json, print_tables

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def check(
    path: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")],
    size: Annotated[int, typer.Option("--size", min=1, help="Documents to ask for, from all languages alike.")] = 500,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")] = 0,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Encoder: a folder or a hub id. Default: the index's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask an index for its own titles and first sentences, by language. Exit code 1 if something is weak."""
    from mlret.index.check import check_index
    from mlret.index.index import Index

    with Index.open(path, model) as index:
        report = check_index(index, size=size, seed=seed)
    if as_json:
        print_json(report.to_dict())
    else:
        print_tables([report.table()])
        for sentence in report.weak or ["nothing is weak"]:
            typer.echo(sentence)
    if not report.good:
        raise typer.Exit(1)
