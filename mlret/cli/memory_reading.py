"""Commands of `mlret memory` that find and print memories: search, get, list, profile, watch, history, events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlret.cli.memory_options import (
    AsOf,
    Id,
    Json,
    Language,
    Levels,
    Model,
    Place,
    Scope,
    Store,
    Where,
    opened,
    print_json,
    print_records,
    read_scope,
)
from mlret.cli.places import check_here, opened_memory
from mlret.wording import counted

if TYPE_CHECKING:
    from mlret.memory.search.context import Packed


def search(
    query: Annotated[str, typer.Argument(help="What to look for, in any language.")],
    store: Place,
    scope: Scope,
    k: Annotated[int, typer.Option("-k", help="How many memories.")] = 5,
    language: Language = None,
    where: Where = None,
    levels: Levels = None,
    as_of: AsOf = None,
    all_versions: Annotated[bool, typer.Option("--all-versions", help="Find superseded versions, too.")] = False,
    conflicts: Annotated[
        bool, typer.Option("--conflicts", help="Show other versions and contradicting records with each hit.")
    ] = False,
    sessions: Annotated[bool, typer.Option("--sessions", help="Rank sessions; the best record of each.")] = False,
    decay: Annotated[float, typer.Option(help="How much score a memory loses by age at most; 0 is off.")] = 0.0,
    abstain: Annotated[bool, typer.Option("--abstain", help="Find nothing if the best does not stand out.")] = False,
    mode: Annotated[str | None, typer.Option("--mode", help="hybrid, dense or lexical.")] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Fit the hits into this many tokens, in order of time.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="State why each was found.")] = False,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Find the memories of a scope that are closest in meaning to a query."""
    from mlret.index.filtering.filters import parse_filter
    from mlret.index.queries import check_k, check_queries
    from mlret.index.search import check_mode
    from mlret.memory.memory import Memory
    from mlret.memory.search.ranking import Ranking
    from mlret.memory.search.selection import Selection

    owner = read_scope(scope)
    given: Any = mode
    chosen: Any = levels or []
    # All of this is checked before the encoder that --model names is loaded, which takes longer.
    check_k(k)
    check_mode(mode)
    check_queries([query], language)
    selection = Selection(owner, parse_filter(where or []), levels=chosen, as_of=as_of)
    selection.check()
    check_here(store, bool(decay), "--decay")
    check_here(store, sessions, "--sessions")
    how: Any = {
        "language": language,
        "where": selection.where,
        "levels": chosen,
        "as_of": as_of,
        "current_only": not all_versions,
        "conflicts": conflicts,
        "abstain": abstain,
        "mode": given,
    }
    with opened_memory(store, model) as memory:
        packed: Packed | None = None
        if isinstance(memory, Memory):
            found = memory.search(query, owner, k, **how, ranking=Ranking(decay=decay, sessions=sessions))
            packed = None if budget is None else memory.context(found, budget)
        else:
            found = memory.search(query, owner, k, **how)
            packed = None if budget is None else memory.context(query, budget, owner, k, **how)
    if as_json:
        extra = {} if packed is None else {"context": packed.text, "cost": packed.cost, "dropped": packed.dropped}
        print_json({"query": query} | found.as_json() | extra)
        return
    if packed is not None:
        typer.echo(packed.text)
        return
    from rich.console import Console

    from mlret.cli.tables import hits_table, printable

    console = Console()
    console.print(hits_table(found, title=query) if found else f"nothing: {found.reason}", markup=False)
    for hit in found if explain or conflicts else ():
        console.print(f"{hit.rank}. {hit.id}: {'; '.join(hit.why)}", markup=False)
        for other in hit.conflicts:
            console.print(f"   {other.state} version {other.version}: {printable(other.text)}", markup=False)


def get(store: Place, scope: Scope, id: Id, as_of: AsOf = None, as_json: Json = False) -> None:
    """Print a memory."""
    from mlret.errors import InputError

    with opened_memory(store) as memory:
        record = memory.get(id, read_scope(scope), as_of=as_of)
    if record is None:
        raise InputError(f"no record {id!r} in this scope")
    print_records([record], as_json, one=True)


