"""Progress on standard error, with the number of documents and the rate: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlret.cli.progress_lines import ProgressLines
from mlret.wording import counted

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from mlret.data.ranking import RankingReader
    from mlret.index.hits import Updated


@contextmanager
def documents_progress(label: str, *, resume: str) -> Iterator[Callable[[Updated, float | None], None]]:
    """Show the progress on standard error.

    Yields a function that takes what each batch did, and the share of the input that has been read (``None`` if
    unknown).

    Parameters
    ----------
    label
        Description of the work.
    resume
        How to resume after an interrupt (Ctrl-C); printed if one occurs after documents were stored.
    """
    from rich.progress import TextColumn

    progress = _bar(
        TextColumn(label),
        TextColumn("{task.fields[seen]:,} documents"),
        TextColumn("{task.fields[rate]}", style="cyan"),
    )
    lines = None if _on_terminal() else ProgressLines(label, "documents")
    stored = seen = 0
    try:
        with progress:
            task = progress.add_task(label, total=None, rate="", seen=0)

            def update(done: Updated, part: float | None) -> None:
                nonlocal stored, seen
                stored += done.added + done.replaced
                seen += done.added + done.replaced + done.skipped
                elapsed = progress.tasks[0].elapsed or 0.0
                rate = f"{seen / elapsed:,.0f}/s" if elapsed else ""
                total = None if part is None else 1.0
                progress.update(task, total=total, completed=part or 0.0, seen=seen, rate=rate)
                if lines is not None:
                    lines.update(seen, part)

            yield update
    except KeyboardInterrupt:
        if stored:
            progress.console.print(
                f"stopped after {counted(stored, 'document')}; to resume, {resume}", markup=False, soft_wrap=True
            )
        raise


@contextmanager
def texts_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress on standard error; yields a function that takes the number of texts done and the total."""
    from rich.progress import TextColumn

    progress = _bar(TextColumn(label), TextColumn("{task.completed:,.0f} of {task.total:,.0f} texts"))
    lines = None if _on_terminal() else ProgressLines(label, "texts")
    try:
        with progress:
            task = progress.add_task(label, total=0)

            def update(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)
                if lines is not None:
                    lines.update(done, done / total if total else None)

            yield update
    except KeyboardInterrupt:
        progress.console.print("stopped; to resume, give the same command again", markup=False, soft_wrap=True)
        raise


@contextmanager
def examples_progress(label: str, reader: RankingReader) -> Iterator[Callable[[int], None]]:
    """Show the progress on standard error; yields a function that takes the number of processed examples.

    Parameters
    ----------
    label
        Description of the work.
    reader
        Provides how much of the data has been read.
    """
    from rich.progress import TextColumn

    progress = _bar(TextColumn("{task.description}"), TextColumn("{task.fields[seen]:,}"))
    lines = None if _on_terminal() else ProgressLines(label, "examples")
    try:
        with progress:
            task = progress.add_task(label, total=reader.total_bytes, seen=0)

            def update(count: int) -> None:
                progress.update(task, completed=reader.read_bytes, seen=count)
                if lines is not None:
                    lines.update(count, reader.read_bytes / reader.total_bytes if reader.total_bytes else None)

            yield update
    except KeyboardInterrupt:
        progress.console.print("stopped; to resume, give the same command again", markup=False, soft_wrap=True)
        raise


@contextmanager
def compaction_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress on standard error while segments are built.

    Yields the callback for :meth:`mlret.Index.compact`, which takes the step, the work done and the total.
    """
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    lines: dict[str, ProgressLines] = {}
    terminal = _on_terminal()
    with Progress(console=Console(stderr=True), transient=True, disable=not terminal) as progress:

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
                lines[what] = ProgressLines(what, "vectors")
            progress.update(tasks[what], completed=done, total=total)
            if not terminal:
                lines[what].update(done, done / total if total else None)

        yield update


def _bar(label: ProgressColumn, *figures: ProgressColumn) -> Progress:
    """Return a progress bar on standard error with a label, some figures, and the time passed and left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(),
        label,
        BarColumn(bar_width=30),
        *figures,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not _on_terminal(),
    )


def _on_terminal() -> bool:
    """Return whether standard error is a terminal on which a bar can be redrawn."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal and not console.is_dumb_terminal
