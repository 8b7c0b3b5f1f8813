"""Test documents that are longer than their encoder reads: cut into passages, and found by the best of them."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlret
from mlret.data.documents import Document
from mlret.errors import Corrupt, InputError, LongTextWarning
from mlret.index.cutting import Cutter, divided, packed
from mlret.index.export import export_index
from mlret.index.hits import Hit
from mlret.index.index import Index
from mlret.index.reembedding import reembed_index
from mlret.index.settings import IndexSettings
from mlret.index.storage.passages import Span, expand
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.verify import verify_index
from tests.conftest import examples
from tests.index.reading import WordEncoder, WordTokenEncoder

SETTINGS = IndexSettings(passage_tokens=16, passage_overlap=4, lexical=True)
WORDS = [f"{a}{b}{c}" for a in "bdk" for b in "aeiou" for c in ("l", "n", "rt")]


def text_of(chance: random.Random, words: int) -> str:
    """Return a text of sentences of two to seven words."""
    sentences = []
    while words > 0:
        count = min(words, chance.randint(2, 7))
        sentences.append(" ".join(chance.choices(WORDS, k=count)).capitalize() + ".")
        words -= count
    return " ".join(sentences)


def document_of(chance: random.Random, id: str, *, longest: int = 90) -> dict[str, Any]:
    title = {"title": f"{chance.choice(WORDS)} {chance.choice(WORDS)}"} if chance.random() < 0.5 else {}
    language = chance.choice(["en", "de"])
    return {"id": id, "text": text_of(chance, chance.randint(1, longest)), "lang": language, **title}


def by_brute_force(
    encoder: WordEncoder | WordTokenEncoder, documents: list[Document], query: str, settings: IndexSettings = SETTINGS
) -> list[tuple[float, str, Span | None]]:
    """Return score, id and best passage of all documents, best first, by comparing every passage."""
    cutter = Cutter(encoder, settings)
    [asked] = encoder.encode_query([query])
    found = []
    for document in documents:
        [spans] = cutter.spans([document])
        vectors = encoder.encode_document([piece.text for piece in cutter.pieces([document], [spans])])
        if encoder.similarity == "cosine":
            scores = [float(np.round(one.astype(np.float64) @ asked.astype(np.float64), 6)) for one in vectors]
        else:
            scores = [float((asked.astype(np.float64) @ one.T).max(axis=1).sum()) for one in vectors]
        best = int(np.argmax(scores))
        found.append((scores[best], document.id, spans[best] if spans else None))
    return sorted(found, key=lambda one: (-one[0], one[1]))


def same(hits: list[Hit], expected: list[tuple[float, str, Span | None]], tolerance: float = 2e-6) -> None:
    assert [hit.score for hit in hits] == pytest.approx([score for score, _, _ in expected], abs=tolerance)
    by_id = {id: (score, span) for score, id, span in expected}
    for hit in hits:
        if hit.id in by_id:  # Others are tied with the last one within the tolerance.
            span = by_id[hit.id][1]
            assert hit.score == pytest.approx(by_id[hit.id][0], abs=tolerance)
            assert (hit.passage is None) == (span is None)
            if hit.passage is not None:
                assert hit.passage.text == hit.text[hit.passage.start : hit.passage.end]


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(CosineSpace, "segment_size", 24)
    monkeypatch.setattr(CosineSpace, "bulk_size", 24)
    yield


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("seed", range(6))
def test_search_equals_comparing_every_passage_after_any_changes(seed: int, tmp_path: Path) -> None:
    chance, encoder = random.Random(seed), WordEncoder(20)
    state: dict[str, Document] = {}
    index = Index.create(tmp_path / "i", encoder, settings=SETTINGS)
    for number in range(30):
        act = chance.choices(["add", "update", "delete", "compact", "seal", "reopen"], [5, 3, 3, 1, 1, 1])[0]
        if act == "add":
            index.add([document_of(chance, f"d{number}-{place}") for place in range(chance.randint(1, 5))])
        elif act == "update" and state:
            some = chance.sample(sorted(state), min(len(state), 3))
            index.update([document_of(chance, id) for id in some])
        elif act == "delete" and state:
            index.delete(chance.sample(sorted(state), min(len(state), 3)))
        elif act == "compact":
            index.compact()
        elif act == "seal":
            index.seal()
        elif act == "reopen":
            index.close()
            index = Index.open(tmp_path / "i", encoder)
        state = {one.id: one for one in index.documents()}
        assert len(index) == len(state)
        if state and number % 3 == 0:
            query, k = text_of(chance, 5), chance.randint(1, len(state) + 2)
            expected = by_brute_force(encoder, list(state.values()), query)
            same(index.search(query, k, mode="dense"), expected[:k])
            same(index.search(query, k, mode="dense", exact=True), expected[:k])
            german = [one for one in expected if state[one[1]].language == "de"]
            same(index.search(query, k, mode="dense", where={"lang": "de"}), german[:k])
            ids = chance.sample(sorted(state), min(len(state), 4))
            same(index.search(query, k, mode="dense", ids=ids), [one for one in expected if one[1] in ids][:k])
    cutter = Cutter(encoder, SETTINGS)
    spans = cutter.spans(list(state.values()))
    assert index.info().passages == sum(len(one) or 1 for one in spans)
    index.close()
    assert verify_index(tmp_path / "i", encoder) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_multi_vector_index_finds_documents_by_their_best_passages(seed: int, tmp_path: Path) -> None:
    chance, encoder = random.Random(seed), WordTokenEncoder(20)
    settings = SETTINGS.model_copy(update={"bits": 16})
    with Index.create(tmp_path / "i", encoder, settings=settings) as index:
        index.add([document_of(chance, f"d{place}") for place in range(12)])
        index.delete(["d3"])
        index.update([document_of(chance, "d5")])
        for _ in range(2):
            documents = list(index.documents())
            expected = by_brute_force(encoder, documents, query := text_of(chance, 4), settings)
            same(index.search(query, 7, mode="dense"), expected[:7], 0.02)
            index.compact()
        every = index.vectors(["d0"])[0]
        assert len(every) >= len(encoder.encode_document([index.get("d0").text])[0])  # type: ignore[union-attr]
    assert verify_index(tmp_path / "i", encoder) == []


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_words_of_any_part_of_a_long_document_find_it_once(mode: Any, tmp_path: Path) -> None:
    chance, encoder = random.Random(1), WordEncoder(20)
    texts = [text_of(chance, 80) for _ in range(6)]
    texts[4] += " Xylophon brummt laut."
    with Index.create(tmp_path / "i", encoder, settings=SETTINGS) as index:
        index.add([{"id": str(place), "text": text, "lang": "en"} for place, text in enumerate(texts)])
        hits = index.search("Xylophon brummt laut", 5, mode=mode, language="en")
        assert len({hit.id for hit in hits}) == len(hits) == (1 if mode == "lexical" else 5)
        [hit] = [hit for hit in hits if hit.id == "4"]
        assert hit.passage is not None and "Xylophon" in hit.passage.text
        [dense] = index.search("Xylophon brummt laut", 6, mode="dense", ids=["4"])
        assert (hit.cosine, hit.passage) == (dense.cosine, dense.passage)


def test_documents_that_fit_leave_the_folder_as_it_was_before_there_were_passages(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", WordEncoder(20), settings=IndexSettings(lexical=True)) as index:
        index.add([{"id": "a", "text": "Bal bel bil.", "lang": "en"}])
        index.seal()
        [hit] = index.search("bal", mode="dense")
        assert hit.passage is None and index.info().passages == 1
    with closing(sqlite3.connect(tmp_path / "i" / "records.db")) as connection:
        assert "passages" not in {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert "passages" not in {name for (name,) in connection.execute("SELECT name FROM counters")}


def test_another_reader_sees_the_first_long_document(tmp_path: Path) -> None:
    encoder = WordEncoder(20)
    with Index.create(tmp_path / "i", encoder) as writer, Index.open(tmp_path / "i", encoder) as reader:
        writer.add([{"id": "a", "text": "Bal bel bil.", "lang": "en"}])
        reader.refresh()
        writer.add([{"id": "b", "text": text_of(random.Random(2), 60), "lang": "en"}])
        assert [hit.id for hit in reader.search("bal")] == ["a"]
        reader.refresh()
        assert {hit.id for hit in reader.search("bal")} == {"a", "b"} and len(reader) == 2
        writer.delete(["b"])
        assert {hit.id for hit in reader.search("bal")} == {"a", "b"}
        reader.refresh()
        assert [hit.id for hit in reader.search("bal")] == ["a"] and reader.info().passages == 1


def test_given_vectors_are_never_cut(tmp_path: Path) -> None:
    encoder = mlret.ExternalEncoder("given", 4)
    with Index.create(tmp_path / "i", encoder) as index:
        index.add([{"id": "a", "text": "word " * 5000, "lang": "en"}], vectors=np.eye(1, 4, dtype=np.float32))
        assert index.info().passages == 1
    words = WordEncoder(20)
    with Index.create(tmp_path / "j", words) as index:
        long = {"id": "a", "text": text_of(random.Random(2), 60), "lang": "en"}
        index.add([long], vectors=words.encode([long["text"]]))
        assert index.info().passages == 1 and index.search("bal")[0].passage is None


def test_new_metadata_keep_the_vectors_and_a_new_title_makes_them_again(tmp_path: Path) -> None:
    chance, encoder = random.Random(3), WordEncoder(20)
    long = {"id": "a", "text": text_of(chance, 60), "lang": "en", "title": "Bal bel"}
    with Index.create(tmp_path / "i", encoder, settings=SETTINGS) as index:
        index.add([long, {"id": "b", "text": "Kal kel.", "lang": "en"}])
        before = index.search("bal", mode="dense")
        encoder.texts.clear()
        index.update([{**long, "year": 7}, {"id": "b", "text": "Kal kel.", "lang": "en", "year": 8}])
        assert encoder.texts == []
        assert [hit.metadata["year"] for hit in index.search("bal", mode="dense", ids=["a", "b"])] == [
            {"a": 7, "b": 8}[hit.id] for hit in before
        ]
        after = index.search("bal", mode="dense")
        assert [(hit.id, hit.score, hit.passage) for hit in after] == [(h.id, h.score, h.passage) for h in before]
        encoder.texts.clear()
        index.update([{**long, "title": "Dort dal"}])
        assert len(encoder.texts) == index.info().passages - 1
        assert all(text.startswith("Dort dal\n") for text in encoder.texts)
    assert verify_index(tmp_path / "i", encoder) == []


def test_a_document_that_is_too_long_can_be_refused(tmp_path: Path) -> None:
    long = {"id": "a", "text": text_of(random.Random(4), 60), "lang": "en"}
    for setting in ("refuse", False):
        settings = IndexSettings(passages=setting)  # type: ignore[arg-type]
        folder = tmp_path / str(setting)
        with Index.create(folder, WordEncoder(20), settings=settings) as index:
            with pytest.raises(InputError, match="'a' has 62 tokens, and words-20 reads 20: the last 42 would be lost"):
                index.add([long])
            assert len(index) == 0 and index.add([{"id": "b", "text": "Bal bel."}]) == 1


def test_documents_that_are_not_cut_give_one_warning_with_the_tokens_that_are_lost(tmp_path: Path) -> None:
    chance = random.Random(5)
    long = [{"id": str(place), "text": text_of(chance, 60), "lang": "en"} for place in range(5)]
    settings = IndexSettings(passages="warn")
    with Index.create(tmp_path / "i", WordEncoder(20), settings=settings) as index:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            index.add([*long, {"id": "b", "text": "Bal bel.", "lang": "en"}], batch_size=2)
        [warning] = [one for one in found if issubclass(one.category, LongTextWarning)]
        assert str(warning.message).startswith(
            "5 documents are longer than the 20 tokens that words-20 reads: the last 210"
        )
        assert warning.filename == __file__
        assert index.info().passages == 6 == len(index)
    with Index.open(tmp_path / "i", WordEncoder(20)) as index:
        assert index.store.manifest.settings.passages == "warn"


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="passages of 32 tokens cannot overlap by 20"):
        IndexSettings(passage_tokens=32, passage_overlap=20)


@given(st.integers(0, 2**20), st.integers(17, 60), st.integers(0, 8))
@settings(max_examples=examples(40), deadline=None)
def test_passages_hold_every_sentence_and_are_read_to_their_end(seed: int, longest: int, overlap: int) -> None:
    chance, encoder = random.Random(seed), WordEncoder(longest)
    settings = IndexSettings(passage_tokens=16, passage_overlap=overlap)
    title = {"title": "Bal bel"} if seed % 2 else {}
    document = Document("a", text_of(chance, chance.randint(1, 200)), "en", title)
    cutter = Cutter(encoder, settings)
    [spans] = cutter.spans([document])
    count = encoder.token_counts([document.text], cut=False)[0]
    assert bool(spans) == (count > longest)
    pieces = cutter.pieces([document], [spans])
    assert all(tokens <= longest for tokens in encoder.token_counts([piece.text for piece in pieces], cut=False))
    if not spans:
        assert pieces == [document]
        return
    covered = np.zeros(len(document.text), dtype=bool)
    for start, end in spans:
        covered[start:end] = True
        assert document.text[start:end].strip() == document.text[start:end]
    assert not "".join(np.array(list(document.text))[~covered]).strip()
    assert spans[0].start == 0 and spans[-1].end == len(document.text)
    for one, other in pairwise(spans):
        assert one.start < other.start and one.end < other.end
        assert len(document.text[other.start : one.end].split()) <= overlap
    for piece, (start, end) in zip(pieces, spans, strict=True):
        assert len(piece.text.split()) <= 14
        assert piece.text == ("Bal bel\n" if seed % 2 else "") + document.text[start:end]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 20), st.integers(0, 10))
@settings(max_examples=examples(200), deadline=None)
def test_packing_uses_every_sentence_in_order(counts: list[int], room: int, overlap: int) -> None:
    units = [Span(place, place + 1) for place in range(len(counts))]
    found = packed(units, counts, room, min(overlap, room // 2))
    assert found[0].start == 0 and found[-1].end == len(counts)
    for start, end in found:
        assert sum(counts[start:end]) <= room or end - start == 1
    for one, other in pairwise(found):
        assert one.start < other.start <= one.end < other.end
        assert sum(counts[other.start : one.end]) <= overlap


@given(st.text(alphabet="ab e\u0301\u0915\u093f语", min_size=2, max_size=60), st.integers(2, 8))
@settings(max_examples=examples(200), deadline=None)
def test_dividing_loses_nothing_but_white_space(text: str, count: int) -> None:
    parts = divided(text, Span(0, len(text)), count)
    assert "".join("".join(text[start:end].split()) for start, end in parts) == "".join(text.split())
    assert all(end - start < len(text) or len(text) == 1 for start, end in parts)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=20))
def test_expanding_counts_on_from_each_row(steps: list[tuple[int, int]]) -> None:
    rows, counts, row = [], [], 1
    for count, gap in steps:
        row += gap
        rows.append(row)
        counts.append(count)
        row += count
    found = expand(np.array(rows, dtype=np.int64), np.array(counts, dtype=np.int64))
    assert found.tolist() == [row + place for row, count in zip(rows, counts, strict=True) for place in range(count)]


def test_a_text_without_spaces_or_sentences_is_cut_with_the_bundled_encoder() -> None:
    encoder = mlret.load_encoder()
    cutter = Cutter(encoder, IndexSettings())
    text = "図書館は駅前にあり毎日開いていて" * 80
    [spans] = cutter.spans([Document("a", text, "ja")])
    assert len(spans) > 2
    tokens = encoder.token_counts([text[start:end] for start, end in spans], cut=False)
    assert max(tokens) <= 256 and spans[-1].end == len(text)


def built(folder: Path, encoder: WordEncoder, seed: int = 6) -> tuple[list[Document], str]:
    chance = random.Random(seed)
    with Index.create(folder, encoder, settings=SETTINGS) as index:
        index.add([document_of(chance, f"d{place}") for place in range(10)])
        index.seal()
        index.add([document_of(chance, f"e{place}") for place in range(5)])
        return list(index.documents()), text_of(chance, 5)


def _spoil_spans(connection: sqlite3.Connection) -> None:
    connection.execute(
        "UPDATE passages SET spans = zeroblob(length(spans)) WHERE row = (SELECT min(row) FROM passages)"
    )


def _lose_spans(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM passages WHERE row = (SELECT min(row) FROM passages)")


def _spoil_vector(connection: sqlite3.Connection) -> None:
    row = "(SELECT max(row) FROM vectors)"
    connection.execute(f"UPDATE vectors SET vector = zeroblob(length(vector)) WHERE row = {row}")


def _lose_vector(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM vectors WHERE row = (SELECT max(row) + 1 FROM passages)")


def _spoil_counter(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE counters SET value = value + 3 WHERE name = 'passages'")


def _bury_passage(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO tombstones SELECT row + 1 FROM passages LIMIT 1")


@pytest.mark.parametrize(
    "spoil", [_spoil_spans, _lose_spans, _spoil_vector, _lose_vector, _spoil_counter, _bury_passage]
)
def test_damaged_passages_are_reported_and_made_again(
    spoil: Callable[[sqlite3.Connection], None], tmp_path: Path
) -> None:
    encoder = WordEncoder(20)
    documents, query = built(tmp_path / "i", encoder)
    with closing(sqlite3.connect(tmp_path / "i" / "records.db")) as connection, connection:
        spoil(connection)
    found = verify_index(tmp_path / "i", encoder)
    assert found and not any(problem.repaired for problem in found)
    assert all(problem.repaired for problem in verify_index(tmp_path / "i", encoder, repair=True))
    assert verify_index(tmp_path / "i", encoder) == []
    with Index.open(tmp_path / "i", encoder) as index:
        assert {one.id: one for one in index.documents()} == {one.id: one for one in documents}
        same(index.search(query, 20, mode="dense"), by_brute_force(encoder, documents, query))


def test_a_search_does_not_show_a_damaged_passage(tmp_path: Path) -> None:
    encoder = WordEncoder(20)
    built(tmp_path / "i", encoder)
    with closing(sqlite3.connect(tmp_path / "i" / "records.db")) as connection, connection:
        connection.execute("UPDATE passages SET spans = zeroblob(length(spans))")
    with Index.open(tmp_path / "i", encoder) as index, pytest.raises(Corrupt, match="the passages of row"):
        index.search("bal", 15, mode="dense")


def test_torn_vector_files_of_passages_are_made_again(tmp_path: Path) -> None:
    encoder = WordEncoder(20)
    documents, query = built(tmp_path / "i", encoder)
    [file] = [one for one in (tmp_path / "i" / "vectors").glob("*.npy") if one.name.count(".") == 2]
    file.write_bytes(file.read_bytes()[:-8])
    assert verify_index(tmp_path / "i", encoder, repair=True)
    assert verify_index(tmp_path / "i", encoder) == []
    with Index.open(tmp_path / "i", encoder) as index:
        same(index.search(query, 20, mode="dense"), by_brute_force(encoder, documents, query))


@pytest.mark.parametrize("longest", [14, 20, 40, 200])
def test_reembedding_cuts_for_the_new_encoder(longest: int, tmp_path: Path) -> None:
    old, new = WordEncoder(20), WordEncoder(longest)
    documents, query = built(tmp_path / "i", old)
    info = reembed_index(tmp_path / "i", tmp_path / "j", new)
    assert info.documents == len(documents)
    with Index.open(tmp_path / "j", new) as index:
        assert {one.id: one for one in index.documents()} == {one.id: one for one in documents}
        same(index.search(query, 20, mode="dense"), by_brute_force(new, documents, query))
    assert verify_index(tmp_path / "j", new) == []


class _StoppedError(Exception):
    pass


def test_an_interrupted_reembedding_resumes_and_follows_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlret.index.reembedding._BATCH", 4)
    old, new = WordEncoder(20), WordEncoder(17)
    documents, query = built(tmp_path / "i", old)

    def stop(done: int, total: int) -> None:
        if done >= 8:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        reembed_index(tmp_path / "i", tmp_path / "j", new, progress=stop)
    new.texts.clear()
    every = sum(len(one) or 1 for one in Cutter(new, SETTINGS).spans(documents))
    with pytest.raises(_StoppedError):  # It goes on behind what is done.
        reembed_index(tmp_path / "i", tmp_path / "j", new, progress=stop)
    with Index.open(tmp_path / "i", old) as index:
        index.delete(["d1", "d2"])
        index.update([document_of(random.Random(9), "d3")])
        documents = list(index.documents())
    reembed_index(tmp_path / "i", tmp_path / "j", new)
    assert every
    with Index.open(tmp_path / "j", new) as index:
        assert {one.id: one for one in index.documents()} == {one.id: one for one in documents}
        same(index.search(query, 20, mode="dense"), by_brute_force(new, documents, query))
    assert verify_index(tmp_path / "j", new) == []


def test_an_export_rebuilds_the_same_passages(tmp_path: Path) -> None:
    encoder = WordEncoder(20)
    documents, query = built(tmp_path / "i", encoder)
    with Index.open(tmp_path / "i", encoder) as index:
        assert export_index(index, tmp_path / "out.jsonl", vectors=True) == len(documents)
        before = index.search(query, 20, mode="dense")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(np.linalg.norm(row["vector"]) == pytest.approx(1, abs=1e-5) for row in rows)
    with Index.create(tmp_path / "j", encoder, settings=SETTINGS) as index:
        index.add(rows)
        again = index.search(query, 20, mode="dense")
    assert [(hit.id, hit.score, hit.passage) for hit in again] == [(hit.id, hit.score, hit.passage) for hit in before]


# Adds, replaces and deletes long documents until it is killed, and prints what is done.
_WRITER = """
import json, random, sys
from mlret.index.index import Index
from mlret.index.vectors.cosine import CosineSpace
from tests.index.reading import WordEncoder
from tests.index.test_passages import document_of

