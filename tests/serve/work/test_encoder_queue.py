"""The encoder's queue: vectors of texts that are encoded together are those of texts encoded alone."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlret
from mlret.data.sample import load_sample
from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.index.index import Index
from mlret.serve.problems import Problem
from mlret.serve.work.encoder_queue import EncoderQueue
from mlret.serve.work.shared_encoder import shared


@pytest.fixture(scope="module")
def bundled() -> Encoder:
    return mlret.load_encoder(device="cpu")


@pytest.fixture(scope="module")
def questions() -> list[tuple[str, str]]:
    chosen = random.Random(7).sample(sorted(load_sample().questions), 24)
    found = [load_sample().questions[id] for id in chosen]
    return [(one.text, one.language or "en") for one in found]


class Recording(Encoder):
    """An encoder that notes what it is given, and waits for a signal before it encodes."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.go, self.begun = threading.Event(), threading.Event()
        self.calls: list[tuple[str, int]] = []

    dims = property(lambda self: self._encoder.dims)  # type: ignore[assignment]
    calibration_languages = property(lambda self: self._encoder.calibration_languages)  # type: ignore[assignment]

    def encode_query(self, texts: Sequence[str], *, language: Any = None) -> Any:
        return self._noted("query", texts, self._encoder.encode_query, language)

    def encode_document(self, texts: Sequence[str], *, language: Any = None) -> Any:
        return self._noted("document", texts, self._encoder.encode_document, language)

    def _noted(self, side: str, texts: Sequence[str], encode: Any, language: Any) -> Any:
        self.calls.append((side, len(texts)))
        self.begun.set()
        assert self.go.wait(30)
        if "broken" in texts:
            raise RuntimeError("broken")
        return encode(texts, language=language)


def test_texts_of_concurrent_requests_get_the_vectors_of_lone_calls(
    bundled: Encoder, questions: list[tuple[str, str]]
) -> None:
    async def main() -> tuple[Any, Any]:
        queue = EncoderQueue(bundled)
        queries = [queue.queries([text], [language]) for text, language in questions]
        passages = [queue.passages([text, text + " !"], [language] * 2) for text, language in questions]
        found = await asyncio.gather(*queries), await asyncio.gather(*passages)
        await queue.close()
        return found

    queries, passages = asyncio.run(main())
    for (text, language), query, passage in zip(questions, queries, passages, strict=True):
        np.testing.assert_allclose(query, bundled.encode_query([text], language=language), atol=1e-6)
        alone = bundled.encode_document([text, text + " !"], language=language)
        np.testing.assert_allclose(passage, alone, atol=1e-6)


def test_a_language_that_is_not_given_is_detected_as_in_an_index(
    bundled: Encoder, questions: list[tuple[str, str]]
) -> None:
    from mlret.data.detection import detect_language

    texts = [text for text, _ in questions[:6]]

    async def main() -> Any:
        queue = EncoderQueue(bundled)
        found = await queue.queries(texts)
        await queue.close()
        return found

    expected = bundled.encode_query(texts, language=[detect_language(text) for text in texts])
    np.testing.assert_allclose(asyncio.run(main()), expected, atol=1e-6)


def test_an_encoder_with_a_vector_for_each_token_is_served_too() -> None:
    encoder = mlret.load_token_encoder(device="cpu")

    async def main() -> Any:
        queue = EncoderQueue(encoder)
        found = await asyncio.gather(queue.queries(["a train"]), queue.queries(["a library in town", "maize"]))
        await queue.close()
        return found

    for tokens, text in zip(chain(*asyncio.run(main())), ["a train", "a library in town", "maize"], strict=True):
        np.testing.assert_allclose(tokens, encoder.encode_query([text])[0], atol=1e-5)


def test_requests_that_wait_are_encoded_together_and_queries_before_passages(bundled: Encoder) -> None:
    async def main() -> list[tuple[str, int]]:
        encoder = Recording(bundled)
        queue = EncoderQueue(encoder)
        first = asyncio.create_task(queue.queries(["first"]))
        await asyncio.to_thread(encoder.begun.wait, 30)
        many = asyncio.create_task(queue.passages([f"passage {number}" for number in range(40)]))
        others = [asyncio.create_task(queue.queries([f"query {number}"])) for number in range(5)]
        await asyncio.sleep(0)
        gone = asyncio.create_task(queue.queries(["nobody waits for this"]))
        await asyncio.sleep(0)
        assert queue.waiting == 46
        gone.cancel()
        await asyncio.sleep(0)
        encoder.go.set()
        found = await asyncio.gather(first, many, *others)
        assert len(found[1]) == 40
        await queue.close()
        return encoder.calls

    calls = asyncio.run(main())
    assert calls[:2] == [("query", 1), ("query", 5)]
    assert {side for side, _ in calls[2:]} == {"document"} and sum(count for _, count in calls[2:]) == 40
    assert max(count for _, count in calls[2:]) <= 16  # A query that comes meanwhile waits for no more than these.


