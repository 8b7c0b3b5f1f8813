"""`mlret calibrate`: fit per-language shift, scale and rotation on monolingual text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.console import Console
from rich.markup import escape

from mlret.cli.common import check_new_folder, text_files
from mlret.cli.options import Option, SettingsOptions, takes_settings
from mlret.data.durable import write_folder_atomically
from mlret.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.calibration import LanguageCalibration


class CalibrationSettings(BaseModel):
    """The steps of a calibration, and the sentences that it is fitted on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift: bool = Field(True, description="move the mean of each language to the origin")
    scale: bool = Field(False, description="give every dimension unit deviation in each language")
    rotate: bool = Field(False, description="rotate each language towards the pivot")
    pivot: str = Field("en", description="the language to rotate towards")
    adversarial: bool = Field(False, description="start rotations adversarially: for distant languages; slow, unstable")
    sentences: int = Field(2000, ge=2, description="maximum number of sentences of a language")
    min_sentences: int = Field(
        50, ge=2, description="a language with fewer sentences is excluded: calibrated as an unknown one"
    )
    language: str | None = Field(None, description="language of text that does not state its own")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="decides which sentences are drawn, and affects rotations")

    @model_validator(mode="after")
    def _consistent(self) -> CalibrationSettings:
        if not self.steps:
            raise ValueError("no step is on: give --shift, --scale or --rotate")
        if self.adversarial and not self.rotate:
            raise ValueError("--adversarial is a start for rotations: add --rotate")
        if self.sentences < self.min_sentences:
            raise ValueError(
                f"--sentences {self.sentences} is less than --min-sentences {self.min_sentences}: no language has "
                "enough"
            )
        return self

    @property
    def steps(self) -> list[str]:
        """The names of the steps that are on, in their order."""
        return [step for step in ("shift", "scale", "rotate") if getattr(self, step)]


_OPTIONS = SettingsOptions(
    CalibrationSettings,
    {
        "scale": Option("--scale/--no-scale"),
        "rotate": Option("--rotate/--no-rotate"),
        "language": Option("-l"),
    },
)


@takes_settings(settings=_OPTIONS)
def calibrate(
    text: Annotated[
        list[str],
        typer.Option(
            "--text",
            "-t",
            metavar="FILE_OR_GLOB",
            help="Monolingual text: .jsonl, .txt (one sentence per line), both also .gz, or .parquet; a pattern "
            "in quotes; repeatable.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new encoder's folder; new, or empty.")],
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Encoder: a folder, a hub id, or 'bundled' (the default)."),
    ] = None,
    *,
    settings: CalibrationSettings,
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
    if model == "bundled":
        model = None
    _check_output(output, model)
    if model is not None:
        from mlret.encoders.loading import check_loads_in_torch

        check_loads_in_torch(model)
    files = text_files(text, option="--text")

    from mlret.data.languages import normalise_language
    from mlret.encoders.calibration import calibrate_model
    from mlret.encoders.loading import load_encoder

    settings = settings.model_copy(update={"pivot": normalise_language(settings.pivot)})
    with Console(stderr=True).status("reading") as status:
        kept, left_out = _drawn(files, settings, status.update)
        status.update("loading the encoder")
        encoder = load_encoder(model)
        report = calibrate_model(
            encoder.model,
            kept,
            **settings.model_dump(include={"shift", "scale", "rotate", "pivot", "adversarial", "seed"}),
            say=status.update,
        )
        status.update("writing")
        _save(encoder.model, output, settings.steps)
        fingerprint = load_encoder(output).fingerprint
    pivot = settings.pivot if settings.rotate else None
    if as_json:
        found = {
            "model": encoder.name,
            "output": str(output),
            "fingerprint": fingerprint,
            "steps": settings.steps,
            "pivot": pivot,
            "languages": [_row(language) for language in report],
            "left_out": left_out,
        }
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    console = Console()
    # If output is piped into a file or a pager, the table need not fit the terminal.
    Console(width=console.width if console.is_terminal else 120).print(_table(report, pivot))
    if left_out:
        typer.echo(f"excluded, with fewer than {settings.min_sentences} sentences: {', '.join(left_out)}")
    typer.echo(f"encoder: {output} (fingerprint {fingerprint}); rebuild indexes with it")


def _drawn(
    files: Sequence[Path], settings: CalibrationSettings, say: Callable[[str], None]
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Draw the sentences of each language.

    Returns
    -------
    kept, left_out
        The sentences of each language that has enough, and the number of sentences of each language that has too few.

    Raises
    ------
    InputError
        If no language has enough, or the pivot of a rotation does not.
    """
    from mlret.data.monolingual import read_monolingual
    from mlret.data.sampling import draw_by_language

    def read() -> Iterator[tuple[str, str]]:
        for file in files:
            say(f"reading {escape(str(file))}")
            for document in read_monolingual(file, language=settings.language):
                for sentence in document.sentences:
                    yield document.language, sentence

    least, pivot = settings.min_sentences, settings.pivot
    drawn = draw_by_language(read(), most=settings.sentences, seed=settings.seed)
    left_out = {code: len(lines) for code, lines in drawn.items() if len(lines) < least}
    kept = {code: lines for code, lines in drawn.items() if code not in left_out}
    if not kept:
        raise InputError(
            f"no language has {least} distinct sentences (the most: {max(left_out.values())}): "
            "give more text, or lower --min-sentences"
        )
    if settings.rotate and pivot not in kept:
        raise InputError(
            f"the pivot {pivot!r} has {left_out.get(pivot, 0)} sentences, fewer than --min-sentences "
            f"{least}: give more text in it, or another --pivot"
        )
    return kept, left_out


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
