"""Helpers that several commands share: finding files, reading lists of languages, printing tables."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlret.data.durable import check_writable
from mlret.data.files import LONGEST_LINE, read_lines
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.reporting.table import ResultTable

MAX_LINE = LONGEST_LINE >> 20
MAX_LINE_HELP = "MiB that a line of the input may have at most."
MaxLine = Annotated[int, typer.Option("--max-line", min=1, metavar="MIB", help=MAX_LINE_HELP)]


def text_files(patterns: Sequence[str], *, option: str) -> list[Path]:
    """Return the files that paths and glob patterns match, without repetitions.

    Parameters
    ----------
    patterns
        Paths and glob patterns.
    option
        The option that they came from, for error messages.

    Raises
    ------
    InputError
        If a pattern matches nothing, or matches a folder.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        # An existing file is never a pattern, even if its name contains brackets. Path.glob rejects absolute patterns.
        found = [pattern] if Path(pattern).exists() else glob.glob(pattern, recursive=True)  # noqa: PTH207
        if not found:
            raise InputError(f"{pattern}: no such file; check {option}")
        files.update(dict.fromkeys(Path(name) for name in sorted(found)))
    if folder := next((file for file in files if file.is_dir()), None):
        raise InputError(f"{folder}: is a folder; name its files, e.g. {option} '{folder}/*.jsonl.gz'")
    return list(files)


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank.

    Raises
    ------
    InputError
        If the file cannot be read or is not UTF-8.
    """
    return [line for _, line in read_lines(path)]


def json_object(text: str | None, option: str) -> dict[str, Any] | None:
    """Parse an option's value as a JSON object; ``None`` stays ``None``.

    Raises
    ------
    InputError
        If the value is anything else, or repeats a key.
    """
    from mlret.data.json_text import RepeatedKeyError, read_json

    if text is None:
        return None
    try:
        value = read_json(text)
    except RepeatedKeyError as error:
        raise InputError(f"{option}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{option} is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{option} must be a JSON object")
    return value


def check_new_folder(folder: Path) -> None:
    """Check, before a long run, that a folder can be written at its end and contains nothing yet.

    Raises
    ------
    InputError
        If it is a file, is not empty, or cannot be created.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name another --output")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: name another --output, or remove it")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{folder} may not be written ({above}): name another --output")


def check_new_file(path: Path) -> None:
    """Check, before a long run, that a file can be written at its end and does not exist yet.

    Raises
    ------
    InputError
        If it exists, or the folder that would contain it does not.
    """
    check_writable(path)
    if path.exists():
        raise InputError(f"{path}: already exists; name another --output, or remove it")


def language_codes(values: list[str] | None) -> list[str] | None:
    """Split the values of a repeatable, comma-separated option into language codes; ``None`` if there are none."""
    codes = [code.strip() for value in values or [] for code in value.split(",") if code.strip()]
    return codes or None


def print_tables(tables: Sequence[ResultTable]) -> None:
    """Print tables of results one below the other, followed by their distinct captions."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    # If output is piped into a file or a pager, tables need not fit the terminal.
    wide = Console(width=console.width if console.is_terminal else 160)
    for table in tables:
        wide.print((table.transposed() if table.width > wide.width else table).terminal())
        wide.print()
    for caption in dict.fromkeys(table.caption for table in tables if table.caption):
        wide.print(Text(caption, style="dim"))


def print_json(value: dict[str, Any]) -> None:
    """Print an object as JSON on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))
