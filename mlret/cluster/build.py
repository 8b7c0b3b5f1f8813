"""Build an index in shards by the processes of a cluster of Ray."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlret
from mlret.cluster.answers import Rows, answered, answers
from mlret.cluster.codec_sampling import make_codec
from mlret.cluster.connection import connected
from mlret.cluster.division import Division, divide
from mlret.cluster.job import WORK, Job
from mlret.cluster.shard_builder import ShardBuilder, report_name
from mlret.cluster.storage import Storage, is_url
from mlret.cluster.tally import Tally
from mlret.data.columns import Columns
from mlret.data.corpus import Corpus
from mlret.data.durable import fsync_folder
from mlret.data.files import LONGEST_LINE
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.precision import Precision, check_precision
from mlret.errors import AlreadyExists, InputError, MlretError, MlretWarning, warn
from mlret.index.build import BuildReport, Progress
from mlret.index.hits import IndexInfo, Unread, Updated
from mlret.index.settings import Choice, IndexSettings, check_settings
from mlret.index.sharding.merged_info import merged_info
from mlret.index.sharding.shards_manifest import ShardInfo, ShardsManifest, check_shards, shard_name, write_shards
from mlret.index.storage.manifest import SHARDS, has_manifest, new_identity
from mlret.index.store.new_folder import beside, check_name, check_vacant
from mlret.index.vectors.pairing import check_counts
from mlret.index.vectors.vector_files import load_vectors

# Bytes of files from which on a part of the corpus takes no more of them. One process divides a part.
_PART = 64 << 20
_PLAN = "plan.json"
# Seconds between two looks at what the actors have done.
_PAUSE = 0.5


def build_on_ray(
    path: str | Path,
    sources: Sequence[str | Path],
    encoder: ExternalEncoder | str | Path | None = None,
    *,
    address: str,
    shards: int,
    settings: IndexSettings | None = None,
    precision: Precision = "auto",
    vectors: Path | None = None,
    lengths: Path | None = None,
    batch_size: int = 256,
    max_line: int = LONGEST_LINE,
    columns: Columns | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build a new index in shards by several processes, which may be on several machines.

    Each document belongs to the shard that its id determines. The texts are first divided by shard, which finds
    malformed input before anything is encoded. Then actors encode, each one shard at a time, which they write as an
    ordinary index; only counts and checksums come back. A process that is lost is replaced, and the shard that it was
    building is resumed or begun again; what was written is recognised by its id. A build that was stopped resumes when
    it is called again: files that are divided and shards that are complete are kept.

    Parameters
    ----------
    path
        The folder to create, which all nodes share under this path; or a URL of fsspec, such as
        ``s3://bucket/news.index``: each shard is then built on the disk of its node and copied, and
        :func:`mlret.cluster.copying.download_index` makes a folder of it that can be searched.
    sources, settings, precision, batch_size, max_line, columns, progress
        As for :func:`mlret.index.build.build_index`. All nodes find the files under the same paths.
    encoder
        As there, but no loaded encoder: its folder or its hub id, which all nodes find; or the placeholder of one that
        mlret does not run.
    address
        The cluster; see :func:`mlret.cluster.connection.connected`.
    shards
        The number of shards. At most this many actors work at once; with fewer shards than processors, each has
        several threads.
    vectors, lengths
        Files of given vectors; see :func:`mlret.index.vectors.vector_files.load_vectors`.

    Returns
    -------
    BuildReport
        What was stored.

    Raises
    ------
    InputError
        As for :func:`mlret.index.build.build_index`.
    Unavailable
        If the cluster cannot be reached.
    MlretError
        If an actor failed for another reason.
    """
    start = time.perf_counter()
    check_precision(precision)
    check_shards(shards)
    corpus = Corpus(sources, max_line=max_line, columns=columns)
    parts = corpus.divided(_PART)
    place, building = _places(path)
    loaded: AnyEncoder = (
        encoder if isinstance(encoder, ExternalEncoder) else load_any_encoder(encoder, precision=precision)
    )
    settings = settings or IndexSettings()
    check_settings(settings, loaded.similarity)
    job = Job(
        place=place,
        building=building,
        shards=shards,
        parts=len(parts),
        encoder=encoder if isinstance(encoder, ExternalEncoder) else None if encoder is None else str(encoder),
        precision=precision,
        fingerprint=loaded.fingerprint,
        settings=settings,
        batch_size=batch_size,
        vectors=None if vectors is None else vectors.absolute(),
        lengths=None if lengths is None else lengths.absolute(),
        threads=1,
        folder=str(Path.cwd()),
        version=mlret.__version__,
    )
    with connected(address, feature="building an index by Ray") as ray, _quiet():
        _begin(job)
        divisions = _divided(ray, job, parts)
        total = sum(division.documents for division in divisions)
        unread = [name for division in divisions for name in division.unread]
        if not total:
            raise InputError(f"none of the {len(unread)} files can be read; see the warnings")
        if vectors is not None:
            check_counts(len(load_vectors(vectors, lengths)), total)
        workers = _workers(ray, shards, gpu=loaded.runtime == "torch" and vectors is None)
        job = replace(job, threads=workers.threads)
        if loaded.similarity == "maxsim":
            _make_codec(ray, job, workers, total)
        reports = _built(ray, job, workers, total, progress)
        _finish(job, reports)
    done = Updated(*(sum(report["done"][place] for report in reports) for place in range(3)))
    summaries = [
        IndexInfo(**report["summary"] | {"unread": Unread(**report["summary"]["unread"])}) for report in reports
    ]
    kinds = [Choice(**choice) for report in reports for choice in report["kinds"]]
    for message in dict.fromkeys(message for report in reports for message in report["warnings"]):
        warn(message, MlretWarning)
    blank = sum(division.blank for division in divisions)
    index = merged_info(Path(place) if job.in_place else place, summaries)  # type: ignore[arg-type]
    return BuildReport(done, blank, time.perf_counter() - start, kinds, index, unread)


