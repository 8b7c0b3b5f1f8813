"""Test which texts of evaluation files are excluded from training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlret.data.held_out import normalised, read_held_out
from mlret.errors import InputError

LONG = "A sentence of the test set, long enough."
SQUAD = {
    "version": "1",
    "data": [{"title": "T", "paragraphs": [{"context": LONG, "qas": [{"question": "Who was it, then?"}]}]}],
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", f"1\t{LONG}\n"),
        ("a.jsonl", json.dumps({"id": "x", "sents": [LONG]})),
        ("a.jsonl", json.dumps({"deep": {"er": [{"text": LONG}]}})),
        ("a.json", json.dumps(SQUAD, indent=1)),
        ("a.json", json.dumps({"text": LONG}) + "\n" + json.dumps({"text": "Another one, quite as long"})),
    ],
)
def test_texts_are_found_in_every_form(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    found = read_held_out([path])
    assert normalised(LONG.upper() + " ") in found
    assert all(len(text) >= 10 for text in found)


def test_malformed_json_is_named_with_its_line(tmp_path: Path) -> None:
    for name, content, line in (("a.jsonl", '{"a": "b"}\n{"a": }\n', 2), ("a.json", '{\n"a": [1,\n}', 3)):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=f"{name}:{line}: not JSON"):
            read_held_out([path])


HINDI = "पिता जल गया और माता घर में है"
VARIANTS = [
    HINDI + "।",
    HINDI.replace(" ", "  "),
    f"“{HINDI}”",
    HINDI.replace("और", "और\u200d"),
]


@pytest.mark.parametrize("text", VARIANTS)
def test_copies_of_held_out_text_are_found_in_any_script(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"1\t{HINDI}\n2\tמה שלומך היום, ידידי?\n3\tأين كتاب محمد الجديد\n", encoding="utf-8")
    found = read_held_out([path])
    assert normalised(text) in found
    assert normalised("מָה שְׁלוֹמְךָ הַיּוֹם יְדִידִי") in found
    assert normalised("أَيْنَ كِتَابُ مُحَمَّد الجَدِيد؟") in found


def test_another_sentence_is_not_held_out_because_its_consonants_or_digits_are_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"1\t{HINDI}\n2\tIt takes 1.5 hours to get there\n3\tLearn C++ in a week\n", encoding="utf-8")
    found = read_held_out([path])
    for text in ("पीता जाल गया और मीता घर में है", "It takes 15 hours to get there", "Learn C# in a week"):
        assert normalised(text) not in found


def test_vowel_signs_count_as_characters_of_a_short_text(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("मेरी किताब\tनमस्ते\n", encoding="utf-8")  # 6 letters with 3 vowel signs are still too short
    assert read_held_out([path]) == set()
    path.write_text("मेरी नीली किताबें\n", encoding="utf-8")
    assert read_held_out([path]) == {normalised("मेरी नीली किताबें")}
