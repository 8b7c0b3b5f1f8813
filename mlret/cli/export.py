"""`mlret export`: write an encoder in the formats of other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlret.cli.common import check_new_folder


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A multi-vector encoder: folder or hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint's folder; new, or empty.")],
    format: Annotated[str, typer.Option("--format", "-f", help="colbert (colbert-ai) or pylate.")],
    lossy: Annotated[
        bool,
        typer.Option("--lossy", help="Export what the format can represent, and report what is lost."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Write an encoder with one vector per token as a checkpoint of Stanford's ColBERT or PyLate.

    The checkpoint gives the same scores there, without mlret. If the encoder
    uses something that the format cannot represent, the export names it and
    fails: texts routed to language adapters, queries padded to a multiple of a
    length, and in ColBERT punctuation outside ASCII. With --lossy, everything
    else is written.

    Checkpoints of both formats load in mlret unchanged, wherever an encoder is named.

    Examples:

        mlret export my-encoder --format colbert -o for-colbert-ai

        mlret export my-encoder --format pylate --lossy -o for-pylate
    """
    check_new_folder(output)
    from mlret.encoders.colbert_export import Format, export_encoder

    chosen: Format = format  # type: ignore[assignment]
    losses = export_encoder(model, output, format=chosen, lossy=lossy)
    if as_json:
        typer.echo(json.dumps({"output": str(output), "format": format, "losses": losses}, ensure_ascii=False))
        return
    typer.echo(f"checkpoint: {output}")
    for loss in losses:
        typer.echo(f"lost: {loss}")