def _places(path: str | Path) -> tuple[str, str]:
    """Return where an index is to be, and where it is built, after checking that nothing is there.

    Raises
    ------
    InputError
        If there is something.
    """
    if is_url(str(path)):
        storage = Storage(str(path))
        if storage.exists(SHARDS):
            raise AlreadyExists(f"{path} is an index already: name another place, or remove it first")
        return str(path).rstrip("/"), str(path).rstrip("/") + ".building"
    folder = Path(path)
    if has_manifest(folder):
        raise AlreadyExists(f"{path} is an index already: add to it, name another folder, or remove it first")
    check_name(folder)
    check_vacant(folder)
    return str(folder.absolute()), str(beside(folder, "building"))


def _begin(job: Job) -> None:
    """Begin a build, or check that the one that was begun is the same.

    Raises
    ------
    InputError
        If it has another encoder, other settings or another number of shards.
    """
    plan = {
        "shards": job.shards,
        "fingerprint": job.fingerprint,
        "settings": job.settings.model_dump(mode="json"),
        "vectors": [_state(path) for path in (job.vectors, job.lengths)],
    }
    storage = job.storage
    if not storage.exists(_PLAN):
        if job.in_place and Path(job.building).exists() and any(Path(job.building).iterdir()):
            raise InputError(
                f"a build without Ray was begun here: name another folder, or remove {job.building} to start again"
            )
        storage.make()
        storage.write(_PLAN, plan)
        return
    begun = storage.read(_PLAN)
    names = {"shards": "another number of shards", "fingerprint": "another encoder", "settings": "other settings"}
    for key, value in plan.items():
        if begun.get(key) != value:
            raise InputError(
                f"a build with {names.get(key, 'other vectors')} was begun here: name another folder, or remove "
                f"{job.building} to start again"
            )


def _state(path: Path | None) -> list[Any] | None:
    return None if path is None else [str(path), path.stat().st_size, path.stat().st_mtime_ns]


def _divided(ray: Any, job: Job, parts: Sequence[Corpus]) -> list[Division]:
    """Divide the parts of the corpus that are not divided yet, or have changed since."""
    storage = job.storage
    divisions = {number: Division.read(storage, number) for number in range(len(parts))}
    missing = [
        number
        for number, part in enumerate(parts)
        if (known := divisions[number]) is None or known.sources != part.states()
    ]
    if missing:
        _reopen(job, changed=any(divisions[number] is not None for number in missing))
        items = ray.data.from_items([{"part": number} for number in missing], override_num_blocks=len(missing))
        work = partial(_divide_parts, job=job, parts=ray.put(list(parts)))
        # The texts of a part are never in memory as a whole, nor in Ray's object store.
        for unread in answers(items.map_batches(work, batch_size=1, num_cpus=1)):
            for name in unread:
                warn(f"{name} cannot be read (skipped)", MlretWarning)
    found = [Division.read(storage, number) for number in range(len(parts))]
    return [division for division in found if division is not None]


def _reopen(job: Job, *, changed: bool) -> None:
    """Let complete shards be compared with the files once more, if files have changed since they were built."""
    storage = job.storage
    for number in range(job.shards):
        if changed and storage.exists(report_name(number)):
            storage.remove(report_name(number))
        path = Path(job.building, shard_name(number))
        if changed and job.in_place and has_manifest(path):
            path.replace(beside(path, "building"))


def _divide_parts(batch: dict[str, Any], job: Job, parts: Any) -> Rows:
    """Divide a part of the corpus, in a process of Ray, and answer with the files that cannot be read."""
    import ray

    [number] = map(int, batch["part"])

    def unread() -> list[str]:
        job.enter()
        every: list[Corpus] = ray.get(parts)
        return divide(every[number], job.shards, job.storage, number).unread

    return answered(unread)


@dataclass(frozen=True)
class _Workers:
    """How many actors build, and the processors and the share of a GPU that each has."""

    count: int
    threads: int
    gpus: int


