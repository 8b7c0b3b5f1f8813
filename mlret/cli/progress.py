"""Progress on the terminal: how many documents, how many a second."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def documents_progress(label: str, *, resume: Sequence[object]) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error; yields the function that takes the number of documents so far.

    Parameters
    ----------
    label
        What is being done.
    resume
        The command that goes on where an interrupt (Ctrl-C) stopped; printed then.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    stored = 0
    progress = Progress(
        SpinnerColumn(),
        TextColumn(label),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f} documents"),
        TextColumn("{task.fields[rate]}", style="cyan"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    try:
        with progress:
            task = progress.add_task(label, total=None, rate="")

            def update(so_far: int) -> None:
                nonlocal stored
                stored = so_far
                elapsed = progress.tasks[0].elapsed or 0.0
                rate = f"{so_far / elapsed:,.0f}/s" if elapsed else ""
                progress.update(task, completed=so_far, rate=rate)

            yield update
    except KeyboardInterrupt:
        if stored:
            command = shlex.join(map(str, resume))
            console.print(
                f"stopped; {stored} documents are stored. Go on with: {command}", markup=False, soft_wrap=True
            )
        raise
