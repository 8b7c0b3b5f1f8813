"""What an encoder does not read of documents: counted as they are stored, changed and deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mlret
from mlret.encoders.encoder import Encoder
from mlret.index.build import build_index, extend_index
from mlret.index.hits import Unread
from mlret.index.index import Index
from mlret.index.reembedding import reembed_index
from mlret.index.settings import IndexSettings
from mlret.index.storage.unread import TABLE
from mlret.index.verify import verify_index

NOT_CUT = IndexSettings(passages="warn")
DOCUMENTS = [
    {"id": "read", "text": "Habari ya asubuhi", "lang": "sw"},
    {"id": "long", "text": "maneno mengi sana " * 400, "lang": "sw"},
    {"id": "tifinagh", "text": "ⵜⴰⵎⴰⵣⵉⵖⵜ ⵜⴰⵎⴰⵣⵉⵖⵜ ⴰⵣⵓⵍ", "lang": "zgh"},
    {"id": "quechua", "text": "Allin p'unchaw", "lang": "qu"},
]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    made = Index.create(tmp_path / "i", mlret.load_encoder(device="cpu"), settings=NOT_CUT)
    made.add(DOCUMENTS)
    return made


def test_each_kind_is_counted_and_told_in_a_sentence(index: Index) -> None:
    [tokens] = index.encoder.token_counts([DOCUMENTS[1]["text"]], cut=False)
    [read] = index.encoder.token_counts([DOCUMENTS[1]["text"]])
    info = index.info()
    assert info.unread == Unread(1, tokens - read, {"qu": 1, "zgh": 1}, {"TIFINAGH": 1})
    assert info.warnings == [
        f"1 of 4 documents is longer than the encoder reads: its last {tokens - read} tokens are not searched",
        "1 of 4 documents is written in characters that the encoder's tokenizer does not know, and may not be found: "
        "Tifinagh 1",
        "2 of 4 documents are in a language that the encoder was not trained in, and may not be found: Quechua 1, "
        "Standard Moroccan Tamazight 1",
    ]


def test_of_a_document_in_passages_nothing_is_cut(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", mlret.load_encoder(device="cpu")) as index:
        index.add(DOCUMENTS)
        assert index.info().unread == Unread(0, 0, {"qu": 1, "zgh": 1}, {"TIFINAGH": 1})
        assert index.info().passages > 4


def test_counts_follow_changes_and_deletions(index: Index) -> None:
    index.update([{**DOCUMENTS[1], "topic": "only the metadata changes"}])
    assert index.info().unread.cut == 1
    index.update([{**DOCUMENTS[1], "text": "maneno"}, {**DOCUMENTS[0], "text": "habari " * 1000}])
    assert index.info().unread.cut == 1
    index.delete(["read", "tifinagh"])
    assert index.info().unread == Unread(0, 0, {"qu": 1}, {})
    index.compact()
    assert Index.open(index.path).info().unread == Unread(0, 0, {"qu": 1}, {})
    index.close()
    assert verify_index(index.path) == []


def test_a_detected_language_counts_only_if_the_text_is_long_enough_to_tell(index: Index) -> None:
    latin = "Gallia est omnis divisa in partes tres, quarum unam incolunt Belgae, aliam Aquitani, tertiam qui ipsorum "
    index.add([{"id": "long latin", "text": latin * 2}, {"id": "short latin", "text": latin[:40]}])
    assert index.info().languages["la"] == 2
    assert index.info().unread.languages["la"] == 1


def test_an_index_of_which_everything_is_read_has_no_table(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Index.create(tmp_path / "i", tiny_encoder) as index:
        index.add(["the cat sat", "dogs"])
        index.delete(["auto-1"])
        assert index.info().unread == Unread()
        assert not index.store.records.read("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,))


def test_another_encoder_reads_otherwise(index: Index, tmp_path: Path, tiny_encoder: Encoder) -> None:
    found = reembed_index(index.path, tmp_path / "tiny", tiny_encoder).unread
    assert found.languages == {} and found.cut == 1  # its card names no languages
    again = reembed_index(tmp_path / "tiny", tmp_path / "bundled", index.encoder)
    assert again.unread == index.info().unread


def test_given_vectors_are_not_counted_since_nothing_was_read(index: Index) -> None:
    [vector] = index.vectors(["long"])
    index.add([{**DOCUMENTS[1], "id": "given"}], vectors=vector[None])
    assert index.info().unread.cut == 1


def test_a_build_tells_of_all_documents_of_the_index(tmp_path: Path) -> None:
    encoder = mlret.load_encoder(device="cpu")
    files = []
    for number, document in enumerate(DOCUMENTS):
        files.append(tmp_path / f"{number}.jsonl")
        files[-1].write_text(json.dumps(document))
    assert build_index(tmp_path / "i", files[:1], encoder, settings=NOT_CUT).warnings == []
    assert len(extend_index(tmp_path / "i", files[1:], encoder).warnings) == 3


def test_many_languages_are_cut_short_in_the_sentence() -> None:
    languages = dict.fromkeys(("qu", "la", "ay", "gn", "ee", "wo", "bm"), 100)
    [sentence] = Unread(languages=languages).warnings(2000)
    assert sentence.startswith("700 of 2,000 documents are in a language")
    assert sentence.endswith("Ewe 100 and 2 others")
