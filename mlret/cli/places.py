"""Open an index or a memory where it is: in a folder, or on a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlret.client.addresses import index_address, is_address, memory_address
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.client.client import ClientIndex, ClientMemory
    from mlret.index.index import Index
    from mlret.memory.memory import Memory


@contextmanager
def opened_index(place: str, model: str | None = None) -> Iterator[Index | ClientIndex]:
    """Open an index for a ``with`` block.

    Parameters
    ----------
    place
        Its folder; or its address on a server, whose token the environment variable ``MLRET_TOKEN`` holds.
    model
        The encoder's folder or hub id; by default the index's own.

    Raises
    ------
    InputError
        If there is none, or an encoder is given for an index on a server.
    """
    if is_address(place):
        with served_index(place, model) as served:
            yield served
    else:
        from mlret.index.index import Index

        with Index.open(place, model) as index:
            yield index


@contextmanager
def served_index(address: str, model: str | None = None) -> Iterator[ClientIndex]:
    """Open an index on a server for a ``with`` block; see :func:`opened_index`."""
    from mlret.client.client import Client

    server, name = index_address(address)
    _check_own_encoder(model)
    with Client(server) as client:
        yield client.index(name)


@contextmanager
def opened_memory(
    place: str, model: str | None = None, *, make: bool = False, shards: int | None = None
) -> Iterator[Memory | ClientMemory]:
    """Open a memory for a ``with`` block.

    Parameters
    ----------
    place
        Its folder; or the address of its server, whose token the environment variable ``MLRET_TOKEN`` holds.
    model
        The encoder's folder or hub id; by default the memory's own.
    make
        Whether to create the store if it does not exist.
    shards
        The number of shards of a store that is created, as for :func:`mlret.cli.memory_options.opened`.

    Raises
    ------
    InputError
        If there is none, or an encoder or a number of shards is given for a memory on a server.
    """
    if is_address(place):
        from mlret.client.client import Client

        _check_own_encoder(model)
        check_here(place, shards is not None, "--shards")
        with Client(memory_address(place)) as client:
            yield client.memory()
    else:
        from mlret.cli.memory_options import opened

        with opened(Path(place), model, make=make, shards=shards) as memory:
            yield memory


def check_here(place: str, wanted: bool, option: str) -> None:
    """Check that an option that a server does not offer is only used with a folder.

    Parameters
    ----------
    place
        The folder or address.
    wanted
        Whether the option was given.
    option
        Its name.

    Raises
    ------
    InputError
        If it is used with an address.
    """
    if wanted and is_address(place):
        raise InputError(f"{option} works on a folder and not on a server; leave it out")


def _check_own_encoder(model: str | None) -> None:
    if model is not None:
        raise InputError("a server encodes with its own encoder: leave --model out")
