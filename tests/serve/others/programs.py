"""Programs that others wrote to use or to test servers, in an environment of their own.

`make test-serve` makes it: ``.venv-serve`` at the root of the repository, or the folder in ``MLRET_OTHERS``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlret import errors

FOLDER = Path(os.environ.get("MLRET_OTHERS", Path(errors.__file__).parents[1] / ".venv-serve"))


def program(name: str) -> str:
    """Return the path of a program of the environment; skip the test if it is not installed.

    Parameters
    ----------
    name
        The name of the program.
    """
    found = FOLDER / "bin" / name
    if not found.exists():
        pytest.skip(f"{found} is missing: `make test-serve` installs it")
    return str(found)
