"""Check that no file name occurs twice in one package of mlret, and that no module is too long to be read at once.

    python scripts/check_layout.py

A name that occurs twice sends the reader to the wrong file: ``mlret/index/search.py`` and
``mlret/index/tokens/search.py`` cannot both be "the search of the index". Names may repeat in different packages.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "mlret"
MOST_LINES = 500


def lines_of_code(source: str) -> int:
    """Return the number of lines of a module that are not of a docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        node.body[0] for node in ast.walk(ast.parse(source)) if isinstance(node, documented) and ast.get_docstring(node)
    ]
    return len(source.splitlines()) - sum((one.end_lineno or one.lineno) - one.lineno + 1 for one in docstrings)


def problems(package: Path) -> list[str]:
    """Return a line for each name that repeats within a folder of ``package``, and for each module that is too long."""
    found = []
    for folder in sorted(path for path in package.iterdir() if path.is_dir()):
        places: dict[str, list[str]] = defaultdict(list)
        for module in sorted(folder.rglob("*.py")):
            name = str(module.relative_to(package.parent))
            lines = lines_of_code(module.read_text(encoding="utf-8"))
            if lines > MOST_LINES:
                found.append(f"{name} has {lines} lines besides docstrings: divide it, {MOST_LINES} is the most")
            if module.name != "__init__.py":
                places[module.name].append(name)
        found += [f"{' and '.join(same)} have one name: rename one of them" for same in places.values() if same[1:]]
    return found


if __name__ == "__main__":
    if found := problems(PACKAGE):
        sys.exit("\n".join(found))
