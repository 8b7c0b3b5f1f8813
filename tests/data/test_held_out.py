"""Which texts of evaluation files are kept out of training."""

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
