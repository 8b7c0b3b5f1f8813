"""Signs and units in a text: currencies, operators, percent, blood groups, units of numbers, and questions.

They are compared between languages, so a sign and the word for it are the same: `5 $` and `5 Dollar`. Within a language
the signs themselves must agree, as every character must (:mod:`mlret.memory.text.wording`).
"""

from __future__ import annotations

from functools import lru_cache

import regex

from mlret.memory.text.word_lists import Patterns, alternatives

_CURRENCIES = {
    "$": r"dollars?|dólar(?:es)?|доллар\w*|долар\w*|डॉलर\w*|(?<=[\d万億千百十数米]\s?)ドル|달러|美元|đô\s?la"
    r"|đô|dola|\w*دولار\w*|dolar\w*|\w*דולר\w*",
    "€": r"euros?|евро|євро|यूरो|ユーロ|유로|欧元|\w*يورو\w*|avro\w*|אירו|ευρώ|yuro",
    "£": r"pounds? sterling|sterling|英镑|英ポンド|फन्ट",
    "¥": r"yen|円|иен\w*|єн\w*|엔화|日元",
    "₹": r"rupees?|rupien?|rupias?|roupies?|рупи\w*|рупі\w*|रुपये|रुपए|रुपया|卢比|ルピー|루피",
    "₽": r"rubles?|roubles?|rubel|rublos?|руб\w*|卢布|ルーブル|루블|ruble",
}
_PERCENT = (
    r"[%٪]|percent|per\s?cent|prozent\w*|por\s?cien(?:to)?|por\s?cento|pour\s?cent"
    r"|per\s?cento|процент\w*|відсот\w*|yüzde"
    r"|\w*بالمئة|بالمائة|في المئة|في المائة|प्रतिशत|फीसदी|फ़ीसदी|asilimia|phần trăm|百分之"
    r"|パーセント|퍼센트|procent\w*|prosent\w*"
    r"|persen|\w*אחוז\w*"
)
_UNITS = {
    "mm": r"mm|мм|毫米|ミリ|밀리미터|millimet\w+|milímetros?|millimètres?|миллиметр\w*|міліметр\w*",
    "cm": r"cm|см|厘米|公分|センチ\w*|센티미터|centimet\w+|zentimeter\w*|centímetros?|centimètres?"
    r"|сантиметр\w*|sentimita|santimetre"
    r"|سم|سنتيمتر\w*|सेंटीमीटर",
    "m": r"m|м|米|公尺|メートル|미터|met(?:er|re)s?|metern?|metros?|mètres?"
    r"|метр\w*|mita|mét|متر\w*|أمتار|मीटर|\w?מטר\w*",
    "km": r"km|км|公里|千米|キロメートル|킬로미터|kilomet\w+|kilómetros?|quilómetros?|quilômetros?|kilomètres?"
    r"|километр\w*|кілометр\w*"
    r"|kilomita|kilômét|ki-lô-mét|كم|كيلومتر\w*|كيلو متر\w*|किलोमीटर|किमी|קמ|ק\"מ|קילומטר\w*",
    "mile": r"mi|miles?|meilen?|millas?|milhas?|milles?|миль|миля|мили|милях|mil|maili|dặm|英里|マイル"
    r"|마일|ميل\w*|أميال|मील|מייל\w*",
    "g": r"g|гр?|克|グラム|그램|gram(?:s|m|me|mes)?|gramos?|gramas?|граммо?в?|грамів|gramu|غرام\w*|ग्राम|גרם",
    "mg": r"mg|мг|毫克|ミリグラム|밀리그램|milligram\w*|miligram\w*|миллиграмм\w*|міліграм\w*|ملغ\w*|मिलीग्राम",
    "kg": r"kg|кг|公斤|千克|キロ|キログラム|킬로그램|kilos?|kilogram\w*|quilos?|килограмм\w*|кілограм\w*|كجم"
    r"|كغ\w*|كيلوغرام\w*|كيلو|किलो"
    r"|किलोग्राम|ק\"ג|קילו\w*",
    "lb": r"lbs?|pounds?|pfund|libras?|livres?|фунт\w*|磅|ポンド|파운드|pauni|رطل\w*|पाउंड|paund",
    "oz": r"oz|ounces?|unzen?|onzas?|onces?|унци\w*|унці\w*|盎司|オンス|온스",
    "ml": r"ml|мл|毫升|ミリリットル|밀리리터|millilit\w+|mililit\w+|миллилитр\w*|мілілітр\w*|مل|मिलीलीटर",
    "l": r"l|л|升|リットル|리터|lit(?:er|re|ro)s?|litern?|litr\w*|литр\w*|літр\w*|lita|lít|لتر\w*|लीटर|ליטר\w*",
    "second": r"s|sec|seconds?|sekunden?|segundos?|secondes?|секунд\w*|saniye|sekunde|giây|ثوان\w*"
    r"|ثانية|सेकंड|שניות|秒|초",
    "minute": r"min|mins|minutes?|minuten?|minutos?|минут\w*|хвилин\w*|dakika\w*|dakika|phút|دقيقة"
    r"|دقائق|मिनट|דקות|分钟|分間|분",
    "hour": r"h|hrs?|hours?|stunden?|horas?|heures?|час(?:а|ов)?|годин\w*|saat|masaa|giờ đồng hồ"
    r"|ساع\w+|घंटे|घंटा|घंटों|שעות"
    r"|小时|個小時|个小时|時間|시간",
    "day": r"days?|tage?n?|días?|dias?|jours?|день|дня|дней|дні|днів|gün\w*|siku|ngày|يوم\w*|أيام"
    r"|दिन|दिनों|ימים|天|日間|日间|일간",
    "week": r"weeks?|wochen?|semanas?|semaines?|недел\w*|тиж\w+|hafta\w*|wiki|tuần|أسابيع|أسبوع\w*"
    r"|हफ्ते|हफ़्ते|सप्ताह|שבועות"
    r"|周|星期|個星期|个星期|週間|주",
    "month": r"months?|monate?n?|mes(?:es)?|mois|месяц\w*|місяц\w*|ay|miezi|tháng|شهر\w*|أشهر|महीने"
    r"|महीनों|חודשים|个月|個月|[かヶヵケカ]月"
    r"|개월|달",
}
_SIGNS = regex.compile(r"[\p{Sc}<>=≥≤≠≈±×÷+°#@*/\\^~√]")
_DOUBLE = {">=": "≥", "<=": "≤", "!=": "≠", "=>": "≥", "=<": "≤"}
_BLOOD = regex.compile(r"(?<!\w)(?:AB|[ABO0])\s?(?:Rh\s?)?-(?![\w-])")
_CLOCK = r"(?=\s?[\d一二三四五六七八九十한두세네다여일열])"
_MORNING = regex.compile(rf"\d\s?a\.?m\.?(?!\w)|(?:上午|早上|午前|오전|凌晨){_CLOCK}")
_EVENING = regex.compile(rf"\d\s?p\.?m\.?(?!\w)|(?:下午|晚上|午後|오후){_CLOCK}")
# Question marks, and endings of questions in languages that ask without a mark.
_ASKS = regex.compile(
    r"[?՞፧៖]|(?:です|ます|ました|でした|ません|だろう|でしょう)か(?:[。,]|$)|[吗嗎呢](?:[。,]|$)|ไหม|หรือเปล่า"
)
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}]"


