"""`mlret trim`: reduce a model's vocabulary to some languages."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field

from mlret.cli.common import check_new_folder, language_codes, print_tables, text_files
from mlret.cli.options import Option, SettingsOptions, takes_settings
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.reporting.table import ResultTable
    from mlret.vocabulary.report import TrimReport
    from mlret.vocabulary.trim import Curve

# Number of languages shown on a terminal, those with the lowest coverage.
_SHOWN = 5


class KeptTokens(BaseModel):
    """Which tokens a trimmed vocabulary keeps, and the text to count them on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    languages: list[str] | None = Field(None, description="a language to keep; repeatable, or with commas")
    corpus: list[str] | None = Field(
        None,
        description="text to count tokens on: .jsonl, .txt (a sentence a line), both perhaps .gz, or .parquet; a "
        "pattern in quotes; repeatable. Without it, everything that the languages' scripts can write is kept",
    )
    text_language: str | None = Field(
        None, description="language of text that does not state its own; by default that of --lang, if it is one"
    )
    size: int | None = Field(None, ge=1, description="number of tokens to keep in all")
    min_count: int | None = Field(None, ge=1, description="instead: keep tokens that occur at least so many times")
    coverage: float | None = Field(
        None,
        description="instead: the fewest tokens that cover this share of every language's text; .999 by default",
    )
    keep: list[str] | None = Field(
        None, description="a word whose tokens are kept in any case; @FILE: a word in each line; repeatable"
    )


_KEPT = SettingsOptions(
    KeptTokens,
    {
        "languages": Option("--lang", "-l", metavar="CODE", read=language_codes),
        "corpus": Option("-c", metavar="FILE_OR_GLOB"),
        "text_language": Option("--text-lang"),
        "keep": Option(metavar="WORD"),
    },
)


