"""Test that the notebook in ``examples/`` is valid and runs from top to bottom."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "notebook.ipynb"
# The keys of format 4.5: https://nbformat.readthedocs.io/en/latest/format_description.html
KEYS = {
    "markdown": {"cell_type", "id", "metadata", "source"},
    "code": {"cell_type", "execution_count", "id", "metadata", "outputs", "source"},
}


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return content


def test_the_notebook_is_of_format_4_5_without_outputs(notebook: dict[str, Any]) -> None:
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        assert set(cell) == KEYS[cell["cell_type"]]
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"]) and cell["metadata"] == {}
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_notebook_is_valid_for_nbformat() -> None:
    nbformat = pytest.importorskip("nbformat", reason="pip install nbformat")
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))


def shown_by(source: str, names: dict[str, Any]) -> Any:
    """Run the code of a cell, and return the value of its last expression, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return value._repr_html_() if hasattr(value, "_repr_html_") else value


def test_the_notebook_runs_from_top_to_bottom(notebook: dict[str, Any], tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(tmp_path):
        sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        shown = [value for source in sources if (value := shown_by(source, names)) is not None]
    assert not list(tmp_path.iterdir()) and not names["folder"].exists(), "a notebook leaves nothing behind"
    described, hits, hit, recent, ids, warnings, check, found, mean, swahili = shown
    assert "<table" in described and "Berlin" in hits and "mahindi" in recent
    assert hit["id"] == "train" and ids == ["train", "museum"]
    assert "Quechua 1" in warnings[0] and "nothing is weak" in check
    assert "arachides" in found and "peanuts" not in found
    assert mean["recall@5"] > 0.8 and swahili["recall@5"] > 0.7
