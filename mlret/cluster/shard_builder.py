"""Builds shards, each by one process at a time, and hands back counts and checksums alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlret.cluster.answers import Rows, answered
from mlret.cluster.codec_sampling import begin_with_codec
from mlret.cluster.division import ShardCorpus
from mlret.cluster.job import Job
from mlret.cluster.storage import Storage
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import AlreadyExists, Locked, MlretWarning
from mlret.index.build import BuildReport, build_index
from mlret.index.hits import Updated
from mlret.index.index import Index
from mlret.index.sharding.shards_manifest import ShardInfo, contents_of, shard_name
from mlret.index.storage.manifest import has_manifest, read_manifest

# The process that built a shard may live on for a while after its node was lost, and holds the lock of its folder.
_LOCKED_SECONDS = 120.0
_LOCKED_PAUSE = 1.0


class ShardBuilder:
    """An actor that builds shards, one after the other; Ray Data gives it their numbers.

    Parameters
    ----------
    job
        The build.
    tally
        The actor that counts what was done; see :class:`mlret.cluster.tally.Tally`.
    """

    def __init__(self, job: Job, tally: Any) -> None:
        os.environ["OMP_NUM_THREADS"] = str(job.threads)
        self._job, self._tally = job, tally
        self._encoder: AnyEncoder | None = None

    def __call__(self, batch: dict[str, Any]) -> Rows:
        """Build a shard, whose number is ``"shard"``, and answer with its number."""
        [number] = map(int, batch["shard"])
        return answered(lambda: self.build(number)["shard"])

    def build(self, number: int) -> dict[str, Any]:
        """Build a shard, or return what is known of it if it was built before.

        Parameters
        ----------
        number
            The number of the shard.

        Returns
        -------
        dict
            The number of documents that were added, replaced and skipped, the content of the shard for the manifest,
            and warnings.
        """
        from threadpoolctl import threadpool_limits

        self._job.enter()
        storage = self._job.storage
        if storage.exists(report_name(number)):  # It was built before this process was asked again.
            return dict(storage.read(report_name(number)))
        with threadpool_limits(self._job.threads), warnings.catch_warnings(record=True) as issued:
            warnings.simplefilter("always", MlretWarning)
            report = self._built(number) if self._job.in_place else self._built_elsewhere(number)
        report["warnings"] = [str(one.message) for one in issued if issubclass(one.category, MlretWarning)]
        storage.write(report_name(number), report)
        return report

    def _built_elsewhere(self, number: int) -> dict[str, Any]:
        """Build a shard on the disk of this node, and copy it to its place."""
        name = hashlib.sha256(f"{self._job.place}\n{number}".encode()).hexdigest()[:16]
        # The same name each time, so that a build that stopped resumes on this node where it was.
        scratch = Path(tempfile.gettempdir()) / f"mlret-shard-{name}"
        scratch.mkdir(exist_ok=True)
        report = self._built(number, scratch)
        Storage(self._job.place).upload(scratch / shard_name(number), shard_name(number))
        shutil.rmtree(scratch)
        return report

    def _built(self, number: int, scratch: Path | None = None) -> dict[str, Any]:
        """Build a shard, and return its report."""
        path = (scratch or Path(self._job.building)) / shard_name(number)
        start = time.monotonic()
        done, kinds = Updated(), []
        while not has_manifest(path):
            try:
                built = self._build(number, path)
                done, kinds = built.documents, [choice._asdict() for choice in built.kinds]
            except AlreadyExists:
                if not has_manifest(path):  # Otherwise a process that was taken for lost has finished it.
                    raise
            except Locked:
                if time.monotonic() - start > _LOCKED_SECONDS:
                    raise
                time.sleep(_LOCKED_PAUSE)
        with Index.open(path, self._encoder) as index:
            summary = asdict(index.info())
        manifest = read_manifest(path)
        info = ShardInfo(folder=path.name, identity=manifest.identity, contents=contents_of(path))
        return {
            "shard": number,
            "info": info.model_dump(),
            "manifest": manifest.model_dump(mode="json", include=_COMMON),
            "done": [done.added, done.replaced, done.skipped],
            "kinds": kinds,
            "summary": summary,
            "seconds": round(time.monotonic() - start, 3),
        }

    def _build(self, number: int, path: Path) -> BuildReport:
        job = self._job
        if self._encoder is None:
            self._encoder = job.load_encoder()
        corpus = ShardCorpus(job.storage, number, job.parts)
        begin_with_codec(job, path, self._encoder)
        self._tally.begin.remote(number)
        with tempfile.TemporaryDirectory(prefix="mlret-vectors-") as folder:
            vectors = None if job.vectors is None else job.load_vectors(corpus.places(), Path(folder))
            return build_index(
                path,
                corpus,
                self._encoder,
                settings=job.settings,
                vectors=vectors,
                batch_size=job.batch_size,
                progress=lambda done, _: self._tally.add.remote(number, done.added, done.replaced, done.skipped),
            )


# What the manifest of the shards states of all of them.
_COMMON = {"identity", "encoder", "fingerprint", "dims", "similarity", "settings", "kind"}


def report_name(number: int) -> str:
    """Return the name of the file that says that a shard is complete."""
    return f"{shard_name(number)}.json"
