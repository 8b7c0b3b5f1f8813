"""Split running text into sentences, by Unicode's rules with corrections that are supported by gold sentences.

``scripts/bench/sentences.py`` compares this with other splitters; the results are in
``eval/results/bench/sentences.md``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from mlret.data.abbreviations import BEFORE_NUMBERS, TITLES, abbreviations
from mlret.data.sentence_breaks import cut_at_ends

LONGEST_SENTENCE = 1000
"""In characters. What is longer has no marks that end sentences, or is none: a table, a list, minified code."""

_OPENING = "“‘「『《〈【〔（"
_CLOSING = "\"'”’»›“‘«‹)]}」』》〉】〕）"
_CJK_STOPS = "。！？．｡"
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_DASHES = "-–—"
# « Viens ! » dit-elle: French has spaces inside its quotation marks.
_CLOSED_LATE = re.compile(r"»\s+")
# 「…。」と言った: what follows the quotation belongs to its sentence.
_AFTER_JAPANESE_QUOTATION = frozenset("とっなはがをにものやでだ")

# Sentence ends that Unicode's rules do not find. In every language: an ellipsis, a full stop before a number, and a
# mark before a dialogue's dash. Armenian: a colon typed instead of its full stop. Ethiopic: two word separators instead
# of its full stop. Tibetan, Dzongkha: a shad before a space, which is omitted after the letter ga. Burmese: those rules
# cut Zawgyi text inside the syllable that follows. Bambara, Kurdish, Vietnamese: a full stop before a word in lower
# case, which in texts of these languages starts a sentence more often than it follows an abbreviation.
_ENDS = r"\.[\"”’»)]*\s+(?=\d)|…[\"”’»)]*\s+|[.!?][\"”’»)]*\s+(?=[-–—]\s)"
_MORE_ENDS = {
    "am": r"፡፡[\"”»)]*\s*",
    "bm": r"\.\s+",
    "bo": r"[།༎ག]\s+",
    "dz": r"[།༎ག]\s+",
    "hy": r":[\"”»)]*\s+",
    "ku": r"\.\s+",
    "my": r"။[\"”’)]*\s*",
    "ti": r"፡፡[\"”»)]*\s*",
    "vi": r"\.\s+",
}
_ENDS_OF = {language: re.compile(f"{_ENDS}|{more}") for language, more in _MORE_ENDS.items()}
_ENDS_OF_OTHERS = re.compile(_ENDS)
# Marks that those rules take for full stops although they do not end sentences.
_NO_STOPS = {"hy": ".․", "my": "၊"}
# J. R. R., U.S. do not end a sentence; but "D.C." often does, as in "Washington, D.C."
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_NO_INITIALS = frozenset(("D.C", "M.D", "A.I", "º", "ª", "²", "³", "ය", "ව", "જ"))
# Nouns are capitalised, so a capital letter is no sign of a new sentence: "am 3. Oktober".
_CAPITAL_NOUNS = frozenset(("de", "lb"))

# Thai has no mark for the end of a sentence, only a space, which also separates clauses and surrounds numbers and
# names. As is usual (Slayden et al. 2010, "Thai sentence-breaking for large-scale SMT"), each space is classified: it
# ends a sentence if it is between Thai letters, after at least _SHORTEST_THAI characters, and not beside these words.
_THAI_SPACE = re.compile("(?<=[\u0e01-\u0e5b\"'”’])\\s+(?=[\"'“‘]?[\u0e01-\u0e5b])")
_SHORTEST_THAI = 30
_NOT_BEFORE = "ๆ ฯ กับ ของ คือ จาก ซึ่ง ที่ ใน ได้แก่ เช่น เป็น เพื่อ เมื่อ โดย และ ว่า หรือ"
_NOT_AFTER = "ๆ กว่า กับ ของ คือ คุณ จาก จำนวน ที่ นาง นางสาว นาย ใน ปี ประมาณ ราคา เวลา ได้แก่ เช่น เมื่อ โดย และ ว่า หรือ อายุ"
_THAI_NOT_BEFORE, _THAI_NOT_AFTER = tuple(_NOT_BEFORE.split()), tuple(_NOT_AFTER.split())
_THAI_POLITE = ("ครับ", "ค่ะ", "คะ", "จ้ะ", "จ้า")

_CLAUSE = re.compile(r".*(?:[;:,]\s|[；：，、،؛፣፤၊])\s*", re.DOTALL)
_WORD = re.compile(r".*\s", re.DOTALL)


def split_sentences(text: str, language: str) -> list[str]:
    """Split a text into sentences.

    Unicode's rules (UAX #29) find the boundaries. Boundaries after abbreviations, initials and enumerators and inside
    quotations are removed, and boundaries that those rules do not find are added, each by a rule that gold sentences
    support. Thai text is split at spaces into fragments of a sentence's length.

    Parameters
    ----------
    text
        Running text; a line break ends a sentence.
    language
        Normalised language code. For a language without rules of its own, Unicode's rules and the general ones apply.

    Returns
    -------
    list of str
        The sentences, stripped and not empty. Joined, they are the text without some of its white space. None is longer
        than :data:`LONGEST_SENTENCE`: longer sentences are cut at the end of a clause, otherwise at a space, otherwise
        anywhere.
    """
    language = language.partition("-")[0]
    ends = _ENDS_OF.get(language, _ENDS_OF_OTHERS)
    sentences: list[str] = []
    for line in text.splitlines():
        fragments = (part for span in _cut_after(ends, line) for part in cut_at_ends(span, language))
        for sentence in _rejoined(fragments, language):
            for part in _thai(sentence) if language == "th" else (sentence,):
                sentences += _short_enough(part.strip())
    return sentences


def _cut_after(ends: re.Pattern[str], line: str) -> Iterator[str]:
    start = 0
    for match in ends.finditer(line):
        yield line[start : match.end()]
        start = match.end()
    yield line[start:]


def _rejoined(fragments: Iterable[str], language: str) -> list[str]:
    """Join fragments that are not complete sentences; the concatenated text stays the same."""
    sentences: list[str] = []
    left = ""
    for right in fragments:
        if opened := _opened_at_end(left):
            left, right = left[:-opened], left[-opened:] + right
        elif language == "fr" and (closed := _CLOSED_LATE.match(right)):
            left, right = left + closed[0], right[closed.end() :]
        if len(left) > LONGEST_SENTENCE or _ends_sentence(left, right, language):
            sentences.append(left)
            left = right
        else:
            left += right
    if sentences and not _has_word(left):
        sentences[-1] += left
    else:
        sentences.append(left)
    return sentences


def _opened_at_end(left: str) -> int:
    """Return the number of trailing characters that open what follows.

    After a full stop, Unicode's rules take 「 for a closing mark.
    """
    if len(left) > 1 and left[-1] == '"' and left[-2] in _CJK_STOPS:
        return left.count('"') % 2
    kept = left.rstrip(_OPENING)
    if kept == left or not kept or kept[-1] not in f"{_CJK_STOPS}…{_CLOSING}":
        return 0
    # In carelessly typed text, “ is also used as a closing mark.
    return 0 if left[-1] == "“" and kept.count("“") > kept.count("”") else len(left) - len(kept)


def _ends_sentence(left: str, right: str, language: str) -> bool:
    """Whether a sentence ends between two fragments that Unicode's rules or one of mlret's have separated."""
    stripped = left.rstrip()
    unquoted = stripped.rstrip(_CLOSING)
    if not _has_word(unquoted):
        return False
    spaced, quoted, mark = len(stripped) < len(left), len(unquoted) < len(stripped), unquoted[-1]
    start = right.lstrip()[:1]
    if start and start in _DASHES:
        start = right.lstrip(f"{_DASHES} ")[:1]
        if start.islower():
            return False
    if mark in _CJK_STOPS:
        return not (language == "ja" and quoted and not spaced and start in _AFTER_JAPANESE_QUOTATION)
    if mark in _NO_STOPS.get(language, ""):
        return False
    # Georgian letters count as lower case, and upper case is not in use.
    if start.islower() and not "ა" <= start <= "ჿ" and (quoted or mark == "…"):
        return False
    if not spaced and mark in ".!?" and start.isalpha() and not _CJK.match(start):
        return False
    return mark != "." or quoted or not _is_abbreviation(unquoted, start, language)


def _has_word(text: str) -> bool:
    return any(map(str.isalnum, text))


def _is_abbreviation(left: str, start: str, language: str) -> bool:
    """Whether the last word of ``left``, which ends in a full stop, is an abbreviation, given what follows."""
    word = left[:-1].rpartition(" ")[2].lstrip("([{“”„\"'‘’«-–—/")
    if word.isdecimal():
        enumerator = len(word) < 4 and len(word) + 1 == len(left)
        ordinal = language in _CAPITAL_NOUNS and len(word) < 3 and start.isalpha()
        return enumerator or ordinal or start.isdecimal()
    if "가" <= word <= "힣":  # Korean has words of one syllable, which are no initials
        return False
    if start.isdecimal() and (len(word) == 1 or word.casefold() in BEFORE_NUMBERS):
        return True
    if word == word.upper() and word not in _NO_INITIALS and _INITIALS.fullmatch(word):
        return True
    # isiXhosa puts a prefix before titles: e-St. Martin's.
    return word.rpartition("-")[2] in TITLES or word.casefold() in abbreviations(language)


def _thai(text: str) -> Iterator[str]:
    start = 0
    for space in _THAI_SPACE.finditer(text):
        left = text[start : space.start()]
        inside = left.endswith(_THAI_NOT_AFTER) or text.startswith(_THAI_NOT_BEFORE, space.end())
        if left.endswith(_THAI_POLITE) or (len(left) >= _SHORTEST_THAI and not inside):
            yield text[start : space.end()]
            start = space.end()
    yield text[start:]


def _short_enough(sentence: str) -> list[str]:
    """Return the sentence, or its parts if it is too long; an empty list if it is empty."""
    parts = []
    start = 0
    while len(sentence) - start > LONGEST_SENTENCE:
        middle, end = start + LONGEST_SENTENCE // 2, start + LONGEST_SENTENCE
        found = _CLAUSE.match(sentence, middle, end) or _WORD.match(sentence, middle, end)
        if found:
            end = found.end()
        # A vowel sign or an accent must not be separated from its letter.
        while end > middle and unicodedata.category(sentence[end]).startswith("M"):
            end -= 1
        parts.append(sentence[start:end])
        start = end
    parts.append(sentence[start:])
    return [stripped for part in parts if (stripped := part.strip())]
