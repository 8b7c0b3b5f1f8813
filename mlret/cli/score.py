"""`mlret score`: add a teacher's scores to training data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlret.cli import training_data as data
from mlret.cli.common import check_new_file
from mlret.cli.options import takes_settings
from mlret.cli.progress import examples_progress

if TYPE_CHECKING:
    from mlret.reporting.table import ResultTable
    from mlret.training.labels.teachers import ScoringReport


@takes_settings(reading=data.READING)
def score(
    sources: data.Sources,
    output: data.OutputOption,
    *,
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher", "-t", help="A folder, a hub id, or 'bundled': a cross-encoder, or an encoder of either kind."
        ),
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="encoder, multi-vector or cross-encoder; by default read from the folder; from the hub, encoder.",
        ),
    ] = "auto",
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            help="Drop negatives that score above the lowest positive less this: they are likely answers. 3 is usual "
            "with a cross-encoder.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, …; by default whatever is available.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Examples at a time; also the pairs in a cross-encoder's forward pass.")
    ] = 32,
    reading: data.ReadingSettings,
    as_json: data.JsonOption = False,
) -> None:
    """Add a teacher's scores to training data, for distillation.

    Every positive and negative of every query gets a score: the logit of a
    cross-encoder, which reads query and passage together; the cosine of an
    encoder; or MaxSim for an encoder with a vector for each token. Existing
    scores in DATA are replaced. Negatives that are positives of the same query
    in another row are dropped.

    The output is training data again. A run that was stopped at any point
    resumes when the same command is given again. The table reports how often the
    teacher agrees that the positives are better than all negatives: if it rarely
    does, the negatives are answers, or the teacher does not know the language.

    Examples:

        mlret score mined.jsonl -o scored.jsonl.gz --teacher my-reranker --margin 3

        mlret score mined.jsonl -o scored.jsonl --teacher my-colbert
    """
    from mlret.training.labels.teachers import load_teacher, score_to_file

    check_new_file(output)
    reader = data.open_data(sources, reading)
    given: Any = kind
    loaded = load_teacher(None if teacher == "bundled" else teacher, given, device=device, batch_size=batch_size)
    with examples_progress("scoring", reader) as progress:
        report = score_to_file(
            reader,
            loaded,
            output,
            margin=margin,
            batch_size=batch_size,
            data=data.identity(reader, reading),
            progress=progress,
        )
    data.print_outcome(reader, output, dataclasses.asdict(report), _table(report), as_json=as_json)


def _table(report: ScoringReport) -> ResultTable:
    from mlret.reporting.table import ResultTable

    agreement = f"{100 * report.agreed / report.compared:.1f} %" if report.compared else "–"
    rows = [
        ["queries", f"{report.queries:,}"],
        ["passages", f"{report.passages:,}"],
        ["likely false negatives dropped (margin)", f"{report.dropped:,}"],
        ["answers of the same query elsewhere in the data, dropped", f"{report.answers:,}"],
        ["queries whose positives score above all negatives", agreement],
    ]
    return ResultTable(f"Scores of {report.teacher}", ["", "number"], [rows], f"Scores: {report.kind}.")
