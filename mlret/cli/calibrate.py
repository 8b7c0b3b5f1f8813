"""`mlret calibrate`: fit per-language shift, scale and rotation on monolingual text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from mlret.cli.common import check_new_folder, text_files
from mlret.data.durable import write_folder_atomically
from mlret.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.calibration import LanguageCalibration


def calibrate(
    text: Annotated[
        list[str],
        typer.Option(
            "--text",
            "-t",
            metavar="FILE_OR_GLOB",
            help="Monolingual text: .jsonl, .txt (a sentence a line), both perhaps .gz, or .parquet; a pattern "
            "in quotes; repeatable.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new encoder's folder; new, or empty.")],
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Encoder: a folder, a hub id, or 'bundled' (the default)."),
    ] = None,
    shift: Annotated[bool, typer.Option(help="Move the mean of each language to the origin.")] = True,
    scale: Annotated[bool, typer.Option(help="Give every dimension unit deviation in each language.")] = False,
    rotate: Annotated[bool, typer.Option(help="Turn each language towards the pivot.")] = False,
    pivot: Annotated[str, typer.Option(help="The language to rotate towards.")] = "en",
    adversarial: Annotated[
        bool,
        typer.Option("--adversarial", help="Start rotations adversarially: for far-off languages; slow, unstable."),
    ] = False,
    sentences: Annotated[int, typer.Option(min=2, help="Sentences of a language, at most.")] = 2000,
    min_sentences: Annotated[
        int, typer.Option("--min-sentences", min=2, help="A language with fewer is left out: calibrated as unknown.")
    ] = 50,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="The language of text that does not say its own.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Decides which sentences are drawn; of rotations too.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Fit an encoder's calibration on monolingual text.

    An encoder may place each language in its own region of the vector space.
    For each language, calibration moves the mean to the origin (--shift), gives
    every dimension unit deviation (--scale) and rotates the vectors towards a
    pivot language (--rotate), in this order. It needs ordinary text in each
    language; the texts need not be translations or have the same topics.

    The result is a new sentence-transformers folder with the statistics as a
    module; a calibration that MODEL already has is replaced. Its vectors differ
    from those of MODEL, so rebuild indexes with it.

    The table shows how far the mean of each language is from the overall mean,
    before and after, and what each rotation found: the number of pairs of mutual
    neighbours, and the mean cosine of neighbours on held-out sentences, which
    decides whether the rotation is kept. A rotation needs several times as many
    sentences as the encoder has dimensions: raise --sentences.

    Example:

        mlret calibrate my-encoder --text 'text/*.jsonl.gz' -o calibrated
    """
    if not (shift or scale or rotate):
        raise InputError("no step is on: give --shift, --scale or --rotate")
    if adversarial and not rotate:
        raise InputError("--adversarial is a start for rotations: add --rotate")
    if sentences < min_sentences:
        raise InputError(
            f"--sentences {sentences} is less than --min-sentences {min_sentences}: no language has enough"
        )
    if model == "bundled":
        model = None
    _check_output(output, model)
    files = text_files(text, option="--text")

    from mlret.data.languages import normalise_language
    from mlret.data.monolingual import read_monolingual
    from mlret.data.sampling import draw_by_language
    from mlret.encoders.calibration import calibrate_model
    from mlret.encoders.loading import load_encoder

    pivot = normalise_language(pivot)
    encoder = load_encoder(model)
    with Console(stderr=True).status("reading") as status:

        def read() -> Iterator[tuple[str, str]]:
            for file in files:
                status.update(f"reading {escape(str(file))}")
                for document in read_monolingual(file, language=language):
                    for sentence in document.sentences:
                        yield document.language, sentence

        drawn = draw_by_language(read(), most=sentences, seed=seed)
        left_out = {code: len(lines) for code, lines in drawn.items() if len(lines) < min_sentences}
        kept = {code: lines for code, lines in drawn.items() if code not in left_out}
        if not kept:
            raise InputError(
                f"no language has {min_sentences} distinct sentences (the most: {max(left_out.values())}): "
                "give more text, or lower --min-sentences"
            )
        if rotate and pivot not in kept:
            raise InputError(
                f"the pivot {pivot!r} has {left_out.get(pivot, 0)} sentences, fewer than --min-sentences "
                f"{min_sentences}: give more text in it, or another --pivot"
            )
        report = calibrate_model(
            encoder.model,
            kept,
            shift=shift,
            scale=scale,
            rotate=rotate,
            pivot=pivot,
            adversarial=adversarial,
            seed=seed,
            say=status.update,
        )
        status.update("writing")
        steps = [step for step, on in (("shift", shift), ("scale", scale), ("rotate", rotate)) if on]
        _save(encoder.model, output, steps)
        fingerprint = load_encoder(output).fingerprint
    if as_json:
        found = {
            "model": encoder.name,
            "output": str(output),
            "fingerprint": fingerprint,
            "steps": steps,
            "pivot": pivot if rotate else None,
            "languages": [_row(language) for language in report],
            "left_out": left_out,
        }
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    console = Console()
    # If output is piped into a file or a pager, the table need not fit the terminal.
    Console(width=console.width if console.is_terminal else 120).print(_table(report, pivot if rotate else None))
    if left_out:
        typer.echo(f"left out, with fewer than {min_sentences} sentences: {', '.join(left_out)}")
    typer.echo(f"encoder: {output} (fingerprint {fingerprint}); build indexes anew with it")


