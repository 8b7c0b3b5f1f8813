"""Read dates of Chinese, Japanese and Korean, whose months are numbers: `2024年10月5日`, `令和6年十月`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from mlret.data.lazy_pattern import LazyPattern
from mlret.memory.text.time_window import Read, last_span, span_between, span_of_date

LANGUAGES = frozenset({"ja", "ko", "zh"})
# Japanese eras: characters and letter -> first day. An era ends where the next begins. Before 1873 the calendar of
# Japan was another one.
_ERAS = {
    "令和": date(2019, 5, 1),
    "平成": date(1989, 1, 8),
    "昭和": date(1926, 12, 25),
    "大正": date(1912, 7, 30),
    "明治": date(1868, 1, 25),
}
_ERA_LETTERS = dict(zip("rhstm", _ERAS, strict=True))
_GREGORIAN_SINCE = date(1873, 1, 1)
_MINGUO = 1911  # The year before the first year of the Republic of China.
_YEARS_AGO = {
    "去年": 1, "昨年": 1, "작년": 1, "지난해": 1, "今年": 0, "本年": 0, "올해": 0, "금년": 0,
    "前年": 2, "一昨年": 2, "재작년": 2,
}  # fmt: skip
_UNITS = frozenset("年月년월")  # Dates without digits have one of these.
_HAN = {character: value for value, character in enumerate("〇一二三四五六七八九")} | {"零": 0, "元": 1, "正": 1}
_SMALL = r"(?:\d{1,2}|[一二三四五六七八九]?十[一二三四五六七八九]?|[一二三四五六七八九]|廿[一二三四五六七八九]?|卅一?)"
_LATER = rf"(?:\s*(?:[-–—~〜\uff5e至到]|から|부터)\s*(?P<last>{_SMALL})\s*[日号號일])?"
_DAY = rf"(?P<day>{_SMALL})\s*(?:[日号號일](?!間)|(?=\s*[-–—~〜\uff5e至到]\s*{_SMALL}\s*[日号號일])){_LATER}"
_MONTH_AND_DAY = rf"(?P<month>{_SMALL})\s*[月월](?:份|(?!間))\s*(?:{_DAY})?"
_DATES = [
    LazyPattern(
        rf"(?P<year>(?:1[5-9]|2[01])\d\d|[一二][〇零一二三四五六七八九]{{3}})\s*(?P<unit>年[度代]?|년[도대]?)(?!間|间|[的之]?[历歷]史|の歴史)\s*(?:{_MONTH_AND_DAY})?"
    ),
    LazyPattern(
        rf"(?P<era>{'|'.join(_ERAS)})\s*(?P<year>元|{_SMALL})\s*(?P<unit>年度?)(?!間)\s*(?:{_MONTH_AND_DAY})?"
        rf"|(?<![\p{{L}}\d])(?P<era>[rhstm])(?P<year>元|\d\d?)\s*(?P<unit>年度?)(?!間)\s*(?:{_MONTH_AND_DAY})?"
        r"|(?<![\p{L}\d])(?P<era>[rhstm])(?P<year>\d\d?)(?P<mark>[./])(?P<month>\d\d?)(?P=mark)(?P<day>\d\d?)(?![\d./])"
        r"|(?P<era>令和|平成|昭和|大正|明治)(?P<year>\d\d?)(?P<mark>[./])(?P<month>\d\d?)(?P=mark)(?P<day>\d\d?)(?![\d./])"
    ),
    LazyPattern(
        rf"(?:中[華华])?民[國国]\s*(?P<minguo>元|\d{{1,3}})\s*年(?!間)\s*(?:{_MONTH_AND_DAY})?"
        r"|(?:中[華华])?民[國国]\s*(?P<minguo>\d{1,3})(?P<mark>[./])(?P<month>\d\d?)(?P=mark)(?P<day>\d\d?)(?![\d./])"
        r"|(?<!\d)(?P<minguo>1[0-3]\d)\s*年\s*(?P<month>\d\d?)\s*月\s*(?P<day>\d\d?)\s*日"
    ),
    LazyPattern(rf"(?P<ago>{'|'.join(_YEARS_AGO)})\s*の?\s*{_MONTH_AND_DAY}"),
    LazyPattern(rf"(?<![\d一二三四五六七八九十.:/-])(?<![年년]\s?)(?P<month>{_SMALL})\s*[月월]\s*{_DAY}"),
    # A month alone; 一月 is also `one month`.
    LazyPattern(
        rf"(?<![\d一二三四五六七八九十.:/-])(?<![年년]\s?)(?P<month>1[0-2]|0?[1-9]|十[一二]?|[二三四五六七八九])\s?[月월](?:份|初|末|底|中旬|上旬|下旬|(?![間间龄齢大亮光]|\s*{_SMALL}\s*[日号號일]))"
    ),
]


def numbered_dates(text: str, language: str, now: datetime) -> list[Read]:
    """Return the dates that a text writes as numbers with the characters for year, month and day.

    Years are those of the common era, of a Japanese era (`令和6年`, `R6.10.5`) or of the Republic of China
    (`民國113年`). A fiscal year of Japan (`2024年度`) is from April to March. A date without a year is the last
    one that has begun.

    Parameters
    ----------
    text
        Case-folded text with ASCII digits.
    language
        Language code without script and country; nothing is read unless it is one of :data:`LANGUAGES`.
    now
        The present, with a time zone.

    Returns
    -------
    list of Read
        They may overlap; the longest one is right.
    """
    if language not in LANGUAGES or not (_UNITS.intersection(text) or any(map(str.isdigit, text))):
        return []
    return list(_read(text, language, now))


def _read(text: str, language: str, now: datetime) -> Iterator[Read]:
    for pattern in _DATES:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            if (parts.get("era") or "") in _ERA_LETTERS and language != "ja":
                continue
            span = _span(parts, language, now)
            if span is not None:
                yield match.start(), match.start() + len(match[0].rstrip()), span


def _span(parts: dict[str, str | None], language: str, now: datetime) -> tuple[datetime, datetime] | None:
    month, day, last = (None if not parts.get(part) else _number(str(parts[part])) for part in ("month", "day", "last"))
    if (era := parts.get("era")) is not None:
        return _in_era(_ERA_LETTERS.get(era, era), parts, month, day, last, now)
    if (years := parts.get("minguo")) is not None:
        return span_of_date(_number(years) + _MINGUO, month, day, now, last)
    if (ago := parts.get("ago")) is not None:
        return span_of_date(now.year - _YEARS_AGO[ago], month, day, now, last)
    if (year := parts.get("year")) is not None:
        return _of_year(_number(year), str(parts["unit"]), language, month, day, last, now)
    return None if month is None else last_span(month, day, now, last)


def _of_year(
    year: int, unit: str, language: str, month: int | None, day: int | None, last: int | None, now: datetime
) -> tuple[datetime, datetime] | None:
    if unit in ("年代", "년대") and month is None:
        return span_between(date(year, 1, 1), date(year + 10, 1, 1), now) if year % 10 == 0 else None
    if unit == "年度" and language == "ja" and month is None:
        return span_between(date(year, 4, 1), date(year + 1, 4, 1), now)
    return span_of_date(year, month, day, now, last)


def _in_era(
    era: str, parts: dict[str, str | None], month: int | None, day: int | None, last: int | None, now: datetime
) -> tuple[datetime, datetime] | None:
    """Return a span of an era, without what is before the era or after it; ``None`` if nothing is left."""
    first = _ERAS[era]
    later = [day for day in _ERAS.values() if day > first]
    year = first.year + _number(str(parts["year"])) - 1
    span = _of_year(year, str(parts.get("unit")), "ja", month, day, last, now)
    if span is None:
        return None
    end = min(later) if later else date(2200, 1, 1)
    begins = span_between(max(first, _GREGORIAN_SINCE), end, now)
    start, after = max(span[0], begins[0]), min(span[1], begins[1])
    return (start, after) if start < after else None


def _number(written: str) -> int:
    """Return the value of digits or of Chinese characters, by place (`二〇二四`) or with tens (`二十四`)."""
    if written.isdecimal():
        return int(written)
    written = written.replace("廿", "二十").replace("卅", "三十")
    if "十" not in written:
        return int("".join(str(_HAN[character]) for character in written))
    tens, _, units = written.partition("十")
    return (_HAN[tens] if tens else 1) * 10 + (_HAN[units] if units else 0)
