"""Options of the commands that read training data for retrieval, and what they print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field

from mlret.cli.common import language_codes, print_tables
from mlret.cli.options import Option, SettingsOptions
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.data.ranking import RankingReader
    from mlret.reporting.table import ResultTable

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA...",
        help="Training data in any form: JSONL, Parquet or TSV of queries with positives; training files of Mr.TyDi, "
        "MIRACL, DPR, SQuAD, MS MARCO and mMARCO triples, ColBERT; folders of queries, judgements and a corpus; "
        "hub:NAME:CONFIG@SPLIT. See training/README.md.",
    ),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="A new .jsonl file, or .jsonl.gz: one example in each line.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class ReadingSettings(BaseModel):
    """How training data is read: the arguments of :func:`mlret.data.ranking.read_ranking` that are options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = Field(
        "auto",
        description="auto, or one of columns, mrtydi, dpr, squad, triples, id-triples, id-records, id-lists, judged",
    )
    language: str | None = Field(None, description="language of texts that do not state theirs")
    languages: list[str] | None = Field(None, description="only queries in these languages; repeatable, or with commas")
    collection: list[str] | None = Field(
        None, description="where passages are found by id; by default beside the file. Repeatable"
    )
    queries: Path | None = Field(None, description="where queries are found by id; by default beside the file")
    qrels: Path | None = Field(None, description="the judgements, of a folder with several")
    run: Path | None = Field(None, description="a run in TREC's format: what it ranks and is not judged, is negative")
    split: str = Field("train", description="which files of a folder")
    held_out: list[str] | None = Field(
        None, description="evaluation files: examples whose query or positive is in them are dropped; repeatable"
    )
    limit: int | None = Field(None, ge=1, description="maximum number of examples to read")
    cache: Path | None = Field(
        None, description="a folder that keeps collections on disk by id for the next time, as SQLite files"
    )


READING = SettingsOptions(
    ReadingSettings,
    {
        "language": Option("-l"),
        "languages": Option("--only", metavar="CODE"),
        "held_out": Option(metavar="FILE_OR_GLOB"),
    },
)


def open_data(sources: Sequence[str], settings: ReadingSettings) -> RankingReader:
    """Open training data, and print on standard error which format was recognised.

    Parameters
    ----------
    sources
        Files, folders, hub data sets, and glob patterns of files.
    settings
        How they are read.

    Raises
    ------
    InputError
        If :func:`mlret.data.ranking.read_ranking` rejects the data or an option.
    """
    from rich.console import Console

    from mlret.cli.common import text_files
    from mlret.data.ranking import read_ranking

    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    given: dict[str, Any] = settings.model_dump() | {
        "languages": language_codes(settings.languages),
        "held_out": text_files(settings.held_out, option="--held-out") if settings.held_out else (),
    }
    reader = read_ranking([file for source in sources for file in _matching(source)], **given, say=say)
    say(reader.recognised)
    return reader


def identity(reader: RankingReader, settings: ReadingSettings) -> list[str]:
    """Return what the data was read from and with which options. A stopped run resumes only if this is unchanged."""
    files = [f"{source.name} {source.bytes}" for source in reader.sources]
    options = settings.model_dump(exclude={"cache"})
    return [*files, *(f"{name}={value}" for name, value in sorted(options.items()) if value)]


def print_outcome(
    reader: RankingReader, output: Path, found: dict[str, Any], table: ResultTable, *, as_json: bool
) -> None:
    """Print what a command made of training data: a table, what was skipped, and the file; or all of it as JSON.

    Parameters
    ----------
    reader
        The data that was read.
    output
        The file that was written.
    found
        The figures, for JSON.
    table
        The same figures as a table.
    as_json
        Whether to print JSON instead of the table.
    """
    if as_json:
        skipped = dict(reader.skipped)
        # "passed_over" is the former name of "skipped".
        everything = found | {"output": str(output), "skipped": skipped, "passed_over": skipped}
        typer.echo(json.dumps(everything, ensure_ascii=False, indent=1))
        return
    print_tables([table])
    if reader.skipped:
        reasons = ", ".join(f"{why}: {count:,}" for why, count in reader.skipped.items())
        typer.echo(f"skipped on reading: {reasons}")
    typer.echo(f"training data: {output}")


def _matching(source: str) -> list[str]:
    """Return the files that a pattern matches; anything that is not a pattern is returned unchanged."""
    import glob

    if source.startswith("hub:") or Path(source).exists() or not glob.has_magic(source):
        return [source]
    found = sorted(glob.glob(source, recursive=True))  # noqa: PTH207
    if not found:
        raise InputError(f"{source}: no such file; check the pattern")
    return found