def _check_output(output: Path, model: str | None) -> None:
    """Refuse a folder that could not be written at the end, is not empty, or is the encoder itself."""
    if model is not None and Path(model).is_dir() and output.resolve() == Path(model).resolve():
        raise InputError(f"{output} is the encoder to be calibrated: name another --output")
    check_new_folder(output)


def _save(model: SentenceTransformer, folder: Path, steps: Sequence[str]) -> None:
    # Keep the model card, which states the origin and licence of the weights, but note that its scores are for other
    # vectors.
    has_card = model._model_card_text is not None

    def write(beside: Path) -> None:
        model.save(str(beside), create_model_card=has_card)
        if has_card:
            with (beside / "README.md").open("a", encoding="utf-8") as card:
                card.write(
                    f"\n\n---\n\nCalibrated with `mlret calibrate` ({', '.join(steps)}): the vectors differ from "
                    "those of the encoder that the text above describes.\n"
                )

    write_folder_atomically(folder, write)


def _row(language: LanguageCalibration) -> dict[str, Any]:
    rotation = language.rotation
    found = None
    if rotation is not None:
        found = {
            "kept": rotation.kept,
            "iterations": rotation.iterations,
            "pairs": rotation.pairs,
            "criterion_before": rotation.criterion_before,
            "criterion_after": rotation.criterion_after,
        }
    return {**dataclasses.asdict(dataclasses.replace(language, rotation=None)), "rotation": found}


def _table(report: Sequence[LanguageCalibration], pivot: str | None) -> Table:
    from rich import box
    from rich.table import Table

    from mlret.cli.tables import display_language

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("language", style="green")
    table.add_column("sentences", justify="right")
    table.add_column("off centre\nbefore", justify="right")
    table.add_column("\nafter", justify="right", style="cyan")
    if pivot is not None:
        table.add_column("pairs", justify="right")
        table.add_column("neighbours'\ncosine before", justify="right")
        table.add_column("\nafter", justify="right", style="cyan")
        table.add_column("rotation")
    for row in report:
        cells = [
            display_language(row.language),
            f"{row.sentences:,}",
            f"{row.distance_before:.3f}",
            f"{row.distance_after:.3f}",
        ]
        if row.rotation is not None:
            found = row.rotation
            cells += [
                f"{found.pairs:,}",
                f"{found.criterion_before:.3f}",
                f"{found.criterion_after:.3f}",
                "none is better" if found.kept == "identity" else found.kept,
            ]
        elif row.language == pivot:
            cells += ["", "", "", "pivot"]
        table.add_row(*cells)
    return table
