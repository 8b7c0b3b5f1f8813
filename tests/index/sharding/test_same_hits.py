"""An index and its shards give the same hits, however many shards there are."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret import load_encoder
from mlret.data.sample import load_sample
from mlret.index.hits import Hits
from mlret.index.index import Index
from mlret.index.lexical import plan
from mlret.index.search import Mode
from mlret.index.settings import IndexSettings
from mlret.index.sharding.resharding import leftovers, reshard_index
from mlret.index.sharding.shards_manifest import read_shards
from mlret.index.tokens import codec_training
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.vectors.cosine import CosineSpace
from tests.conftest import examples
from tests.index.reading import WordEncoder, WordTokenEncoder

SHARDS = (2, 3, 7)
SETTINGS = IndexSettings(passage_tokens=16, passage_overlap=4, lexical=True)
# Few words, so that texts repeat, match and tie.
WORDS = ["zug", "Berlin", "regen", "train", "rain", "7421", "xk-4711", "поезд", "дождь", "雨", "電車", "bahn"]
# Many small folders are made, which takes long where each write is flushed to a disk.
_MEMORY = Path("/dev/shm")
MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")


def document_of(chance: random.Random, number: int) -> dict[str, Any]:
    words = chance.choice([1, 2, 3, 3, 5, 40])
    text = " ".join(chance.choices(WORDS, k=words))
    language = chance.choice(["de", "en", "ru", "ja", None])
    return {"id": f"d{number}", "text": text, "n": number % 5} | ({} if language is None else {"lang": language})


@contextmanager
def one_and_its_shards(
    encoder: Any, index_settings: IndexSettings = SETTINGS, shards: Sequence[int] = SHARDS
) -> Iterator[list[Index]]:
    """Create an index that is not divided, and one with each number of shards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)))
        yield [
            stack.enter_context(Index.create(folder / f"i{number}", encoder, settings=index_settings, shards=number))
            for number in (None, *shards)
        ]


def same(found: Hits, expected: Hits) -> None:
    assert [hit.id for hit in found] == [hit.id for hit in expected]
    assert found.missing == ()
    for one, other in zip(found, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-6)
        assert one.cosine == pytest.approx(other.cosine, abs=1e-6)
        assert one.scores == pytest.approx(other.scores, abs=1e-6)
        assert one.terms == pytest.approx(other.terms, abs=1e-6)
        rest = {"score": 0.0, "cosine": None, "scores": {}, "terms": {}}
        assert asdict(replace(one, **rest)) == asdict(replace(other, **rest))


def changed(chance: random.Random, indexes: Sequence[Index]) -> None:
    """Add, replace and delete the same documents in all indexes."""
    last = 0
    for _ in range(chance.randint(1, 5)):
        act = chance.choices(["add", "update", "delete", "delete where", "seal", "compact"], [5, 2, 2, 1, 1, 1])[0]
        some = [document_of(chance, number) for number in range(last, last + chance.randint(1, 25))]
        known = [f"d{number}" for number in range(last)]
        again = [document_of(chance, chance.randrange(last)) for _ in range(3)] if last else []
        gone = chance.sample(known, min(4, last))
        for index in indexes:
            if act == "add":
                index.add(some)
            elif act == "update":
                index.update([*again, *some])
            elif act == "delete" and gone:
                index.delete(gone, ignore_missing=True)
            elif act == "delete where":
                index.delete(where={"n": 3})
            elif act == "seal":
                index.seal()
            elif act == "compact":
                index.compact()
        if act in ("add", "update"):
            last += len(some)


