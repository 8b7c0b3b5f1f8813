"""The `mlret` command: its subcommands, exit codes, and errors printed on one line.

Subcommand modules import heavy packages (torch, faiss) inside their functions, so that `mlret --help` is fast.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import TextIO

import typer

from mlret.cli import (
    average,
    calibrate,
    demo,
    doctor,
    encode,
    export,
    index,
    memory,
    mine,
    recipes,
    score,
    search,
    train,
    trim,
)
from mlret.cli import eval as evaluate
from mlret.errors import MlretError, MlretWarning

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Multilingual dense retrieval: store text in any language, find it from any other.",
    epilog="Start with `mlret demo`.",
)
app.command("demo")(demo.demo)
app.add_typer(index.app, name="index", help="Build an index from files, change it, maintain it.")
app.command("search")(search.search)
app.add_typer(memory.app, name="memory", help="Remember texts, and find them from other languages.")
app.command("encode")(encode.encode)
app.add_typer(
    train.app,
    name="train",
    help="Train an encoder: `mlret train NAME` by a recipe, `mlret train adapter` one more language.",
)
app.command("mine")(mine.mine)
app.command("score")(score.score)
app.command("average")(average.average)
app.command("trim")(trim.trim)
app.command("calibrate")(calibrate.calibrate)
app.command("export")(export.export)
app.add_typer(evaluate.app, name="eval", help="Measure an encoder on the field's benchmarks.")
app.add_typer(recipes.app, name="recipes", help="The recipes that come with mlret: list them, copy one to edit.")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 failure, 2 bad input, 130 interrupted."""
    # Progress bars of the underlying libraries would interleave with ours.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # If the output's encoding is not UTF-8, characters that it cannot represent are escaped, and so are file names that
    # are not valid Unicode.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", MlretWarning)
            warnings.showwarning = _show_warning
            app()
    except MlretError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of mlret's own on one line, and any other warning in the usual format."""
    if issubclass(category, MlretWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


if __name__ == "__main__":
    main()
