"""`mlret index`: build an index from files, change it and maintain it."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlret.cli.checking import check
from mlret.cli.cluster_building import built_on_ray, download
from mlret.cli.common import lines_of, print_json
from mlret.cli.options import RayAddress, takes_settings
from mlret.cli.places import opened_index, served_index
from mlret.cli.progress import compaction_progress, documents_progress, texts_progress
from mlret.cli.reading import ADDING, FILES_HELP, READING, AddingSettings, ReadingSettings
from mlret.client.addresses import is_address
from mlret.wording import counted

if TYPE_CHECKING:
    from mlret.encoders.external import ExternalEncoder
    from mlret.index.build import BuildReport
    from mlret.index.ingest import Existing
    from mlret.index.settings import IndexSettings
    from mlret.index.vectors.space import Vectors as VectorsOfDocuments

app = typer.Typer(no_args_is_help=True)

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")]
NewIndexPath = Annotated[
    str,
    typer.Argument(metavar="INDEX", help="The folder of the index; with --ray also a URL, such as s3://BUCKET/NAME."),
]
IndexPlace = Annotated[
    str,
    typer.Argument(
        metavar="INDEX",
        help="The folder of the index; or its address on a server, http://HOST:PORT/NAME, with the token in "
        "MLRET_TOKEN.",
    ),
]
Files = Annotated[
    list[str],
    typer.Argument(metavar="FILES...", help=FILES_HELP),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Encoder: a folder or a hub id. Default: the index's own, else the bundled one."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="FILTER",
        help="NAME=VALUE (also !=, <, <=, >, >=), NAME~VALUE (a text or list that contains it; also !~), with dots for "
        'nested values (author.name=Ada); or JSON, e.g. {"year": {"$gte": 2020}}. All must hold; repeatable.',
    ),
]


@app.command()
@takes_settings(adding=ADDING, reading=READING)
def build(
    path: NewIndexPath,
    files: Files,
    *,
    adding: AddingSettings,
    reading: ReadingSettings,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "-r", help="An index recipe: a name (`mlret recipes list`) or a .yaml file."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="auto, flat, hnsw, ivf-flat, ivf-sq8, ivf-pq, sq8, fp16 or binary; with a vector for each token auto, "
            "flat or probe.",
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option("--bits", help="With a vector for each token: 1, 2, 4 or 8 bits a dimension; 16 keeps float16."),
    ] = None,
    pooling: Annotated[
        int | None, typer.Option(min=1, help="With a vector for each token: merge this many tokens into one.")
    ] = None,
    dims: Annotated[
        int | None, typer.Option(min=1, help="Keep this many dimensions (for encoders trained with Matryoshka).")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", help="Store vectors in float32, float16, or int8 with a scale for each. Default: float32."
        ),
    ] = None,
    copies: Annotated[
        int | None,
        typer.Option(
            "--copies", min=1, max=2, help="2 keeps vectors twice, for --vectors that cannot be made again. Default: 1."
        ),
    ] = None,
    lexical: Annotated[
        bool,
        typer.Option("--lexical", help="Index character n-grams too, for hybrid search (names, numbers, rare words)."),
    ] = False,
    passages: Annotated[
        str | None,
        typer.Option(
            "--passages",
            help="A document that is longer than the encoder reads: cut it into passages, warn that its end is lost, "
            "or refuse it. Default: cut.",
        ),
    ] = None,
    passage_tokens: Annotated[
        int | None, typer.Option("--passage-tokens", min=16, help="Tokens of a passage, at most. Default: 256.")
    ] = None,
    passage_overlap: Annotated[
        int | None,
        typer.Option("--passage-overlap", min=0, help="Tokens that the next passage repeats, at most. Default: 32."),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards", min=1, help="Divide the documents by their ids among this many indexes, with the same hits."
        ),
    ] = None,
    external: Annotated[
        str | None,
        typer.Option("--external", metavar="NAME", help="--vectors are of this encoder, which mlret does not run."),
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="Encode in auto, float32 or bfloat16; see `mlret encode --help`.")
    ] = "auto",
    ray: RayAddress = None,
    as_json: Json = False,
) -> None:
    """Build a new index from files. A build that was stopped resumes when the same command is given again.

    Files of text are one document each, pages of a PDF too; their ids are their
    paths relative to the current folder. Markdown, HTML, PDF and Word need
    pip install "mlret[files]", Parquet and Arrow "mlret[data]".

    Examples:

        mlret index build my.index documents.jsonl

        mlret index build shop.index items.csv --id-column sku --text-column description

        mlret index build docs.index docs 'reports/**/*.pdf'

        mlret index build wiki.index wiki/*.jsonl --shards 16 --ray 10.0.0.5:6379
    """
    from mlret.index.build import build_index

    changes = {"kind": kind, "dims": dims, "lexical": lexical or None, "bits": bits, "pooling": pooling}
    changes |= {"passages": passages, "passage_tokens": passage_tokens, "passage_overlap": passage_overlap}
    changes |= {"dtype": dtype, "copies": copies}
    settings = _settings(recipe, changes)
    vectors = _load_vectors(adding.vectors, adding.lengths)
    encoder = _external(external, vectors, adding.model)
    given: Any = precision
    if ray is not None:
        report = built_on_ray(path, files, encoder, adding, reading, settings, given, address=ray, shards=shards)
        _print_report(report, as_json)
        return
    with (
        documents_progress("indexing", resume="give the same command again") as progress,
        compaction_progress() as steps,
    ):
        report = build_index(
            path,
            files,
            encoder,
            settings=settings,
            shards=shards,
            precision=given,
            vectors=vectors,
            batch_size=adding.batch_size,
            max_line=reading.longest,
            columns=reading.columns(),
            progress=progress,
            compacting=steps,
        )
    _print_report(report, as_json)


@app.command()
@takes_settings(adding=ADDING, reading=READING)
def add(
    place: IndexPlace,
    files: Files,
    *,
    adding: AddingSettings,
    reading: ReadingSettings,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip documents whose id is stored already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add the documents of files to an index."""
    _extend(place, files, adding, reading, "skip" if skip_existing else "error", as_json)


@app.command()
@takes_settings(adding=ADDING, reading=READING)
def update(
    place: IndexPlace, files: Files, *, adding: AddingSettings, reading: ReadingSettings, as_json: Json = False
) -> None:
    """Add the documents of files; a document replaces the stored one with the same id, if any."""
    _extend(place, files, adding, reading, "replace", as_json)


@app.command()
def delete(
    place: IndexPlace,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[IDS]...", help="The ids of the documents.")] = None,
    ids_from: Annotated[
        Path | None,
        typer.Option("--ids-from", help="A text file with one id per line.", exists=True, dir_okay=False),
    ] = None,
    where: WhereOption = None,
    ignore_missing: Annotated[bool, typer.Option("--ignore-missing", help="Skip ids that are not stored.")] = False,
    as_json: Json = False,
) -> None:
    """Delete documents by id, or all that match a filter."""
    from mlret.index.filtering.filters import parse_filter

    every = [*(ids or []), *(lines_of(ids_from) if ids_from else [])]
    with opened_index(place) as index:
        deleted = index.delete(every, where=parse_filter(where or []), ignore_missing=ignore_missing)
        left = len(index)
    if as_json:
        print_json({"deleted": deleted, "documents": left})
    else:
        typer.echo(f"{counted(deleted, 'document')} deleted; {place} holds {left}")


@app.command()
def compact(
    path: IndexPath,
    low_priority: Annotated[
        bool, typer.Option("--low-priority", help="Leave the processor to searches and other programs first (nice 19).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Merge segments, remove deleted documents from the disk, and build the FAISS index that suits the size.

    It may be stopped by Ctrl-C at any time: what is done is kept, and the next compaction goes on from there.
    """
    from mlret.index.index import Index

    if low_priority:
        os.nice(19)
    with Index.open(path) as index:
        before = index.info()
        try:
            with compaction_progress() as steps:
                choices = index.compact(steps)
        except KeyboardInterrupt:
            typer.echo("stopped; what is done is kept, and the same command goes on from there", err=True)
            raise
        after = index.info()
    if as_json:
        print_json({"kinds": [choice._asdict() for choice in choices], "index": dataclasses.asdict(after)})
        return
    typer.echo(
        f"{counted(before.segments, 'segment')} became {after.segments}, "
        f"{counted(before.deleted, 'deleted row')} dropped, {before.bytes / 1e6:.1f} MB "
        f"became {after.bytes / 1e6:.1f} MB"
    )
    _print_kinds([choice._asdict() for choice in choices])


@app.command()
def tune(
    path: IndexPath,
    queries: Annotated[
        Path | None,
        typer.Option("--queries", "-q", help="A text file with one query per line.", exists=True, dir_okay=False),
    ] = None,
    recall: Annotated[
        float | None, typer.Option("--recall", help="Of the ten best documents, the share to be found, e.g. 0.98.")
    ] = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Choose the search effort of an index with a vector for each token, by a trial run."""
    from mlret.index.index import Index

    texts = lines_of(queries) if queries else ()
    with Index.open(path, model) as index:
        why = index.tune(texts, recall=recall)
        probing = index.manifest.probing
    if as_json:
        print_json(probing.model_dump() if probing else {"why": why})
    else:
        typer.echo(why)


@app.command()
def verify(
    path: IndexPath,
    model: Model = None,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired.")] = False,
    as_json: Json = False,
) -> None:
    """Check every file, record and vector of an index. Exit code 1 if something is wrong and was not repaired."""
    from rich.console import Console

    from mlret.index.verify import verify_index

    console = Console(stderr=True)
    with console.status("checking") as status:
        problems = verify_index(path, model, repair=repair, say=lambda line: status.update(f"checking {line}"))
    if as_json:
        print_json({"problems": [problem.as_json() for problem in problems]})
    for problem in problems if not as_json else []:
        fix = (
            "repaired"
            if problem.repaired
            else "--repair repairs it"
            if problem.repairable
            else "restore it from a copy"
        )
        typer.echo(f"{problem.file}: {problem.what} ({fix})")
    if not problems and not as_json:
        typer.echo(f"{path} is intact")
    if any(not problem.repaired for problem in problems):
        raise typer.Exit(1)


app.command()(check)


@app.command()
def export(
    path: IndexPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="A .jsonl, .jsonl.gz or .parquet file to write.")],
    vectors: Annotated[bool, typer.Option("--vectors", help="Write the vectors too.")] = False,
    as_json: Json = False,
) -> None:
    """Write the documents to a file that an index can be built from."""
    from mlret.index.export import export_index
    from mlret.index.index import Index

    with Index.open(path) as index:
        count = export_index(index, output, vectors=vectors)
    if as_json:
        print_json({"documents": count, "file": str(output)})
    else:
        typer.echo(f"{counted(count, 'document')} written to {output}")


app.command()(download)


@app.command()
def reembed(
    path: IndexPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder; the old index stays as it is.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The new encoder: a folder or a hub id. Default: the bundled one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy an index with the vectors of another encoder. A copy that was stopped resumes with the same command."""
    from mlret.index.reembedding import reembed_index

    with texts_progress("encoding") as progress, compaction_progress() as steps:
        made = reembed_index(path, output, model, progress=progress, compacting=steps)
    if as_json:
        print_json(dataclasses.asdict(made))
    else:
        typer.echo(
            f"{output} holds {counted(made.documents, 'document')} with vectors of {made.encoder}; {path} is as it was"
        )


@app.command()
def reshard(
    path: IndexPath,
    shards: Annotated[int, typer.Option("--shards", min=1, help="The number of shards.")],
    as_json: Json = False,
) -> None:
    """Divide an index into shards, or into another number of shards. Vectors are carried over, not encoded again.

    The index can be searched meanwhile, and stays as it is until all new
    shards are complete.
    """
    from mlret.index.sharding.resharding import reshard_index

    with texts_progress("dividing") as progress:
        made = reshard_index(path, shards, progress=progress)
    documents = sum(info.contents.documents for info in made.shards)
    if as_json:
        print_json({"documents": documents, "shards": [info.model_dump() for info in made.shards]})
    else:
        typer.echo(f"{path} holds {counted(documents, 'document')} in {counted(len(made.shards), 'shard')}")


@app.command()
def info(place: IndexPlace, as_json: Json = False) -> None:
    """Show what an index contains, and which encoder it was built with."""
    with opened_index(place) as index:
        summary = index.info()
    found = dataclasses.asdict(summary) | {"warnings": summary.warnings}
    if as_json:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    from mlret.cli.tables import display_language

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    languages = found.pop("languages")
    size = found.pop("bytes")
    found["kinds"] = ", ".join(f"{kind} {count}" for kind, count in found["kinds"].items()) or "none"
    found["why"] = "; ".join(found["why"])
    found["fields"] = ", ".join(found["fields"])
    warnings = found.pop("warnings")
    del found["unread"]
    for key, value in found.items():
        table.add_row(key, str(value))
    table.add_row("size", f"{size / 1e6:.1f} MB")
    table.add_row("languages", ", ".join(f"{display_language(code)} {count}" for code, count in languages.items()))
    for number, warning in enumerate(warnings):
        table.add_row("" if number else "warnings", warning)
    Console().print(table)


def _extend(
    place: str, files: list[str], adding: AddingSettings, reading: ReadingSettings, existing: Existing, as_json: bool
) -> None:
    again = "give the same command again" + (" with --skip-existing" if existing == "error" else "")
    vectors = _load_vectors(adding.vectors, adding.lengths)
    how: Any = {"vectors": vectors, "batch_size": adding.batch_size}
    how |= {"max_line": reading.longest, "columns": reading.columns()}
    with documents_progress("adding", resume=again) as progress, compaction_progress() as steps:
        how |= {"existing": existing, "progress": progress}
        if is_address(place):
            from mlret.client.files import send_files

            with served_index(place, adding.model) as index:
                report = send_files(index, files, **how)
        else:
            from mlret.index.build import extend_index

            report = extend_index(place, files, adding.model, **how, compacting=steps)
    _print_report(report, as_json)


def _settings(recipe: str | None, changes: dict[str, Any]) -> IndexSettings:
    from mlret.index.settings import IndexSettings, changed_settings, read_index_recipe
    from mlret.recipes import find_recipe

    settings = read_index_recipe(find_recipe(recipe, "index")).settings if recipe else IndexSettings()
    return changed_settings(settings, {key: value for key, value in changes.items() if value is not None})


def _load_vectors(path: Path | None, lengths: Path | None) -> VectorsOfDocuments | None:
    from mlret.errors import InputError

    if path is None:
        if lengths is not None:
            raise InputError("--lengths divides the tokens of --vectors: give these too")
        return None
    from mlret.index.vectors.vector_files import load_vectors

    return load_vectors(path, lengths)


def _external(name: str | None, vectors: VectorsOfDocuments | None, model: str | None) -> ExternalEncoder | str | None:
    if name is None:
        return model
    from mlret.encoders.external import ExternalEncoder
    from mlret.errors import InputError
    from mlret.index.vectors.ragged import Ragged

    if vectors is None or model is not None:
        raise InputError("--external names the encoder of --vectors: give these, and no --model")
    tokens = isinstance(vectors, Ragged)
    matrix: Any = vectors.values if isinstance(vectors, Ragged) else vectors
    if matrix.ndim != 2:
        raise InputError(f"--vectors holds {matrix.shape}; it must be a matrix with one vector per row")
    return ExternalEncoder(name, matrix.shape[1], "maxsim" if tokens else "cosine")


def _print_report(report: BuildReport, as_json: bool) -> None:
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        content = dataclasses.asdict(report)
        content["warnings"] = report.warnings
        content["kinds"] = [choice._asdict() for choice in report.kinds]
        print_json(content)
        return
    done, seconds, index = report.documents, report.seconds, report.index
    stored = done.added + done.replaced
    parts = [f"{counted(done.added, 'document')} stored"]
    parts += [f"{done.replaced} replaced"] if done.replaced else []
    parts += [f"{done.skipped} skipped"] if done.skipped else []
    parts += [f"{counted(report.blank, 'blank passage')} skipped"] if report.blank else []
    parts += [f"the long ones cut, {index.passages:,} passages in all"] if index.passages > index.documents else []
    parts += [f"{counted(len(report.unread), 'file')} could not be read (see the warnings)"] if report.unread else []
    rate = f"{stored / seconds:.0f}/s" if seconds else ""
    typer.echo(f"{', '.join(parts)} in {seconds:.1f} s ({rate}); {index.path} holds {index.documents}")
    _print_kinds([choice._asdict() for choice in report.kinds])
    typer.echo(f'search it: mlret search {index.path} "your question"')


def _print_kinds(choices: list[dict[str, Any]]) -> None:
    for line in dict.fromkeys(f"{choice['kind']}: {choice['why']}" for choice in choices):
        typer.echo(line)
