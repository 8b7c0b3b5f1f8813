"""The problems that verifying a folder can find."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that is not as it was written: ``mended`` if it was repaired, ``mendable`` if it can be."""

    file: str
    what: str
    mended: bool = False
    mendable: bool = True
