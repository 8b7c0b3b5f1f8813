"""`mlret memory`: remember texts, find them from any language, change them, forget them, erase them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mlret.memory.memory import Memory
    from mlret.memory.records import MemoryRecord

app = typer.Typer(help="Remember texts, and find them from any language.", no_args_is_help=True)

Store = Annotated[Path, typer.Option("--store", help="The folder of the memory store; `add` and `import` make it.")]
Scope = Annotated[
    list[str],
    typer.Option(
        "--scope",
        "-s",
        metavar="NAME=VALUE",
        help="Whose memory: tenant=, user=, agent= or run=; repeatable.",
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
Tags = Annotated[list[str] | None, typer.Option("--tag", "-t", help="A word to filter by; repeatable.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", help="An expansion that is searched with the text; repeatable.")
]
Metadata = Annotated[str | None, typer.Option("--metadata", help="A JSON object to keep with the text.")]
EventTime = Annotated[
    str | None, typer.Option("--event-time", help="When it happened: ISO 8601 with an offset, e.g. 2026-03-01T09:00Z.")
]
ValidFrom = Annotated[str | None, typer.Option("--valid-from", help="From when on it holds: ISO 8601 with an offset.")]
Level = Annotated[str, typer.Option("--level", help="turn, event, session, summary or fact.")]
Session = Annotated[str | None, typer.Option("--session", help="The conversation that it is part of.")]
Source = Annotated[str | None, typer.Option("--source", help="Where it comes from.")]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", "-w", metavar="FILTER", help="NAME=VALUE, tags=VALUE, lang=CODE, …; all must hold."),
]
AsOf = Annotated[str | None, typer.Option("--as-of", help="What was valid then: ISO 8601 with an offset.")]
Levels = Annotated[list[str] | None, typer.Option("--level", help="Only of this level; repeatable.")]


@app.command()
def add(
    text: Annotated[str, typer.Argument(help="What to remember, in any language; - reads texts from lines.")],
    store: Store,
    scope: Scope,
    language: Language = None,
    level: Level = "turn",
    session: Session = None,
    event_time: EventTime = None,
    valid_from: ValidFrom = None,
    source: Source = None,
    tags: Tags = None,
    keys: Keys = None,
    metadata: Metadata = None,
    derived_from: Annotated[
        list[str] | None, typer.Option("--derived-from", help="The id of a record that it was made of; repeatable.")
    ] = None,
    dedupe: Annotated[
        bool, typer.Option("--dedupe/--no-dedupe", help="Look whether it is said already, in whatever language.")
    ] = True,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Remember a text; or, with -, each line of standard input."""
    about = {
        "language": language,
        "level": level,
        "session": session,
        "event_time": event_time,
        "valid_from": valid_from,
        "source": source,
        "tags": tags or [],
        "keys": keys or [],
        "metadata": _json_object(metadata, "--metadata"),
        "derived_from": derived_from or [],
    }
    texts = [line.strip() for line in sys.stdin if line.strip()] if text == "-" else [text]
    whose = _scope(scope)
    with _open(store, model, make=True) as memory:
        added = list(memory.add_stream(({"text": one, **about} for one in texts), whose, dedupe=dedupe))
    if as_json:
        _print([one.as_json() for one in added] if text == "-" else added[0].as_json())
        return
    for one in added:
        typer.echo(one.id if one.verdict == "added" else f"{one.id}  {one.verdict}: {one.reason}")


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in any language.")],
    store: Store,
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
    decay: Annotated[float, typer.Option(help="What a memory loses at most by age; 0 is off.")] = 0.0,
    abstain: Annotated[bool, typer.Option("--abstain", help="Find nothing where the best does not stand out.")] = False,
    mode: Annotated[str | None, typer.Option("--mode", help="hybrid, dense or lexical.")] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Fit what is found into so many tokens, in order of time.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each was found.")] = False,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Find the memories of a scope that are nearest in meaning to a query."""
    from mlret.index.filters import parse_filter
    from mlret.memory.search import Ranking

    whose = _scope(scope)
    given: Any = mode
    chosen: Any = levels or []
    with _open(store, model) as memory:
        found = memory.search(
            query,
            whose,
            k,
            language=language,
            where=parse_filter(where or []),
            levels=chosen,
            as_of=as_of,
            current_only=not all_versions,
            conflicts=conflicts,
            abstain=abstain,
            ranking=Ranking(decay=decay, sessions=sessions),
            mode=given,
        )
        packed = None if budget is None else memory.context(found, budget)
    if as_json:
        extra = {} if packed is None else {"context": packed.text, "cost": packed.cost, "dropped": packed.dropped}
        _print({"query": query} | found.as_json() | extra)
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


