"""Put the shards of indexes behind deployments of Ray Serve, each with replicas."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from mlret.cluster.connection import cause_of, connected
from mlret.cluster.served_shards import PATIENCE, ServedShards
from mlret.cluster.shard_server import ShardServer
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import MlretError, first_line
from mlret.index.index import Index
from mlret.index.sharding.shards_manifest import has_shards, read_shards

Opened = Callable[[AnyEncoder | None], Index]

# A part of the processors remains for the server, which encodes queries and merges.
_SHARE = 0.8


@contextmanager
def served_on_ray(
    folders: Sequence[Path], *, address: str, replicas: int = 1, patience: float = PATIENCE
) -> Iterator[Mapping[Path, Opened]]:
    """Put each shard of some indexes behind a deployment, until the end of the block.

    Parameters
    ----------
    folders
        The folders of indexes, which all nodes share under these paths. One that is not divided into shards is not
        deployed.
    address
        The cluster; see :func:`mlret.cluster.connection.connected`.
    replicas
        The number of replicas of each shard.
    patience
        Seconds for which a shard may take to answer a call.

    Yields
    ------
    dict
        Folder -> a function that returns the index for reading, given its encoder. Each thread needs one of its own.

    Raises
    ------
    MlretError
        If a shard cannot be opened on its node.

    Examples
    --------
    ::

        with served_on_ray([folder], address="local", replicas=2) as served, served[folder](None) as index:
            hits = index.search("the train is late")
    """
    divided = [folder for folder in folders if has_shards(folder)]
    with connected(address, feature="serving shards by Ray") as ray:
        from ray import serve

        mark = secrets.token_hex(4)
        names: list[str] = []
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR", "enable_access_log": False})
            shards = sum(len(read_shards(folder).shards) for folder in divided)
            processors = _SHARE * ray.cluster_resources().get("CPU", 1.0) / max(1, shards * replicas)
            # Fractions of a processor are a matter of bookkeeping: they let replicas share one.
            options = {"num_cpus": min(1.0, int(processors * 1000) / 1000)}
            handles = {}
            for number, folder in enumerate(divided):
                prefix = f"mlret-{mark}-{number}"
                handles[folder] = _deployed(folder, prefix, replicas, options, names)
            yield {folder: partial(_opened, folder, handles[folder], patience) for folder in divided}
        finally:
            for name in names:
                with suppress(Exception):  # The cluster may be gone.
                    serve.delete(name, _blocking=False)
            if address == "local":
                with suppress(Exception):
                    serve.shutdown()


def _opened(folder: Path, handles: Sequence[Any], patience: float, encoder: AnyEncoder | None) -> Index:
    return Index(ServedShards(folder, handles, encoder, patience=patience), encoder)


def _deployed(folder: Path, prefix: str, replicas: int, options: dict[str, Any], names: list[str]) -> list[Any]:
    """Deploy the shards of an index, and return the handle of each."""
    from ray import serve

    deployment = serve.deployment(
        num_replicas=replicas,
        ray_actor_options=options,
        health_check_period_s=5,
        graceful_shutdown_timeout_s=5,
    )(ShardServer)
    targets = []
    for info in read_shards(folder).shards:
        bound = deployment.bind(str((folder / info.folder).absolute()), info.identity, 1)
        targets.append(serve.RunTarget(bound, name=f"{prefix}-{info.folder}", route_prefix=None))
    names += [target.name for target in targets]
    try:
        return list(serve.run_many(targets))
    except Exception as error:
        own = cause_of(error)
        raise own or MlretError(f"{folder}: its shards cannot be served ({first_line(error)})") from error
