"""`mlret mine`: mine hard negatives from an index."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlret.cli import training_data as data
from mlret.cli.common import check_new_file
from mlret.cli.options import Option, SettingsOptions, takes_settings
from mlret.cli.progress import examples_progress
from mlret.errors import InputError
from mlret.training.labels.mining_settings import MiningSettings

if TYPE_CHECKING:
    from mlret.data.ranking import RankingReader
    from mlret.index.index import Index
    from mlret.reporting.table import ResultTable
    from mlret.training.labels.mining_report import MiningReport


def _where(filters: list[str]) -> dict[str, Any] | None:
    """Parse the values of ``--where``."""
    from mlret.index.filtering.filters import parse_filter

    return parse_filter(filters)


_MINING = SettingsOptions(
    MiningSettings,
    {
        "negatives": Option("-n"),
        "relative_margin": Option(default="0.05, or none with --absolute-margin or --no-margin"),
        "language": Option("--passages"),
        "where": Option("-w", annotation=list[str], read=_where, metavar="FILTER"),
        "with_scores": Option("--scores"),
    },
)


@takes_settings(mining=_MINING, reading=data.READING)
def mine(
    sources: data.Sources,
    output: data.OutputOption,
    *,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            "-i",
            help="Where to look: an index of either kind. By default one is made of all passages of DATA.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Encoder: a folder or a hub id. Default: the index's own, else the bundled one."
        ),
    ] = None,
    mining: MiningSettings,
    no_margin: Annotated[
        bool, typer.Option("--no-margin", help="Take negatives however near they are to the positive.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Number of queries searched at once.")] = 128,
    reading: data.ReadingSettings,
    as_json: data.JsonOption = False,
) -> None:
    """Find hard negatives for training: passages that rank high but do not answer the query.

    An index is searched for each query of DATA. Its positives are removed,
    including those of other rows with the same query, and so is any passage that
    repeats a positive with trivial differences; the best of the remaining hits
    become negatives. Some of these are answers that nobody has marked. A hit
    whose score is within 5 % of the positive's is therefore excluded
    (NV-Retriever's rule; --relative-margin, --absolute-margin), and --skip skips
    the first ranks. The table shows how many hits each rule excluded.

    The output is training data again: train on it, score it with a teacher
    (`mlret score`), or mine once more with the trained model. A run that was
    stopped at any point resumes when the same command is given again.

    Examples:

        mlret mine train.jsonl -o mined.jsonl.gz

        mlret mine mrtydi-v1.1-swahili -o mined.jsonl --index sw-index --sampling random --skip 5

        mlret mine pairs.jsonl -o crossed.jsonl --index wiki --passages other --mode hybrid
    """
    from mlret.training.labels.mining import mine_to_file

    mining = _with_margins(mining, no_margin)
    check_new_file(output)
    reader = data.open_data(sources, reading)
    origin = data.identity(reader, reading)
    opened, made = _opened(index, None if model == "bundled" else model, output, reader, origin, mining.mode)
    with opened:
        with examples_progress("mining", reader) as progress:
            report = mine_to_file(reader, opened, output, mining, batch_size=batch_size, data=origin, progress=progress)
        encoder = opened.manifest.encoder
    if made is not None:
        shutil.rmtree(made)
    data.print_outcome(reader, output, report.to_dict() | {"encoder": encoder}, _table(report), as_json=as_json)


def _with_margins(mining: MiningSettings, no_margin: bool) -> MiningSettings:
    """Return the settings without the default margin if another margin, or none, was asked for."""
    margins = mining.model_fields_set & {"relative_margin", "absolute_margin"}
    if no_margin and margins:
        raise InputError("--no-margin and a margin exclude each other; leave one out")
    if no_margin or margins == {"absolute_margin"}:
        return mining.model_copy(update={"relative_margin": None})
    return mining


def _opened(
    index: Path | None, model: str | None, output: Path, reader: RankingReader, origin: list[str], mode: str
) -> tuple[Index, Path | None]:
    """Open the named index, or build one of the data's passages next to the output.

    A build that was stopped resumes if the data is the same. The second return value is the folder of a new index, or
    ``None``.
    """
    from mlret.data.same_text import VERSION
    from mlret.encoders.multi_vector import load_any_encoder
    from mlret.index.index import Index
    from mlret.training.labels.mining import index_passages

    if index is not None:
        return Index.open(index, model), None
    encoder = load_any_encoder(model)
    lexical = mode != "dense"
    parts = [*origin, encoder.fingerprint, str(lexical), str(VERSION)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    folder = output.with_name(f".{output.name}.{key}.index")
    with examples_progress("indexing passages", reader) as progress:
        return index_passages(folder, reader, encoder, lexical=lexical, progress=progress), folder


def _table(report: MiningReport) -> ResultTable:
    from mlret.reporting.table import ResultTable

    found = report.to_dict()
    rows = [
        ["queries", f"{report.queries:,}"],
        [f"  with all {report.asked} negatives", f"{found['queries_with_all']:,}"],
        ["  with none", f"{found['queries_with_none']:,}"],
        ["negatives", f"{report.mined:,}"],
        ["  a query", f"{found['negatives_per_query']:.2f}"],
    ]
    dropped = [
        ["positives (of all rows), and what repeats them", f"{report.positives:,}"],
        ["skipped first ranks", f"{report.passed:,}"],
        ["likely false negatives (margin)", f"{report.near:,}"],
        ["out of bounds", f"{report.outside:,}"],
    ]
    scores = [
        [name, f"{value:.3f}"]
        for name, value in (
            ("mean score of positives", found["mean_positive_score"]),
            ("mean score of the best negative", found["mean_best_negative_score"]),
        )
        if value is not None
    ]
    caption = "Below: excluded hits, by the rule that excluded them. Of several positives the lowest score counts."
    return ResultTable("Hard negatives", ["", "number"], [rows, dropped, *([scores] if scores else [])], caption)
