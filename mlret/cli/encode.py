"""`mlret encode`: encode texts to vectors in a file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mlret.cli.options import takes_settings
from mlret.cli.reading import FILES_HELP, READING, ReadingSettings
from mlret.errors import InputError
from mlret.wording import counted


@takes_settings(reading=READING)
def encode(
    sources: Annotated[list[str], typer.Argument(metavar="FILES...", help=FILES_HELP)],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A .npy file (ids are written to .ids.txt) or a .parquet file."),
    ],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Encoder: a folder or a hub id; by default the bundled one.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option("--precision", help="auto, float32 or bfloat16; `mlret doctor` shows which are fast here."),
    ] = "auto",
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, …; by default whatever is available.")
    ] = None,
    *,
    reading: ReadingSettings,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Encode the texts of files, for an index of your own or `mlret index build --vectors`."""
    from mlret.cli.progress import documents_progress
    from mlret.data.corpus import Corpus
    from mlret.data.durable import check_writable
    from mlret.encoders.loading import load_encoder
    from mlret.encoders.streams import encode_to_file
    from mlret.index.hits import Updated

    if output.suffix not in (".npy", ".parquet"):
        raise InputError(f"{output}: unknown kind of file; give .npy or .parquet")
    check_writable(output)
    corpus = Corpus(sources, max_line=reading.longest, columns=reading.columns())
    given: Any = precision
    encoder = load_encoder(model, device=device, precision=given)
    start, before = time.perf_counter(), 0
    with documents_progress("encoding", resume="start again: nothing was written") as progress:

        def report(count: int) -> None:
            nonlocal before
            part = corpus.read_bytes / corpus.total_bytes if corpus.total_bytes else None
            progress(Updated(added=count - before), part)
            before = count

        count = encode_to_file(encoder, corpus, output, progress=report)
    seconds = time.perf_counter() - start
    found = {"documents": count, "dims": encoder.dims, "seconds": seconds, "file": str(output)}
    found |= {"encoder": encoder.name, "fingerprint": encoder.fingerprint}
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        rate = f"{count / seconds:,.0f}/s"
        typer.echo(
            f"{counted(count, 'text')} encoded to {counted(encoder.dims, 'dimension')} in {seconds:.1f} s ({rate}): "
            f"{output}"
        )