@takes_settings(kept=_KEPT)
def trim(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or 'bundled'.")],
    *,
    kept: KeptTokens,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The new model's folder; new, or empty.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write no model: show what each size would cover; -o FILE.png draws it.")
    ] = False,
    head: Annotated[
        bool,
        typer.Option("--head", help="Trim only the output head, of a drafter for speculative decoding; needs --size."),
    ] = False,
    evaluate: Annotated[
        list[str] | None,
        typer.Option(
            "--eval", metavar="BENCHMARK=DATA", help="Measure before and after on the languages kept, e.g. tatoeba=DIR."
        ),
    ] = None,
    memory: Annotated[
        bool,
        typer.Option(help="Load both models once more, each in a process of its own, to see what memory it takes."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Make a multilingual model small: keep the tokens that some languages need.

    Two thirds of a multilingual encoder is its token embedding table, mostly for
    languages that you do not use. mlret counts tokens in your text, keeps the
    most frequent ones, balanced over the languages, and trims the tokenizer, the
    embeddings, the output head and every id in the configuration. These are
    always kept: special tokens, bytes, the single characters of the languages'
    scripts, and the words that you name.

    Texts whose tokens are all kept get bit-identical vectors; mlret computes
    them with both models and compares. All other texts are split into smaller
    tokens: the report states how often, by language, on held-out text. The
    result is a model of its own, so rebuild indexes with it.

    Accepts encoders with one vector per text or token, and masked,
    sequence-to-sequence and causal language models, before or after
    fine-tuning; Unigram, BPE and WordPiece tokenizers.

    Examples:

        mlret trim my-encoder --lang sw,en --corpus 'text/*.jsonl.gz' --dry-run

        mlret trim my-encoder --lang sw,en --corpus 'text/*.jsonl.gz' --size 60000 -o small

        mlret trim drafter --head --size 32000 --corpus generated.txt -o fast-drafter
    """
    if head:
        _trim_head(model, kept, output, others={"--dry-run": dry_run, "--eval": evaluate})
        return
    _check_output(model, kept, output, dry_run=dry_run)
    benchmarks = [_benchmark(text) for text in evaluate or []]
    choice = _choice(kept)
    if dry_run:
        _preview(model, choice, output, as_json=as_json)
        return
    assert output is not None
    from mlret.vocabulary.footprint import resident_bytes
    from mlret.vocabulary.saving import save_trimmed
    from mlret.vocabulary.trim import check_selection, trim_vocabulary

    check_selection(kept.corpus, kept.size, kept.min_count, kept.coverage)
    codes = kept.languages
    # Evaluate the original model first, so that unreadable data is reported before the work.
    scores = [_averages(name, data, None if model == "bundled" else model, codes) for name, data in benchmarks]
    trimmed, report = trim_vocabulary(model, **choice)

    def measure(folder: Path) -> None:
        if memory:
            report.before = dataclasses.replace(report.before, resident_bytes=resident_bytes(model))
            report.after = dataclasses.replace(report.after, resident_bytes=resident_bytes(folder))
        for (name, data), old in zip(benchmarks, scores, strict=True):
            new = _averages(name, data, str(folder), codes)
            report.retrieval += [
                {"benchmark": name, "metric": metric, "before": old[metric], "after": new[metric]} for metric in old
            ]

    save_trimmed(trimmed, report, output, measure=measure)
    if as_json:
        typer.echo(json.dumps(report.to_dict() | {"output": str(output)}, ensure_ascii=False, indent=1))
        return
    print_tables(report.tables())
    typer.echo(_last_words(report, output))


def _check_output(model: str, kept: KeptTokens, output: Path | None, *, dry_run: bool) -> None:
    """Check, before the work, that the output can be written, and is a picture in a dry run."""
    if dry_run:
        if not kept.corpus:
            raise InputError("--dry-run shows coverage of text: give --corpus")
        if output is not None and output.suffix != ".png":
            raise InputError(f"{output}: with --dry-run, -o names a picture, e.g. curve.png")
    elif output is None:
        raise InputError("no --output: name the new model's folder, or look first with --dry-run")
    else:
        if Path(model).is_dir() and output.resolve() == Path(model).resolve():
            raise InputError(f"{output} is the model to be trimmed: name another --output")
        check_new_folder(output)


def _choice(kept: KeptTokens) -> dict[str, Any]:
    """Return the arguments of :func:`mlret.trim_vocabulary` and of :func:`mlret.vocabulary.preview`."""
    codes = kept.languages
    files = text_files(kept.corpus, option="--corpus") if kept.corpus else None
    language = kept.text_language or (codes[0] if codes and len(codes) == 1 else None)
    return {
        "languages": codes,
        "corpus": None if files is None else _read(files, language),
        "size": kept.size,
        "min_count": kept.min_count,
        "coverage": kept.coverage,
        "keep": [word for text in kept.keep or [] for word in _words(text)],
        "show_progress": sys.stderr.isatty(),
    }


def _last_words(report: TrimReport, output: Path) -> str:
    fingerprint = report.after.fingerprint
    also = f"; fingerprint {fingerprint}, rebuild indexes with it" if fingerprint else ""
    return f"model: {output} (report in {output / 'trim'}{also})"


def _read(files: list[Path], language: str | None) -> Iterator[tuple[str, str]]:
    from mlret.data.monolingual import read_monolingual

    for file in files:
        for document in read_monolingual(file, language=language):
            for sentence in document.sentences:
                yield document.language, sentence


def _words(text: str) -> list[str]:
    from mlret.data.files import read_lines

    return [line.strip() for _, line in read_lines(Path(text[1:]))] if text.startswith("@") else [text]


def _benchmark(text: str) -> tuple[str, Path]:
    name, equals, data = text.partition("=")
    if not (name and equals and data):
        raise InputError(f"--eval {text!r}: give BENCHMARK=DATA, e.g. tatoeba=DIR")
    from mlret.eval.registry import benchmarks

    if name not in (known := benchmarks()):
        raise InputError(f"--eval {text!r}: no benchmark {name!r}; there are {', '.join(known)}")
    return name, Path(data)


def _averages(benchmark: str, data: Path, model: str | None, languages: list[str] | None) -> dict[str, float]:
    """Return the average over the kept languages for each metric; Tatoeba pairs each language with English."""
    from mlret.eval import evaluate

    some = [code for code in languages or [] if benchmark != "tatoeba" or code != "en"]
    report = evaluate(
        benchmark, data, models=[model], floors=False, languages=some or None, show_progress=sys.stderr.isatty()
    )
    return next(iter(report.figures.values()))["average"]


def _preview(model: str, choice: dict[str, Any], picture: Path | None, *, as_json: bool) -> None:
    from mlret.reporting import plots
    from mlret.vocabulary.trim import preview

    curve = preview(model, **choice)
    if picture is not None:
        by_language = {code: row.tolist() for code, row in zip(curve.languages, curve.coverage, strict=True)}
        plots.lines(
            "Share of tokens that are kept",
            curve.sizes,
            by_language,
            picture,
            x_label="tokens in the vocabulary",
            log_x=True,
        )
    if as_json:
        found = dataclasses.asdict(curve) | {"coverage": curve.coverage.tolist()}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    print_tables([_curve_table(curve)])
    typer.echo(f"your choice comes to {curve.selected:,} of {curve.tokens:,} tokens")


def _curve_table(curve: Curve) -> ResultTable:
    from mlret.reporting.table import ResultTable
    from mlret.vocabulary.report import name_of

    hardest = curve.coverage.sum(axis=1).argsort()[:_SHOWN]
    rows = [
        [
            f"{size:,}",
            f"{100 * column.mean():.2f}",
            f"{100 * column.min():.2f}",
            *(f"{100 * column[place]:.2f}" for place in hardest),
        ]
        for size, column in zip(curve.sizes, curve.coverage.T, strict=True)
    ]
    names = [name_of(curve.languages[place]) for place in hardest]
    return ResultTable(
        "Share of tokens kept, in per cent",
        ["tokens", "mean", "lowest", *names],
        [rows],
        "The first row is what is always kept, the last all tokens that the text has or that its scripts can write. "
        f"{curve.tokens:,} tokens today.",
    )


def _trim_head(model: str, kept: KeptTokens, output: Path | None, *, others: dict[str, Any]) -> None:
    """Trim the output head of a drafter; ``others`` are the values of options that this does not take."""
    idle = {"--lang": kept.languages, "--min-count": kept.min_count, "--coverage": kept.coverage, "--keep": kept.keep}
    if names := [name for name, value in (idle | others).items() if value]:
        raise InputError(f"--head takes --size, --corpus and --output, and has no use for {', '.join(names)}")
    if kept.size is None or not kept.corpus or output is None:
        raise InputError("--head needs --size, --corpus (best what the target model wrote) and --output")
    check_new_folder(output)
    files = text_files(kept.corpus, option="--corpus")
    from mlret.data.durable import write_folder_atomically
    from mlret.vocabulary.drafter import open_drafter, save_drafter, trim_head

    drafter, tokenizer = open_drafter(model)
    # Drafts also contain line ends, so each text gets one. The vocabulary is shared by all languages, so a file's
    # language does not matter.
    texts = (f"{line}\n" for _, line in _read(files, kept.text_language or "en"))
    trim_head(drafter, size=kept.size, corpus=texts, tokenizer=tokenizer, show_progress=sys.stderr.isatty())
    write_folder_atomically(output, lambda folder: save_drafter(drafter, tokenizer, folder))
    typer.echo(f"drafter: {output}; load it with mlret.vocabulary.load_drafter, pass it as assistant_model")
