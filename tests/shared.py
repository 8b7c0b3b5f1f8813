"""The location of the large test sets, for tests that use them if they exist."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(*parts: str) -> Path:
    """Return a path below the shared data folder; skip the test if it does not exist.

    The folder is ``$MLRET_SHARED/data``, by default ``../shared/data`` next to the repository.
    """
    root = Path(os.environ.get("MLRET_SHARED") or Path(__file__).parents[2] / "shared")
    path = root.joinpath("data", *parts)
    if not path.exists():
        pytest.skip(f"{Path(*parts)} is not at hand; set MLRET_SHARED to the folder that holds data/")
    return path
