"""The shards of an index behind deployments of Ray Serve, as the router of searches asks them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlret.cluster.connection import cause_of
from mlret.cluster.replicas import Replicas
from mlret.cluster.shard_server import Answer, Call
from mlret.data.columns import Columns
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import Corrupt, InputError, MlretError, Unavailable, first_line
from mlret.index.ingest import Adding, Existing
from mlret.index.sharding.gathering import Answers, Shards
from mlret.index.sharding.shards_manifest import read_shards
from mlret.index.storage.manifest import Manifest

# Seconds for which a shard is asked again, if a replica was lost, before it counts as one that does not answer.
PATIENCE = 30.0
_PAUSE = 0.05


class ServedShards(Shards):
    """The shards of a folder, each behind a deployment. They can only be read.

    Every call only reads, so it is repeated on another replica if one is lost. A replica that has not seen the changes
    that this object knows of refreshes before it answers, so that what was written is seen whichever replica answers.
    The object has a connection of its own to a replica of each shard, and belongs to one thread.

    Parameters
    ----------
    folder
        The folder with ``shards.json``.
    handles
        The handle of each shard's deployment.
    encoder
        The encoder of the index.
    patience
        Seconds for which a shard may take to answer.
    """

    def __init__(
        self,
        folder: Path,
        handles: Sequence[Any],
        encoder: AnyEncoder | None = None,
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._stated = read_shards(folder)
        super().__init__(folder, tuple(info.folder for info in self._stated.shards), encoder)
        self._described = self._stated.described
        self._process = os.getpid()
        self._replicas = [Replicas(handle) for handle in handles]
        self._patience = patience
        self._changes = [0] * len(handles)

    @property
    def manifest(self) -> Manifest:
        return self._described

    def check_process(self) -> None:
        if os.getpid() != self._process:
            raise MlretError(
                f"{self.folder} was open in process {self._process} when this process was forked from it, and a fork "
                "cannot share connections: start processes by 'spawn' or 'forkserver' "
                "(multiprocessing.get_context), or close it before forking"
            )

    def ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> Answers:
        deadline = time.monotonic() + self._patience
        answers = Answers({}, {})
        waiting = dict(arguments)
        refused: InputError | None = None
        try:
            while waiting:
                for number, answer in self._asked(method, waiting, deadline).items():
                    del waiting[number]
                    if isinstance(answer, Answer):
                        answers.found[number] = answer.found
                        self._changes[number] = max(self._changes[number], answer.changes)
                    elif isinstance(answer, InputError) and not isinstance(answer, Corrupt):
                        refused = refused or answer
                    else:
                        answers.failed[number] = answer
                if refused is not None:
                    raise refused
                if waiting:
                    time.sleep(_PAUSE)
        finally:
            # An answer that was not received here must not be taken for that of a later call.
            for number in arguments:
                if self._replicas[number].waiting:
                    self._replicas[number].disconnect()
        return answers

    def _asked(
        self, method: str, arguments: Mapping[int, Sequence[Any]], deadline: float
    ) -> dict[int, Answer | MlretError]:
        """Ask a replica of each shard at the same time. Shards whose replica was lost are missing from the result."""
        replicas = self._replicas
        calls = {number: Call(method, tuple(some), self._changes[number]) for number, some in arguments.items()}
        steps: Sequence[Callable[[int], Answer | MlretError | None]] = (
            lambda number: replicas[number].seek(),
            lambda number: replicas[number].send(calls[number], deadline),
            lambda number: replicas[number].receive(deadline),
        )
        found: dict[int, Answer | MlretError] = {}
        lost: set[int] = set()
        for step in steps:
            for number in calls:
                if number in found or number in lost:
                    continue
                try:
                    answer = step(number)
                except Exception as error:  # Ray raises various classes.
                    replicas[number].disconnect()
                    answer = self._failure(error, deadline)
                    if answer is None:
                        lost.add(number)
                if answer is not None:
                    found[number] = answer
        return found

    def _failure(self, error: Exception, deadline: float) -> MlretError | None:
        """Return what a shard failed with; ``None`` if a replica was lost and there is time to ask another one.

        Raises
        ------
        Exception
            The given one if it says nothing about replicas.
        """
        import ray
        from ray.serve.exceptions import RayServeException

        late = time.monotonic() >= deadline
        if isinstance(error, TimeoutError) and late:
            return Unavailable(f"no answer within {self._patience:g} seconds")
        if isinstance(error, (OSError, ray.exceptions.RayActorError, RayServeException)):
            return Unavailable(f"its replicas were lost ({first_line(error)})") if late else None
        if isinstance(error, ray.exceptions.RayError):
            return cause_of(error) or MlretError(first_line(error))
        raise error

    def refresh(self) -> None:
        """Let the shards look for changes; later answers know of them, whichever replica gives them."""
        self.every("refresh")

    def intake(self, existing: Existing, columns: Columns) -> Adding:
        """Raise: shards that are served are only read."""
        raise InputError(f"{self.folder} is served by replicas, which only read: write to the folder itself")

    def close(self) -> None:
        # Whoever has made the deployments removes them.
        for one in self._replicas:
            one.disconnect()
