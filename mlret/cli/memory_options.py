"""What the commands of `mlret memory` share: options, opening a store, printing records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field

from mlret.cli.common import json_object
from mlret.cli.options import Option, SettingsOptions
from mlret.wording import counted

if TYPE_CHECKING:
    from mlret.memory.memory import Memory
    from mlret.memory.records import MemoryRecord

Store = Annotated[Path, typer.Option("--store", help="The folder of the memory store; `add` and `import` make it.")]
Place = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="STORE",
        help="The folder of the memory store, which `add` and `import` make; or the address of a server, "
        "http://HOST:PORT, with the token in MLRET_TOKEN.",
    ),
]
Scope = Annotated[
    list[str],
    typer.Option(
        "--scope",
        "-s",
        metavar="NAME=VALUE",
        help="Owner of the memory: tenant=, user=, agent= or run=; repeatable. Without a tenant: records with none.",
    ),
]
Language = Annotated[
    str | None, typer.Option("--language", "-l", help="The language of the text; detected by default.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Encoder: a folder or a hub id. Default: the store's own, else the bundled one."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Ids = Annotated[list[str], typer.Argument(metavar="IDS...", help="The ids of the records.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the record.")]
Level = Annotated[str, typer.Option("--level", help="turn, event, session, summary or fact.")]
Session = Annotated[str | None, typer.Option("--session", help="The conversation that it is part of.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="FILTER",
        help="NAME=VALUE (also !=, <, <=, >, >=), NAME~VALUE (a text or list that contains it), tags=VALUE, lang=CODE, "
        "with dots for nested values; or JSON. All must hold; repeatable.",
    ),
]
AsOf = Annotated[str | None, typer.Option("--as-of", help="Only what was valid then: ISO 8601 with an offset.")]
Levels = Annotated[list[str] | None, typer.Option("--level", help="Only of this level; repeatable.")]


class About(BaseModel):
    """What is stored with a text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: str | None = Field(None, description="language of the text; detected by default")
    event_time: str | None = Field(
        None, description="when it happened: ISO 8601 with an offset, e.g. 2026-03-01T09:00Z"
    )
    valid_from: str | None = Field(None, description="from when on it holds: ISO 8601 with an offset")
    source: str | None = Field(None, description="where it comes from")
    tags: list[str] | None = Field(None, description="a word to filter by; repeatable")
    keys: list[str] | None = Field(None, description="an expansion that is searched with the text; repeatable")
    metadata: dict[str, Any] | None = Field(None, description="a JSON object to keep with the text")

    def given(self) -> dict[str, Any]:
        """Return the fields that were given."""
        return self.model_dump(exclude_none=True)


ABOUT = SettingsOptions(
    About,
    {
        "language": Option("-l"),
        "tags": Option("--tag", "-t"),
        "keys": Option("--key"),
        "metadata": Option(annotation=str, read=lambda text: json_object(text, "--metadata")),
    },
)


def read_scope(arguments: Sequence[str]) -> dict[str, str]:
    """Parse the scope that the options name."""
    from mlret.memory.scope import parse_scope

    return parse_scope(list(arguments))


Shards = Annotated[
    int | None,
    typer.Option(
        "--shards", min=1, help="If the store is made now, divide its tenants among this many stores, its shards."
    ),
]


@contextmanager
def opened(store: Path, model: str | None = None, *, make: bool = False, shards: int | None = None) -> Iterator[Memory]:
    """Open a memory store for a ``with`` block.

    Parameters
    ----------
    store
        The folder of the store.
    model
        The encoder's folder or hub id; by default the store's own.
    make
        Whether to create the store if it does not exist.
    shards
        The number of shards of a store that is created; one that exists must have as many. ``None`` for any number.

    Raises
    ------
    InputError
        If the store exists and has another number of shards.
    """
    from mlret.index.storage.manifest import has_manifest
    from mlret.memory.memory import Memory

    if shards is not None and not has_manifest(store):
        memory = Memory.create(store, model, shards=shards)
    else:
        _check_shards(store, shards)
        memory = Memory.open(store if make else existing(store), model)
    with memory:
        yield memory


def _check_shards(store: Path, shards: int | None) -> None:
    from mlret.errors import InputError
    from mlret.index.sharding.shards_manifest import has_shards, read_shards

    if shards is None:
        return
    there = len(read_shards(store).shards) if has_shards(store) else None
    if there != shards:
        what = "is not divided" if there is None else f"is divided into {counted(there, 'shard')}"
        raise InputError(f"{store} exists and {what}: leave out --shards {shards}, or name a new store")


def existing(store: Path) -> Path:
    """Return the folder of a store after checking that it exists.

    Raises
    ------
    InputError
        If it does not exist.
    """
    from mlret.errors import InputError

    if store.parts and store.parts[0] in ("http:", "https:"):
        raise InputError(f"this command works on a folder and not on a server: run it where the folder of {store} is")
    if not store.exists():  # only `add` and `import` create a store
        raise InputError(f"{store}: no such memory store; make it with `mlret memory add --store {store}`")
    return store


def print_done(done: Any, word: str, as_json: bool) -> None:
    """Print what was done, and the number of the operation."""
    if as_json:
        print_json({"ids": list(done.ids), "operation": done.operation})
    else:
        typer.echo(f"{word}: {', '.join(done.ids)} (operation {done.operation})")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))


def print_records(records: Sequence[MemoryRecord], as_json: bool, *, one: bool = False) -> None:
    """Print one or several records, as text or as JSON.

    Parameters
    ----------
    records
        The records.
    as_json
        Whether to print JSON.
    one
        Whether to print a single JSON object instead of a list.
    """
    if as_json:
        print_json(records[0].as_json() if one else [record.as_json() for record in records])
        return
    from mlret.cli.tables import printable

    for record in records:
        until = "" if record.valid_to is None else f", until {record.valid_to:%Y-%m-%d %H:%M}Z"
        about = f"version {record.version}, {record.state}, {record.language or 'und'}, {record.level}"
        typer.echo(f"{record.id}  {about}, from {record.valid_from:%Y-%m-%d %H:%M}Z{until}")
        typer.echo(f"    {printable(record.text)}")
