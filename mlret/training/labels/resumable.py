"""Long work on training examples that writes a file: whole at the end, and gone on with after a stop."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mlret.data.durable import check_writable, write_atomically
from mlret.data.ranking import RankingExample
from mlret.errors import InputError

Figures = dict[str, float]
# Called after each batch with how many examples are done.
Progress = Callable[[int], None]


class Worked(NamedTuple):
    """What became of an example, and figures about it for the report."""

    example: RankingExample
    figures: Figures


def work_through(
    examples: Iterable[RankingExample],
    work: Callable[[Sequence[RankingExample]], list[Worked]],
    output: Path,
    *,
    settings: dict[str, Any],
    batch_size: int,
    progress: Progress | None = None,
) -> Iterator[Figures]:
    """Do something with each example and write what becomes of it, an example a line; yields the figures of all.

    What is done is kept in ``.NAME.partial`` beside the file after each batch, so that the same call goes on after an
    interrupt, a crash or bad input. The file appears when it is whole.

    Parameters
    ----------
    examples
        In the same order each time.
    work
        Gives for each example of a batch what becomes of it.
    output
        A new file of JSON lines (:meth:`RankingExample.to_record`); gzipped where its name ends in ``.gz``.
    settings
        Whatever decides the result, for JSON: what was begun with other settings is not gone on with.
    batch_size
        Examples at a time.
    progress
        Called after each batch.

    Raises
    ------
    InputError
        If the file exists, may not be written, or was begun with other settings.
    """
    check_writable(output)
    if output.exists():
        raise InputError(f"{output}: exists already; name another file, or remove it")
    partial = output.with_name(f".{output.name}.partial")
    # What JSON would change (tuples, say) is changed before the comparison.
    header = json.loads(json.dumps(settings))
    done = _begun(partial, header)
    remaining = islice(examples, done, None)
    count = done
    with partial.open("ab") as file:
        if progress is not None and done:
            progress(done)
        while batch := list(islice(remaining, batch_size)):
            results = work(batch)
            for worked in results:
                line = json.dumps([worked.example.to_record(), worked.figures], ensure_ascii=False)
                file.write(line.encode("utf-8") + b"\n")
            file.flush()
            os.fsync(file.fileno())
            count += len(batch)
            if progress is not None:
                progress(count)
    if not count:
        partial.unlink()
        raise InputError("there are no examples to work on; check the data and its filters")
    write_atomically(output, lambda target: _whole(partial, target, compress=output.suffix == ".gz"))
    figures = list(_figures(partial))
    partial.unlink()
    yield from figures


def _begun(partial: Path, settings: Any) -> int:
    """How many examples are done; makes the file if there is none, and takes off a line that was cut short."""
    if not partial.exists():
        with partial.open("wb") as file:
            file.write(json.dumps(settings).encode() + b"\n")
        return 0
    whole = lines = 0
    with partial.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            if not lines and json.loads(line) != settings:
                raise InputError(
                    f"{partial}: was begun with other settings or data; repeat the command that began it, or remove "
                    "the file to begin anew"
                )
            whole += len(line)
            lines += 1
        file.truncate(whole)
        if not lines:  # cut short in its first line
            file.seek(0)
            file.write(json.dumps(settings).encode() + b"\n")
    return max(lines - 1, 0)


def _whole(partial: Path, target: Path, *, compress: bool) -> None:
    """Write the examples alone."""
    with target.open("wb") as raw:
        out = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if compress else raw
        for record, _ in _results(partial):
            out.write(json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n")
        if out is not raw:
            out.close()


def _figures(partial: Path) -> Iterator[Figures]:
    for _, figures in _results(partial):
        yield figures


def _results(partial: Path) -> Iterator[tuple[dict[str, Any], Figures]]:
    with partial.open("rb") as file:
        next(file)
        for line in file:
            record, figures = json.loads(line)
            yield record, figures
