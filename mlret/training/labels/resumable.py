"""Process training examples into a file that appears when it is complete, and resume after an interruption."""

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
# Called after each batch with the number of examples that are done.
Progress = Callable[[int], None]


class Processed(NamedTuple):
    """A processed example, and its figures for the report."""

    example: RankingExample
    figures: Figures


def process_to_file(
    examples: Iterable[RankingExample],
    work: Callable[[Sequence[RankingExample]], list[Processed]],
    output: Path,
    *,
    settings: dict[str, Any],
    batch_size: int,
    progress: Progress | None = None,
) -> Iterator[Figures]:
    """Process examples batch by batch, write the results to a JSONL file, and yield the figures of all examples.

    Results are stored in ``.NAME.partial`` beside the file after each batch, so that repeating the call resumes after
    an interrupt, a crash or bad input. The file itself appears when it is complete; the figures are yielded after that.

    Parameters
    ----------
    examples
        The examples, in the same order in each call.
    work
        Function that returns the result for each example of a batch.
    output
        A new file of JSON lines (:meth:`RankingExample.to_record`); compressed if its name ends in ``.gz``.
    settings
        Everything that affects the result, as data for JSON. A partial file with other settings is not resumed.
    batch_size
        Number of examples in a batch.
    progress
        Called after each batch with the number of examples that are done.

    Yields
    ------
    dict
        The figures of each example, in their order.

    Raises
    ------
    InputError
        If the file exists, cannot be written, or was begun with other settings, or if there are no examples.
    """
    check_writable(output)
    if output.exists():
        raise InputError(f"{output}: already exists; name another file, or remove it")
    partial = output.with_name(f".{output.name}.partial")
    # JSON changes some types, such as tuples, so the settings are converted before they are compared.
    header = json.loads(json.dumps(settings))
    done = _resume_position(partial, header)
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
    write_atomically(output, lambda target: _write_result(partial, target, compress=output.suffix == ".gz"))
    figures = list(_figures(partial))
    partial.unlink()
    yield from figures


def _resume_position(partial: Path, settings: Any) -> int:
    """Return the number of finished examples. Create a missing file, and remove an incomplete last line."""
    if not partial.exists():
        with partial.open("wb") as file:
            file.write(json.dumps(settings).encode() + b"\n")
        return 0
    complete = lines = 0
    with partial.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            if not lines and json.loads(line) != settings:
                raise InputError(
                    f"{partial}: was begun with other settings or data; repeat the command that began it, or remove "
                    "the file to start again"
                )
            complete += len(line)
            lines += 1
        file.truncate(complete)
        if not lines:  # the first line itself was incomplete
            file.seek(0)
            file.write(json.dumps(settings).encode() + b"\n")
    return max(lines - 1, 0)


def _write_result(partial: Path, target: Path, *, compress: bool) -> None:
    """Write the examples of the partial file, without their figures."""
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
