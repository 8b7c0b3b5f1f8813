"""`mlret export`: write an encoder in the formats of other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlret.cli.common import check_new_folder


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="An encoder: folder, hub id, or bundled:mlret-mini or bundled:multi-vector."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint's folder; new, or empty.")],
    format: Annotated[str, typer.Option("--format", "-f", help="onnx, colbert (colbert-ai) or pylate.")],
    lossy: Annotated[
        bool,
        typer.Option("--lossy", help="Export what the format can represent, and report what is lost."),
    ] = False,
    bits: Annotated[int, typer.Option("--bits", help="Of a weight in ONNX: 32, 8 or 4.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Write an encoder for other libraries: as ONNX, or as a checkpoint of Stanford's ColBERT or PyLate.

    ONNX is for encoders whose network is BERT, RoBERTa or XLM-R. The folder
    runs without torch, in mlret and in the ONNX backend of sentence-transformers.
    It can only encode, on a CPU: keep the encoder for all else.

    The checkpoints are for encoders with one vector for each token, and give
    the same scores there, without mlret. If the encoder
    uses something that the format cannot represent, the export names it and
    fails: texts routed to language adapters, queries padded to a multiple of a
    length, and in ColBERT punctuation outside ASCII. With --lossy, everything
    else is written.

    Checkpoints of both formats load in mlret unchanged, wherever an encoder is named.

    Examples:

        mlret export my-encoder --format onnx --bits 8 -o my-encoder-onnx

        mlret export bundled:multi-vector --format onnx -o tokens-onnx

        mlret export my-encoder --format colbert -o for-colbert-ai

        mlret export my-encoder --format pylate --lossy -o for-pylate
    """
    check_new_folder(output)
    if format == "onnx":
        from mlret.encoders.onnx_export import WeightBits, export_onnx

        given: WeightBits = bits  # type: ignore[assignment]
        export_onnx(model, output, bits=given)
        found = {"output": str(output), "format": format, "bits": bits}
        typer.echo(json.dumps(found, ensure_ascii=False) if as_json else f"encoder: {output}")
        return
    from mlret.encoders.colbert_export import Format, export_encoder

    chosen: Format = format  # type: ignore[assignment]
    losses = export_encoder(model, output, format=chosen, lossy=lossy)
    if as_json:
        typer.echo(json.dumps({"output": str(output), "format": format, "losses": losses}, ensure_ascii=False))
        return
    typer.echo(f"checkpoint: {output}")
    for loss in losses:
        typer.echo(f"lost: {loss}")
