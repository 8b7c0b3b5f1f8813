"""The names of months and weekdays in a language, and where a text names a month."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from mlret.memory.text.locale_data import locale_data
from mlret.memory.text.number_words import any_of, spelled_numbers
from mlret.memory.text.word_lists import Names

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
# Months that dateparser lacks, from January on: those of the Levant and the Maghreb, and with Persian letters.
_MORE_MONTHS = {
    "ar": [
        "كانون الثاني,جانفي", "شباط,فيفري", "آذار,اذار", "نيسان,افريل,أفريل,ابريل,إبريل", "أيار,ايار,ماي",
        "حزيران,جوان", "تموز,جويلية", "آب,اب,أوت,اغسطس", "أيلول,ايلول", "تشرين الأول,تشرين الاول,اكتوبر",
        "تشرين الثاني",
        "كانون الأول,كانون الاول",
    ],
    "bn": [""] * 8 + ["সেপ্ট"] + [""] * 3,
    "fa": [
        "ژانویه,ژانویهٔ", "فوریه,فوریهٔ", "مارس", "آوریل", "", "ژوئن", "ژوئیه,جولای", "اوت", "سپتامبر", "اکتبر", "نوامبر",
        "دسامبر",
    ],
    "hi": ["", "फरवरी"] + [""] * 7 + ["अक्टू॰,अक्टू", "", ""],
    "th": ["ม.ค", "ก.พ", "มี.ค", "เม.ย", "พ.ค", "มิ.ย", "ก.ค", "ส.ค", "ก.ย", "ต.ค", "พ.ย", "ธ.ค"],
}  # fmt: skip
# Short forms of weekdays that are also common words: Ukrainian `серед` means *among*.
_NO_DAYS = frozenset({"серед"})
# Languages in which weekdays form their plural with s: `on Sundays`.
_PLURAL_DAYS = frozenset({"en", "de", "fr", "es", "pt"})
UNSPACED = frozenset({"zh", "ja", "ko", "th", "lo", "km", "my"})


@lru_cache(maxsize=128)
def calendar_names(
    language: str,
) -> tuple[tuple[Names, dict[str, int]], tuple[Names, dict[str, int]]] | None:
    """Return the names of months, from 1, and of weekdays, from 0, as dateparser has them from CLDR.

    Returns
    -------
    tuple or None
        The names of months and of weekdays as they are found in text, with their values, name -> number; ``None`` if
        dateparser lacks the language.
    """
    try:
        info = locale_data(language)
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


@lru_cache(maxsize=64)
def month_names(language: str) -> dict[str, int]:
    """Return every name of a month, case-folded and without a final point, and its number; also short and vague names.

    Names that are only right next to a day or a year are included: :func:`calendar_names` excludes them.
    """
    info = locale_data(language)
    extra = {
        name: number
        for number, names in enumerate(_MORE_MONTHS.get(language, []), start=1)
        for name in names.split(",")
        if name
    }
    extra |= {name: number for number, name in enumerate(MONTH_CASES.get(language, "").split(), start=1)}
    names = _all_names(info, _MONTHS, 1)
    return {name: number for name, number in {**names, **extra}.items() if _is_long_enough(name, 3)}


@lru_cache(maxsize=64)
def weekday_names(language: str) -> dict[str, int]:
    """Return every name of a weekday, case-folded and without a final point, and its number from 0; also short ones."""
    return {name: n for name, n in _all_names(locale_data(language), _WEEKDAYS, 0).items() if _is_long_enough(name, 2)}


def _all_names(info: dict[str, list[str]], keys: list[str], first: int) -> dict[str, int]:
    found: dict[str, int] = {}
    shared = set()
    for number, key in enumerate(keys, start=first):
        for name in info.get(key, []):
            plain = " ".join(name.casefold().rstrip(".").split())
            for form in {plain, unicodedata.normalize("NFC", plain)}:
                if found.setdefault(form, number) != number:
                    shared.add(form)
    return {name: number for name, number in found.items() if name not in shared}


def _is_long_enough(name: str, letters: int) -> bool:
    return len(name) >= letters or unicodedata.category(name[0]) == "Lo"


def months_in(text: str, months: tuple[Names, dict[str, int]]) -> list[int]:
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
