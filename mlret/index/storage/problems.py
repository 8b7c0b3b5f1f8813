"""The problems that verifying a folder can find."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that is not as it was written.

    Attributes
    ----------
    file
        The file, relative to the folder.
    what
        What is wrong.
    repaired
        Whether it was repaired.
    repairable
        Whether it can be repaired.
    """

    file: str
    what: str
    repaired: bool = False
    repairable: bool = True

    def as_json(self) -> dict[str, str | bool]:
        """Return the problem as JSON values. The keys of its former names are kept until release 0.4."""
        return dataclasses.asdict(self) | {"mended": self.repaired, "mendable": self.repairable}

    @property
    def mended(self) -> bool:
        """The former name of ``repaired``."""
        _warn("mended", "repaired")
        return self.repaired

    @property
    def mendable(self) -> bool:
        """The former name of ``repairable``."""
        _warn("mendable", "repairable")
        return self.repairable


def _warn(old: str, new: str) -> None:
    message = f"Problem.{old} is now Problem.{new}; release 0.4 removes the former name"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
