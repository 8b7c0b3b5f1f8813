"""Read dates that are written with the name of a month, or in numerals in the order of a language.

The names are dateparser's, from CLDR. Its parser is not used: it reads `14 juli` in Swedish as July 2014, `5.10.` in
German as ten past five, `mar, 19 may` in Spanish as 19 March, and `10月5日` in Japanese as October 2010.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import regex

from mlret.data.lazy_pattern import LazyPattern
from mlret.memory.text.calendar_names import VAGUE_MONTHS, month_names, weekday_names
from mlret.memory.text.number_words import spelled_numbers
from mlret.memory.text.relative_dates import year_phrases
from mlret.memory.text.time_window import Read, full_year, last_span, span_of_date

# Languages whose numerals are read with the day first; 3/5/2024 is March or May in English, and written both ways in
# places where Chinese, Japanese or Korean are spoken.
_EITHER_ORDER = frozenset({"en", "zh", "ja", "ko"})
# Languages in which a day often follows its month without a year: `October 5`.
_MONTH_FIRST = frozenset({"en", "sw", "hi", "bn"})
# Languages with a point between month and year: `10.2024`. In others this is a decimal number.
_POINT_BEFORE_YEAR = frozenset({"bg", "da", "de", "cs", "fi", "he", "pl", "ro", "ru", "tr", "uk"})
_HYPHENS = frozenset({"nl", "da", "hi", "id"})  # Languages with hyphens in dates with a year of two digits.
# Words between a day and its month, between a month and its year, and before a month without a year.
_OF = {
    "ar": r"من(?:\s+شهر)?", "el": "του", "en": "of", "es": "de(?:l mes de)?", "fr": "d[eu]", "he": "ב|ל|של", "it": "di",
    "pt": "de", "sw": "ya|mwezi wa", "th": "เดือน",
}  # fmt: skip
_OF_YEAR = {
    "ar": "(?:من )?(?:عام|سنة)|لعام|لسنة", "el": "του", "en": "of", "es": "de(?:l(?: año)?)?", "fi": "vuonna|vuoden",
    "fr": "de l'année", "he": "(?:ב)?שנת|ב-?", "id": "tahun", "it": "de(?:l|ll'anno)", "nl": "van",
    "pt": "de(?: o ano de)?|do ano de", "sw": "mwaka(?: wa)?", "th": r"(?:ปี\s*)?(?:พ\.?\s?ศ\.?|ค\.?\s?ศ\.?)|ปี",
    "vi": "năm", "bn": "সালের?", "ur": "سنہ",
}  # fmt: skip
_IN_MONTH = {
    "ar": "في(?: شهر)?|منذ|خلال", "bg": "през|от", "cs": "v", "da": "i|siden", "de": "im|seit|ab|letzten|vergangenen",
    "el": "τον|τον περασμένο", "en": "in|since|until|till|last|during", "es": "en|desde|hasta", "fr": "en|depuis",
    "he": "מאז", "id": "(?:pada|sejak|di)?(?: bulan)", "it": "[ai]n?|da|nel|dal", "nl": "in|sinds|vorige",
    "pl": "w|we|od", "pt": "em|desde", "ro": "în|in|din", "ru": "в|во|с", "sv": "i|sedan", "tr": "geçen",
    "sw": "mwezi wa", "uk": "в|у|з",
}  # fmt: skip
_SHORT_NAMES = frozenset({"may", "mai", "maj", "mei", "май", "мая", "мае"})  # Whole names, not short forms.
# A month may be followed by a day and its weekday, or be one of these words: without a year, day or preposition around
# them that leaves no doubt, they are not read as months.
_OTHER_WORDS = {
    "en": {"may", "march", "mar", "sep"}, "it": {"set", "mar", "gen"}, "pt": {"set", "mar", "out"}, "es": {"mar"},
    "ro": {"mar"}, "cs": {"led", "srp", "úno", "bře", "dub", "lis"}, "pl": {"lis"}, "tr": {"ara", "kas"},
    "fi": {"kesä", "elo", "joulu", "loka", "syys", "marras", "touko"}, "hi": {"नव"}, "bn": {"আগ"},
}  # fmt: skip
_FIRST = {
    "ar": "أول الأول", "cs": "prvního", "da": "første", "de": "erster ersten erste", "en": "first", "es": "primero",
    "fr": "premier", "it": "primo", "nl": "eerste", "pl": "pierwszego", "pt": "primeiro", "ro": "întâi",
    "ru": "первого", "sv": "första", "uk": "першого",
}  # fmt: skip
_ORDINAL = (
    r"(?:\.|st|nd|rd|th|er|ᵉʳ|ste|:?[ea]|\.?[º°ª]|-?(?:го|ого|ти|ви|ри|ми|те|е|є|а)"
    r"|[ηή][σς]?|(?<=1)ro|ই|লা|রা|ঠা|শে|ה-|-)?(?![\p{L}\p{M}])"
)
_MARK = r"[\u200e\u200f\u061c]?"  # Marks of direction in Arabic dates.
_DAY = r"(?:3[01]|[12]\d|0?[1-9])"
_MONTH_NUMBER = r"(?:1[0-2]|0?[1-9])"
_YEAR = r"(?:(?:1[5-9]|2[01])\d\d)"
# Letters that make a number part of a word; Chinese, Japanese, Korean and Thai put no space before a number.
_LETTERS = r"\p{Latin}\p{Cyrillic}\p{Greek}\p{Arabic}\p{Hebrew}\p{Devanagari}\p{Bengali}"
_HEBREW_PREFIX = r"(?<=(?<!\w)[בהלמו]{1,2}-?)"
_NO_NUMBER_BEFORE = rf"(?:(?<![\d_{_LETTERS}.,:/+#№$€£¥₹₩-]|\d[.,:/-]{_MARK})|{_HEBREW_PREFIX})"
_NO_NUMBER_AFTER = rf"(?!{_MARK}\d|[-/:–]{_MARK}\d|[.,]\d|[a-su-z%°$€£¥₹₩]|t(?!\d))"
# A version number is not a date, even with three parts.
_NO_VERSION = r"(?<!(?:v|ver|version|python|release|версия|версии|バージョン|版本|버전|الإصدار)\.?\s?)"
_GAP = LazyPattern(
    r"[\s,.،、(\uff08\p{Pd}]*(?:the|of|den|dem|der|d|le|el|il|lo|o|dia|día|di|de|la|em|am|on|pada"
    r"|tanggal|ngày|tarehe|el día|στις|в)?"
    r"[\s,.،、()\uff08\uff09]*"
)


@dataclass(frozen=True, slots=True)
class _Grammar:
    """The patterns of dates with names of months, for a text that may have some of them."""

    months: dict[str, int]
    years_ago: dict[str, int]
    day_words: dict[str, int]
    named: tuple[regex.Pattern[str], ...]
    alone: regex.Pattern[str]


_ISO = LazyPattern(rf"{_NO_NUMBER_BEFORE}(?P<year>{_YEAR})(?:-(?P<month>\d\d)-(?P<day>\d\d)){_NO_NUMBER_AFTER}(?!-)")
_YEAR_MONTH_DAY = LazyPattern(
    rf"{_NO_NUMBER_BEFORE}(?P<year>(?:1[3-9]|2[0-6])\d\d){_MARK}(?P<mark>[-/.])\s?{_MARK}(?P<month>{_MONTH_NUMBER}){_MARK}(?P=mark)"
    rf"\s?{_MARK}(?P<day>{_DAY}){_NO_NUMBER_AFTER}"
)
_THREE_NUMBERS = LazyPattern(
    rf"{_NO_VERSION}{_NO_NUMBER_BEFORE}(?P<day>\d\d?){_MARK}(?P<mark>[-/.])(?P<blank>\s?){_MARK}(?P<month>\d\d?){_MARK}(?P=mark)(?P=blank){_MARK}"
    rf"(?P<year>\d{{4}}|\d\d){_NO_NUMBER_AFTER}"
)
_SHORT_YEAR_FIRST = LazyPattern(
    rf"{_NO_VERSION}{_NO_NUMBER_BEFORE}'?(?P<year>\d\d)\.\s(?P<month>{_MONTH_NUMBER})\.\s(?P<day>{_DAY})\.?{_NO_NUMBER_AFTER}"
)
_KOREAN_MONTH = LazyPattern(rf"{_NO_NUMBER_BEFORE}(?P<year>(?:19|20)\d\d)\.\s(?P<month>{_MONTH_NUMBER})\.(?!\s?\d)")
_MONTH_YEAR = LazyPattern(
    rf"{_NO_NUMBER_BEFORE}(?P<month>{_MONTH_NUMBER}){_MARK}(?P<mark>[-/.]){_MARK}(?P<year>(?:19|20)\d\d){_NO_NUMBER_AFTER}"
)
_YEAR_MONTH = LazyPattern(
    rf"{_NO_NUMBER_BEFORE}(?P<year>(?:19|20)\d\d)[-/](?P<month>1[0-2]|0[1-9]|[1-9]){_NO_NUMBER_AFTER}"
)
# Patterns of numerals, and the languages in which they are read; ``None`` for all.
_NUMERALS = (
    (_YEAR_MONTH_DAY, None),
    (_SHORT_YEAR_FIRST, {"ko"}),
    (_KOREAN_MONTH, {"ko"}),
    (_MONTH_YEAR, None),
    (_YEAR_MONTH, None),
)
_YEARS = LazyPattern(
    rf"(?:(?<![\d_{_LETTERS}.,:/+#№$€£¥₹₩-])|{_HEBREW_PREFIX})(?<!(?:संवत|शक|saka|samvat)\s)(?P<year>(?:19|20)\d\d)"
    r"(?:\s?[-–—/]\s?(?P<last>(?:19|20)?\d\d)(?!\d))?"
    r"(?P<decade>(?<=0)(?:'?s|er(?:n|-jahren?)?|-(?:е|х|ті|те))(?!\w))?"
    rf"(?![\d_%°$€£¥₹₩]|(?!(?:г|р|م|هـ?)(?!\w))[{_LETTERS}]|[-.,:/–]\d"
    r"|\s?(?:[€$£¥₹₩%]|[年년万萬亿億만억名人명개]|(?:km|kg|mb|gb|eur|usd|euros?)(?!\w)))"
)


def calendar_dates(text: str, language: str, now: datetime) -> list[Read]:
    """Return the dates that a text names by a day, a month and a year, or by some of them.

    Parameters
    ----------
    text
        Case-folded text with ASCII digits.
    language
        Language code without script and country.
    now
        The present, with a time zone. A date without a year is the last one that has begun.

    Returns
    -------
    list of Read
        They may overlap; the longest one is right. A date that can be read in two ways is returned in both.
    """
    has_digits = any(map(str.isdigit, text))
    found: list[Read] = []
    if months := _occurring(month_names(language), text):
        words, ago = _occurring(_day_words(language), text), _occurring(year_phrases(language), text)
        grammar = _grammar(language, months, words, ago, has_digits=has_digits)
        found += [*_months_alone(text, grammar, now), *_named(text, grammar, now)]
    if has_digits:
        found += _numerals(text, language, now)
        found += _after_weekdays(text, language, now)
        found += _years(text, now)
    return found


def _occurring(names: Iterable[str], text: str) -> tuple[str, ...]:
    """Return the names whose first word occurs in a text: patterns of these alone are soon compiled."""
    return tuple(name for name in names if name.partition(" ")[0] in text)


def iso_dates(text: str, now: datetime) -> list[Read]:
    """Return the dates that are written in ISO 8601, which are the same in every language: `2024-10-05`."""
    return [
        (match.start(), match.end(), span)
        for match in _ISO.finditer(text)
        if (span := span_of_date(int(match["year"]), int(match["month"]), int(match["day"]), now)) is not None
    ]


def is_beside(between: str) -> bool:
    """Return whether the text between a weekday and a date shows that they are one date: `Saturday, the 5th of May`."""
    return _GAP.fullmatch(between) is not None


def _named(text: str, grammar: _Grammar, now: datetime) -> Iterator[Read]:
    for pattern in grammar.named:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            month = grammar.months[_bare(match["month"])]
            first, day = parts.get("first"), parts.get("day") or grammar.day_words.get(_bare(parts.get("word") or ""))
            last = int(day) if first and day else None
            number = int(first or day) if day else None
            if ago := parts.get("ago"):
                span = span_of_date(now.year - grammar.years_ago[_bare(ago)], month, number, now, last)
            elif year := parts.get("year") or parts.get("short"):
                span = span_of_date(_gregorian(year, now), month, number, now, last)
            else:
                span = last_span(month, number, now, last)
            if span is not None:
                yield match.start(), match.end(), span


def _gregorian(year: str, now: datetime) -> int:
    """Return the year of the common era; years from 2400 on are counted from the death of Buddha, as in Thailand."""
    number = full_year(year, now)
    return number - 543 if number >= 2400 else number


def _numerals(text: str, language: str, now: datetime) -> Iterator[Read]:
    for match in _THREE_NUMBERS.finditer(text):
        yield from _three_numbers(match, language, now)
    for pattern, languages in _NUMERALS:
        if languages is not None and language not in languages:
            continue
        for match in pattern.finditer(text):
            parts = match.groupdict()
            # A month without a day: 2010-12 can be the years from 2010 to 2012.
            if pattern is _YEAR_MONTH and int(parts["month"]) > int(parts["year"]) % 100:
                continue
            if parts.get("mark") == "." and pattern is _MONTH_YEAR and language not in _POINT_BEFORE_YEAR:
                continue
            day = int(parts["day"]) if parts.get("day") else None
            if span := span_of_date(full_year(parts["year"], now), int(parts["month"]), day, now):
                yield match.start(), match.end(), span


def _three_numbers(match: regex.Match[str], language: str, now: datetime) -> Iterator[Read]:
    """Return a date with the day or the month first: both if the language has both orders and both are dates."""
    short = len(match["year"]) == 2
    if short and (
        language in ("ja", "ko", "zh", "sv", "th", "fa") or (match["mark"] == "-" and language not in _HYPHENS)
    ):
        return
    year = full_year(match["year"], now)
    if year >= 2400 and language == "th":
        year -= 543
    one, other = int(match["day"]), int(match["month"])
    spans = [span_of_date(year, other, one, now)]
    if language in _EITHER_ORDER or spans[0] is None:
        spans.append(span_of_date(year, one, other, now))
    for span in dict.fromkeys(spans):
        if span is not None:
            yield match.start(), match.end(), span


def _after_weekdays(text: str, language: str, now: datetime) -> Iterator[Read]:
    """Return days and months in numerals without a year, which only a weekday distinguishes from other numbers."""
    names = () if language in _WEEKDAY_LETTERS else _occurring(weekday_names(language), text)
    if not names and language not in _WEEKDAY_LETTERS and language not in _BEFORE_NUMBERS:
        return
    for match in _weekday_pattern(language, names).finditer(text):
        one, other = int(match["one"]), int(match["other"])
        if language in ("en", "zh", "ja", "ko"):
            one, other = other, one
        span = last_span(other, one, now) if other <= 12 else last_span(one, other, now) if one <= 12 else None
        if span is not None:
            yield match.start(), match.end(), span


def _years(text: str, now: datetime) -> Iterator[Read]:
    for match in _YEARS.finditer(text):
        year = last = int(match["year"])
        if match["decade"]:
            last = year + 9
        elif match["last"]:
            last = int(match["last"]) if len(match["last"]) == 4 else year - year % 100 + int(match["last"])
            if not year < last <= year + 50 or (len(match["last"]) == 2 and last != year + 1):
                last = year
        first, after = span_of_date(year, None, None, now), span_of_date(last, None, None, now)
        if first is not None and after is not None:
            end = match.end() if last != year or not match["last"] else match.end("year")
            yield match.start(), end, (first[0], after[1])


def _months_alone(text: str, grammar: _Grammar, now: datetime) -> Iterator[Read]:
    for match in grammar.alone.finditer(text):
        span = last_span(grammar.months[_bare(match["month"])], None, now)
        if span is not None:
            yield match.start("month"), match.end(), span


@lru_cache(maxsize=1024)
def _grammar(
    language: str, names: tuple[str, ...], words: tuple[str, ...], ago: tuple[str, ...], *, has_digits: bool
) -> _Grammar:
    """Return the patterns of a language for a text that has these names of months, words for days and years, alone."""
    months = set(names)
    others = {_bare(word) for word in _OTHER_WORDS.get(language, set())}
    others &= months
    plain = months - others
    prefix = {"ar": "[وبلف]?", "he": "[ובלהמ]?-?"}.get(language, "")
    suffix = {
        "fi": r"(?:\w{0,3}(?<=kuu\w{0,3}))?",
        "tr": r"(?:'?[dt][ea]n?)?",
        "vi": r"(?!\d|\s+(?:ngày|tuần|rưỡi))",
    }.get(language, "")
    start = "" if language in ("th",) else r"(?<![\p{L}\p{M}\d])"
    end = r"(?![\p{M}])" if language == "th" else r"(?![\p{L}\p{M}])"

    def any_month(names: set[str], group: str = "month") -> str:
        return rf"{start}{prefix}(?P<{group}>{_any(names)})[.॰׳']?{suffix}{end}"

    of, of_year = (
        f"(?:(?:{words})" + r"\s*)?" for words in (_OF.get(language, "(?!)"), _OF_YEAR.get(language, "(?!)"))
    )
    to_month = rf"(?:\s?[-/]\s?|\s*{of})"
    year = rf"(?P<year>{_YEAR}|2[4-6]\d\d)(?!\d|[.,:]\d)" if language == "th" else rf"(?P<year>{_YEAR})(?!\d|[.,:]\d)"
    to_year = rf"(?:\s?[-/]\s?|[,،]?\s*{of_year}|[,،]\s?)"
    both = rf"(?:\s?/\s?(?:{_any(months)}))?" if language == "ar" else ""
    of_the = rf"(?:{_OF_YEAR.get(language, '(?!)')})?\s*"
    day = (
        rf"(?:(?<![\d_{_LETTERS}.,:/+-])|{_HEBREW_PREFIX})(?:(?P<first>{_DAY})\.?\s?[-–—]\s?)?(?P<day>{_DAY}){_ORDINAL}"
    )
    later_day = rf"(?:(?P<first>{_DAY})\s?[-–—]\s?)?(?P<day>{_DAY})(?:st|nd|rd|th)?(?!\w|[.,:]\d|\s?[%:/])"
    clear = rf"(?<=(?:on|by|since|until|from|the) )(?P<day>{_DAY})(?:st|nd|rd|th)?\s+(?:of\s+)?"
    named = [
        rf"{day}{to_month}{any_month(months)}{both}{to_year}{year}",
        rf"{day}{to_month}{any_month(months)}{both}\s?'(?P<short>\d\d)(?!\d)",
        rf"{day}\s+(?:{_OF.get(language, '(?!)')})\s+{any_month(months)}",
        rf"{any_month(months)}{both}\s*{later_day},?\s*{of_year}{year}",
        rf"{any_month(months)}{both}{to_year}{year}",
        rf"(?<![\d_{_LETTERS}.,:/+-]){year},?\s+{any_month(months)}\s+{later_day}",
    ]
    if plain:
        named.append(rf"{day}{to_month}{any_month(plain)}{both}")
    if others:
        weekdays = _any(set(weekday_names(language)))
        named.append(rf"(?<=(?<!\w)(?:{weekdays})[.,،]{{0,2}}\s+){day}{to_month}{any_month(others)}")
    if language in _MONTH_FIRST:
        named.append(rf"(?<!(?<!\w)(?:you|i|we|they|he|she|it|who|that|this|not|to) ){any_month(months)}\s*{later_day}")
    if language == "en":
        named += [
            rf"{clear}{any_month(months)}",
            rf"(?<![\d_{_LETTERS}.,:/+-])(?P<day>{_DAY})(?:st|nd|rd|th)\s+(?:of\s+)?{any_month(months)}",
        ]
    if language == "fi":
        named.append(rf"{any_month(plain)}\s+(?P<day>{_DAY})\.\s+päiv\w+(?:\s+{year})?")
    if not has_digits:
        named = []
    if ago:
        named.append(rf"(?:{day}{to_month})?{any_month(months)}{both},?\s+{of_the}(?P<ago>{_any(set(ago))}){end}")
    if words:
        written = rf"(?<![\p{{L}}\p{{M}}])(?:ال|ب?ال|of the )?(?P<word>{_any(set(words))})\s+"
        link = rf"(?:{_OF[language]})\s+" if language in _OF and language not in ("fr", "it", "he", "el") else ""
        named.append(rf"{written}{link}{any_month(months if link else plain)}(?:{to_year}{year})?")
    if language == "tr":
        named.append(rf"{start}(?P<month>{_any(months)})'?[dt][ea]n?{end}")
    whole = {name for name in plain if len(name) > 4 and name not in VAGUE_MONTHS} if language != "vi" else set(plain)
    before = _IN_MONTH.get(language, "(?!)")
    full = {name for name in months if len(name) > 2 and (len(name) > 3 or name in _SHORT_NAMES)}
    return _Grammar(
        month_names(language),
        year_phrases(language),
        _day_words(language),
        tuple(regex.compile(pattern) for pattern in named),
        regex.compile(
            rf"(?:{any_month(whole)}|(?<!\w)(?:{before})\s+{any_month(full)})"
            + (r"(?<!\d \S+ \d+)" if language == "vi" else "")
        ),
    )


@lru_cache(maxsize=64)
def _day_words(language: str) -> dict[str, int]:
    """Return the words for 1 to 31, as in *the fifth of October*."""
    words = {word: number for word, number in spelled_numbers().get(language, {}).items() if number <= 31}
    # The article `one` is not the first day.
    words = {word: number for word, number in words.items() if number > 1}
    return words | dict.fromkeys(_FIRST.get(language, "").split(), 1)


_WEEKDAY_LETTERS = {
    "ja": "[月火水木金土日]",
    "ko": "[월화수목금토일]",
    "zh": "周[一二三四五六日]|星期[一二三四五六日天]",
}


# What marks a day and a month in numerals as a date, besides weekdays.
_BEFORE_NUMBERS = {
    "vi": r"|(?<!\w)ngày\s+",
    "de": r"|(?<!\w)(?:am|vom|bis|zum|seit|ab)\s+(?=\d\d?\.\s?\d\d?\.(?!\d))",
}


@lru_cache(maxsize=1024)
def _weekday_pattern(language: str, names: tuple[str, ...]) -> regex.Pattern[str]:
    """Return the pattern of a weekday and a day in numerals; in Japanese and Chinese the weekday follows it.

    ``names`` are the names of weekdays that a text may have.
    """
    numbers = rf"(?P<one>\d\d?){_MARK}\s?(?P<mark>[{'-' * (language == 'nl')}./]){_MARK}\s?(?P<other>\d\d?)"
    if language in _WEEKDAY_LETTERS:
        days = _WEEKDAY_LETTERS[language]
        return regex.compile(rf"(?<![\w./]){numbers}\.?\s?[(\uff08]?(?:{days})(?:曜日?|요일)?[)\uff09]?")
    short = {name for name in names if len(name) < 5}
    # A short name is a word as well, such as Portuguese `ter`: it needs a point, or the point behind the month.
    before = (
        rf"(?<!\w)(?:{_any(set(names))})[.,،]{{1,2}}\s*|(?<!\w)(?:{_any(set(names) - short)})\s+(?:den |d\. )?"
        rf"|(?<!\w)(?:{_any(short)})\s+(?=\d\d?(?:-|/|\.\s?\d\d?\.))" + _BEFORE_NUMBERS.get(language, "")
    )
    return regex.compile(rf"(?:{before}){numbers}(?!\d|{_MARK}[./,:]{_MARK}\s?\d|\s?[%€])")


def _any(names: set[str]) -> str:
    return (
        "|".join(regex.escape(name).replace(r"\ ", r"\s+") for name in sorted(names, key=len, reverse=True)) or "(?!)"
    )


def _bare(name: str) -> str:
    return " ".join(name.split())
