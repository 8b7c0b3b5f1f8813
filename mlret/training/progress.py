"""Show the progress of training on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback

# Metric -> (label, format) of what is printed; all other metrics are in the run's folder and in TensorBoard.
_SHOWN = {
    "loss": ("loss", "{:.3f}"),
    "pretext_accuracy": ("pretext", "{:.0%}"),
    "trained_accuracy": ("trained", "{:.0%}"),
    "held_out_accuracy": ("held-out", "{:.0%}"),
    "leakage": ("leak", "{:+.2f}"),
    "mean_cosine": ("cosine", "{:.2f}"),
    "effective_rank": ("rank", "{:.0f}"),
    "uniformity": ("uniformity", "{:.2f}"),
    "bank_age": ("bank age", "{:.0f}"),
    "languages_seen": ("languages", "{:.0f}"),
    "sentences_per_second": ("sentences/s", "{:,.0f}"),
    "data_wait": ("data wait", "{:.0%}"),
}

Say = Callable[[str], None]
_Row = TypeVar("_Row")


def counted(rows: Iterable[_Row], label: str) -> Iterator[_Row]:
    """Yield the rows unchanged, with a counter on the terminal if stderr is one.

    Parameters
    ----------
    rows
        The rows to pass on.
    label
        Description that is printed beside the counter.
    """
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(rows, description=label, total=None)


class TrainingProgress(TrainerCallback):
    """Show a progress bar that moves with every step (on a terminal), and print a line of metrics at every log.

    Parameters
    ----------
    label
        Name of what is trained, printed beside the bar.
    say
        Called with each line of text.
    """

    def __init__(self, label: str, say: Say) -> None:
        self._label = label
        self._say = say
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the bar."""
        console = Console(stderr=True)
        if not state.is_world_process_zero or not console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task(self._label, total=state.max_steps, completed=state.global_step)
        self._progress.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Print the metrics."""
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        shown = [
            f"{name} {form.format(logs[key])}" for key, (name, form) in _SHOWN.items() if logs.get(key) is not None
        ]
        width = len(str(state.max_steps))
        self._say(f"  step {state.global_step:>{width}}/{state.max_steps}  " + "  ".join(shown))

    def close(self) -> None:
        """Remove the bar. This is also called after an interrupt."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
