"""Groups of commands whose modules are imported when a command is used, so that ``mlret --help`` is fast."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping


class Lazy(NamedTuple):
    """Where a command is, and the line that lists it.

    Attributes
    ----------
    place
        ``"module:name"``, where ``name`` is the function of a command or the Typer app of a group.
    summary
        The first line of its help; for a group, all of it.
    """

    place: str
    summary: str


class LazyGroup(TyperGroup):
    """A group of commands; the subclass states in ``lazy`` where each is. Its help lists them without importing them.

    Attributes
    ----------
    lazy
        Name -> the command, in the order of the help.
    """

    lazy: ClassVar[Mapping[str, Lazy]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, command in self.lazy.items():
            self.add_command(_Unloaded(name=name, help=command.summary, callback=None))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name, imported if it was not yet; ``None`` if there is none."""
        command = super().get_command(ctx, cmd_name)
        if isinstance(command, _Unloaded):
            command = self.commands[cmd_name] = loaded(cmd_name, self.lazy[cmd_name])
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help of the group, which states the name and the summary of each command.

        It looks like Typer's, whose own function imports three times as much, for the Markdown that this text is not.
        """
        from rich import box
        from rich.console import Console
        from rich.padding import Padding
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        def panel(title: str, rows: list[tuple[str, str]]) -> Panel:
            table = Table(box=box.SIMPLE, show_header=False, show_edge=False, padding=(0, 1), pad_edge=False)
            table.add_column(style="bold cyan", no_wrap=True, width=max(len(name) for name, _ in rows))
            table.add_column()
            for name, text in rows:
                table.add_row(name, Text(text))
            return Panel(table, title=title, title_align="left", border_style="dim")

        usage = f"{ctx.command_path} {' '.join(self.collect_usage_pieces(ctx))}"
        options = [record for option in self.get_params(ctx) if (record := option.get_help_record(ctx)) is not None]
        listed = [(name, command.help or "") for name, command in self.commands.items()]
        console = Console(highlight=False)
        console.print(Padding(Text.assemble(("Usage: ", "yellow"), (usage, "bold")), 1))
        console.print(Padding(Text(self.help or ""), (0, 1, 1, 1)))
        console.print(panel("Options", options))
        console.print(panel("Commands", listed))
        console.print(Padding(Text(self.epilog or ""), 1))


class _Unloaded(TyperCommand):
    """Stands for a command in the list of commands until it is used."""


def loaded(name: str, command: Lazy) -> Any:
    """Import a command or a group of commands.

    Parameters
    ----------
    name
        The name that it is called by.
    command
        Where it is.
    """
    module, _, attribute = command.place.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name, group.help = name, command.summary
        return group
    app = typer.Typer(add_completion=False)
    app.command(name)(found)
    return typer.main.get_command(app)
