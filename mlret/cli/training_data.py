"""Options of the commands that read training data for retrieval, and their progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlret.cli.common import language_codes
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.data.ranking import RankingReader

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA...",
        help="Training data in any form: JSONL, Parquet or TSV of queries with positives; training files of Mr.TyDi, "
        "MIRACL, DPR, SQuAD, MS MARCO and mMARCO triples, ColBERT; folders of queries, judgements and a corpus; "
        "hub:NAME:CONFIG@SPLIT. See training/README.md.",
    ),
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        help="auto, or one of columns, mrtydi, dpr, squad, triples, id-triples, id-records, id-lists, judged.",
    ),
]
LanguageOption = Annotated[
    str | None, typer.Option("--language", "-l", help="The language of texts that do not state it.")
]
LanguagesOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="CODE", help="Only queries in these languages; repeatable, or with commas."),
]
CollectionOption = Annotated[
    list[str] | None,
    typer.Option("--collection", help="Where passages are found by id; by default in the file's folder. Repeatable."),
]
QueriesOption = Annotated[
    Path | None, typer.Option("--queries", help="Where queries are found by id; by default in the file's folder.")
]
QrelsOption = Annotated[Path | None, typer.Option("--qrels", help="The judgements, of a folder with several.")]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="A run in TREC's format: what it ranks and is not judged, is negative.")
]
SplitOption = Annotated[str, typer.Option("--split", help="Which files of a folder.")]
HeldOutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--held-out",
        metavar="FILE_OR_GLOB",
        help="Evaluation files: examples whose query or positive is in them are dropped; repeatable.",
    ),
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Examples to read at most.")]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="A folder that keeps collections on disk by id for the next time, as SQLite files."),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="A new .jsonl or .jsonl.gz file with one example per line.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def open_data(
    sources: Sequence[str],
    *,
    format: str,
    language: str | None,
    languages: list[str] | None,
    collection: list[str] | None,
    queries: Path | None,
    qrels: Path | None,
    run: Path | None,
    split: str,
    held_out: list[str] | None,
    limit: int | None,
    cache: Path | None,
) -> RankingReader:
    """Open training data, and print on standard error what was recognised.

    The parameters are those of :func:`mlret.data.ranking.read_ranking`; sources, languages and ``held_out`` may contain
    patterns or comma-separated values as on the command line.

    Raises
    ------
    InputError
        If :func:`mlret.data.ranking.read_ranking` rejects the data or an option.
    """
    from typing import Any

    from rich.console import Console

    from mlret.cli.common import text_files
    from mlret.data.ranking import read_ranking

    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    given: Any = format
    reader = read_ranking(
        [file for source in sources for file in _matching(source)],
        given,
        language=language,
        languages=language_codes(languages),
        collection=collection,
        queries=queries,
        qrels=qrels,
        run=run,
        split=split,
        held_out=text_files(held_out, option="--held-out") if held_out else (),
        limit=limit,
        cache=cache,
        say=say,
    )
    say(reader.recognised)
    return reader


def identity(reader: RankingReader, **options: object) -> list[str]:
    """Return what the data was read from and with which options. A stopped run resumes only if this is unchanged."""
    files = [f"{source.name} {source.bytes}" for source in reader.sources]
    return [*files, *(f"{name}={value}" for name, value in sorted(options.items()) if value)]


def passed_over(reader: RankingReader) -> str:
    """Format what was skipped while reading the data as text; empty if nothing was."""
    return ", ".join(f"{why}: {count:,}" for why, count in reader.passed_over.items())


@contextmanager
def examples_progress(label: str, reader: RankingReader, *, resume: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error; yields a function that takes the number of processed examples.

    Parameters
    ----------
    label
        Description of the work.
    reader
        Provides how much of the data has been read.
    resume
        How to resume after an interrupt (Ctrl-C); printed if one occurs.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[seen]:,}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    try:
        with progress:
            task = progress.add_task(label, total=reader.total_bytes, seen=0)

            def update(count: int) -> None:
                progress.update(task, completed=reader.read_bytes, seen=count)

            yield update
    except KeyboardInterrupt:
        console.print(f"stopped; to resume, {resume}", markup=False, soft_wrap=True)
        raise


def _matching(source: str) -> list[str]:
    """Return the files that a pattern matches; anything that is not a pattern is returned unchanged."""
    import glob

    if source.startswith("hub:") or Path(source).exists() or not glob.has_magic(source):
        return [source]
    found = sorted(glob.glob(source, recursive=True))  # noqa: PTH207
    if not found:
        raise InputError(f"{source}: no such file; check the pattern")
    return found
