"""Determine the scripts in which a text is written, from the Unicode names of its characters."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

# A script with a smaller share of a text's letters is not counted, such as a Latin name in an Arabic sentence. The
# rarest of the three scripts of Japanese is often below this share, but then the text has the other two.
MAIN_SHARE = 0.15

_LATIN = frozenset({"LATIN"})
_LETTER = re.compile("[A-Za-z]")
# First words of character names that do not identify the script; the second word is needed as well.
_VAGUE = {"ANATOLIAN", "INSCRIPTIONAL", "LINEAR", "MEROITIC", "NEW", "OLD", "TAI"}
# Letters whose name does not begin with the script's name.
_ALIASES = {
    "CJK": "HAN",
    "IDEOGRAPHIC": "HAN",
    "HENTAIGANA": "HIRAGANA",
    "KATAKANA-HIRAGANA": "KATAKANA",
}
# Letters that belong to no single script, or whose name only states what they are used for.
_NONE = {"CARON", "COMBINING", "MASU", "MODIFIER", "MUSICAL", "VARIATION", "VEDIC", "VERTICAL", "ZNAMENNY"}
# Codes of ISO 15924 whose English names differ from those in character names. Korean is written almost without Chinese
# characters.
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
    """Return the script of one character.

    Parameters
    ----------
    character
        One character, preferably in NFKC, so that full-width and circled letters are replaced by plain ones.

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
    """Return the scripts in which a text is mainly written.

    A script counts if it writes at least ``MAIN_SHARE`` of the letters. Chinese is ``HAN``; Japanese is those of
    ``HAN``, ``HIRAGANA`` and ``KATAKANA`` that occur. They are distinguished because a text in kana alone has no
    character in common with a Chinese text, whereas Japanese in kanji does.

    Parameters
    ----------
    text
        Any text; it is first normalised to NFKC.

    Returns
    -------
    frozenset of str
        Names as returned by :func:`script_of`; empty for a text without letters.
    """
    if text.isascii():
        return _LATIN if _LETTER.search(text) else frozenset()
    text = unicodedata.normalize("NFKC", text)
    found = frozenset(script for script in map(script_of, set(text)) if script is not None)
    if len(found) < 2:
        return found
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        script = script_of(character)
        if script is not None:
            counts[script] += count
    least = MAIN_SHARE * counts.total()
    return frozenset(script for script, count in counts.items() if count >= least)


def scripts_of_language(language: str) -> frozenset[str]:
    """Return the scripts in which a language is usually written, or the one that its tag names.

    Parameters
    ----------
    language
        A BCP 47 tag, e.g. ``"sw"``, ``"zh-Hant"``, ``"ja"``.

    Returns
    -------
    frozenset of str
        Names as returned by :func:`script_of`; empty if CLDR does not know the language's script.
    """
    from langcodes import Language

    code = Language.get(language).maximize().script
    if code is None:
        return frozenset()
    return frozenset(_BY_CODE.get(code) or {Language.make(script=code).script_name("en").upper()})


def share_script(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether words of two texts can match letter by letter.

    A text without letters (such as a number) is considered to be written in every script.

    Parameters
    ----------
    one, other
        The result of :func:`scripts_of` for each text.
    """
    return not one or not other or not one.isdisjoint(other)
