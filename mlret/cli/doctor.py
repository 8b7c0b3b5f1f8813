"""`mlret doctor`: versions, devices, and what is missing for which feature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from mlret.doctor import Findings


_UNITS = {"gib": "GiB", "mib": "MiB"}


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show versions, devices, and what is missing for which feature. Exit code 1 if something needed is broken."""
    from mlret.doctor import examine

    found = examine()
    if json_:
        print(json.dumps(found.to_dict(), ensure_ascii=False, indent=1))
    else:
        _show(found)
    raise typer.Exit(0 if found.ok else 1)


def _show(found: Findings) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    console.print(_facts("versions", found.versions))
    for title in ("machine", "torch", "precision", "faiss", "sqlite", "encoder"):
        console.print(_facts(title, getattr(found, title)))
    console.print(_extras(found))
    for problem in found.problems:
        console.print(f"[bold red]✗[/] {escape(problem)}")
    if found.ok:
        console.print("[bold green]✓[/] what mlret needs is here and works")


def _facts(title: str, facts: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items() or {"": "not available"}.items():
        table.add_row(_label(name), Text(_text(value)))
    return table


def _label(name: str) -> str:
    words = name.split("_")
    return " ".join(_UNITS.get(word, word) for word in words)


def _text(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _extras(found: Findings) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="extras", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("extra", no_wrap=True)
    table.add_column("what it is for")
    table.add_column("here", overflow="fold")
    for extra in found.extras:
        state = Text("installed", style="green")
        if extra.missing:
            state = Text(f"{', '.join(extra.missing)}: {extra.install}", style="yellow")
        table.add_row(extra.name, extra.feature, state)
    return table
