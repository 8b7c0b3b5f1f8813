"""The scripts that a text is written in, by the names of its characters in Unicode."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

from langcodes import Language

# A script that makes up less of a text than this is a guest in it: the Latin name in an Arabic sentence. The rarest of
# the three scripts of Japanese is often rarer, but then the text has the other two.
MAIN_SHARE = 0.15

# First words of names that say nothing about the script: the second word is needed as well.
_VAGUE = {"ANATOLIAN", "INSCRIPTIONAL", "LINEAR", "MEROITIC", "NEW", "OLD", "TAI"}
# Letters whose name begins with another word than the script's.
_ALIASES = {
    "CJK": "HAN",
    "IDEOGRAPHIC": "HAN",
    "HENTAIGANA": "HIRAGANA",
    "KATAKANA-HIRAGANA": "KATAKANA",
}
# Letters that belong to no one script, or whose name only says what they are used for.
_NONE = {"CARON", "COMBINING", "MASU", "MODIFIER", "MUSICAL", "VARIATION", "VEDIC", "VERTICAL", "ZNAMENNY"}
# ISO 15924's codes whose English names say it in other words than the names of the characters. Korean is written
# without Chinese characters, but for the rare one.
_BY_CODE = {
    "Beng": {"BENGALI"},
    "Cans": {"CANADIAN"},
    "Hanb": {"HAN", "BOPOMOFO"},
    "Hans": {"HAN"},
    "Hant": {"HAN"},
    "Hmng": {"PAHAWH"},
    "Jpan": {"HAN", "HIRAGANA", "KATAKANA"},
    "Kali": {"KAYAH"},
    "Kore": {"HANGUL"},
    "Lana": {"TAI THAM"},
    "Lisu": {"LISU"},
    "Mand": {"MANDAIC"},
    "Mtei": {"MEETEI"},
    "Nkoo": {"NKO"},
    "Olck": {"OL"},
    "Orya": {"ORIYA"},
    "Plrd": {"MIAO"},
    "Sylo": {"SYLOTI"},
    "Talu": {"NEW TAI"},
}


@lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str | None:
    """The script of one character.

    Parameters
    ----------
    character
        One character, best in NFKC: a full-width or circled letter is then what it stands for.

    Returns
    -------
    str or None
        The script's name in capitals, e.g. ``"LATIN"``, ``"HAN"``, ``"HIRAGANA"``; ``None`` for digits, punctuation,
        symbols, white space, and marks that combine with letters of any script.
    """
    if unicodedata.category(character)[0] not in "LM":
        return None
    words = unicodedata.name(character, "").split()
    if not words or words[0] in _NONE:
        return None
    first = " ".join(words[:2]) if words[0] in _VAGUE else words[0]
    return _ALIASES.get(first, first)


def scripts_of(text: str) -> frozenset[str]:
    """The scripts that a text is mainly written in.

    Each script that writes at least ``MAIN_SHARE`` of the letters counts. Chinese is ``HAN``; Japanese is ``HAN``,
    ``HIRAGANA`` and ``KATAKANA`` as far as they occur. They are kept apart, because a text in kana alone has no
    character in common with a Chinese one, and Japanese in kanji has.

    Parameters
    ----------
    text
        Any text; it is brought into NFKC first.

    Returns
    -------
    frozenset of str
        Names as :func:`script_of` gives them; empty for a text without letters.
    """
    counts: Counter[str] = Counter()
    for character, count in Counter(unicodedata.normalize("NFKC", text)).items():
        script = script_of(character)
        if script is not None:
            counts[script] += count
    least = MAIN_SHARE * counts.total()
    return frozenset(script for script, count in counts.items() if count >= least)


def scripts_of_language(language: str) -> frozenset[str]:
    """The scripts that a language is usually written in, or the one that its tag names.

    Parameters
    ----------
    language
        BCP 47, e.g. ``"sw"``, ``"zh-Hant"``, ``"ja"``.

    Returns
    -------
    frozenset of str
        Names as :func:`script_of` gives them; empty where CLDR does not know.
    """
    code = Language.get(language).maximize().script
    if code is None:
        return frozenset()
    return frozenset(_BY_CODE.get(code) or {Language.make(script=code).script_name("en").upper()})


def share_script(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether words of two texts can match letter by letter.

    A text without letters (a number, a code of digits) is written in every script.

    Parameters
    ----------
    one, other
        What :func:`scripts_of` says of each text.
    """
    return not one or not other or not one.isdisjoint(other)
