"""The settings of the server, which are given when it is started and never by a request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from mlret.errors import InputError

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NAME = re.compile(NAME)


class ServeSettings(BaseModel):
    """What the server serves, where it listens, and its limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    indexes: dict[str, Path] = Field({}, description="name -> the folder of an index")
    root: Path | None = Field(
        None, description="folder below which clients with a token of the role admin may create and delete indexes"
    )
    memory: Path | None = Field(None, description="folder of a memory store, which is created if it does not exist")
    model: str | None = Field(
        None, description="encoder of indexes that clients create: a folder or a hub id. Default: the bundled one"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8752, ge=0, le=65535, description="port to listen on; 0 chooses a free one")
    tokens: Path | None = Field(
        None, description="file with the hashes of the tokens. Default: ~/.config/mlret/tokens.json"
    )
    allow_host: tuple[str, ...] = Field((), description="another name that clients may use for the server; repeatable")
    allow_origin: tuple[str, ...] = Field(
        (),
        description="a web page of another origin that may call the server, such as https://app.example.org; "
        "repeatable",
    )
    body_limit: int = Field(32 << 20, ge=1 << 10, description="longest body, and longest line of a stream, in bytes")
    most_hits: int = Field(10_000, ge=1, description="hits of one request: the number of queries times k")
    deadline: float = Field(
        120.0, gt=0, description="seconds that the work on a request may take; a stream of documents has no deadline"
    )
    most_requests: int = Field(128, ge=1, description="requests that are worked on at once")
    ray: str | None = Field(
        None,
        description="answer from replicas on a cluster of Ray, one deployment for each shard of an index: local starts "
        "one on this machine, auto uses the one that this machine is a node of, HOST:PORT the one with this head",
    )
    replicas: int = Field(1, ge=1, description="with --ray: replicas of each shard")
    log_texts: bool = Field(False, description="write paths, queries and bodies to the log, which hold users' texts")


def check_name(name: str) -> str:
    """Return the name of an index unchanged.

    Raises
    ------
    InputError
        If it cannot be part of an address.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name an index: use up to 64 of the characters A-Z a-z 0-9 . _ - and begin with a letter "
            "or digit"
        )
    return name


def named_folders(arguments: Iterable[str]) -> dict[str, Path]:
    """Read the folders of a command line.

    Parameters
    ----------
    arguments
        ``NAME=FOLDER``, or ``FOLDER``, which is named after itself without the suffix ``.index``.

    Returns
    -------
    dict
        Name -> folder.

    Raises
    ------
    InputError
        If a name cannot be used or occurs twice.

    Examples
    --------
    >>> {name: str(folder) for name, folder in named_folders(["news=data/news.index", "data/laws.index"]).items()}
    {'news': 'data/news.index', 'laws': 'data/laws.index'}
    """
    found: dict[str, Path] = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        # A path may contain an equals sign; a name contains no slash.
        if not equals or "/" in name:
            name, folder = Path(argument).resolve().name.removesuffix(".index"), argument
        if not folder:
            raise InputError(f"{argument!r} names no folder; write NAME=FOLDER")
        if check_name(name) in found:
            raise InputError(f"two folders are named {name!r}: write NAME=FOLDER with another name for one of them")
        found[name] = Path(folder)
    return found
