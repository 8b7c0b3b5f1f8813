"""Test that texts with similar meanings but different statements are not merged."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.sample import FOLDER
from mlret.errors import InputError
from mlret.memory.text import negation_words
from mlret.memory.text.features import facts_of
from mlret.memory.text.merge_guards import GUARDS, conflicts, unchecked
from mlret.memory.text.negation_words import negation_pattern

LANGUAGES = [None, "en", "de", "fr", "ru", "ar", "zh", "sw", "xh"]


def may_merge(first: str, second: str, language: str | None = None, other: str | None = None) -> bool:
    """Return whether every guard can compare two texts, and none of them blocks the merge."""
    one, two = facts_of(first, language), facts_of(second, other)
    return not conflicts(one, two) and not unchecked(one, two)


def guards(first: str, second: str, language: str | None, other: str | None) -> list[str]:
    return [one.guard for one in conflicts(facts_of(first, language), facts_of(second, other))]


@pytest.mark.parametrize(
    ("first", "language", "second", "other", "guard"),
    [
        ("I owe him 30 francs.", "en", "I owe him 40 francs.", "en", "numbers"),
        ("I owe him 30 francs.", "en", "Ich schulde ihm 40 Franken.", "de", "numbers"),
        ("The bus leaves at 14:30.", "en", "الحافلة تغادر في ١٤:٤٥", "ar", "numbers"),
        ("It weighs 3.5 kg.", "en", "Es wiegt 35 kg.", "de", "numbers"),
        ("Il est né le 5 mars 1990.", "fr", "He was born on 5 April 1990.", "en", "months"),
        ("Born 1990-03-05", "en", "Né le 6 mars 1990", "fr", "numbers"),
        ("We meet on Monday.", "en", "Nous nous voyons mardi.", "fr", "weekdays"),
        ("I bought seven apples.", "en", "Ich kaufte acht Äpfel.", "de", "number words"),
        ("I bought seven apples.", "en", "I bought nine apples.", "en", "number words"),
        ("I eat nuts.", "en", "Ich esse keine Nüsse.", "de", "negation"),
        ("Он курит.", "ru", "Он не курит.", "ru", "negation"),
        ("我喜欢茶。", "zh", "I don't like tea.", "en", "negation"),
        ("Geldi.", "tr", "Gelmedi.", "tr", "negation"),
        ("Anna lives in Paris.", "en", "Anna lives in Rome.", "en", "wording"),
    ],
)
def test_what_differs_blocks_a_merge(first: str, language: str, second: str, other: str, guard: str) -> None:
    assert guard in guards(first, second, language, other)


@pytest.mark.parametrize(
    ("first", "language", "second", "other"),
    [
        ("It costs 1,000 shillings.", "en", "Es kostet 1.000 Schilling.", "de"),
        ("It costs 1,000 shillings.", "en", "Ça coûte 1 000 shillings.", "fr"),
        ("It costs 1000 shillings.", "en", "इसकी कीमत १००० शिलिंग है।", "hi"),
        ("It weighs 3.50 kg.", "en", "Es wiegt 3,5 kg.", "de"),
        ("Born 1990-03-05.", "en", "Né le 5 mars 1990.", "fr"),
        ("Born on March 5, 1990.", "en", "1990年3月5日出生", "zh"),
        ("I have 3 cats.", "en", "Ich habe drei Katzen.", "de"),
        ("We met on Friday.", "en", "Мы встретились в пятницу.", "ru"),
        ("I don't eat nuts.", "en", "Je ne mange pas de noix.", "fr"),
        ("He never smokes.", "en", "他从不抽烟。", "zh"),
        ("You may go in March.", "en", "you may go in March", "en"),
        ("Anna lives in Cologne.", "en", "Anna wohnt in Köln.", "de"),
    ],
)
def test_texts_with_the_same_content_may_merge(first: str, language: str, second: str, other: str) -> None:
    assert guards(first, second, language, other) == []


WORDS = "not nicht ne pas seven sieben sept 7 70 7,5 1.000 ٧ mars März May 3月 Monday montag Anna никогда не 不 . ,"
TEXTS = st.lists(
    st.sampled_from(WORDS.split()),
    max_size=8,
).map(" ".join) | st.text(max_size=40)


@settings(deadline=None)  # the first text of a language compiles its patterns
@given(TEXTS, TEXTS, st.sampled_from(LANGUAGES), st.sampled_from(LANGUAGES))
def test_guards_are_symmetric(first: str, second: str, language: str | None, other: str | None) -> None:
    one, two = facts_of(first, language), facts_of(second, other)
    there = {(c.guard, c.first, c.second) for c in conflicts(one, two)}
    assert there == {(c.guard, c.second, c.first) for c in conflicts(two, one)}
    assert {guard for guard, *_ in there} <= set(GUARDS)
    assert not {guard for guard, *_ in there} & set(unchecked(one, two))
    assert unchecked(one, two) == unchecked(two, one)


@settings(deadline=None)  # the first text of a language compiles its patterns
@given(TEXTS, st.sampled_from(LANGUAGES))
def test_a_text_never_conflicts_with_itself(text: str, language: str | None) -> None:
    assert may_merge(text, text, language, language)


@given(st.integers(0, 10**9), st.sampled_from("0٠०০๐０"))
def test_a_number_is_the_same_in_all_digits(number: int, zero: str) -> None:
    spelled = "".join(chr(ord(zero) + int(digit)) for digit in str(number))
    assert facts_of(f"x {spelled} y").numbers == facts_of(f"x {number:,} y").numbers == {str(number): 1}


def test_without_a_language_the_wording_decides() -> None:
    facts, other = facts_of("not seven 8"), facts_of("seven 8")
    assert (facts.numbers, facts.words, facts.negations, facts.particles) == ({"8": 1}, None, None, None)
    assert unchecked(facts, facts) == [] and may_merge("not seven 8", "Not seven 8.")
    assert not may_merge("Er wurde 5.", "Er wurde 5", "de", "de")  # the fifth
    assert "negation" in unchecked(facts, other) and not may_merge("not seven 8", "seven 8")


def test_a_language_without_lists_merges_nothing_but_the_same_words() -> None:
    assert not may_merge("I have 3 cats.", "Ég á 3 ketti.", "en", "is")
    assert may_merge("Ég á 3 ketti.", "ég á 3 ketti", "is", "is")


@pytest.mark.parametrize(
    ("first", "language", "second", "other", "guard"),
    [
        ("It costs 5 $", "en", "Es kostet 5 €", "de", "signs"),
        ("It is 5 km long", "en", "Es ist 5 Meilen lang", "de", "units"),
        ("Does he smoke?", "en", "Er raucht.", "de", "question"),
        ("All came", "en", "Einige kamen", "de", "quantity"),
        ("You must go", "en", "Tu peux partir", "fr", "modality"),
        ("It rained yesterday", "en", "Завтра будет дождь", "ru", "time words"),
        ("It takes more time", "en", "Es braucht weniger Zeit", "de", "degree"),
        ("Alice likes Bob", "en", "Bob mag Alice", "de", "roles"),
        ("From 5 to 10", "en", "De 10 à 5", "fr", "numbers"),
        ("The door is open", "en", "The door is closed", "nl", "wording"),
    ],
)
def test_what_differs_between_languages_blocks_a_merge(
    first: str, language: str, second: str, other: str, guard: str
) -> None:
    assert guard in guards(first, second, language, other)
    assert guard in guards(second, first, other, language)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(InputError, match="unknown language"):
        facts_of("x", "klingon?")


def test_every_negation_list_finds_its_words_between_words_alone() -> None:
    languages = {*negation_words._WORDS, *negation_words._PATTERNS}
    assert len(languages) > 40
    for language in languages:
        pattern = negation_pattern(language)
        assert pattern is not None and not pattern.search("xyz 123")
    hindi = negation_pattern("hi")
    assert hindi is not None and hindi.search("मैं न जाऊँगा") and not hindi.search("अपने तने")


def test_translations_of_the_sample_seldom_conflict() -> None:
    sentences: dict[tuple[str, int], dict[str, str]] = {}
    for line in (FOLDER / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        passage = json.loads(line)
        for place, text in enumerate(passage["sents"]):
            sentences.setdefault((passage["topic"], place), {})[passage["lang"]] = text
    blocked = [
        bool(conflicts(facts_of(texts[one], one), facts_of(texts[other], other)))
        for texts in sentences.values()
        for one, other in combinations(["en", "de", "fr", "ru", "zh", "ja", "ko", "hi"], 2)
    ]
    # A guard blocks in doubt: about one in five sentences of a dozen words.
    assert sum(blocked) / len(blocked) < 0.2