def test_one_bad_request_does_not_fail_those_encoded_with_it(bundled: Encoder) -> None:
    async def main() -> list[Any]:
        encoder = Recording(bundled)
        queue = EncoderQueue(encoder)
        first = asyncio.create_task(queue.queries(["first"]))
        await asyncio.to_thread(encoder.begun.wait, 30)
        texts = ["good", "broken", "fine"]
        others = [asyncio.create_task(queue.queries([text])) for text in texts]
        await asyncio.sleep(0)
        with pytest.raises(InputError, match="surrogate"):
            await queue.queries(["half a surrogate pair \ud800"])
        with pytest.raises(InputError, match="xx-nonsense"):
            await queue.queries(["a text"], ["xx-nonsense"])
        encoder.go.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        await queue.close()
        return found

    first, good, broken, fine = asyncio.run(main())
    assert isinstance(broken, RuntimeError)
    assert [one.shape for one in (first, good, fine)] == [(1, bundled.dims)] * 3


def test_a_full_queue_refuses_with_429_but_takes_a_large_request_alone(bundled: Encoder) -> None:
    async def main() -> None:
        encoder = Recording(bundled)
        queue = EncoderQueue(encoder, most_waiting=3)
        encoder.go.set()
        assert (await queue.passages(["a", "b", "c", "d"])).shape == (4, bundled.dims)
        encoder.go.clear()
        encoder.begun.clear()
        first = asyncio.create_task(queue.queries(["a"]))
        await asyncio.to_thread(encoder.begun.wait, 30)
        second = asyncio.create_task(queue.queries(["b", "c"]))
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await queue.queries(["d", "e"])
        assert refused.value.status == 429
        encoder.go.set()
        await asyncio.gather(first, second)
        await queue.close()
        with pytest.raises(Problem) as refused:
            await queue.queries(["f"])
        assert refused.value.status == 503

    asyncio.run(main())


def test_a_text_of_millions_of_letters_holds_up_nobody(bundled: Encoder) -> None:
    async def main() -> Any:
        queue = EncoderQueue(bundled)
        try:
            return await queue.passages(["late train " * 1_000_000, "x" * 20_000_000])
        finally:
            await queue.close()

    began = time.process_time()
    words, letters = asyncio.run(main())
    # One word of a million letters took five seconds when all of it was read.
    assert time.process_time() - began < 10
    np.testing.assert_allclose(words, bundled.encode_document(["late train " * 5_000])[0], atol=1e-6)
    assert np.isfinite(letters).all()


@pytest.mark.parametrize("load", [mlret.load_encoder, mlret.load_token_encoder])
def test_an_index_that_encodes_by_the_queue_stores_and_finds_the_same(load: Any, tmp_path: Path) -> None:
    encoder = load(device="cpu")
    texts = ["Der Zug nach Berlin hat Verspätung.", "Bei ya mahindi imepanda sokoni.", "駅前に新しい図書館が開館した。"]

    async def main() -> Any:
        queue = EncoderQueue(encoder, threads=2)
        through = shared(queue)
        assert (through.fingerprint, through.dims) == (encoder.fingerprint, encoder.dims)
        assert through.token_counts(texts) == encoder.token_counts(texts) == await queue.counts(texts)

        def use() -> tuple[Any, Any]:
            with Index.create(tmp_path / "shared", through) as index:
                index.add([{"id": str(place), "text": text} for place, text in enumerate(texts)])
                return index.vectors(["0", "1", "2"]), index.search("the train is late", k=3)

        found = await asyncio.to_thread(use)
        await queue.close()
        return found

    vectors, hits = asyncio.run(main())
    with Index.create(tmp_path / "alone", encoder) as index:
        index.add([{"id": str(place), "text": text} for place, text in enumerate(texts)])
        for mine, expected in zip(vectors, index.vectors(["0", "1", "2"]), strict=True):
            np.testing.assert_allclose(mine, expected, atol=1e-5)
        alone = index.search("the train is late", k=3)
    assert [hit.id for hit in hits] == [hit.id for hit in alone]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in alone], abs=1e-5)


def test_several_threads_share_what_waits_and_give_the_same_vectors(
    bundled: Encoder, questions: list[tuple[str, str]]
) -> None:
    async def main() -> Any:
        queue = EncoderQueue(bundled, threads=3)
        texts, languages = [text for text, _ in questions], [language for _, language in questions]
        found = await asyncio.gather(queue.passages(texts, languages), queue.queries(texts, languages))
        await queue.close()
        return found

    texts, languages = [text for text, _ in questions], [language for _, language in questions]
    for found in asyncio.run(main()):
        np.testing.assert_allclose(found, bundled.encode_query(texts, language=languages), atol=1e-6)
