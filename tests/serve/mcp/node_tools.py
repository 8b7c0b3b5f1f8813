"""Programs of npm packages, which test the server as others wrote them.

They are installed into ``.node`` at the root of the repository, or the folder in ``MLRET_NODE``, by

    npm install --no-save --prefix .node node@22 @modelcontextprotocol/conformance@0.1.16 \\
        @modelcontextprotocol/inspector@2.12.0

The package ``node`` brings a runtime that is new enough for both; without it that of the machine is used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mlret import errors

FOLDER = Path(os.environ.get("MLRET_NODE", Path(errors.__file__).parents[1] / ".node"))
# The lowest version that both programs run with.
_LOWEST = 22


def node_program(package: str, binary: str) -> list[str]:
    """Return the beginning of a command line that runs a program of a package; skip the test if that is impossible.

    Parameters
    ----------
    package
        Name of the package.
    binary
        Name of the program.
    """
    own = FOLDER / "node_modules" / ".bin" / "node"
    node = str(own) if own.exists() else shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: `make test-serve` installs it")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)", version)
    if found is None or int(found[1]) < _LOWEST:
        pytest.skip(f"node {version.strip()} is older than {_LOWEST}: `make test-serve` installs a newer one")
    home = FOLDER / "node_modules" / package
    if not home.exists():
        pytest.skip(f"the npm package {package} is not in {FOLDER}: `make test-serve` installs it")
    script = home / json.loads((home / "package.json").read_text())["bin"][binary]
    return [node, str(script)]
