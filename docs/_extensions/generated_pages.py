"""Complete pages when the documentation is built: the command line's content, and titles of written reports."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

COMMAND_LINE = "docs/reference/command-line"
REPORT = re.compile(r"eval/results/([\w-]+)/report")


def commands() -> str:
    """Return a description of every command with its arguments and options, in Markdown, as written by Typer."""
    generate = [sys.executable, "-m", "typer", "mlret.cli.main", "utils", "docs", "--name", "mlret"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "NO_COLOR": "1"}
    done = subprocess.run(generate, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode or "## `mlret search`" not in done.stdout:
        raise ExtensionError(f"Typer wrote no description of the command line:\n{done.stderr}")
    _, _, body = done.stdout.partition("\n")  # the page already has a title
    # Typer truncates the lines of its lists of commands; the full text of every command follows anyway.
    return re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", body)


def complete(app: Sphinx, name: str, source: list[str]) -> None:
    if name == COMMAND_LINE:
        source[0] += "\n" + commands()
    elif report := REPORT.fullmatch(name):
        # `mlret eval` writes tables without a title, because they are also read as parts of other pages.
        source[0] = f"# {report[1]}\n\n{source[0]}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