def signs_of(text: str) -> frozenset[str]:
    """Return the currencies, percent, operators, negative blood groups and halves of the day that a text names.

    Parameters
    ----------
    text
        Text in the form of :func:`mlret.memory.text.wording.exact_wording`.
    """
    folded = text.casefold()
    for pair, sign in _DOUBLE.items():
        folded = folded.replace(pair, sign)
    found = set(_SIGNS.findall(folded))
    found |= {sign for sign, words in _currencies().items() if words.occur_in(folded)}
    if _percent().occur_in(folded):
        found.add("%")
    if _BLOOD.search(text):
        found.add("negative blood group")
    if _MORNING.search(folded):
        found.add("am")
    if _EVENING.search(folded):
        found.add("pm")
    return frozenset(found)


def units_of(text: str) -> frozenset[str]:
    """Return the units that follow numbers in digits: lengths, weights, volumes and spans of time."""
    folded = text.casefold()
    if not any(character.isdecimal() for character in folded):
        return frozenset()
    return frozenset(unit for unit, words in _counted().items() if words.occur_in(folded))


def asks(text: str) -> bool:
    """Return whether a text, in the form of :func:`~.wording.exact_wording`, is or contains a question."""
    return _ASKS.search(text) is not None


def _whole(words: str) -> str:
    """Return a pattern of whole words; in scripts without spaces, of words anywhere."""
    return rf"(?:(?<!\w)(?:{words})(?!\w)|(?=\d*{_UNSPACED})(?:{words}))"


@lru_cache(maxsize=1)
def _currencies() -> dict[str, Patterns]:
    return {sign: Patterns(alternatives(words), _whole) for sign, words in _CURRENCIES.items()}


@lru_cache(maxsize=1)
def _percent() -> Patterns:
    return Patterns(alternatives(_PERCENT))


@lru_cache(maxsize=1)
def _counted() -> dict[str, Patterns]:
    return {unit: Patterns(alternatives(words), _after_number) for unit, words in _UNITS.items()}


def _after_number(words: str) -> str:
    return rf"\d[\s-]?(?:(?:{words})(?!\w)|(?={_UNSPACED})(?:{words}))"
