"""Write the table of the dates that are read, by language, into mlret/memory/README.md.

    python scripts/date_table.py

Each cell is an example that ICU formats by Unicode's CLDR and :func:`mlret.memory.text.dates.time_windows` reads as the
right day or month; it is empty if it is not read. ICU is installed by the extra `dev`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from icu4py.messageformat import MessageFormat

from mlret.data.languages import cldr_code, language_name
from mlret.memory.text.dates import EXPLICIT_LANGUAGES, LANGUAGES, time_windows

README = Path(__file__).parent.parent / "mlret" / "memory" / "README.md"
BEGIN, END = "<!-- dates: begin -->", "<!-- dates: end -->"
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
DAY = date(2025, 10, 5)
# Column -> a style or skeleton of ICU, and the unit of what it formats.
COLUMNS = {
    "day, month, year": ("long", "day"),
    "in numerals": ("short", "day"),
    "month, year": ("::yMMMM", "month"),
    "day, month": ("::MMMMd", "day"),
    "weekday, numerals": ("::MEd", "day"),
}
# Language -> the day before yesterday and the day after tomorrow.
TWO_DAYS = {
    "ar": ("أول أمس", "بعد غد"), "bg": ("онзи ден", "вдругиден"), "cs": ("předevčírem", "pozítří"),
    "da": ("i forgårs", "i overmorgen"), "de": ("vorgestern", "übermorgen"), "el": ("προχθές", "μεθαύριο"),
    "en": ("the day before yesterday", "the day after tomorrow"), "es": ("anteayer", "pasado mañana"),
    "fi": ("toissapäivänä", "ylihuomenna"), "fr": ("avant-hier", "après-demain"), "he": ("שלשום", "מחרתיים"),
    "hi": ("परसों", "परसों आएगा"), "id": ("kemarin lusa", "lusa"), "it": ("l'altro ieri", "dopodomani"),
    "ja": ("一昨日", "明後日"), "ko": ("그저께", "모레"), "nl": ("eergisteren", "overmorgen"),
    "pl": ("przedwczoraj", "pojutrze"), "pt": ("anteontem", "depois de amanhã"), "ro": ("alaltăieri", "poimâine"),
    "ru": ("позавчера", "послезавтра"), "sv": ("i förrgår", "i övermorgon"), "sw": ("juzi", "kesho kutwa"),
    "tr": ("evvelsi gün", "öbür gün"), "uk": ("позавчора", "післязавтра"), "vi": ("hôm kia", "ngày kia"),
    "zh": ("前天", "后天"),
}  # fmt: skip
# What else is read in a language, each with the day or the first day of what it names.
OTHERS = {
    "ar": {"١٥ رمضان ١٤٤٦ هـ": date(2025, 3, 15), "15 تشرين الأول 2024": date(2024, 10, 15)},
    "bn": {"৫ই অক্টোবর": date(2025, 10, 5)},
    "de": {"am 5.10.": date(2025, 10, 5)},
    "en": {
        "5-7 October": date(2025, 10, 5), "the fifth of October": date(2025, 10, 5),
        "15 Ramadan 1446": date(2025, 3, 15),
    },
    "fa": {"سال ۱۴۰۳": date(2024, 3, 20), "15 رمضان 1446": date(2025, 3, 15)},
    "hi": {"५ अक्टूबर": date(2025, 10, 5)},
    "id": {"15 Ramadan 1446 H": date(2025, 3, 15)},
    "ja": {
        "令和6年": date(2024, 1, 1), "平成元年": date(1989, 1, 8), "R6.10.5": date(2024, 10, 5),
        "2024年度": date(2024, 4, 1),
    },
    "ko": {"작년 10월 5일": date(2025, 10, 5)},
    "th": {"๕ ต.ค. ๒๕๖๗": date(2024, 10, 5), "พ.ศ. 2567": date(2024, 1, 1)},
    "tr": {"15 Ramazan 1446": date(2025, 3, 15)},
    "ur": {"15 رمضان 1446ھ": date(2025, 3, 15)},
    "vi": {"ngày 5/10": date(2025, 10, 5)},
    "zh": {"二〇二四年十月五日": date(2024, 10, 5), "民國113年": date(2024, 1, 1), "去年十月": date(2025, 10, 1)},
}  # fmt: skip


def formatted(day: date, style: str, language: str) -> str:
    """Return a day in a style (`long`) or by a skeleton (`::yMMMM`) of CLDR."""
    at = datetime(day.year, day.month, day.day, 12)
    return str(MessageFormat(f"{{day, date, {style}}}", cldr_code(language)).format({"day": at}))


def starts_of(text: str, language: str) -> list[date]:
    """Return the first day of each span of time that is read."""
    return [window.start.date() for window in time_windows(text, language, NOW)]


def table() -> str:
    """Return the table in Markdown."""
    header = ["language", *COLUMNS, "two days ago", "in two days", "also"]
    rows = [header, ["---"] * len(header), *(_row(language) for language in sorted(EXPLICIT_LANGUAGES))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(language: str) -> list[str]:
    cells = []
    for style, unit in COLUMNS.values():
        text = formatted(DAY, style, language)
        right = DAY if unit == "day" else DAY.replace(day=1)
        cells.append(_plain(text) if right in starts_of(text, language) else "")
    today = NOW.date()
    for text, days in zip(TWO_DAYS.get(language, ()), (-2, 2), strict=False):
        right = [today + timedelta(days=days)]
        cells.append(_plain(text) if starts_of(text, language) == right else "")
    cells += [""] * (2 - len(TWO_DAYS.get(language, ())))
    others = [text for text, right in OTHERS.get(language, {}).items() if starts_of(text, language) == [right]]
    return [f"{language_name(language)} `{language}`", *cells, ", ".join(others)]


def _plain(text: str) -> str:
    return " ".join("".join(one for one in text if one not in "\u200e\u200f").split())


def main() -> None:
    """Write the table into the README."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    assert set(TWO_DAYS) == set(LANGUAGES)
    main()
