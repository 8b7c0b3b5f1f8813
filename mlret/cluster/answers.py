"""Hand errors from processes of Ray Data to the process that started them.

An error that a function of a data set raises loses its class on the way: Ray Data replaces it by one of its own, and
prints it. What is wrong with an input is therefore returned, as what was done is.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

from mlret.errors import MlretError

Rows = dict[str, list[bytes]]


def answered(call: Callable[[], Any]) -> Rows:
    """Return the row of what a call returned, as JSON, or of the error of mlret's own that it raised."""
    try:
        return {"answer": [json.dumps(call()).encode("utf-8")], "error": [b""]}
    except MlretError as error:
        return {"answer": [b""], "error": [pickle.dumps(error)]}


def answers(dataset: Any) -> Iterator[Any]:
    """Stream what the calls of a data set returned, as each is done.

    Raises
    ------
    MlretError
        The error of mlret's own that a call raised, or that a process failed. The other processes are then stopped.
    """
    rows = iter(dataset.iter_rows())
    try:
        while True:
            try:
                row = next(rows, None)
            except Exception as error:
                # The message is a traceback of the other process, whose last line says what happened.
                last = (str(error).strip() or type(error).__name__).splitlines()[-1]
                raise MlretError(f"a process of the cluster failed ({last})") from error
            if row is None:
                return
            if row["error"]:
                raise pickle.loads(row["error"])
            yield json.loads(row["answer"])
    finally:
        # Otherwise the execution lives as long as a traceback that refers to it. Once it ends after Ray was shut down,
        # Ray connects again to the cluster that is gone, and ends the process.
        rows.close()
