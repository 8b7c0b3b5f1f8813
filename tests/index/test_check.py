"""The check that asks an index for its own documents."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlret
from mlret.data.sample import load_sample
from mlret.errors import InputError
from mlret.index.check import _shares, check_index
from mlret.index.index import Index
from tests.index import made

SAMPLE = load_sample().passages
LANGUAGES = ("sw", "ja", "de")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    made_index = Index.create(tmp_path_factory.mktemp("check") / "i", mlret.load_encoder(device="cpu"))
    made_index.add([passage for passage in SAMPLE if passage.language in LANGUAGES])
    return made_index


def test_an_intact_index_finds_its_own_documents(index: Index) -> None:
    report = check_index(index, size=45)
    assert report.good and report.weak == []
    assert report.recall_at_10 >= 0.95 and report.recall_at_1 <= report.mrr <= report.recall_at_10
    assert {code: one.queries for code, one in report.languages.items()} == dict.fromkeys(LANGUAGES, 15)
    assert report.compared > 20 and report.different == 0


def test_figures_are_those_of_the_hits(index: Index) -> None:
    report = check_index(index, size=len(index))
    ranks = []
    for document in index:
        sentence = document.text[: max(15, _first_end(document.text))].strip()
        hits = index.search(sentence, 10, language=document.language)
        ranks.append(next((hit.rank for hit in hits if hit.id == document.id), 0))
    assert report.queries == len(index)
    assert report.recall_at_1 == pytest.approx(np.mean([rank == 1 for rank in ranks]))
    assert report.mrr == pytest.approx(np.mean([1 / rank if rank else 0 for rank in ranks]))


def _first_end(text: str) -> int:
    """Return where the first sentence of a passage of the sample ends; its marks are followed by a space, or CJK."""
    ends = [text.find(mark) + len(mark.strip()) for mark in (". ", "! ", "? ", "。", "！", "？") if mark in text]
    return min((end for end in ends if end >= 15), default=len(text))


def test_vectors_of_other_texts_fail_the_check(index: Index, tmp_path: Path) -> None:
    documents = list(index)
    vectors = np.asarray(index.vectors([document.id for document in documents]))
    with Index.create(tmp_path / "broken", index.encoder) as broken:
        broken.add(documents, vectors=np.roll(vectors, 7, axis=0))
        report = check_index(broken, size=60)
    assert not report.good and report.recall_at_10 < 0.5
    assert report.different == report.compared > 20
    assert f"{report.compared} of {report.compared} stored vectors are not what the encoder gives" in report.weak[0]
    assert {sentence.split(" is weak")[0] for sentence in report.weak[1:]} == {"Swahili", "Japanese", "German"}


def test_one_broken_language_is_named_and_the_others_are_not(index: Index, tmp_path: Path) -> None:
    documents = list(index)
    vectors = np.array(index.vectors([document.id for document in documents]))
    swahili = [place for place, document in enumerate(documents) if document.language == "sw"]
    vectors[swahili] = np.roll(vectors[swahili], 5, axis=0)
    with Index.create(tmp_path / "broken", index.encoder) as broken:
        broken.add(documents, vectors=vectors)
        report = check_index(broken, size=60)
    assert next(iter(report.languages)) == "sw" and report.languages["sw"].recall_at_1 < 0.5
    assert sum("Swahili is weak" in sentence for sentence in report.weak) == 1
    assert not any("Japanese" in sentence or "German" in sentence for sentence in report.weak)


def test_titles_are_asked_for_and_equal_titles_are_both_right(index: Index, tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", index.encoder) as titled:
        text = "Treni ya Nairobi imechelewa kwa saa moja."
        titled.add([{"id": str(number), "text": text, "lang": "sw", "title": "Treni"} for number in range(12)])
        report = check_index(titled)
    assert (report.titles, report.whole, report.recall_at_1) == (12, 0, 1.0)


def test_the_draw_depends_on_the_seed_alone(index: Index) -> None:
    assert check_index(index, size=9, seed=3) == check_index(index, size=9, seed=3)


@given(st.dictionaries(st.sampled_from([None, *"abcdefgh"]), st.integers(1, 50), min_size=1), st.integers(1, 300))
def test_shares_fill_the_sample_as_evenly_as_the_documents_allow(counts: dict[str | None, int], size: int) -> None:
    shares = _shares(counts, size)
    assert sum(shares.values()) == min(size, sum(counts.values()))
    assert all(shares[code] <= counts[code] for code in shares)
    most = max(shares.values())
    assert all(shares.get(code, 0) >= min(count, most - 1) for code, count in counts.items())


def test_what_cannot_be_checked_is_refused(tmp_path: Path, index: Index) -> None:
    with Index.create(tmp_path / "empty", index.encoder) as empty, pytest.raises(InputError, match="no documents"):
        check_index(empty)
    with pytest.raises(InputError, match="size is 0"):
        check_index(index, size=0)
    with pytest.raises(InputError, match="seed is -1"):
        check_index(index, seed=-1)
    with Index.create(tmp_path / "given", made.encoder()) as external:
        external.add(["the cat"], vectors=made.vectors_of(["the cat"], "cosine"))
        with pytest.raises(InputError, match="which mlret does not run"):
            check_index(external)


def test_a_report_is_plain_data_and_a_table(index: Index) -> None:
    report = check_index(index, size=6)
    content = report.to_dict()
    assert content["good"] is True and content["languages"]["sw"]["queries"] == 2
    rows = report.table().rows
    assert rows[0][:2] == ["all", "6"]
    assert Counter(row[0] for row in rows[1:]) == Counter(["Swahili", "Japanese", "German"])
