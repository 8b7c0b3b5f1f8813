"""Measure the memory of a process that has loaded a model and run it once.

Run it as ``python -m mlret.vocabulary.footprint MODEL``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mlret.errors import MlretError

_STATUS = Path("/proc/self/status")


def resident_bytes(model: str | Path) -> int:
    """Load a model in a separate process, run it on one word, and return the memory that the process then uses.

    Parameters
    ----------
    model
        A folder or a Hugging Face Hub id.

    Returns
    -------
    int
        Resident memory in bytes; the peak if the system does not report the current value.

    Raises
    ------
    MlretError
        If the process fails.
    """
    found = subprocess.run(
        [sys.executable, "-m", "mlret.vocabulary.footprint", str(model)], capture_output=True, text=True, check=False
    )
    if found.returncode:
        reason = found.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        raise MlretError(f"the memory of {model} could not be measured: {reason[0]}")
    return int(found.stdout.split()[-1])


def _resident() -> int:
    if _STATUS.is_file():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024
    import resource  # not on Windows

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _main() -> None:
    from mlret.vocabulary.target_model import open_subject

    subject, _ = open_subject(sys.argv[1])
    subject.vectors(["a"])
    print(_resident())


if __name__ == "__main__":
    _main()
