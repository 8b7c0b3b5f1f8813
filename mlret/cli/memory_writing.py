"""Commands of `mlret memory` that change what is stored: add, update, link, merge, delete, erase, forget and undo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mlret.cli.common import MAX_LINE, MaxLine
from mlret.cli.memory_options import (
    ABOUT,
    About,
    Id,
    Ids,
    Json,
    Level,
    Levels,
    Model,
    Place,
    Scope,
    Session,
    Shards,
    print_done,
    print_json,
    read_scope,
)
from mlret.cli.options import takes_settings
from mlret.cli.places import check_here, opened_memory
from mlret.client.addresses import is_address
from mlret.wording import counted

if TYPE_CHECKING:
    from mlret.memory.memory import Memory
    from mlret.memory.records import UpdateFields


@takes_settings(about=ABOUT)
def add(
    text: Annotated[str, typer.Argument(help="What to remember, in any language; - reads texts from lines.")],
    store: Place,
    scope: Scope,
    *,
    about: About,
    level: Level = "turn",
    session: Session = None,
    derived_from: Annotated[
        list[str] | None, typer.Option("--derived-from", help="The id of a record that it was made of; repeatable.")
    ] = None,
    dedupe: Annotated[
        bool, typer.Option("--dedupe/--no-dedupe", help="Check whether a memory states it already, in any language.")
    ] = True,
    max_line: MaxLine = MAX_LINE,
    model: Model = None,
    shards: Shards = None,
    as_json: Json = False,
) -> None:
    """Remember a text; or, with -, each line of standard input."""
    from mlret.memory.ingest.inputs import Incoming, read_items

    record = about.given() | {"level": level, "session": session, "derived_from": derived_from or []}
    items: Iterable[Incoming]
    if text == "-":
        items = ({"text": one, **record} for one in _standard_input(max_line))
    else:  # It is checked before the encoder is loaded and, if there is none, the store is made.
        given = [{"text": text, **record}]
        checked = read_items(given)
        items = given if is_address(store) else checked
    owner = read_scope(scope)
    with opened_memory(store, model, make=True, shards=shards) as memory:
        added = list(memory.add_stream(cast("Any", items), owner, dedupe=dedupe))
    if as_json:
        print_json([one.as_json() for one in added] if text == "-" else added[0].as_json())
        return
    for one in added:
        typer.echo(one.id if one.verdict == "added" else f"{one.id}  {one.verdict}: {one.reason}")


@takes_settings(about=ABOUT)
def update(
    store: Place,
    scope: Scope,
    id: Id,
    text: Annotated[str | None, typer.Argument(help="The new text; the previous one if left out.")] = None,
    *,
    about: About,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Add a new version to a memory; previous versions are kept."""
    with opened_memory(store, model) as memory:
        given = cast("UpdateFields", about.given())
        print_done(memory.update(id, read_scope(scope), text, **given), "updated", as_json)


def link(
    store: Place,
    scope: Scope,
    id: Id,
    type: Annotated[str, typer.Argument(help="A word: about, contradicts, derived_from, …")],
    target: Annotated[str, typer.Argument(help="The id of the record that is linked to.")],
    cut: Annotated[bool, typer.Option("--cut", help="Cut the link instead.")] = False,
    as_json: Json = False,
) -> None:
    """Link a memory to another."""
    with opened_memory(store) as memory:
        verb = memory.unlink if cut else memory.link
        print_done(verb(id, type, target, read_scope(scope)), "cut" if cut else "linked", as_json)


def merge(
    store: Place,
    scope: Scope,
    survivor: Annotated[str, typer.Argument(help="The id of the record that stays.")],
    others: Annotated[list[str], typer.Argument(help="The ids of those that are the same memory.")],
    as_json: Json = False,
) -> None:
    """Merge memories into one; `undo` reverts it."""
    with opened_memory(store) as memory:
        print_done(memory.merge(survivor, others, read_scope(scope)), "merged", as_json)


