"""Word the messages of the Python interface for the command line.

A message names an argument of the function that was called as `` `name=value` ``, and a function that helps as
`` `Index.update` ``. On the command line these are options and commands.
"""

from __future__ import annotations

import re

_ARGUMENT = re.compile(r"`([a-z][a-z_]*)=([^`]*)`")
_CALL = re.compile(r"`((?:Index|Memory)\.[a-z_]+|[a-z_]+)\(?\)?`")
# Arguments whose option has another name.
_OPTIONS = {"encoder": "--model", "pictures": "--plots", "zone": "--timezone"}
_CALLS = {
    "Index.add": "mlret index add",
    "Index.update": "mlret index update",
    "Index.open": "mlret search",
    "Memory.open": "mlret memory",
    "build_index": "mlret index build",
    "extend_index": "mlret index add",
}


def for_command_line(message: str) -> str:
    """Return a message with options and commands in the place of arguments and functions.

    Parameters
    ----------
    message
        The message of an error or a warning.

    Returns
    -------
    str
        The message, in which `` `skip_existing=True` `` is ``--skip-existing``, `` `max_line=…` `` is ``--max-line``,
        `` `mode="dense"` `` is ``--mode dense`` and `` `Index.update` `` is `` `mlret index update` ``.

    Examples
    --------
    >>> for_command_line("skip them (`ignore_missing=True`), or name an encoder with `encoder=…`")
    'skip them (--ignore-missing), or name an encoder with --model'
    """
    message = _ARGUMENT.sub(lambda found: _option(found[1], found[2]), message)
    return _CALL.sub(lambda found: f"`{_CALLS[found[1]]}`" if found[1] in _CALLS else found[0], message)


def _option(name: str, value: str) -> str:
    value = value.strip('"')
    if name == "existing":
        return f"--{value}-existing"
    option = _OPTIONS.get(name, "--" + name.replace("_", "-"))
    if value == "False":
        return option.replace("--", "--no-", 1)
    return option if value in ("True", "…") else f"{option} {value}"
