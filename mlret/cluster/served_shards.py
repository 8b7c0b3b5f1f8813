"""The shards of an index behind deployments of Ray Serve, as the router of searches asks them."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping, Sequence
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
# Seconds after which shards are asked that could not be asked yet.
_PAUSE = 0.01
# Seconds in which an answer is waited for before those of other shards are looked for.
_SOON = 0.05


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
        calls = {number: Call(method, tuple(some), self._changes[number]) for number, some in arguments.items()}
        try:
            found = _Asking(self._replicas, calls, self._patience).answers()
        finally:
            # An answer that was not received here must not be taken for that of a later call.
            for number in calls:
                if self._replicas[number].waiting:
                    self._replicas[number].disconnect()
        answers = Answers({}, {})
        refused: InputError | None = None
        for number, answer in found.items():
            if isinstance(answer, Answer):
                answers.found[number] = answer.found
                self._changes[number] = max(self._changes[number], answer.changes)
            elif isinstance(answer, InputError) and not isinstance(answer, Corrupt):
                refused = refused or answer
            else:
                answers.failed[number] = answer
        if refused is not None:
            raise refused
        return answers

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


class _Asking:
    """Asks a replica of each of several shards at the same time, and another one where a replica is lost.

    Parameters
    ----------
    replicas
        The replicas of each shard.
    calls
        Number of the shard -> what is asked.
    patience
        Seconds until a shard counts as one that does not answer.
    """

    def __init__(self, replicas: Sequence[Replicas], calls: Mapping[int, Call], patience: float) -> None:
        self._replicas, self._calls, self._patience = replicas, calls, patience
        self._deadline = time.monotonic() + patience
        self._found: dict[int, Answer | MlretError] = {}
        # Those that must be connected come last, so that the others work meanwhile.
        self._unsent = sorted(calls, key=lambda number: not replicas[number].connected)
        self._sent: dict[int, int] = {}  # The file descriptor of the connection -> the number of the shard.
        self._lost: dict[int, Exception] = {}
        self._poll = select.poll()

    def answers(self) -> dict[int, Answer | MlretError]:
        """Return the answer of each shard, or the error with which it failed."""
        while True:
            if self._unsent:
                self._send()
            if not self._unsent and not self._sent:
                return self._found
            left = max(0.0, self._deadline - time.monotonic())
            arrived = self._arrived(left)
            for descriptor in arrived:
                self._receive(descriptor)
            if not arrived and left == 0.0:
                for number in (*self._unsent, *self._sent.values()):
                    self._found[number] = self._unavailable(number)
                return self._found

    def _arrived(self, seconds: float) -> list[int]:
        """Wait for answers, and return the file descriptors where some arrived."""
        if not self._unsent:
            # Usually all answer soon, and waiting for one after another is quicker than for any of many.
            descriptor, number = next(iter(self._sent.items()))
            if self._replicas[number].answers(min(seconds, _SOON)):
                return [descriptor]
        wait = min(seconds, _PAUSE) if self._unsent else seconds
        return [descriptor for descriptor, _ in self._poll.poll(1000 * wait)]

    def _send(self) -> None:
        for number in tuple(self._unsent):
            try:
                descriptor = self._replicas[number].send(self._calls[number], self._deadline)
            except Exception as error:  # Ray raises various classes.
                self._note(number, error)
                continue
            if descriptor is not None:
                self._unsent.remove(number)
                self._lost.pop(number, None)
                self._sent[descriptor] = number
                self._poll.register(descriptor, select.POLLIN)

    def _receive(self, descriptor: int) -> None:
        number = self._sent.pop(descriptor)
        self._poll.unregister(descriptor)
        try:
            self._found[number] = self._replicas[number].receive(self._deadline)
        except Exception as error:
            self._unsent.append(number)
            self._note(number, error)

    def _note(self, number: int, error: Exception) -> None:
        """Note why a shard must be asked again, or that it failed; raise what says nothing about replicas."""
        import ray
        from ray.serve.exceptions import RayServeException

        self._replicas[number].disconnect()
        if isinstance(error, (OSError, ray.exceptions.RayActorError, RayServeException)):
            self._lost[number] = error
        elif isinstance(error, ray.exceptions.RayError):
            self._unsent.remove(number)
            self._found[number] = cause_of(error) or MlretError(first_line(error))
        else:
            raise error

    def _unavailable(self, number: int) -> Unavailable:
        lost = self._lost.get(number)
        if lost is None or isinstance(lost, TimeoutError):
            return Unavailable(f"no answer within {self._patience:g} seconds")
        return Unavailable(f"its replicas were lost ({first_line(lost)})")
