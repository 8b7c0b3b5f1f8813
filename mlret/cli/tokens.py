"""`mlret tokens`: make, list and revoke the tokens that the server accepts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.serve.security.tokens import StoredToken, TokenStore

app = typer.Typer(no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        metavar="FILE",
        help="File of the tokens' hashes. Default: mlret/tokens.json in $XDG_CONFIG_HOME, else in ~/.config.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the token is for, e.g. 'laptop'; it names the token in lists.")],
    role: Annotated[
        str,
        typer.Option(
            "--role",
            "-r",
            help="read: search and read. write: also add, change and delete. admin: also create and delete indexes, "
            "and erase memories of any user in the scope.",
        ),
    ] = "read",
    index: Annotated[
        list[str] | None,
        typer.Option("--index", "-i", metavar="NAME", help="An index that the token may use; '*' for all. Repeatable."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            "-s",
            metavar="NAME=VALUE",
            help="The part of the memory that the token is bound to: tenant=, user=, agent= or run=. Repeatable.",
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", min=0, help="Days until the token ends; it never does by default.")
    ] = None,
    json_: Json = False,
    tokens: File = None,
) -> None:
    """Make a token, and print it this one time.

    A client sends it in the header `Authorization: Bearer TOKEN`. Only a hash of it is kept, and a server that is
    running accepts it at once.

    With `--index` or `--scope` the token is for these indexes and this part of the memory alone. With neither, it is
    for all indexes and for the memory that belongs to no tenant.

    To search one index: `mlret tokens add website --index docs`

    For an agent that works for one user: `mlret tokens add agent -r write -s tenant=acme -s user=anna`

    For a service that serves all users of a tenant: `mlret tokens add crm -r write -s tenant=acme --days 90`
    """
    from mlret.memory.scope import parse_scope

    bound = parse_scope(scope) if scope else {}
    indexes = None if "*" in (index or []) or not (index or scope) else index or []
    ends = None if days is None else _days_from_now(days)
    token = _store(tokens).add(
        name, _role(role), indexes=indexes, memory=bool(scope) or not index, scope=bound, expires=ends
    )
    if json_:
        print(json.dumps({"token": token}))
        return
    print(token)
    typer.echo("Keep it: it is not shown again. Send it as the header  Authorization: Bearer TOKEN", err=True)


@app.command("list")
def list_(json_: Json = False, tokens: File = None) -> None:
    """List the tokens: what each is for, what it may do, and when it ends."""
    rows = [_described(one) for one in _store(tokens).all()]
    if json_:
        print(json.dumps(rows, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from mlret.cli.tables import printable

    wide = (Column(name, overflow="fold") for name in ("name", "role", "indexes", "memory"))
    table = Table(Column("id", no_wrap=True), *wide, Column("ends", no_wrap=True))
    for row in rows:
        indexes = "all" if row["indexes"] is None else ", ".join(row["indexes"]) or "none"
        bound = " ".join(f"{key}={value}" for key, value in row["scope"].items())
        memory = (bound or "of no tenant") if row["memory"] else "none"
        ends = "never" if row["expires"] is None else "ended" if row["ended"] else str(row["expires"])[:10]
        cells = (row["id"], row["name"], row["role"], indexes, memory, ends)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console().print(table)


@app.command()
def revoke(
    keys: Annotated[list[str], typer.Argument(metavar="ID|NAME...", help="Ids or names that `list` shows.")],
    tokens: File = None,
) -> None:
    """Revoke tokens. A server that is running refuses them from the next request on."""
    store = _store(tokens)
    for key in keys:
        gone = store.revoke(key).principal
        print(f"revoked {gone.id} ({gone.name})")


def _store(path: Path | None) -> TokenStore:
    from mlret.serve.security.tokens import TokenStore, default_path

    return TokenStore(path or default_path())


def _role(name: str) -> Any:
    """Return a role, or raise an error that names those that exist."""
    from mlret.serve.security.principal import ROLES

    if name not in ROLES:
        raise InputError(f"--role is {name!r}; choose one of {', '.join(ROLES)}")
    return name


def _days_from_now(days: float) -> datetime:
    try:
        return datetime.now(UTC) + timedelta(days=days)
    except (OverflowError, ValueError) as error:
        raise InputError(f"--days {days:g} is too long; leave it out for a token that never ends") from error


def _described(token: StoredToken) -> dict[str, Any]:
    who = token.principal
    return {
        "id": who.id,
        "name": who.name,
        "role": who.role,
        "indexes": None if who.indexes is None else sorted(who.indexes),
        "memory": who.memory,
        "scope": dict(who.scope),
        "created": token.created.isoformat(timespec="seconds"),
        "expires": token.expires and token.expires.isoformat(timespec="seconds"),
        "ended": token.expired(datetime.now(UTC)),
    }
