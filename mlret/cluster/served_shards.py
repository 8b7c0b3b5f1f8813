"""The shards of an index behind deployments of Ray Serve, as the router of searches asks them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlret.cluster.connection import cause_of
from mlret.cluster.shard_server import Answer
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
        self._handles = handles
        self._patience = patience
        self._changes = [0] * len(handles)

    @property
    def manifest(self) -> Manifest:
        return self._described

    def ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> Answers:
        deadline = time.monotonic() + self._patience
        answers = Answers({}, {})
        waiting = dict(arguments)
        while waiting:
            sent = {number: self._sent(number, method, some) for number, some in waiting.items()}
            for number, response in sent.items():
                try:
                    answer = self._received(response, deadline)
                except InputError as error:
                    if not isinstance(error, Corrupt):
                        raise
                    answers.failed[number] = error
                except MlretError as error:
                    answers.failed[number] = error
                else:
                    if answer is None:
                        continue  # Its replica was lost; another one is asked.
                    answers.found[number] = answer.found
                    self._changes[number] = max(self._changes[number], answer.changes)
                del waiting[number]
            if waiting:
                time.sleep(_PAUSE)
        return answers

    def _sent(self, number: int, method: str, arguments: Sequence[Any]) -> Any:
        return self._handles[number].ask.remote(method, tuple(arguments), self._changes[number])

    def _received(self, response: Any, deadline: float) -> Answer | None:
        """Return the answer of a replica; ``None`` if the replica was lost, and another one is to be asked."""
        import ray
        from ray.serve.exceptions import RayServeException

        try:
            answer: Answer = response.result(timeout_s=max(0.0, deadline - time.monotonic()))
            return answer
        except (ray.exceptions.RayActorError, RayServeException) as error:
            if time.monotonic() < deadline:
                return None
            raise Unavailable(f"its replicas were lost ({first_line(error)})") from error
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._patience:g} seconds") from error
        except ray.exceptions.RayError as error:
            own = cause_of(error)
            raise own or MlretError(first_line(error)) from error

    def refresh(self) -> None:
        """Let the shards look for changes; later answers know of them, whichever replica gives them."""
        self.every("refresh")

    def intake(self, existing: Existing, columns: Columns) -> Adding:
        """Raise: shards that are served are only read."""
        raise InputError(f"{self.folder} is served by replicas, which only read: write to the folder itself")

    def close(self) -> None:
        """Do nothing: whoever has made the deployments removes them."""