def delete(store: Place, scope: Scope, ids: Ids, as_json: Json = False) -> None:
    """Hide memories, and what was derived from them; `restore` brings them back."""
    with opened_memory(store) as memory:
        print_done(memory.delete(ids, read_scope(scope)), "deleted", as_json)


def restore(store: Place, scope: Scope, ids: Ids, as_json: Json = False) -> None:
    """Bring back what was deleted, archived or merged."""
    with opened_memory(store) as memory:
        print_done(memory.restore(ids, read_scope(scope)), "restored", as_json)


def undo(
    store: Place,
    scope: Scope,
    operation: Annotated[int, typer.Argument(help="Its number: `history` and every change print it.")],
    as_json: Json = False,
) -> None:
    """Undo an operation, except an erasure."""
    with opened_memory(store) as memory:
        print_done(memory.undo(operation, read_scope(scope)), "undone", as_json)


def erase(
    store: Place,
    scope: Scope,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[IDS]...", help="The ids of the records.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Erase all of the scope.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove every byte of memories, and of what was derived from them, from the disk, and print the proof."""
    from mlret.errors import InputError, MlretError

    owner = read_scope(scope)
    if bool(ids) == everything:
        raise InputError("state what to erase: ids, or --everything of the scope, one of the two")
    check_here(store, everything, "--everything")
    with opened_memory(store) as memory:
        chosen = ids or cast("Memory", memory).ids(owner)
        if not chosen:
            raise InputError("this scope holds nothing")
        if not yes:
            typer.confirm(
                f"Erase {counted(len(chosen), 'record')} of {owner}? It cannot be undone", abort=True, err=True
            )
        proof = memory.erase(chosen, owner)
    if as_json:
        print_json(proof.as_json())
    else:
        typer.echo(
            f"{counted(len(proof.ids), 'record')}, {counted(proof.versions, 'version')} erased; "
            f"{counted(proof.pieces, 'fragment')} sought in"
        )
        for name, file in proof.files.items():
            typer.echo(f"  {name}: {file['places']} found")
    if not proof.complete:
        raise MlretError(proof.note)


def forget(
    store: Place,
    scope: Scope,
    unused_days: Annotated[
        float | None, typer.Option(min=0, help="Neither stored nor used for this many days.")
    ] = None,
    retention_below: Annotated[float | None, typer.Option(min=0, max=1, help="exp(-age / (tau S)) is below.")] = None,
    tau_days: Annotated[float, typer.Option(help="The tau of --retention-below.")] = 30.0,
    importance_below: Annotated[float | None, typer.Option(min=0, max=1, help="Rated lower, or not rated.")] = None,
    strength_below: Annotated[float | None, typer.Option(min=0, help="Stated less often.")] = None,
    levels: Levels = None,
    keep: Annotated[int | None, typer.Option(min=0, help="Keep this many of those with the best retention.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Archive them; otherwise they are only listed.")] = False,
    as_json: Json = False,
) -> None:
    """Archive the memories that meet all conditions; without --run, only list them."""
    from mlret.memory.ingest.forget import Policy

    chosen: Any = levels or []
    policy = Policy(
        unused_days=unused_days,
        retention_below=retention_below,
        tau_days=tau_days,
        importance_below=importance_below,
        strength_below=strength_below,
        levels=chosen,
        keep=keep,
    )
    with opened_memory(store) as memory:
        found = memory.forget(policy, read_scope(scope), dry_run=not run)
    if as_json:
        print_json({"reasons": found.reasons, "operation": found.operation})
        return
    for id, reason in found.reasons.items():
        typer.echo(f"{id}  {reason}")
    done = f"archived (operation {found.operation})" if found.operation else "would be archived (--run does it)"
    typer.echo(f"{len(found.reasons)} {done if found.reasons else 'to archive'}")


def _standard_input(max_line: int) -> list[str]:
    from pathlib import Path

    from mlret.data.files import open_standard_input, read_lines

    lines = read_lines(Path("standard input"), open_standard_input, longest=max_line << 20)
    return [line.strip() for _, line in lines]