def _workers(ray: Any, shards: int, *, gpu: bool) -> _Workers:
    """Decide how many actors build: as many as there are shards or processors; further processors are their threads."""
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    nodes = [processors for processors in nodes if processors]
    if not nodes:
        raise MlretError("no node of the cluster has a processor")
    gpus = int(ray.cluster_resources().get("GPU", 0)) if gpu else 0
    if gpus:
        return _Workers(min(shards, gpus), max(1, min(nodes) // gpus), 1)
    threads = max(1, min(min(nodes), sum(nodes) // shards))
    return _Workers(min(shards, sum(processors // threads for processors in nodes)), threads, 0)


def _make_codec(ray: Any, job: Job, workers: _Workers, total: int) -> None:
    """Let one process train the codec that all shards share."""
    items = ray.data.from_items([{"documents": total}], override_num_blocks=1)
    work = partial(_make_codec_of, job=job)
    for _ in answers(items.map_batches(work, batch_size=1, num_cpus=workers.threads, num_gpus=workers.gpus)):
        pass


def _make_codec_of(batch: dict[str, Any], job: Job) -> Rows:
    from threadpoolctl import threadpool_limits

    [total] = map(int, batch["documents"])

    def made() -> None:
        job.enter()
        with threadpool_limits(job.threads):
            make_codec(job, total)

    return answered(made)


def _built(ray: Any, job: Job, workers: _Workers, total: int, progress: Progress | None) -> list[dict[str, Any]]:
    """Build the shards that are not complete, and return the reports of all."""
    storage = job.storage
    missing = [number for number in range(job.shards) if not storage.exists(report_name(number))]
    if missing:
        known = sum(sum(storage.read(report_name(n))["done"]) for n in range(job.shards) if n not in missing)
        # On this node, so that it is not lost before the process that asks it.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        # Its process may be killed where memory is short; what it has counted so far is lost, and nothing else.
        tally = ray.remote(Tally).options(num_cpus=0, scheduling_strategy=here, max_restarts=-1).remote()
        items = ray.data.from_items([{"shard": number} for number in missing], override_num_blocks=len(missing))
        count = min(workers.count, len(missing))
        # All actors are started at once, but the loss of some does not stop the others. None takes a second shard
        # while another has nothing to do.
        pool = ray.data.ActorPoolStrategy(
            min_size=1, initial_size=count, max_size=count, max_tasks_in_flight_per_actor=1
        )
        built = items.map_batches(
            ShardBuilder,
            fn_constructor_kwargs={"job": job, "tally": tally},
            batch_size=1,
            compute=pool,
            num_cpus=workers.threads,
            num_gpus=workers.gpus,
        )

        def stored() -> list[int]:
            return [
                sum(counts) for counts in zip(*(storage.read(report_name(n))["done"] for n in missing), strict=True)
            ]

        with _watched(ray, tally, known, total, progress, stored):
            for _ in answers(built):
                pass
    return [storage.read(report_name(number)) for number in range(job.shards)]


@contextmanager
def _watched(
    ray: Any, tally: Any, known: int, total: int, progress: Progress | None, stored: Callable[[], list[int]]
) -> Iterator[None]:
    """Report what actors have done, while the body waits for them, and at the end what they have stored."""
    if progress is None:
        yield
        return
    reported = [0, 0, 0]
    ended = threading.Event()

    def report(counts: Sequence[int]) -> None:
        nonlocal reported
        # A shard that was begun again is counted from zero.
        done = Updated(*(max(0, new - old) for new, old in zip(counts, reported, strict=True)))
        reported = [max(new, old) for new, old in zip(counts, reported, strict=True)]
        progress(done, (known + sum(reported)) / total)

    def watch() -> None:
        while not ended.wait(_PAUSE):
            with suppress(Exception):  # Ray was shut down meanwhile, or the actor that counts is being restarted.
                report(ray.get(tally.totals.remote()))

    watching = threading.Thread(target=watch, name="mlret-progress", daemon=True)
    watching.start()
    try:
        yield
        ended.set()
        watching.join()
        report(stored())
    finally:
        ended.set()


def _finish(job: Job, reports: Sequence[dict[str, Any]]) -> None:
    """Write the manifest of the shards, and move the index to its place."""
    common = {key: value for key, value in reports[0]["manifest"].items() if key != "identity"}
    manifest = ShardsManifest(
        identity=new_identity(), shards=tuple(ShardInfo(**report["info"]) for report in reports), **common
    )
    if not job.in_place:
        with tempfile.TemporaryDirectory(prefix="mlret-manifest-") as folder:
            write_shards(Path(folder), manifest)
            Storage(job.place).upload(Path(folder), "")
        Storage(job.building).remove()
        return
    building, path = Path(job.building), Path(job.place)
    write_shards(building, manifest)
    try:
        building.replace(path)
    except OSError as error:  # Another process has created the folder in the meantime.
        raise MlretError(f"{path} cannot be made ({error.strerror}); what was stored is in {building}") from error
    fsync_folder(path.parent)
    shutil.rmtree(path / WORK)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data from printing its plan and its own progress."""
    from ray.data import DataContext

    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, context.print_on_execution_start, logger.level
    context.enable_progress_bars = context.print_on_execution_start = False
    logger.setLevel(logging.ERROR)
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = before[:2]
        logger.setLevel(before[2])
