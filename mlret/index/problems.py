"""What verifying a folder finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written: where, what, and whether it was mended, or could be."""

    file: str
    what: str
    mended: bool = False
    mendable: bool = True
