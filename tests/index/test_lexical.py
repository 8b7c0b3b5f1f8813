"""Test the lexical channel against a simple BM25."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.data.sample import load_sample
from mlret.errors import InputError, MlretError
from mlret.index.lexical import plan, text_search
from mlret.index.lexical.fts import LexicalTable
from mlret.index.lexical.ngrams import ngrams

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
WORDS = st.sampled_from(["cat", "cats", "dog", "東京", "京都", "1789", "ไทย", "학교", "кот", "the the the the"])
HOSTILE = ['"', '" OR "', "NEAR(a b)", "tokens:cat", "cat*", "^cat", "(", "a AND NOT", "'; DROP TABLE lexical; --"]
HOSTILE += [
    "\x00",
    "a\x00b",
    "-cat",
    "{a b}: c",
    "cat NEAR/2 dog",
    "\\",
    "%",
    "·",
    "¤cat",
    "²",
    "\U0010ffff",
    "🐈" * 50,
]


def made(texts: list[str]) -> LexicalTable:
    by_row = dict(enumerate(texts, start=1))
    connection = sqlite3.connect(":memory:", isolation_level=None)
    table = LexicalTable(connection, lambda rows: {row: by_row[row] for row in rows if row in by_row})
    table.create()
    table.add(range(1, len(texts) + 1), texts)
    return table


def rows_of(result: tuple[np.ndarray, np.ndarray]) -> list[int]:
    return result[1].tolist()


@cache
def counted(text: str) -> Counter[str]:
    return Counter(ngrams(text))


def bm25(texts: dict[int, str], query: str) -> list[tuple[float, int]]:
    """Return (score, row) of every match, best first; each n-gram counts three times at most."""
    counts = {row: counted(text) for row, text in texts.items()}
    mean = sum(count.total() for count in counts.values()) / len(counts)
    found = []
    for row, count in counts.items():
        score = 0.0
        for ngram in set(ngrams(query)) & count.keys():
            frequency = sum(ngram in other for other in counts.values())
            idf = math.log(1 + (len(counts) - frequency + 0.5) / (frequency + 0.5))
            times = min(count[ngram], 3)
            score += idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * count.total() / mean))
        if set(ngrams(query)) & count.keys():
            found.append((round(score, 9), row))  # a set is summed in any order, but ties must stay ties
    return sorted(found, key=lambda pair: (-pair[0], pair[1]))


@pytest.fixture
def sample() -> tuple[LexicalTable, dict[int, str]]:
    texts = [passage.text for passage in load_sample().passages]
    return made(texts), dict(enumerate(texts, start=1))


def test_search_is_bm25(sample) -> None:
    table, texts = sample
    questions = list(load_sample().questions.values())[::50]
    for question in questions:
        expected = bm25(texts, question.text)
        scores, rows = table.search(question.text, 400)
        assert len(rows) == len(expected)
        assert scores == pytest.approx([score for score, _ in expected])
        assert (np.diff(scores) <= 0).all()
        assert rows_of(table.search(question.text, 5)) == [row for _, row in expected[:5]]


@pytest.mark.parametrize("first", [1, 3])
def test_lengths_looked_up_in_parts_give_the_same_hits(sample, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    monkeypatch.setattr(text_search, "FIRST_LENGTHS", first)
    table, texts = sample
    for question in list(load_sample().questions.values())[::120]:
        assert rows_of(table.search(question.text, 2)) == [row for _, row in bm25(texts, question.text)[:2]]


@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_a_text_is_found_by_each_of_its_words(texts: list[str]) -> None:
    table = made(texts)
    table.check()
    for row, text in enumerate(texts, start=1):
        for word in text.split():
            if ngrams(word):
                assert row in rows_of(table.search(word, len(texts)))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("我昨天去了北京大学", "北京"),
        ("我昨天去了北京大学", "去"),
        ("東京タワーの写真", "写真"),
        ("ฉันชอบกินปลา", "ปลา"),
        ("ขอน้ำหนึ่งแก้ว", "น้ำ"),
        ("ຂ້ອຍຢູ່ລາວ", "ລາວ"),
        ("ខ្ញុំចូលចិត្តត្រី", "ត្រី"),
        ("ကျွန်တော်ငါးစားတယ်", "ငါး"),
        ("서울대학교에서 공부한다", "대학"),
        ("it is an ox", "ox"),
        ("order PX-4417/b shipped", "4417"),
        ("gegründet im Jahr 1789", "١٧٨٩"),
        ("la Révolution", "revolution"),
    ],
)
def test_a_short_word_is_found_inside_a_text(text: str, word: str) -> None:
    table = made(["nothing of that kind, другое, 其他的", text])
    assert rows_of(table.search(word, 1)) == [2]


@given(st.lists(st.lists(WORDS, max_size=5).map(" ".join), min_size=1, max_size=8), st.data())
def test_removing_leaves_what_was_never_added(texts: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(1, len(texts))))
    table = made(texts)
    table.remove(sorted(gone), [texts[row - 1] for row in sorted(gone)])
    table.check()
    left = {row: text for row, text in enumerate(texts, start=1) if row not in gone}
    assert len(table) == len(left)
    for word in ("cat", "東京", "1789", "the"):
        scores, rows = table.search(word, 10)
        expected = bm25(left, word) if left else []
        assert rows.tolist() == [row for _, row in expected]
        assert scores == pytest.approx([score for score, _ in expected])


def test_a_row_can_be_added_again_after_it_was_removed() -> None:
    table = made(["cat", "dog"])
    table.remove([1], ["cat"])
    table.add([1], ["東京"])
    table.check()
    assert rows_of(table.search("cat", 5)) == []
    assert rows_of(table.search("東京", 5)) == [1]


def test_removing_another_text_is_refused_and_changes_nothing() -> None:
    table = made(["cat", "dog"])
    for rows, texts in (([1, 2], ["cat", "god"]), ([3], ["cat"])):
        with pytest.raises(MlretError, match="does not hold the text"):
            table.remove(rows, texts)
    table.check()
    assert rows_of(table.search("cat dog", 5)) == [1, 2]


@given(st.one_of(TEXTS, st.sampled_from(HOSTILE), st.lists(st.sampled_from(HOSTILE)).map("".join)))
def test_no_query_is_an_operator(query: str) -> None:
    table = made(["the cat sat", "a dog", "NEAR OR AND NOT"])
    _, rows = table.search(query, 5)
    wanted = set(ngrams(query))
    texts = ["the cat sat", "a dog", "NEAR OR AND NOT"]
    assert set(rows.tolist()) == {row for row, text in enumerate(texts, start=1) if wanted & set(ngrams(text))}


def test_a_text_that_looks_like_a_query_is_stored_and_found() -> None:
    table = made(HOSTILE)
    table.check()
    assert rows_of(table.search("drop", 1)) == [HOSTILE.index("'; DROP TABLE lexical; --") + 1]
    table.remove(range(1, len(HOSTILE) + 1), HOSTILE)
    assert len(table) == 0


@given(st.lists(WORDS, min_size=1, max_size=12), st.sets(st.integers(1, 14)), st.sampled_from([0, 600]))
def test_only_allowed_rows_are_seen(words: list[str], some: set[int], cost: int) -> None:
    table = made(words)
    allowed = np.array(sorted(some), dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "TEXT_COST", cost)
        for query in ("cat dog 東京 the", "cats"):
            every = bm25(dict(enumerate(words, start=1)), query)
            assert rows_of(table.search(query, 20, allowed=allowed)) == [row for _, row in every if row in some]


def test_the_budget_leaves_out_frequent_ngrams_but_no_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["apple zebra", *["apple pie"] * 30]
    table = made(texts)
    monkeypatch.setattr(plan, "POSTINGS", 5)
    read: list[str] = []
    postings = LexicalTable.postings
    monkeypatch.setattr(
        LexicalTable,
        "postings",
        lambda self, wanted, *rest: read.extend(wanted) or postings(self, wanted, *rest),
    )
    assert rows_of(table.search("apple zebra", 1)) == [1]
    assert "¤zebra" in read
    assert "¤apple" not in read
    assert rows_of(table.search("apple zebra", 5)) == [1, 2, 3, 4, 5]
    assert rows_of(table.search("apple zebra", 5, allowed=np.array([7, 9], dtype=np.int64))) == [7, 9]


def test_equal_scores_are_ordered_by_row() -> None:
    assert rows_of(made(["the cat"] * 7).search("cat", 4)) == [1, 2, 3, 4]


def test_fewer_than_one_hit_cannot_be_asked_for() -> None:
    with pytest.raises(InputError, match="k is 0"):
        made(["cat"]).search("cat", 0)


def test_an_empty_index_finds_nothing() -> None:
    table = made([])
    table.check()
    assert rows_of(table.search("cat", 3)) == []
    table.add([1], ["…"])
    assert rows_of(table.search("cat", 3)) == []


@pytest.fixture
def on_disk(tmp_path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA secure_delete = ON")
    yield connection
    connection.close()


def test_rollback_takes_back_additions_and_removals(on_disk: sqlite3.Connection) -> None:
    table = LexicalTable(on_disk)
    table.create()
    table.add([1, 2], ["the cat", "a dog"])
    on_disk.execute("BEGIN")
    table.add([3], ["another cat"])
    table.remove([1], ["the cat"])
    assert rows_of(table.search("cat", 5)) == [3]
    on_disk.execute("ROLLBACK")
    table.check()
    assert rows_of(table.search("cat", 5)) == [1]
    assert len(table) == 2


def test_a_reader_does_not_see_what_is_not_committed(on_disk: sqlite3.Connection, tmp_path) -> None:
    table = LexicalTable(on_disk)
    table.create()
    reader = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    on_disk.execute("BEGIN")
    table.add([1], ["the cat"])
    assert rows_of(LexicalTable(reader).search("cat", 5)) == []
    on_disk.execute("COMMIT")
    assert rows_of(LexicalTable(reader).search("cat", 5)) == [1]
    reader.close()


def test_a_row_is_added_once_only() -> None:
    table = made(["cat"])
    with pytest.raises(sqlite3.IntegrityError):
        table.add([1], ["dog"])


def test_purge_leaves_no_word_of_a_removed_text_in_the_file(on_disk: sqlite3.Connection, tmp_path) -> None:
    table = LexicalTable(on_disk)
    table.create()
    for row in range(1, 40):
        table.add([row], ["xylophone" if row == 20 else f"the cat {row}"])
    on_disk.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"xylophone" in (tmp_path / "records.db").read_bytes()
    table.remove([20], ["xylophone"])
    table.purge()
    table.check()
    on_disk.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = (tmp_path / "records.db").read_bytes()
    assert b"xylo" not in content
    assert b"hone" not in content


def test_clear_empties_the_index() -> None:
    table = made(["cat", "dog"])
    table.clear()
    table.check()
    assert rows_of(table.search("cat", 3)) == []
    table.add([1], ["cat"])
    table.check()
    assert rows_of(table.search("cat", 3)) == [1]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM lexical_texts WHERE row = 1",
        "UPDATE lexical_ngrams SET records = records + 1 WHERE ngram = '·dog'",
        "DELETE FROM lexical_ngrams WHERE ngram = '¤cat'",
        "UPDATE lexical_totals SET length = length + 1",
        "DELETE FROM lexical_data WHERE id > 10",
    ],
)
def test_check_notices_damage(damage: str) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    table = LexicalTable(connection)
    table.create()
    table.add([1, 2], ["the cat", "a dog"])
    connection.execute(damage)
    with pytest.raises((MlretError, sqlite3.DatabaseError)):
        table.check()


def test_sqlite_without_fts5_is_named() -> None:
    class Connection:
        def execute(self, statement: str) -> None:
            raise sqlite3.OperationalError("no such module: fts5")

    with pytest.raises(MlretError, match="built without FTS5"):
        LexicalTable(Connection()).create()  # type: ignore[arg-type]