@pytest.mark.parametrize("encoder", [WordEncoder(20), WordTokenEncoder(20)], ids=["cosine", "maxsim"])
@settings(max_examples=examples(20), deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_index_and_its_shards_give_the_same_hits(encoder: Any, seed: int) -> None:
    chance = random.Random(seed)
    with (
        one_and_its_shards(encoder, shards=[chance.choice(SHARDS)]) as indexes,
        patch.object(plan, "POSTINGS", chance.choice([1, 8, 30, 200_000])),
        patch.object(plan, "TEXT_COST", chance.choice([1, 600])),
        patch.object(CosineSpace, "segment_size", 16),
        patch.object(CosineSpace, "bulk_size", 16),
        patch.object(MaxSimSpace, "segment_size", 64),
        patch.object(MaxSimSpace, "bulk_size", 64),
    ):
        changed(chance, indexes)
        one, *divided = indexes
        queries = [" ".join(chance.choices(WORDS, k=chance.choice([1, 2, 6]))) for _ in range(3)]
        every = [f"d{number}" for number in range(130)]
        for _ in range(6):
            how: dict[str, Any] = {"k": chance.choice([1, 2, 3, 10, 500]), "mode": chance.choice(MODES)}
            if chance.random() < 0.4:
                how["where"] = chance.choice([{"n": {"$lt": 3}}, {"lang": "de"}, {"n": 4}])
            if chance.random() < 0.4:
                how["ids"] = chance.sample(every, chance.choice([1, 8, 60]))
            how["language"] = chance.choice(["de", None])
            expected = one.search_batch(queries, **how)
            for index in divided:
                for found, hits in zip(index.search_batch(queries, **how), expected, strict=True):
                    same(found, hits)


def test_documents_with_one_text_are_ordered_by_id_at_the_cut() -> None:
    with one_and_its_shards(WordEncoder(20)) as indexes:
        for index in indexes:
            index.add([{"id": f"d{number:02}", "text": "zug nach Berlin"} for number in reversed(range(60))])
            for mode in MODES:
                assert [hit.id for hit in index.search("zug", 4, mode=mode)] == ["d00", "d01", "d02", "d03"]


def test_many_equal_token_vectors_are_ordered_by_id_at_the_cut() -> None:
    with one_and_its_shards(WordTokenEncoder(20)) as indexes:
        for index in indexes:
            index.add([{"id": f"d{number:03}", "text": "zug nach Berlin"} for number in reversed(range(200))])
            index.seal()
            assert [hit.id for hit in index.search("zug", 3, mode="dense")] == ["d000", "d001", "d002"]


def test_reranking_acts_on_the_candidates_of_all_shards() -> None:
    with one_and_its_shards(WordEncoder(20)) as indexes:
        chance = random.Random(5)
        documents = [document_of(chance, number) for number in range(60)]
        one, *divided = indexes
        for index in indexes:
            index.add(documents)
        how: dict[str, Any] = {"rerank": lambda query, texts: [-float(len(text)) for text in texts], "candidates": 12}
        for index in divided:
            same(index.search("zug regen", 5, **how), one.search("zug regen", 5, **how))


def test_hits_of_real_texts_are_the_same() -> None:
    passages, encoder = load_sample().passages, load_encoder()
    texts = [passage.text for passage in passages]
    vectors = encoder.encode_document(texts, language=[passage.language for passage in passages])
    with one_and_its_shards(encoder, IndexSettings(lexical=True)) as indexes:
        for index in indexes:
            index.add(passages, vectors=vectors)
        one, *divided = indexes
        queries = [text[:60] for text in texts[:: len(texts) // 12]]
        for mode in MODES:
            expected = one.search_batch(queries, 10, mode=mode)
            for index in divided:
                for found, hits in zip(index.search_batch(queries, 10, mode=mode), expected, strict=True):
                    same(found, hits)


@pytest.mark.parametrize("bits", [4, 16])
def test_coded_tokens_score_the_same_after_the_index_is_divided(tmp_path: Path, bits: Any) -> None:
    chance = random.Random(bits)
    with patch.object(codec_training, "LEAST", 300), patch.object(MaxSimSpace, "bulk_size", 200):
        path, encoder = tmp_path / "i", WordTokenEncoder(20)
        with Index.create(path, encoder, settings=SETTINGS.model_copy(update={"bits": bits})) as index:
            index.add([document_of(chance, number) for number in range(200)], batch_size=32)
            index.delete([f"d{number}" for number in range(0, 200, 9)])
            index.add([document_of(chance, number) for number in range(200, 210)])
            assert bits == 16 or index.store.manifest.codec is not None
            queries = ["zug Berlin", "regen 7421 rain", "雨"]
            expected = index.search_batch(queries, 20)
        for shards in (3, 2, 1, 5):
            reshard_index(path, shards)
            with Index.open(path, encoder) as index:
                assert len(index.shards) == shards
                for found, hits in zip(index.search_batch(queries, 20), expected, strict=True):
                    same(found, hits)
                assert not leftovers(path, read_shards(path))
