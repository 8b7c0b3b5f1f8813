"""Progress bars on the terminal, with the number of documents and the rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlret.wording import counted

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from mlret.data.ranking import RankingReader
    from mlret.index.hits import Updated


@contextmanager
def documents_progress(label: str, *, resume: str) -> Iterator[Callable[[Updated, float | None], None]]:
    """Show a progress bar on standard error.

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

            yield update
    except KeyboardInterrupt:
        if stored:
            progress.console.print(
                f"stopped after {counted(stored, 'document')}; to resume, {resume}", markup=False, soft_wrap=True
            )
        raise


@contextmanager
def texts_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error; yields a function that takes the number of texts done and the total."""
    from rich.progress import TextColumn

    progress = _bar(TextColumn(label), TextColumn("{task.completed:,.0f} of {task.total:,.0f} texts"))
    try:
        with progress:
            task = progress.add_task(label, total=0)
            yield lambda done, total: progress.update(task, completed=done, total=total)
    except KeyboardInterrupt:
        progress.console.print("stopped; to resume, give the same command again", markup=False, soft_wrap=True)
        raise


@contextmanager
def examples_progress(label: str, reader: RankingReader) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error; yields a function that takes the number of processed examples.

    Parameters
    ----------
    label
        Description of the work.
    reader
        Provides how much of the data has been read.
    """
    from rich.progress import TextColumn

    progress = _bar(TextColumn("{task.description}"), TextColumn("{task.fields[seen]:,}"))
    try:
        with progress:
            task = progress.add_task(label, total=reader.total_bytes, seen=0)

            def update(count: int) -> None:
                progress.update(task, completed=reader.read_bytes, seen=count)

            yield update
    except KeyboardInterrupt:
        progress.console.print("stopped; to resume, give the same command again", markup=False, soft_wrap=True)
        raise


@contextmanager
def compaction_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on standard error while segments are built.

    Yields the callback for :meth:`mlret.Index.compact`, which takes the step, the work done and the total.
    """
    from rich.console import Console
    from rich.progress import Progress, TaskID

    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total)

        yield update


def _bar(label: ProgressColumn, *figures: ProgressColumn) -> Progress:
    """Return a progress bar on standard error with a label, some figures, and the time passed and left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        label,
        BarColumn(bar_width=30),
        *figures,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
