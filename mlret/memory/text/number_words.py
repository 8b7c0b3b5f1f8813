"""The words for numbers from 1 to 99 in a language, and patterns that find words in case-folded text."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from mlret.memory.text.word_lists import Names

# Prefixes that are written together with the following word.
_PREFIXES = {"ar": "(?:[وف]?[بلك]?(?:ال)?)", "he": "[ובלהכמש]{0,2}"}


@lru_cache(maxsize=128)
def number_words(language: str) -> tuple[Names, dict[str, int]] | None:
    """Return the words for 1 to 99, found in case-folded text, and their values; ``None`` if none are known."""
    values = spelled_numbers().get(language) or _counted(language)
    if language in ("zh", "ja"):  # The lookbehind excludes weekdays such as 星期六, Saturday.
        return Names(values, "(?<![期周拜])"), values
    return (any_of(values, language), values) if values else None


@lru_cache(maxsize=1)
def spelled_numbers() -> dict[str, dict[str, int]]:
    """Return the lists written by ``scripts/number_words.py``: language -> one or more words -> number."""
    path = Path(__file__).with_name("number_words.json")
    found: dict[str, dict[str, int]] = json.loads(path.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=4)
def _counted(language: str) -> dict[str, int]:
    """Return the words for 2 to 99 in languages that CLDR's rules do not cover; empty for other languages.

    Chinese and Japanese write numbers within a run of characters. For Korean and Vietnamese, words are excluded that
    mostly mean something else, such as Vietnamese `năm`, five or year, and Korean's syllables of Chinese origin.
    """
    if language in ("zh", "ja"):
        digits = "一二三四五六七八九"
        tens = ["", "十", *(f"{digit}十" for digit in digits[1:])]
        found = {tens[n // 10] + (digits[n % 10 - 1] if n % 10 else ""): n for n in range(2, 100)}
        return found | ({"两": 2, "兩": 2} if language == "zh" else {})
    if language == "ko":
        units = "하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉".split()  # noqa: SIM905
        before = "한 두 세 네 다섯 여섯 일곱 여덟 아홉".split()  # noqa: SIM905
        tens = ["", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔"]
        found = {
            tens[n // 10] + (ones[n % 10 - 1] if n % 10 else ""): n for ones in (units, before) for n in range(2, 100)
        }
        chinese = "일 이 삼 사 오 육 칠 팔 구".split()  # noqa: SIM905
        found |= {f"{chinese[n // 10 - 1]}십" + (chinese[n % 10 - 1] if n % 10 else ""): n for n in range(20, 100)}
        return found | {"스무": 20}
    if language == "vi":
        words = dict(zip("hai ba bốn sáu bảy tám chín mười".split(), (2, 3, 4, 6, 7, 8, 9, 10), strict=True))  # noqa: SIM905
        found = words | {f"mười {word}": 10 + n for word, n in words.items() if n < 10}
        return found | {f"{word} mươi": 10 * n for word, n in words.items() if n < 10} | {"hai mươi": 20}
    return {}


def any_of(names: dict[str, int], language: str, *, bounded: bool = True) -> Names:
    """Return names as they are found in case-folded text of a language.

    Parameters
    ----------
    names
        The names; the longest one that fits is found.
    language
        The language, some of which write prefixes together with the name.
    bounded
        Whether a name must be a word of its own, rather than part of a run of letters.
    """
    if not bounded:
        return Names(names)
    if language in _PREFIXES:
        return Names(names, rf"(?<=(?<!\w){_PREFIXES[language]})", r"(?!\w)")
    return Names(names, r"(?<!\w)", r"(?!\w)", whole=True)
