"""The shards that several processes build code their tokens by one codec, which is trained before."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlret
from mlret.cluster.codec_sampling import CODEC, make_codec
from mlret.cluster.division import divide
from mlret.cluster.job import WORK, Job
from mlret.cluster.shard_builder import ShardBuilder
from mlret.data.corpus import Corpus
from mlret.encoders.multi_vector import AnyEncoder
from mlret.index.settings import IndexSettings
from mlret.index.sharding.shards_manifest import shard_name
from mlret.index.storage.manifest import read_manifest
from mlret.index.tokens import codec_training
from mlret.index.tokens.token_space import MaxSimSpace
from tests.index.reading import WordTokenEncoder
from tests.index.sharding.test_same_hits import document_of

pytest.importorskip("fsspec", reason="needs the extra ray: make test-cluster")
SHARDS, DOCUMENTS = 3, 400


@dataclass(frozen=True)
class WordJob(Job):
    """A build whose encoder is made instead of loaded."""

    def load_encoder(self) -> AnyEncoder:
        return WordTokenEncoder(20)


class Untold:
    """Takes what a tally is told."""

    def __getattr__(self, name: str) -> Any:
        return self

    def remote(self, *_: int) -> None:
        """Do nothing."""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(codec_training, "LEAST", 600)
    monkeypatch.setattr(MaxSimSpace, "segment_size", 200)
    chance = random.Random(3)
    file = tmp_path / "documents.jsonl"
    lines = [json.dumps(document_of(chance, number), ensure_ascii=False) for number in range(DOCUMENTS)]
    file.write_text("\n".join(lines), encoding="utf-8")
    job = WordJob(
        place=str(tmp_path / "i"),
        building=str(tmp_path / ".i.building"),
        shards=SHARDS,
        parts=1,
        encoder=None,
        precision="auto",
        fingerprint=WordTokenEncoder(20).fingerprint,
        settings=IndexSettings(kind="flat"),
        batch_size=32,
        vectors=None,
        lengths=None,
        threads=1,
        folder=str(Path.cwd()),
        version=mlret.__version__,
    )
    job.storage.make()
    divide(Corpus([file]), SHARDS, job.storage, 0)
    return job


def test_all_shards_are_built_with_the_codec_that_was_trained_before(job: Job) -> None:
    make_codec(job, DOCUMENTS)
    content = Path(job.building, WORK, CODEC).read_bytes()
    make_codec(job, DOCUMENTS)  # As in a build that was stopped and resumes.
    assert Path(job.building, WORK, CODEC).read_bytes() == content
    builder = ShardBuilder(job, Untold())
    reports = [builder.build(number) for number in range(SHARDS)]
    assert sum(report["done"][0] for report in reports) == DOCUMENTS
    codecs = [read_manifest(Path(job.building, shard_name(number))).codec for number in range(SHARDS)]
    assert len({None if codec is None else codec.sha256 for codec in codecs}) == 1 and None not in codecs


def test_no_codec_is_trained_for_few_tokens(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_training, "LEAST", 1_000_000)
    make_codec(job, DOCUMENTS)
    assert not Path(job.building, WORK, CODEC).exists()


def test_the_codec_is_the_same_however_often_it_is_trained(job: Job) -> None:
    from mlret.index.tokens.codec import TokenCodec

    path, found = Path(job.building, WORK, CODEC), []
    for _ in range(2):
        make_codec(job, DOCUMENTS)
        found.append(TokenCodec.load(path))
        path.unlink()
    one, other = found
    assert np.array_equal(one.centroids.vectors, other.centroids.vectors) and np.array_equal(one.mean, other.mean)
