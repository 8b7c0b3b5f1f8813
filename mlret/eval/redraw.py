"""Draw the pictures of stored results again, without evaluating anything."""

from __future__ import annotations

import json
from pathlib import Path

from mlret.data.durable import write_atomically
from mlret.errors import InputError
from mlret.eval.registry import benchmarks
from mlret.eval.report import REPORT


def redraw(folder: Path) -> list[Path]:
    """Draw the pictures of a folder of results again.

    Pictures that need more than ``report.json`` holds, such as the map of `mlret eval alignment`, are left as they are.

    Parameters
    ----------
    folder
        A folder that :meth:`mlret.eval.report.Report.write` wrote.

    Returns
    -------
    list of Path
        The pictures that were written.

    Raises
    ------
    InputError
        If the folder has no ``report.json``, or the file is not the report of a known benchmark.
    MissingExtraError
        If matplotlib is not installed.
    """
    path = folder / REPORT
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        pictures = benchmarks()[results["benchmark"]].pictures(results)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give the folder of a written report") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the report of a benchmark ({error}); run the evaluation again") from error
    for picture in pictures:
        write_atomically(folder / f"{picture.name}.png", picture.draw)
    return [folder / f"{picture.name}.png" for picture in pictures]