def list_(
    store: Place,
    scope: Scope,
    where: Where = None,
    levels: Levels = None,
    as_of: AsOf = None,
    state: Annotated[str, typer.Option(help="active, archived or merged.")] = "active",
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of memories.")] = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="CURSOR", help="Continue behind the page that ended with this cursor."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the memories of a scope, in the order in which they were stored.

    With --limit, the cursor of the next page is printed to standard error.
    """
    from mlret.index.filtering.filters import parse_filter

    chosen: Any = levels or []
    condition = parse_filter(where or [])
    check_here(store, bool(where), "--where")
    how: Any = {"levels": chosen, "as_of": as_of, "state": state, "limit": limit, "after": after}
    with opened_memory(store) as memory:
        how |= {"where": condition} if condition else {}  # which only a folder takes
        records = memory.list(read_scope(scope), **how)
    print_records(records, as_json)
    if records.next is not None:
        typer.echo(f"there are more: continue with --after {records.next}", err=True)


def profile(
    store: Place,
    scope: Scope,
    where: Where = None,
    as_of: AsOf = None,
    most: Annotated[int | None, typer.Option(min=1, help="The most memories, the newest ones; 500 by default.")] = None,
    as_json: Json = False,
) -> None:
    """Print what is known, by topics, newest first, as Markdown with the ids of the memories.

    Records are grouped by their tags, and those without tags by their meaning. What an assistant said is left out.
    """
    from mlret.index.filtering.filters import parse_filter

    condition = parse_filter(where or [])
    check_here(store, bool(where), "--where")
    how: Any = {"as_of": as_of} | ({} if most is None else {"most": most})
    how |= {"where": condition} if condition else {}  # which only a folder takes
    with opened_memory(store) as memory:
        found = memory.profile(read_scope(scope), **how)
    if as_json:
        print_json(found.as_json())
        return
    from mlret.cli.tables import printable

    for line in found.text.splitlines():
        typer.echo(printable(line))
    if found.left:
        typer.echo(f"{counted(found.left, 'older memory', 'older memories')} left out: give --most", err=True)


def watch(
    store: Place,
    scope: Scope,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="CURSOR", help="Begin behind the change that was printed with this cursor."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Begin with the first change of all.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, help="End after this many seconds without a change; 0 prints what there is. Default: never."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each change, in a line.")] = False,
) -> None:
    """Print what changes in a scope, as it changes, also by other programs: time, change, id, operation and cursor.

    By default it begins with the changes from now on, and ends with Ctrl-C.
    """
    from mlret.errors import InputError

    if everything and after is not None:
        raise InputError("give --all or --after, not both")
    with opened_memory(store) as memory:
        for event in memory.watch(read_scope(scope), after="" if everything else after, timeout=timeout):
            if as_json:
                values = {"kind": event.kind, "id": event.id, "operation": event.operation, "cursor": event.cursor}
                typer.echo(json.dumps(values | {"at": event.at.isoformat()}, ensure_ascii=False))
            else:
                line = f"{event.at:%Y-%m-%d %H:%M:%S}Z  {event.kind:<9} {event.id}"
                typer.echo(f"{line}  (operation {event.operation}, cursor {event.cursor})")


def history(store: Place, scope: Scope, id: Id, as_json: Json = False) -> None:
    """Print the operations on a memory, and its versions."""
    with opened_memory(store) as memory:
        entries = memory.history(id, read_scope(scope))
        versions = memory.versions(id, read_scope(scope))
    if as_json:
        operations = [
            {
                "operation": entry.operation,
                "at": entry.at.isoformat(),
                "verb": entry.verb,
                "changes": list(entry.changes),
                "note": entry.note,
            }
            for entry in entries
        ]
        print_json({"history": operations, "versions": [version.as_json() for version in versions]})
        return
    for entry in entries:
        typer.echo(f"{entry.operation:>6}  {entry.at:%Y-%m-%d %H:%M:%S}Z  {entry.verb:<8} {'; '.join(entry.changes)}")
    print_records(versions, False)


def events(
    store: Store,
    scope: Scope,
    session: Annotated[str, typer.Argument(help="The conversation.")],
    keep: Annotated[bool, typer.Option("--keep", help="Store each event as a record derived from its turns.")] = False,
    penalty: Annotated[float | None, typer.Option(min=0, help="Higher gives fewer events.")] = None,
    as_json: Json = False,
) -> None:
    """Split a conversation into events by what its turns are about."""
    from mlret.memory.text.event_segmentation import PENALTY

    with opened(store) as memory:
        found = memory.events(session, read_scope(scope), keep=keep, penalty=PENALTY if penalty is None else penalty)
    if as_json:
        print_json([{"id": event.id, "ids": list(event.ids), "text": event.text} for event in found])
        return
    from mlret.cli.tables import printable

    for number, event in enumerate(found, start=1):
        typer.echo(f"{number}. {len(event.ids)} turns{f' -> {event.id}' if event.id else ''}: {printable(event.text)}")
