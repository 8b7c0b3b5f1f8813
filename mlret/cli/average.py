"""`mlret average`: average the weights of models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from mlret.cli.common import check_new_folder
from mlret.errors import InputError


def average(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL MODEL...", help="Folders or hub ids, of one architecture and one tokenizer."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new model's folder; new, or empty.")],
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="W,W,…", help="One a model, e.g. 2,1; by default all count the same."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Average the weights of models, as JaColBERTv2.5 does.

    The mean of a model and a version of it trained further on other data is
    often better than either, and costs nothing at search time. Good candidates
    are checkpoints of one run, or complementary fine-tunings of one model;
    averaging models trained from different starting points gives nonsense.

    Accepts encoders with one vector per text or token (sentence-transformers,
    PyLate, ColBERT), plain transformers folders, and a trainer's checkpoints.
    Values that are not floats are copied from the first model. The result is a
    folder like the first model's; rebuild indexes with it.

    Examples:

        mlret average runs/a/model runs/b/model -o averaged

        mlret average run/checkpoint-1000 run/checkpoint-2000 --weights 1,2 -o averaged
    """
    check_new_folder(output)
    from mlret.training.averaging import average_models

    report = average_models(models, output, weights=_numbers(weights))
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(report) | {"output": str(output)}, ensure_ascii=False, indent=1))
        return
    from mlret.cli.common import print_tables
    from mlret.reporting.table import ResultTable

    rows = [
        [name, f"{share:.3f}", f"{distance:.4f}"]
        for name, share, distance in zip(report.models, report.weights, report.distance, strict=True)
    ]
    caption = (
        f"{report.averaged} tensors with {report.parameters:,} numbers averaged, {report.copied} copied from the first."
    )
    print_tables([ResultTable("Mean of models", ["model", "weight", "distance from the mean"], [rows], caption)])
    if report.calibrated:
        typer.echo("its calibration is the mean of theirs: fit it again with `mlret calibrate`")
    typer.echo(f"model: {output}; rebuild indexes with it")


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--weights {text!r}: give numbers with commas between them, e.g. 2,1") from error