CosineSpace.segment_size = CosineSpace.bulk_size = 24
folder, seed = sys.argv[1], int(sys.argv[2])
chance, index = random.Random(seed), Index.open(folder, WordEncoder(20))
print("ready", flush=True)
for number in range(100_000):
    if chance.random() < 0.2 and len(index):
        index.delete([chance.choice([document.id for document in index.documents()])])
    else:
        index.update([document_of(chance, f"d{chance.randint(0, 30)}") for _ in range(3)])
    print("done", flush=True)
"""


def test_a_killed_writer_leaves_documents_with_all_their_passages(tmp_path: Path) -> None:
    encoder, chance = WordEncoder(20), random.Random(8)
    Index.create(tmp_path / "i", encoder, settings=SETTINGS).close()
    for seed in range(5):
        arguments = [sys.executable, "-c", _WRITER, str(tmp_path / "i"), str(seed)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for _ in range(chance.randint(1, 6)):
            process.stdout.readline()
        time.sleep(chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        with Index.open(tmp_path / "i", encoder) as index:
            documents = list(index.documents())
            assert len(documents) == len(index)
            query = text_of(chance, 5)
            same(index.search(query, 40, mode="dense"), by_brute_force(encoder, documents, query))
        assert verify_index(tmp_path / "i", encoder) == []
