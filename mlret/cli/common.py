"""What several verbs do alike: find files, read lists of languages, print tables."""

from __future__ import annotations

import glob
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
MaxLine = Annotated[
    int,
    typer.Option("--max-line", min=1, metavar="MIB", help="MiB that a line of the input may have; more is refused."),
]


def text_files(patterns: Sequence[str], *, option: str) -> list[Path]:
    """The files that paths and patterns match, each once.

    Raises
    ------
    InputError
        If a pattern matches nothing, or a folder; ``option`` is where it came from.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        # A file whose name holds brackets is no pattern; a pattern may be absolute, which Path.glob does not take.
        found = [pattern] if Path(pattern).exists() else glob.glob(pattern, recursive=True)  # noqa: PTH207
        if not found:
            raise InputError(f"{pattern}: no such file; check {option}")
        files.update(dict.fromkeys(Path(name) for name in sorted(found)))
    if folder := next((file for file in files if file.is_dir()), None):
        raise InputError(f"{folder}: is a folder; name its files, e.g. {option} '{folder}/*.jsonl.gz'")
    return list(files)


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises
    ------
    InputError
        If it cannot be read, or is not UTF-8.
    """
    return [line for _, line in read_lines(path)]


def json_object(text: str | None, option: str) -> dict[str, Any] | None:
    """The JSON object that an option holds.

    Raises
    ------
    InputError
        If it holds anything else, or a key twice.
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
    """Fail early where a folder could not be written at the end of a long run, or holds something.

    Raises
    ------
    InputError
        If it is a file, is not empty, or may not be made.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name another --output")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: name another --output, or remove it")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{folder} may not be written ({above}): name another --output")


def check_new_file(path: Path) -> None:
    """Fail early where a file could not be written at the end of a long run, or is there already.

    Raises
    ------
    InputError
        If it exists, or the folder that it would stand in does not.
    """
    check_writable(path)
    if path.exists():
        raise InputError(f"{path}: exists already; name another --output, or remove it")


def language_codes(values: list[str] | None) -> list[str] | None:
    """Codes given several to an option, one an option, or both; ``None`` where there are none."""
    codes = [code.strip() for value in values or [] for code in value.split(",") if code.strip()]
    return codes or None


def print_tables(tables: Sequence[ResultTable]) -> None:
    """Print tables of results, one below the other, and under them their captions, each once."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    # Piped into a file or a pager, a table need not fit a terminal.
    wide = Console(width=console.width if console.is_terminal else 160)
    for table in tables:
        wide.print((table.transposed() if table.width > wide.width else table).terminal())
        wide.print()
    for caption in dict.fromkeys(table.caption for table in tables if table.caption):
        wide.print(Text(caption, style="dim"))
