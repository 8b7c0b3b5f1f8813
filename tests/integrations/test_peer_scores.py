"""Compare scores of checkpoints with those of colbert-ai and PyLate themselves, if these are installed.

``MLRET_COLBERT_PYTHON`` and ``MLRET_PYLATE_PYTHON`` name the Python of an environment that has them
(``scripts/bench/peers/make.py`` makes one); the extra ``colbert`` installs colbert-ai together with mlret.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.bench.late_interaction import compare

MODULES = {"colbert": "colbert", "pylate": "pylate"}


def python_with(peer: str) -> str:
    """Return the Python that has a peer; skip the test if there is none."""
    variable = f"MLRET_{peer.upper()}_PYTHON"
    if named := os.environ.get(variable):
        return named
    if importlib.util.find_spec(MODULES[peer]):
        return sys.executable
    pytest.skip(f"{peer} is not installed; {variable} may name a Python that has it")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("peer", ["colbert", "pylate"])
def test_scores_are_the_peers_in_both_directions(peer: Any, tmp_path: Path) -> None:
    found = list(compare(peer, python_with(peer), tmp_path, ("x-mod", "bert", "roberta")))
    assert {(one.direction, one.attend) for one in found} == {
        (direction, attend) for direction in ("read", "written") for attend in (False, True)
    }
    for one in found:
        assert one.largest_difference < 1e-4, one
        # Without a wide range of scores the bound would be meaningless.
        assert one.largest_score - one.least_score > 1, one
