"""Trains the token codec of a build before its shards are built, so that all of them code their tokens alike."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from mlret.cluster.division import ShardCorpus
from mlret.cluster.job import Job
from mlret.cluster.storage import temporary_name
from mlret.data.documents import Document
from mlret.encoders.multi_vector import AnyEncoder
from mlret.index.index import Index
from mlret.index.sharding.codec_of_shards import CodecOfShards
from mlret.index.store.new_folder import beside
from mlret.index.tokens import codec_training
from mlret.index.tokens.bits import WHOLE
from mlret.index.tokens.codec import TokenCodec, centroids_for
from mlret.index.tokens.codec_training import plan_codec, sample_of
from mlret.index.vectors.space import Vectors

CODEC = "codec.safetensors"
# Documents whose mean length decides how many are sampled.
_FIRST = 256
# Tokens of the sample for each centroid. All documents of the sample are encoded a second time: some three percent of
# them where there are ten million tokens.
_PER_CENTROID = 10
_BATCH = 256


def make_codec(job: Job, total: int) -> None:
    """Train the codec of a multi-vector build and store it with the work, if there will be enough tokens for one.

    Parameters
    ----------
    job
        The build, whose corpus is divided.
    total
        The number of documents.
    """
    storage = job.storage
    if storage.exists(CODEC) or job.settings.bits == WHOLE:
        return
    encoder = job.load_encoder()
    with tempfile.TemporaryDirectory(prefix="mlret-codec-") as folder:
        codec = _trained(job, encoder, total, Path(folder))
        if codec is None:
            return
        path = Path(folder) / CODEC
        codec.save(path)
        name = temporary_name(CODEC)
        with storage.open(name, "wb") as file:
            file.write(path.read_bytes())
        storage.rename(name, CODEC)


def begin_with_codec(job: Job, path: Path, encoder: AnyEncoder) -> None:
    """Begin the build of a shard with the codec of all shards, if there is one and the build was not begun.

    Parameters
    ----------
    job
        The build.
    path
        The folder of the shard.
    encoder
        The encoder.
    """
    building = beside(path, "building")
    if building.exists() or not job.storage.exists(CODEC):
        return
    with tempfile.TemporaryDirectory(prefix=".codec-", dir=path.parent) as folder:
        job.storage.download_file(CODEC, Path(folder) / CODEC)
        codec = TokenCodec.load(Path(folder) / CODEC)
        made = Path(folder) / "made"
        with Index.create(made, encoder, settings=job.settings) as index, index.store.writing():
            sealed = index.store.files.seal("codec.1.safetensors", codec.save)
            index.store.switch((), {"codec": sealed})
        made.replace(building)


def _trained(job: Job, encoder: AnyEncoder, total: int, folder: Path) -> TokenCodec | None:
    settings = job.settings
    first = _mean_tokens(job, encoder, _sampled(job, total, _FIRST), folder / "first")
    tokens = first * total
    # An estimate that is too low by a third trains no codec where one would be of use; the shards then share none.
    if tokens < codec_training.LEAST:
        return None
    wanted = _PER_CENTROID * centroids_for(int(tokens))
    documents = min(total, math.ceil(wanted / first))
    with Index.create(folder / "sample", encoder, settings=settings.model_copy(update={"bits": WHOLE})) as index:
        _fill(job, index, _sampled(job, total, documents), documents)
        _, count, stream = CodecOfShards(lambda: [index.store]).tokens(unsealed_only=False)
        expected = int(count / len(index) * total)
        dims = index.store.manifest.dims
        plan = plan_codec(settings, dims, max(expected, codec_training.LEAST), count, None)
        return plan.train(None, sample_of(stream, plan.sample, settings.seed, None, dims), settings)


def _mean_tokens(job: Job, encoder: AnyEncoder, documents: Iterator[tuple[Document, int]], path: Path) -> float:
    with Index.create(path, encoder, settings=job.settings.model_copy(update={"bits": WHOLE})) as index:
        _fill(job, index, documents, _FIRST)
        _, count, _ = CodecOfShards(lambda: [index.store]).tokens(unsealed_only=False)
        return max(1.0, count / max(1, len(index)))


def _fill(job: Job, index: Index, documents: Iterator[tuple[Document, int]], most: int) -> None:
    """Add up to ``most`` documents to an index, encoded or with their given vectors."""
    left = islice(documents, most)
    while batch := list(islice(left, _BATCH)):
        vectors: Vectors | None = None
        with tempfile.TemporaryDirectory(prefix="mlret-vectors-") as scratch:
            if job.vectors is not None:
                vectors = job.load_vectors(np.array([place for _, place in batch], dtype=np.int64), Path(scratch))
            index.update([document for document, _ in batch], vectors=vectors)


def _sampled(job: Job, total: int, wanted: int) -> Iterator[tuple[Document, int]]:
    """Yield about as many documents as are wanted, or more, and their places in the corpus.

    They are chosen by their ids, from as few shards as have enough: the documents of each are a random part of all.
    """
    share = min(1.0, 1.2 * (wanted + 4 * math.sqrt(wanted)) / total)
    shards = min(job.shards, math.ceil(share * job.shards))
    limit = int(share * job.shards / shards * 2**64)
    for number in range(shards):
        corpus = ShardCorpus(job.storage, number, job.parts)
        for document, place in zip(corpus, corpus.places().tolist(), strict=True):
            digest = hashlib.blake2b(document.id.encode("utf-8"), digest_size=8, salt=b"codec").digest()
            if int.from_bytes(digest, "little") < limit:
                yield document, place
