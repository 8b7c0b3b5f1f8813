"""`mlret memory`: remember texts, find them from any language, change, forget and erase them."""

from __future__ import annotations

import typer

from mlret.cli import memory_reading, memory_upkeep, memory_writing

app = typer.Typer(no_args_is_help=True)
# `--help` lists the commands in this order.
app.command()(memory_writing.add)
app.command()(memory_reading.search)
app.command()(memory_reading.get)
app.command("list")(memory_reading.list_)
app.command()(memory_reading.profile)
app.command()(memory_reading.watch)
app.command()(memory_reading.history)
app.command()(memory_writing.update)
app.command()(memory_writing.link)
app.command()(memory_writing.merge)
app.command()(memory_writing.delete)
app.command()(memory_writing.restore)
app.command()(memory_writing.undo)
app.command()(memory_writing.erase)
app.command()(memory_writing.forget)
app.command()(memory_reading.events)
app.command("import")(memory_upkeep.import_)
app.command()(memory_upkeep.export)
app.command()(memory_upkeep.feedback)
app.command()(memory_upkeep.calibrate)
app.command()(memory_upkeep.verify)
app.command()(memory_upkeep.reembed)
