"""All shards of a multi-vector index code their tokens by one codec, that of an index that is not divided."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlret.index.index import Index
from mlret.index.search import Mode
from mlret.index.settings import IndexSettings
from mlret.index.sharding.codec_of_shards import continues
from mlret.index.tokens import codec_training
from mlret.index.tokens.codec import TokenCodec
from mlret.index.tokens.codec_training import Batch, sample_of
from mlret.index.tokens.token_space import MaxSimSpace
from tests.index.reading import WordTokenEncoder
from tests.index.sharding.test_same_hits import document_of, one_and_its_shards, same

SETTINGS = IndexSettings(lexical=True, kind="flat", passage_tokens=16, passage_overlap=4)
QUERIES = ["zug Berlin", "regen 7421 rain", "雨 bahn"]
MODES: tuple[Mode, ...] = ("dense", "hybrid")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_training, "LEAST", 300)
    monkeypatch.setattr(MaxSimSpace, "segment_size", 200)


def codecs_of(index: Index) -> list[TokenCodec | None]:
    stores = [index.shards.store_of(number) for number in range(len(index.shards))]
    return [store.space.codec for store in stores if isinstance(store.space, MaxSimSpace)]


def identity_of(codec: TokenCodec | None) -> tuple[bytes, bytes] | None:
    return None if codec is None else (codec.mean.tobytes(), codec.centroids.vectors.tobytes())


@pytest.fixture
def indexes() -> Iterator[list[Index]]:
    with one_and_its_shards(WordTokenEncoder(20), SETTINGS, (1, 2, 3, 7)) as some:
        yield some


def test_shards_have_the_codec_and_the_scores_of_one_index(indexes: list[Index]) -> None:
    chance = random.Random(4)
    documents = [document_of(chance, number) for number in range(220)]
    one, *divided = indexes
    for index in indexes:
        index.add(documents)
        index.compact()
    [codec] = codecs_of(one)
    assert codec is not None
    for index in divided:
        assert {identity_of(some) for some in codecs_of(index)} == {identity_of(codec)}
        for mode in MODES:
            for found, hits in zip(
                index.search_batch(QUERIES, 30, mode=mode), one.search_batch(QUERIES, 30, mode=mode), strict=True
            ):
                same(found, hits)


def test_what_is_added_later_is_coded_by_the_same_codec_in_all_shards(indexes: list[Index]) -> None:
    chance = random.Random(5)
    for start in range(0, 1200, 150):
        documents = [document_of(chance, number) for number in range(start, start + 150)]
        for index in indexes[1:]:
            index.add(documents, batch_size=16)
    for index in indexes[1:]:
        index.compact()
        kinds = {identity_of(codec) for codec in codecs_of(index)}
        assert len(kinds) == 1 and None not in kinds


def test_a_shard_takes_over_the_codec_of_another_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(6)
    with Index.create(tmp_path / "i", WordTokenEncoder(20), settings=SETTINGS, shards=3) as index:
        with monkeypatch.context() as patch:
            patch.setattr(MaxSimSpace, "segment_size", 10**6)
            index.add([document_of(chance, number) for number in range(90)])
        assert codecs_of(index) == [None] * 3
        # As if the process had been killed after it sealed the first shard.
        index.shards.some("seal", {0: ()})
        first, *others = codecs_of(index)
        assert first is not None and others == [None, None]
    with Index.open(tmp_path / "i", WordTokenEncoder(20)) as index:
        index.compact()
        assert {identity_of(codec) for codec in codecs_of(index)} == {identity_of(first)}


def test_a_grown_codec_continues_the_one_that_it_was_made_of() -> None:
    chance = np.random.default_rng(1)
    first, other = (TokenCodec.train(chance.standard_normal((400, 16), np.float32), centroids=8) for _ in range(2))
    grown = first.grown(chance.standard_normal((400, 16), np.float32), centroids=8)
    assert continues(grown, first)
    assert not continues(first, grown)
    assert not continues(grown, other)


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_a_sample_does_not_depend_on_the_order_of_records(size: int) -> None:
    chance = np.random.default_rng(2)
    records = [chance.standard_normal((int(count), 8)).astype(np.float16) for count in chance.integers(0, 6, 60)]
    records += records[:5]  # Of equal tokens some may be drawn and others not.

    def sample(order: list[int], together: int) -> np.ndarray:
        parts = [[records[place] for place in order[start : start + together]] for start in range(0, 65, together)]
        batches = [
            Batch(np.arange(len(part)), np.array(list(map(len, part)), dtype=np.int64), np.concatenate(part))
            for part in parts
        ]
        return sample_of(lambda: batches, size, 3, None, 8)

    forwards, backwards = sample(list(range(65)), 10), sample(list(reversed(range(65))), 7)
    assert len(forwards) == min(size, sum(map(len, records)))
    assert np.array_equal(forwards, backwards)
