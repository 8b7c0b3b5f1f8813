"""`mlret index`: build an index from files, add to it, describe it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from mlret.cli.progress import documents_progress

app = typer.Typer(help="Build an index from files, add to it, describe it.", no_args_is_help=True)

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")]
Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILES...",
        help='JSONL ({"id", "text", "lang", …}) or TSV (header: id, text, lang, …); .gz is fine.',
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Encoder: a folder or a hub id. Default: the index's own, else the bundled one."
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Documents in one transaction.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def build(
    path: IndexPath, files: Files, model: Model = None, batch_size: BatchSize = 256, as_json: Json = False
) -> None:
    """Build a new index from files. Bad input leaves nothing behind."""
    from mlret.index.build import build_index

    with documents_progress("indexing", resume=["mlret", "index", "add", path, *files, "--skip-existing"]) as progress:
        report = build_index(path, files, model, batch_size=batch_size, progress=progress)
    _print_report(dataclasses.asdict(report), as_json)


@app.command()
def add(
    path: IndexPath,
    files: Files,
    model: Model = None,
    batch_size: BatchSize = 256,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Pass over documents whose id is stored already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add the documents of files to an index."""
    from mlret.index.build import extend_index

    with documents_progress("adding", resume=["mlret", "index", "add", path, *files, "--skip-existing"]) as progress:
        report = extend_index(path, files, model, batch_size=batch_size, skip_existing=skip_existing, progress=progress)
    _print_report(dataclasses.asdict(report), as_json)


@app.command()
def info(path: IndexPath, as_json: Json = False) -> None:
    """Say what an index holds, and which encoder it was built with."""
    from mlret.index.index import Index

    with Index.open(path) as index:
        found = dataclasses.asdict(index.info())
    if as_json:
        _print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    from mlret.cli.tables import display_language

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    languages = found.pop("languages")
    size = found.pop("bytes")
    for key, value in found.items():
        table.add_row(key, str(value))
    table.add_row("size", f"{size / 1e6:.1f} MB")
    table.add_row("languages", ", ".join(f"{display_language(code)} {count}" for code, count in languages.items()))
    Console().print(table)


def _print_report(report: dict[str, object], as_json: bool) -> None:
    if as_json:
        _print_json(report)
        return
    index, added, seconds = report["index"], report["added"], report["seconds"]
    assert isinstance(index, dict) and isinstance(added, int) and isinstance(seconds, float)
    rate = added / seconds if seconds else 0.0
    typer.echo(
        f"{added} documents stored in {seconds:.1f} s ({rate:.0f}/s); {index['path']} holds {index['documents']}"
    )
    typer.echo(f'search it: mlret search {index["path"]} "your question"')


def _print_json(value: dict[str, object]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))
