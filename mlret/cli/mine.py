"""`mlret mine`: mine hard negatives from an index."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlret.cli import training_data as data
from mlret.cli.common import check_new_file
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.data.ranking import RankingReader
    from mlret.index.index import Index
    from mlret.reporting.table import ResultTable
    from mlret.training.labels.mining_report import MiningReport


def mine(
    sources: data.Sources,
    output: data.OutputOption,
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
    negatives: Annotated[int, typer.Option("-n", "--negatives", min=1, help="Negatives of a query, at most.")] = 8,
    skip: Annotated[int, typer.Option(min=0, help="Pass over so many of the best hits that are no positives.")] = 0,
    depth: Annotated[int, typer.Option(min=1, help="Look at so many ranks.")] = 100,
    sampling: Annotated[
        str, typer.Option(help="top: the best that are left; random: by the seed, from all that are left.")
    ] = "top",
    relative_margin: Annotated[
        float | None,
        typer.Option(
            "--relative-margin",
            help="Negatives score at least this part of the positive's score below it. [default: 0.05, or none with "
            "--absolute-margin or --no-margin]",
        ),
    ] = None,
    absolute_margin: Annotated[
        float | None, typer.Option("--absolute-margin", help="The same as a difference of scores.")
    ] = None,
    no_margin: Annotated[
        bool, typer.Option("--no-margin", help="Take negatives however near they are to the positive.")
    ] = False,
    max_score: Annotated[float | None, typer.Option("--max-score", help="Of a negative.")] = None,
    min_score: Annotated[float | None, typer.Option("--min-score", help="Of a negative.")] = None,
    mode: Annotated[str, typer.Option("--mode", help="dense, lexical or hybrid search.")] = "dense",
    passages: Annotated[
        str,
        typer.Option(help="any; same: in the language of the query alone; other: in other languages alone."),
    ] = "any",
    where: Annotated[
        list[str] | None,
        typer.Option("--where", "-w", metavar="FILTER", help="Only such passages: lang=sw, …; repeatable."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Add to the negatives of DATA, instead of replacing them.")
    ] = False,
    scores: Annotated[
        bool, typer.Option("--scores", help="Write the scores of the search, as those of a teacher.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of random sampling.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Queries searched at once.")] = 128,
    format: data.FormatOption = "auto",
    language: data.LanguageOption = None,
    languages: data.LanguagesOption = None,
    collection: data.CollectionOption = None,
    queries: data.QueriesOption = None,
    qrels: data.QrelsOption = None,
    run: data.RunOption = None,
    split: data.SplitOption = "train",
    held_out: data.HeldOutOption = None,
    limit: data.LimitOption = None,
    cache: data.CacheOption = None,
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
    from mlret.index.filtering.filters import parse_filter
    from mlret.training.labels.mining import MiningSettings, mine_to_file

    given: Any = {"sampling": sampling, "mode": mode, "language": passages}
    if no_margin and (relative_margin is not None or absolute_margin is not None):
        raise InputError("--no-margin and a margin exclude each other; leave one out")
    if relative_margin is None and absolute_margin is None and not no_margin:
        relative_margin = 0.05
    settings = MiningSettings(
        negatives=negatives,
        skip=skip,
        depth=depth,
        relative_margin=relative_margin,
        absolute_margin=absolute_margin,
        max_score=max_score,
        min_score=min_score,
        where=parse_filter(where) if where else None,
        keep=keep,
        with_scores=scores,
        seed=seed,
        **given,
    )
    reading: dict[str, Any] = {
        "format": format,
        "language": language,
        "languages": languages,
        "collection": collection,
        "queries": queries,
        "qrels": qrels,
        "run": run,
        "split": split,
        "held_out": held_out,
        "limit": limit,
    }
    check_new_file(output)
    reader = data.open_data(sources, cache=cache, **reading)
    origin = data.identity(reader, **reading)
    opened, made = _opened(index, None if model == "bundled" else model, output, reader, origin, settings.mode)
    with opened:
        with data.examples_progress("mining", reader, resume="give the same command again") as progress:
            report = mine_to_file(
                reader,
                opened,
                output,
                settings,
                batch_size=batch_size,
                data=origin,
                progress=progress,
            )
        encoder = opened.store.manifest.encoder
    if made is not None:
        shutil.rmtree(made)
    if as_json:
        found = report.to_dict() | {"encoder": encoder, "output": str(output), "passed_over": dict(reader.passed_over)}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    from mlret.cli.common import print_tables

    print_tables([_table(report)])
    if left_out := data.passed_over(reader):
        typer.echo(f"left out on reading: {left_out}")
    typer.echo(f"training data: {output}")


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
    with data.examples_progress("indexing passages", reader, resume="give the same command again") as progress:
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
        ["first ranks", f"{report.passed:,}"],
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
    caption = "Below: hits that were left out, by the rule that did. Of several positives the lowest score counts."
    return ResultTable("Hard negatives", ["", "number"], [rows, dropped, *([scores] if scores else [])], caption)
