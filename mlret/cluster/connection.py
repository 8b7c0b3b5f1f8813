"""The connection to Ray: a cluster of this machine alone, or one that runs already."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlret.errors import InputError, MlretError, Unavailable, first_line, require

LOCAL = "local"
# Seconds after which an address that does not answer counts as unreachable. Ray itself would try for minutes.
_SECONDS = 5.0
# What passes between processes is texts, counts and hits; vectors and indexes stay on disk.
_OBJECT_STORE = 256 << 20


@contextmanager
def connected(address: str, *, feature: str, processors: int | None = None) -> Iterator[Any]:
    """Connect to Ray, and disconnect at the end; a cluster that was started here is then stopped.

    A program that is connected to Ray already stays connected.

    Parameters
    ----------
    address
        ``"local"`` starts Ray on this machine; ``"auto"`` uses the cluster of which this machine is a node;
        ``"HOST:PORT"`` is the address of such a cluster's head.
    feature
        What Ray is needed for, in the user's words.
    processors
        Number of processors of a cluster that is started here; by default all of the machine.

    Yields
    ------
    module
        The module ``ray``.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    InputError
        If the address is malformed.
    Unavailable
        If no cluster answers there.
    """
    host = _host_of(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray", feature=feature)
    if ray.is_initialized():
        yield ray
        return
    if host is not None:
        _check_reachable(*host)
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == LOCAL:
            local = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
            ray.init(address=LOCAL, num_cpus=processors, **local, **common)
        else:
            ray.init(address=address, **common)
    except Exception as error:  # Ray raises various classes, Exception itself among them.
        what = "Ray does not start on this machine" if address == LOCAL else "no cluster of Ray answers"
        raise Unavailable(f"--ray {address}: {what} ({first_line(error)})") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _host_of(address: str) -> tuple[str, int] | None:
    """Return host and port of an address; ``None`` if it names a cluster of this machine."""
    if address in (LOCAL, "auto"):
        return None
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or "/" in host:
        raise InputError(
            f"--ray {address!r} is not an address: give local, auto, or HOST:PORT of the head of a cluster that this "
            "machine belongs to"
        )
    return host, int(port)


def _check_reachable(host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(
            f"--ray {host}:{port}: nothing answers there ({reason}); start a cluster with `ray start --head`, or name "
            "the address that it printed"
        ) from error


def cause_of(error: BaseException) -> MlretError | None:
    """Return the error of mlret's own that a task or an actor of Ray raised; ``None`` if it raised another one.

    Ray raises an error of its own class at the caller, which wraps that of the task, sometimes several times.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, MlretError) and not hasattr(found, "as_instanceof_cause"):
            return found
        found = getattr(found, "cause", None) or found.__cause__ or found.__context__
    return None


def node_address() -> str:
    """Return the address by which Ray knows the node of this process."""
    import ray

    address: str = ray.util.get_node_ip_address()
    return address


def shared_path(path: str | Path) -> Path:
    """Return the absolute path of a file or folder that every node of a cluster reaches under the same name."""
    return Path(path).absolute()
