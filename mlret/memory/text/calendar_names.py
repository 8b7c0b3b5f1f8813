"""The names of months and weekdays in a language, and where a text names a month."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex

from mlret.data.languages import cldr_code
from mlret.memory.text.number_words import any_of, spelled_numbers

_MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905
# Months that are also other words count only next to a day or a year; so do months of three letters.
VAGUE_MONTHS = frozenset({"march", "mars", "may", "august", "maj", "mai"})
_SHORTEST_MONTH = 4
_BESIDE = 8  # Maximum number of characters around a month that are searched for its day or year: `12 de mayo`.
# Months in a grammatical case that CLDR does not list, from January on.
MONTH_CASES = {
    "el": "ιανουάριο φεβρουάριο μάρτιο απρίλιο μάιο ιούνιο ιούλιο αύγουστο σεπτέμβριο οκτώβριο νοέμβριο δεκέμβριο",
    "pl": "styczniu lutym marcu kwietniu maju czerwcu lipcu sierpniu wrześniu październiku listopadzie grudniu",
    "ru": "январе феврале марте апреле мае июне июле августе сентябре октябре ноябре декабре",
    "uk": "січні лютому березні квітні травні червні липні серпні вересні жовтні листопаді грудні",
}
# Short forms of weekdays that are also common words: Ukrainian `серед` means *among*.
_NO_DAYS = frozenset({"серед"})
# Languages in which weekdays form their plural with s: `on Sundays`.
_PLURAL_DAYS = frozenset({"en", "de", "fr", "es", "pt"})
UNSPACED = frozenset({"zh", "ja", "ko", "th", "lo", "km", "my"})


@lru_cache(maxsize=128)
def calendar_names(
    language: str,
) -> tuple[tuple[regex.Pattern[str], dict[str, int]], tuple[regex.Pattern[str], dict[str, int]]] | None:
    """Return the names of months, from 1, and of weekdays, from 0, as dateparser has them from CLDR.

    Returns
    -------
    tuple or None
        For months and for weekdays a pattern and its values, name -> number; ``None`` if dateparser lacks the language.
    """
    from dateparser.languages.loader import default_loader

    try:
        info = default_loader.get_locale(cldr_code(language)).info
    except ValueError:
        return None
    numerals = spelled_numbers().get(language, {})  # French `sept` is also seven, Hebrew `שני` also two.
    months = {name: n for name, n in _names_of(info, _MONTHS, 1, shortest=3).items() if name not in numerals}
    months |= {name: number for number, name in enumerate(MONTH_CASES.get(language, "").split(), start=1)}
    weekdays = {
        name: n for name, n in _names_of(info, _WEEKDAYS, 0, shortest=_SHORTEST_MONTH).items() if name not in numerals
    }
    if language in _PLURAL_DAYS:
        weekdays |= {f"{name}s": number for name, number in weekdays.items() if len(name) > _SHORTEST_MONTH}
    # Languages written without spaces have names inside a run of letters.
    bounded = language not in UNSPACED
    return (any_of(months, language, bounded=bounded), months), (
        any_of(weekdays, language, bounded=bounded),
        weekdays,
    )


def months_in(text: str, months: tuple[regex.Pattern[str], dict[str, int]]) -> list[int]:
    """Return the numbers of the months that a case-folded text names, in order.

    Parameters
    ----------
    text
        The text.
    months
        The first part of what :func:`calendar_names` returns.
    """
    pattern, values = months
    found = []
    for match in pattern.finditer(text):
        name = match[0]
        if name in VAGUE_MONTHS or (len(name) < _SHORTEST_MONTH and unicodedata.category(name[0]) == "Ll"):
            around = text[max(0, match.start() - _BESIDE) : match.start()] + text[match.end() : match.end() + _BESIDE]
            if not any(character.isdigit() for character in around):
                continue
        found.append(values[name])
    return found


def _names_of(info: dict[str, list[str]], keys: list[str], first: int, *, shortest: int) -> dict[str, int]:
    """Return name -> number, except ambiguous names, short ones and those that contain a digit."""
    found: dict[str, int] = {}
    shared = set()
    for number, key in enumerate(keys, start=first):
        for name in map(str.casefold, info.get(key, [])):
            if found.setdefault(name, number) != number:
                shared.add(name)
    return {
        name: number
        for name, number in found.items()
        if name not in shared
        and name not in _NO_DAYS
        and not any(character.isdigit() or character == "." for character in name)
        and len(name) >= (2 if not name.isascii() and unicodedata.category(name[0]) == "Lo" else shortest)
    }
