"""Commands of `mlret memory` that move and maintain a store: import, export, feedback, calibrate, verify, reembed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mlret.cli.common import MAX_LINE, MaxLine
from mlret.cli.memory_options import (
    Json,
    Language,
    Model,
    Scope,
    Session,
    Shards,
    Store,
    existing,
    opened,
    print_done,
    print_json,
    read_scope,
)
from mlret.cli.progress import texts_progress
from mlret.wording import counted


def import_(
    store: Store,
    scope: Scope,
    file: Annotated[Path, typer.Argument(help="JSONL; - for standard input.", allow_dash=True)],
    chat: Annotated[
        bool, typer.Option("--chat", help='A chat export: {"role", "content", "time", …} on each line.')
    ] = False,
    session: Session = None,
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", help="Time zone of times that name none, e.g. Europe/Paris (with --chat)."),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", help="Skip records whose id is stored already; resumes an import that stopped."
        ),
    ] = False,
    max_line: MaxLine = MAX_LINE,
    model: Model = None,
    shards: Shards = None,
    as_json: Json = False,
) -> None:
    """Import the output of `mlret memory export`, or a chat export."""
    from mlret.data.files import open_raw, open_standard_input
    from mlret.data.json_text import read_objects
    from mlret.errors import InputError
    from mlret.memory.ingest.import_export import read_chat

    piped = str(file) == "-"
    if not piped and not file.exists():
        raise InputError(f"{file}: no such file")
    owner = read_scope(scope)
    lines = read_objects(
        Path("standard input") if piped else file,
        open_standard_input if piped else open_raw,
        longest=max_line << 20,
    )
    with opened(store, model, make=True, shards=shards) as memory:
        if not chat:
            count = memory.import_records(lines, owner, existing="skip" if skip_existing else "error")
            verdicts = {"added": count}
        else:
            conversation = session or (None if piped else file.stem)
            turns = read_chat(lines, session=conversation, zone=_zone(timezone))
            verdicts = {"added": 0, "related": 0, "duplicate": 0}
            for added in memory.add_stream(turns, owner):
                verdicts[added.verdict] += 1
    if as_json:
        print_json(verdicts)
    else:
        typer.echo(", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))


def export(
    store: Store,
    scope: Scope,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; standard output by default.")] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="With their vectors.")] = False,
) -> None:
    """Write the memories of a scope as JSONL, with all versions."""
    from mlret.data.durable import write_text_atomically

    with opened(store) as memory:
        lines = (json.dumps(record, ensure_ascii=False) for record in memory.export(read_scope(scope), vectors=vectors))
        if output is None:
            for line in lines:
                typer.echo(line)
        else:
            write_text_atomically(output, "".join(line + "\n" for line in lines))


def feedback(
    store: Store,
    scope: Scope,
    query: Annotated[str, typer.Argument(help="What was asked.")],
    used: Annotated[list[str], typer.Argument(metavar="IDS...", help="The ids of what was of use.")],
    language: Language = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Record which memories were useful for a query; the ranking of this scope learns from it."""
    with opened(store, model) as memory:
        print_done(memory.feedback(query, used, read_scope(scope), language=language), "noted", as_json)


def calibrate(
    store: Store,
    precision: Annotated[float, typer.Option(min=0.5, max=1, help="Of what is called a duplicate.")] = 0.95,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Find the thresholds for duplicates with the store's encoder; `add` uses them from then on."""
    with opened(store, model) as memory:
        found = memory.calibrate(precision=precision)
    if as_json:
        print_json(found.to_dict())
        return
    typer.echo(
        f"duplicate from a margin of {found.duplicate:.3f} on (precision {found.precision}, recall {found.recall:.3f} "
        f"on {counted(found.texts, 'text')}), related from {found.related:.3f}, an answer from {found.answer:.3f}"
    )


def verify(
    store: Store,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired.")] = False,
    as_json: Json = False,
) -> None:
    """Check every file, record, vector and n-gram, and that the journal matches the state."""
    from mlret.errors import MlretError
    from mlret.memory.maintenance.upkeep import verify as check

    problems = check(existing(store), repair=repair)
    if as_json:
        print_json([problem.as_json() for problem in problems])
    else:
        for problem in problems:
            typer.echo(f"{problem.file}: {problem.what}{' (repaired)' if problem.repaired else ''}")
        if not problems:
            typer.echo(f"{store} is intact")
    if any(not problem.repaired for problem in problems):
        raise MlretError(f"{store} is damaged")


def reembed(
    store: Store,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder; the old store stays as it is.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The new encoder; default: the bundled one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy a memory store with the vectors of another encoder. The same command resumes one that was stopped."""
    from mlret.memory.maintenance.upkeep import reembed as write_copy

    with texts_progress("encoding") as progress:
        write_copy(existing(store), output, model, progress=progress)
    if as_json:
        print_json({"output": str(output)})
    else:
        typer.echo(f"{output} is ready; point --store at it")


def _zone(name: str | None) -> Any:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from mlret.errors import InputError

    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InputError(f"no time zone {name!r}; write a name such as Europe/Paris") from error
