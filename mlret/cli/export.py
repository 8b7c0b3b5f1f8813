"""`mlret export`: an encoder in the formats of other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlret.cli.common import check_new_folder


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An encoder with a vector a token: folder or hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint's folder; new, or empty.")],
    format: Annotated[str, typer.Option("--format", "-f", help="colbert (colbert-ai) or pylate.")],
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Write also what the format cannot hold in full, and say what is lost.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Write an encoder with a vector a token as a checkpoint of Stanford's ColBERT or of PyLate.

    It gives the same scores there, without mlret. What the format cannot
    hold is named and refused: texts routed to language adapters, queries
    filled up to a multiple of a length, in ColBERT punctuation of other
    scripts than ASCII's. --lossy writes the rest.

    Checkpoints of both load in mlret as they are, wherever an encoder is named.

    Examples:

        mlret export my-encoder --format colbert -o for-colbert-ai

        mlret export my-encoder --format pylate --lossy -o for-pylate
    """
    check_new_folder(output)
    from mlret.encoders.export import Format, export_encoder

    chosen: Format = format  # type: ignore[assignment]
    losses = export_encoder(model, output, format=chosen, lossy=lossy)
    if as_json:
        typer.echo(json.dumps({"output": str(output), "format": format, "losses": losses}, ensure_ascii=False))
        return
    typer.echo(f"checkpoint: {output}")
    for loss in losses:
        typer.echo(f"lost: {loss}")