@app.command()
def get(store: Store, scope: Scope, id: Id, as_of: AsOf = None, as_json: Json = False) -> None:
    """Print a memory."""
    from mlret.errors import InputError

    with _open(store) as memory:
        record = memory.get(id, _scope(scope), as_of=as_of)
    if record is None:
        raise InputError(f"no record {id!r} in this scope")
    _print_records([record], as_json, one=True)


@app.command("list")
def list_(
    store: Store,
    scope: Scope,
    where: Where = None,
    levels: Levels = None,
    as_of: AsOf = None,
    state: Annotated[str, typer.Option(help="active, archived or merged.")] = "active",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    as_json: Json = False,
) -> None:
    """List the memories of a scope, in the order in which they were stored."""
    from mlret.index.filters import parse_filter

    chosen: Any = levels or []
    with _open(store) as memory:
        records = memory.list(
            _scope(scope), where=parse_filter(where or []), levels=chosen, as_of=as_of, state=state, limit=limit
        )
    _print_records(records, as_json)


@app.command()
def history(store: Store, scope: Scope, id: Id, as_json: Json = False) -> None:
    """Print what happened to a memory, and its versions."""
    with _open(store) as memory:
        entries = memory.history(id, _scope(scope))
        versions = memory.versions(id, _scope(scope))
    if as_json:
        told = [
            {
                "operation": entry.operation,
                "at": entry.at.isoformat(),
                "verb": entry.verb,
                "changes": list(entry.changes),
                "note": entry.note,
            }
            for entry in entries
        ]
        _print({"history": told, "versions": [version.as_json() for version in versions]})
        return
    for entry in entries:
        typer.echo(f"{entry.operation:>6}  {entry.at:%Y-%m-%d %H:%M:%S}Z  {entry.verb:<8} {'; '.join(entry.changes)}")
    _print_records(versions, False)


