"""The `mlret` command: its subcommands, exit codes, and errors printed on one line.

The module of a command is imported when the command is used, and imports heavy packages (numpy, faiss, torch) in its
functions, so that `mlret --help` and errors of the command line are fast.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Mapping
from typing import Annotated, ClassVar, NoReturn, TextIO

import typer

from mlret import __version__
from mlret.cli.lazy import Lazy, LazyGroup
from mlret.cli.wording import for_command_line
from mlret.errors import MlretError, MlretWarning, missing_extra


class _Commands(LazyGroup):
    lazy: ClassVar[Mapping[str, Lazy]] = {
        "demo": Lazy(
            "mlret.cli.demo:demo",
            "See mlret work: index texts in twelve languages, ask in another language, measure, remember.",
        ),
        "index": Lazy("mlret.cli.index:app", "Build an index from files, change it, maintain it."),
        "search": Lazy(
            "mlret.cli.search:search", "Find the documents of an index that are closest in meaning to a query."
        ),
        "memory": Lazy("mlret.cli.memory:app", "Remember texts, and find them from other languages."),
        "serve": Lazy(
            "mlret.cli.serve:serve", "Serve indexes and a memory over HTTP: as JSON, to MCP clients, and as a web page."
        ),
        "mcp": Lazy(
            "mlret.cli.mcp:mcp", "Serve indexes and a memory to the agent that starts the command, as tools of MCP."
        ),
        "tokens": Lazy("mlret.cli.tokens:app", "Make, list and revoke the tokens that the server accepts."),
        "encode": Lazy(
            "mlret.cli.encode:encode",
            "Encode the texts of files, for an index of your own or `mlret index build --vectors`.",
        ),
        "train": Lazy(
            "mlret.cli.train:app",
            "Train an encoder: `mlret train NAME` by a recipe, `mlret train adapter` one more language.",
        ),
        "mine": Lazy(
            "mlret.cli.mine:mine",
            "Find hard negatives for training: passages that rank high but do not answer the query.",
        ),
        "score": Lazy("mlret.cli.score:score", "Add a teacher's scores to training data, for distillation."),
        "average": Lazy("mlret.cli.average:average", "Average the weights of models, as JaColBERTv2.5 does."),
        "trim": Lazy(
            "mlret.cli.trim:trim", "Make a multilingual model small: keep the tokens that some languages need."
        ),
        "calibrate": Lazy("mlret.cli.calibrate:calibrate", "Fit an encoder's calibration on monolingual text."),
        "export": Lazy(
            "mlret.cli.export:export",
            "Write an encoder for other libraries: as ONNX, or as a checkpoint of Stanford's ColBERT or PyLate.",
        ),
        "eval": Lazy("mlret.cli.eval:app", "Measure an encoder on the field's benchmarks."),
        "recipes": Lazy("mlret.cli.recipes:app", "The recipes that come with mlret: list them, copy one to edit."),
        "doctor": Lazy(
            "mlret.cli.doctor:doctor",
            "Show versions, devices, and what is missing for which feature. Exit code 1 if something needed is broken.",
        ),
    }


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Multilingual dense retrieval: store text in any language, find it from any other.",
    epilog="Start with `mlret demo`.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mlret {__version__}")
        raise typer.Exit


@app.callback()
def _group(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version of mlret and exit."),
    ] = False,
) -> None:
    pass


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
        _end_with(error)
    except ModuleNotFoundError as error:
        if (missing := missing_extra(error)) is None:
            raise
        _end_with(missing)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _end_with(error: MlretError) -> NoReturn:
    """Print an error on one line and end with its exit code."""
    print(f"error: {for_command_line(str(error))}", file=sys.stderr)
    sys.exit(error.exit_code)


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
        print(f"warning: {for_command_line(str(message))}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


if __name__ == "__main__":
    main()
