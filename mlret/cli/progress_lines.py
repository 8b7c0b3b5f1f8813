"""Progress as plain lines, where standard error is no terminal: in logs, in pipes, under a job scheduler."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

# A line is printed after this many seconds, or after this share of the work if that took at least _LEAST seconds. A
# command that is done sooner prints none.
_SECONDS = 10.0
_SHARE = 0.1
_LEAST = 2.0


class ProgressLines:
    """Print a line every so often: what is being done, how much of it is done, the rate, and the time left.

    Parameters
    ----------
    label
        What is being done.
    unit
        What is counted, in the plural; empty to print the share of the work alone.
    write
        Prints a line; by default on standard error.
    clock
        Returns the time in seconds.
    """

    def __init__(
        self,
        label: str,
        unit: str,
        *,
        write: Callable[[str], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._unit = label, unit
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        self._clock = clock
        self._begun = self._last = clock()
        self._last_share = 0.0

    def update(self, done: int, share: float | None) -> None:
        """Print a line if it is time for one.

        Parameters
        ----------
        done
            How much is done, in the unit that is counted.
        share
            The share of the work that is done, from 0 to 1; ``None`` if it is unknown.
        """
        now = self._clock()
        since = now - self._last
        further = share is not None and share - self._last_share >= _SHARE
        if since < _LEAST or not (since >= _SECONDS or further):
            return
        self._last, self._last_share = now, share or 0.0
        seconds = now - self._begun
        parts = [f"{done:,} {self._unit}"] if self._unit else []
        parts += [] if share is None else [f"{100 * min(share, 1):.0f} %"]
        parts += [f"{done / seconds:,.0f}/s" if done >= seconds else f"{done / seconds:.2f}/s"] if self._unit else []
        parts += [f"{_as_clock(seconds / share - seconds)} left"] if share else []
        self._write(f"{self._label}: {', '.join(parts)}")


def _as_clock(seconds: float) -> str:
    """Return a time as ``1:02`` or ``3:04:05``."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