@app.command()
def update(
    store: Store,
    scope: Scope,
    id: Id,
    text: Annotated[str | None, typer.Argument(help="What it says now; as before if left out.")] = None,
    language: Language = None,
    event_time: EventTime = None,
    valid_from: ValidFrom = None,
    source: Source = None,
    tags: Tags = None,
    keys: Keys = None,
    metadata: Metadata = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Give a memory a new version; the ones before are kept."""
    changes = {
        "language": language,
        "event_time": event_time,
        "valid_from": valid_from,
        "source": source,
        "tags": tags,
        "keys": keys,
        "metadata": _json_object(metadata, "--metadata"),
    }
    with _open(store, model) as memory:
        given = {name: value for name, value in changes.items() if value is not None}
        _done(memory.update(id, _scope(scope), text, **given), "updated", as_json)


@app.command()
def link(
    store: Store,
    scope: Scope,
    id: Id,
    type: Annotated[str, typer.Argument(help="A word: about, contradicts, derived_from, …")],
    target: Annotated[str, typer.Argument(help="The id of the record that is linked to.")],
    cut: Annotated[bool, typer.Option("--cut", help="Cut the link instead.")] = False,
    as_json: Json = False,
) -> None:
    """Link a memory to another."""
    with _open(store) as memory:
        verb = memory.unlink if cut else memory.link
        _done(verb(id, type, target, _scope(scope)), "cut" if cut else "linked", as_json)


@app.command()
def merge(
    store: Store,
    scope: Scope,
    survivor: Annotated[str, typer.Argument(help="The id of the record that stays.")],
    others: Annotated[list[str], typer.Argument(help="The ids of those that are the same memory.")],
    as_json: Json = False,
) -> None:
    """Take memories for one; `undo` takes it back."""
    with _open(store) as memory:
        _done(memory.merge(survivor, others, _scope(scope)), "merged", as_json)


@app.command()
def delete(store: Store, scope: Scope, ids: Ids, as_json: Json = False) -> None:
    """Hide memories, and what was derived from them; `restore` brings them back."""
    with _open(store) as memory:
        _done(memory.delete(ids, _scope(scope)), "deleted", as_json)


@app.command()
def restore(store: Store, scope: Scope, ids: Ids, as_json: Json = False) -> None:
    """Bring back what was deleted, archived or merged."""
    with _open(store) as memory:
        _done(memory.restore(ids, _scope(scope)), "restored", as_json)


@app.command()
def undo(
    store: Store,
    scope: Scope,
    operation: Annotated[int, typer.Argument(help="Its number: `history` and every change print it.")],
    as_json: Json = False,
) -> None:
    """Take an operation back, except an erasure."""
    with _open(store) as memory:
        _done(memory.undo(operation, _scope(scope)), "undone", as_json)


@app.command()
def erase(
    store: Store,
    scope: Scope,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[IDS]...", help="The ids of the records.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Erase all of the scope.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Leave no byte of memories on disk, nor of what was derived from them, and print the proof."""
    from mlret.errors import InputError, MlretError

    whose = _scope(scope)
    if bool(ids) == everything:
        raise InputError("say what to erase: ids, or --everything of the scope, one of the two")
    with _open(store) as memory:
        chosen = ids or memory.ids(whose)
        if not chosen:
            raise InputError("this scope holds nothing")
        if not yes:
            typer.confirm(f"Erase {len(chosen)} records of {whose}? It cannot be undone", abort=True, err=True)
        proof = memory.erase(chosen, whose)
    if as_json:
        _print(proof.as_json())
    else:
        typer.echo(f"{len(proof.ids)} records, {proof.versions} versions erased; {proof.pieces} pieces looked for in")
        for name, file in proof.files.items():
            typer.echo(f"  {name}: {file['bytes']} bytes, {file['places']} found")
    if not proof.complete:
        raise MlretError(proof.note)


@app.command()
def forget(
    store: Store,
    scope: Scope,
    unused_days: Annotated[float | None, typer.Option(min=0, help="Not stored nor used for so long.")] = None,
    retention_below: Annotated[float | None, typer.Option(min=0, max=1, help="exp(-age / (tau S)) is below.")] = None,
    tau_days: Annotated[float, typer.Option(help="The tau of --retention-below.")] = 30.0,
    importance_below: Annotated[float | None, typer.Option(min=0, max=1, help="Rated lower, or not rated.")] = None,
    strength_below: Annotated[float | None, typer.Option(min=0, help="Said less often.")] = None,
    levels: Levels = None,
    keep: Annotated[int | None, typer.Option(min=0, help="Keep the so many that are best retained.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Archive them; else they are only named.")] = False,
    as_json: Json = False,
) -> None:
    """Archive what meets all conditions; without --run only say what that is."""
    from mlret.memory.forgetting import Policy

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
    with _open(store) as memory:
        found = memory.forget(policy, _scope(scope), dry_run=not run)
    if as_json:
        _print({"reasons": found.reasons, "operation": found.operation})
        return
    for id, reason in found.reasons.items():
        typer.echo(f"{id}  {reason}")
    done = f"archived (operation {found.operation})" if found.operation else "would be archived (--run does it)"
    typer.echo(f"{len(found.reasons)} {done if found.reasons else 'to archive'}")


@app.command()
def events(
    store: Store,
    scope: Scope,
    session: Annotated[str, typer.Argument(help="The conversation.")],
    keep: Annotated[bool, typer.Option("--keep", help="Store each event as a record derived from its turns.")] = False,
    penalty: Annotated[float | None, typer.Option(min=0, help="Higher gives fewer events.")] = None,
    as_json: Json = False,
) -> None:
    """Cut a conversation into events by what its turns are about."""
    options = {} if penalty is None else {"penalty": penalty}
    with _open(store) as memory:
        found = memory.events(session, _scope(scope), keep=keep, **options)
    if as_json:
        _print([{"id": event.id, "ids": list(event.ids), "text": event.text} for event in found])
        return
    from mlret.cli.tables import printable

    for number, event in enumerate(found, start=1):
        typer.echo(f"{number}. {len(event.ids)} turns{f' -> {event.id}' if event.id else ''}: {printable(event.text)}")


@app.command("import")
def import_(
    store: Store,
    scope: Scope,
    file: Annotated[Path, typer.Argument(help="JSONL; - for standard input.", allow_dash=True)],
    chat: Annotated[
        bool, typer.Option("--chat", help='A chat export: {"role", "content", "time", …} on each line.')
    ] = False,
    session: Session = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", help="Of times that name none, e.g. Europe/Paris (with --chat).")
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Pass over records whose id is there; an import that stopped goes on."),
    ] = False,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Read what `mlret memory export` wrote, or a chat export."""
    from mlret.errors import InputError
    from mlret.memory.exchange import read_chat, read_lines

    if str(file) != "-" and not file.is_file():
        raise InputError(f"{file}: no such file")
    whose = _scope(scope)
    with file.open(encoding="utf-8") if str(file) != "-" else _standard_input() as handle:
        lines = read_lines(handle, str(file))
        with _open(store, model, make=True) as memory:
            if not chat:
                count = memory.import_records(lines, whose, existing="skip" if skip_existing else "error")
                verdicts = {"added": count}
            else:
                conversation = session or (None if str(file) == "-" else file.stem)
                turns = read_chat(lines, session=conversation, zone=_zone(timezone))
                verdicts = {"added": 0, "related": 0, "duplicate": 0}
                for added in memory.add_stream(turns, whose):
                    verdicts[added.verdict] += 1
    if as_json:
        _print(verdicts)
    else:
        typer.echo(", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))


@app.command()
def export(
    store: Store,
    scope: Scope,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; standard output by default.")] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="With their vectors.")] = False,
) -> None:
    """Write the memories of a scope as JSONL, with all versions."""
    from mlret.data.durable import write_text_atomically

    with _open(store) as memory:
        lines = (json.dumps(record, ensure_ascii=False) for record in memory.export(_scope(scope), vectors=vectors))
        if output is None:
            for line in lines:
                typer.echo(line)
        else:
            write_text_atomically(output, "".join(line + "\n" for line in lines))


@app.command()
def feedback(
    store: Store,
    scope: Scope,
    query: Annotated[str, typer.Argument(help="What was asked.")],
    used: Annotated[list[str], typer.Argument(metavar="IDS...", help="The ids of what was of use.")],
    language: Language = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Say what was of use for a query; the ranking of this scope learns from it."""
    with _open(store, model) as memory:
        _done(memory.feedback(query, used, _scope(scope), language=language), "noted", as_json)


@app.command()
def calibrate(
    store: Store,
    precision: Annotated[float, typer.Option(min=0.5, max=1, help="Of what is called a duplicate.")] = 0.95,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Find what separates duplicates from others with the encoder of the store; `add` uses it from then on."""
    with _open(store, model) as memory:
        found = memory.calibrate(precision=precision)
    if as_json:
        _print(found.to_dict())
        return
    typer.echo(
        f"duplicate from a margin of {found.duplicate:.3f} on (precision {found.precision}, recall {found.recall:.3f} "
        f"on {found.texts} texts), related from {found.related:.3f}, an answer from {found.answer:.3f}"
    )


@app.command()
def verify(
    store: Store,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    as_json: Json = False,
) -> None:
    """Check every file, record, vector and n-gram, and that the journal adds up to the state."""
    import dataclasses

    from mlret.errors import MlretError
    from mlret.memory.upkeep import verify as check

    problems = check(_there(store), repair=repair)
    if as_json:
        _print([dataclasses.asdict(problem) for problem in problems])
    else:
        for problem in problems:
            typer.echo(f"{problem.file}: {problem.what}{' (mended)' if problem.mended else ''}")
        if not problems:
            typer.echo(f"{store} is whole")
    if any(not problem.mended for problem in problems):
        raise MlretError(f"{store} is not whole")


@app.command()
def reembed(
    store: Store,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder; the old store stays as it is.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The new encoder; default: the bundled one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a copy of a memory with the vectors of another encoder."""
    from mlret.memory.upkeep import reembed as encode_anew

    encode_anew(_there(store), output, model)
    if as_json:
        _print({"output": str(output)})
    else:
        typer.echo(f"{output} is ready; point --store at it")


def _scope(arguments: Sequence[str]) -> dict[str, str]:
    from mlret.memory.scope import parse_scope

    return parse_scope(list(arguments))


@contextmanager
def _open(store: Path, model: str | None = None, *, make: bool = False) -> Iterator[Memory]:
    from mlret.memory.memory import Memory

    with Memory.open(store if make else _there(store), model) as memory:
        yield memory


def _there(store: Path) -> Path:
    from mlret.errors import InputError

    if not store.exists():  # only adding makes a store
        raise InputError(f"{store}: no such memory store; make it with `mlret memory add --store {store}`")
    return store


@contextmanager
def _standard_input() -> Iterator[Any]:
    yield sys.stdin


def _zone(name: str | None) -> Any:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from mlret.errors import InputError

    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InputError(f"no time zone {name!r}; write a name such as Europe/Paris") from error


def _json_object(text: str | None, option: str) -> Any:
    from mlret.errors import InputError

    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{option} is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{option} must be a JSON object")
    return value


def _done(done: Any, word: str, as_json: bool) -> None:
    if as_json:
        _print({"ids": list(done.ids), "operation": done.operation})
    else:
        typer.echo(f"{word}: {', '.join(done.ids)} (operation {done.operation})")


def _print(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))


def _print_records(records: Sequence[MemoryRecord], as_json: bool, *, one: bool = False) -> None:
    if as_json:
        _print(records[0].as_json() if one else [record.as_json() for record in records])
        return
    from mlret.cli.tables import printable

    for record in records:
        until = "" if record.valid_to is None else f", until {record.valid_to:%Y-%m-%d %H:%M}Z"
        about = f"version {record.version}, {record.state}, {record.language or 'und'}, {record.level}"
        typer.echo(f"{record.id}  {about}, from {record.valid_from:%Y-%m-%d %H:%M}Z{until}")
        typer.echo(f"    {printable(record.text)}")
