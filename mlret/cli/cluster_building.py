"""Building an index by the processes of a cluster, for `mlret index build --ray`, and `mlret index download`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlret.cli.progress import documents_progress
from mlret.cli.reading import AddingSettings, ReadingSettings

if TYPE_CHECKING:
    from mlret.encoders.external import ExternalEncoder
    from mlret.encoders.precision import Precision
    from mlret.index.build import BuildReport
    from mlret.index.settings import IndexSettings


def built_on_ray(
    path: str,
    files: list[str],
    encoder: ExternalEncoder | str | None,
    adding: AddingSettings,
    reading: ReadingSettings,
    settings: IndexSettings,
    precision: Precision,
    *,
    address: str,
    shards: int | None,
) -> BuildReport:
    """Build an index by Ray, and show the progress; see :func:`mlret.cluster.build.build_on_ray`."""
    from mlret.errors import InputError, require

    if shards is None:
        raise InputError("--ray divides an index among its actors: give --shards, at least one for each processor")
    require("ray", extra="ray", feature="building an index by Ray")
    from mlret.cluster.build import build_on_ray

    with documents_progress("indexing", resume="give the same command again") as progress:
        return build_on_ray(
            path,
            files,
            encoder,
            address=address,
            shards=shards,
            settings=settings,
            precision=precision,
            vectors=adding.vectors,
            lengths=adding.lengths,
            batch_size=adding.batch_size,
            max_line=reading.longest,
            columns=reading.columns(),
            progress=progress,
        )


def download(
    url: Annotated[str, typer.Argument(metavar="URL", help="An index that --ray has built at a URL of fsspec.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder on this machine.")],
) -> None:
    """Copy an index in shards from a URL to this machine. A copy that was stopped resumes with the same command."""
    from mlret.errors import require

    require("fsspec", extra="ray", feature="reading an index at a URL")
    from mlret.cluster.copying import download_index

    typer.echo(f"{download_index(url, folder)} holds a copy of {url}")
