"""Searching for words whose patterns are compiled only if a text may contain them, compared with one whole pattern."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.sample import load_parallel_sentences
from mlret.memory.text import cues, particles, signs
from mlret.memory.text.number_words import any_of, number_words
from mlret.memory.text.word_lists import Names, Patterns, alternatives, needed_letters
from tests.conftest import examples

SOURCES = [
    "move[ds]?",
    r"no\s+longer",
    "(?:a|b)cde",
    "x|yz",
    r"\w*ing",
    "日本|中国",
    "[abc]+d{2}e",
    r"a\.m\.",
    r"\p{Lu}bc",
    r"[\]x]yz",
    "(?<=a)bc",
    "ab*c",
    "a{2,3}bc",
    "9 days",
    r"\u00e4h",
]


@given(st.text("abcdefghimnovxyzs .日本中国9A]\u00e4"), st.sampled_from(SOURCES))
@settings(max_examples=examples(500))
def test_what_matches_has_the_letters_that_are_needed(text: str, source: str) -> None:
    for match in regex.finditer(source, text, overlapped=True):
        assert needed_letters(source) in match[0]


@given(st.text("abcdefghimnovxyzs .日本中国9A]\u00e4"))
@settings(max_examples=examples(500))
def test_patterns_occur_where_their_alternation_does(text: str) -> None:
    assert Patterns(SOURCES).occur_in(text) == (regex.search("|".join(SOURCES), text) is not None)


@pytest.mark.parametrize(
    ("source", "letters"),
    [
        ("longer?", "longe"),
        ("here|there", ""),
        ("mov(?:ed|ing)", "mov"),
        (r"in\ 2\ days", " days"),
        ("a[bc]def", "def"),
    ],
)
def test_the_longest_run_is_needed(source: str, letters: str) -> None:
    assert needed_letters(source) == letters


@given(st.lists(st.sampled_from(SOURCES[:2] + SOURCES[4:5]), min_size=1))
def test_alternatives_are_divided_at_bars_outside_of_groups(parts: list[str]) -> None:
    assert alternatives("|".join([*parts, "(?:a|b)cde", r"[|]\|"])) == [*parts, "(?:a|b)cde", r"[|]\|"]


@given(st.text("abc -"), st.lists(st.text("abc -", min_size=1, max_size=4), min_size=1, max_size=6))
@settings(max_examples=examples(500))
def test_names_are_found_as_by_one_pattern(text: str, names: list[str]) -> None:
    ordered = "|".join(map(regex.escape, sorted(dict.fromkeys(names), key=len, reverse=True)))
    for whole, before, after in ((True, r"(?<!\w)", r"(?!\w)"), (False, "", "")):
        found = [match.span() for match in Names(names, before, after, whole=whole).finditer(text)]
        assert found == [match.span() for match in regex.finditer(f"{before}(?:{ordered}){after}", text)]


def test_lists_of_words_are_found_as_by_one_pattern() -> None:
    words = json.loads(Path(cues.__file__).with_name("cues.json").read_text(encoding="utf-8"))
    for language, texts in load_parallel_sentences().texts.items():
        lists = {**words[language]["cues"], **words[language]["persons"]}
        whole = {name: whole_pattern(some, language) for name, some in lists.items()}
        numbers = number_words(language)
        for text in texts[:40]:
            folded = text.casefold().replace("’", "'")
            expected = {name for name, pattern in whole.items() if pattern.search(folded)}
            assert cues.cues_of(text, language) | cues.persons_of(text, language) == expected
            assert numbers is None or all(match[0] in numbers[1] for match in numbers[0].finditer(folded))


def whole_pattern(words: str, language: str) -> regex.Pattern[str]:
    """The words as one pattern."""
    if language in ("zh", "ja", "ko"):
        return regex.compile("|".join(words.replace("_", r"\s?").split()))
    forms = "|".join(
        word
        if "(" in word
        else regex.escape(word).replace(r"_\*_", particles._GAP).replace(r"\*", r"\w*").replace("_", r"\s+")
        for word in words.split()
    )
    return regex.compile(rf"(?<!\w){particles._PREFIXES.get(language, '')}(?:{forms})(?!\w)")


def test_units_and_currencies_are_found_as_by_one_pattern() -> None:
    texts = [text for some in load_parallel_sentences().texts.values() for text in some[:60]]
    texts += [f"5 {word}" for words in signs._UNITS.values() for word in words.split("|") if word.isalpha()]
    texts += [f"{word}." for words in signs._CURRENCIES.values() for word in words.split("|") if word.isalpha()]
    units = {name: regex.compile(signs._after_number(words)) for name, words in signs._UNITS.items()}
    currencies = {name: regex.compile(signs._whole(words)) for name, words in signs._CURRENCIES.items()}
    for text in texts:
        folded = text.casefold()
        assert signs.units_of(text) == {name for name, pattern in units.items() if pattern.search(folded)}
        assert signs.signs_of(text) & currencies.keys() >= {
            name for name, pattern in currencies.items() if pattern.search(folded)
        }


def test_names_of_no_language_are_found_nowhere() -> None:
    assert any_of({}, "en").search("some words") is None
    assert list(any_of({"one": 1}, "en").finditer("someone, one")) != []
