"""Near misses: real sentences in which a rule changes one thing, so that they state something else.

The change is in a number, a number word, a month, a weekday or a negation. Names of numbers, months and days come from
the lists that the guards use, so a guard misses such a change only if translation hides it. The rules for negation are
written for this module and do not depend on the guards' lists, but most negating words are in those lists too. The
evaluation can therefore show only how often a guard misses a change between languages and, on translations, how often
it blocks a true pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import regex

from mlret.memory.text.calendar_names import VAGUE_MONTHS, calendar_names
from mlret.memory.text.number_words import number_words
from mlret.memory.text.word_lists import Names

KINDS = ("number", "number word", "month", "weekday", "negation")
_NUMBER = regex.compile(r"(?<![\w.,])\d{1,4}(?![\w.,]*\d)")

# Language -> rules (pattern, replacement). The first rule that matches is applied, once.
_NEGATION: dict[str, list[tuple[str, str]]] = {
    "ar": [(r"\bلم يكن\b", "كان"), (r"\bكان\b", "لم يكن"), (r"\bكانت\b", "لم تكن"), (r"\bيمكن\b", "لا يمكن")],
    "de": [
        (r" nicht\b", ""),
        (r"\bkein(e|en|er|em)?\b", r"ein\1"),
        (r"\b(ist|war|hat|hatte|wird|wurde|kann|sind|waren|haben|werden|wurden|soll|muss)\b", r"\1 nicht"),
    ],
    "el": [(r"\bδεν ", ""), (r"\b(είναι|ήταν|έχει|είχε|μπορεί|έχουν|θα)\b", r"δεν \1")],
    "en": [
        (r"\b(\w+)n['’]t\b", r"\1"),
        (r" not\b", ""),
        (r"\b(is|are|was|were|will|can|could|would|should|has|had|have|must|may)\b", r"\1 not"),
    ],
    "es": [
        (r"\b[Nn]o (?=\w)", ""),
        (r"\b(es|era|fue|está|estaba|ha|había|son|han|será|puede|tiene|fueron|están)\b", r"no \1"),
    ],
    "fi": [(r"\bei ole\b", "on"), (r"\bon\b", "ei ole"), (r"\boli\b", "ei ollut")],
    "fr": [
        (r"\bn(?:e |['’])(\w+) pas\b", r"\1"),
        (r"\b(est|était|avait|ont|étaient)\b", r"n'\1 pas"),
        (r"\b(sont|sera|peut|doit|fut|va)\b", r"ne \1 pas"),
    ],
    "he": [(r"\bלא ", ""), (r"\b(היה|היתה|הייתה|היו|יכול|יהיה)\b", r"לא \1"), (r"\bיש\b", "אין")],
    "hi": [(r" नहीं(?= )", ""), (r" (है|हैं|था|थे|थी)(?=[\s।,])", r" नहीं \1")],
    "id": [(r"\btidak ", ""), (r"\b(akan|bisa|dapat|ada|telah|sudah)\b", r"tidak \1")],
    "it": [(r"\bnon ", ""), (r"\b(è|era|ha|aveva|sono|hanno|sarà|può|erano)\b", r"non \1")],
    "ja": [
        (r"ませんでした", "ました"),
        (r"ました(?=。|$)", "ませんでした"),
        (r"ます(?=。|$)", "ません"),
        (r"だった(?=。|$)", "ではなかった"),
        (r"である(?=。|$)", "ではない"),
        (r"している(?=。|$)", "していない"),
        (r"した(?=。|$)", "しなかった"),
    ],
    "ko": [(r"했다", "하지 않았다"), (r"했습니다", "하지 않았습니다"), (r"있다", "없다"), (r"있습니다", "없습니다")],
    "nl": [(r" niet\b", ""), (r"\b(is|was|heeft|had|wordt|werd|kan|zijn|waren|moet)\b", r"\1 niet")],
    "pl": [(r"\bnie ", ""), (r"\b(jest|był|była|było|były|będzie|może|są|ma|mają)\b", r"nie \1")],
    "pt": [(r"\bnão ", ""), (r"\b(é|era|foi|está|estava|tem|são|será|pode|tinha|foram)\b", r"não \1")],
    "ru": [(r"\bне ", ""), (r"\b(был|была|было|были|будет|может|могут|должен|стал|стала)\b", r"не \1")],
    "sv": [(r" inte\b", ""), (r"\b(är|var|har|hade|kommer|kan|ska|blev)\b", r"\1 inte")],
    "sw": [
        (r"\bni\b", "si"),
        (r"\balikuwa\b", "hakuwa"),
        (r"\bilikuwa\b", "haikuwa"),
        (r"\bwalikuwa\b", "hawakuwa"),
        (r"\bana\b", "hana"),
    ],
    "th": [(r"ไม่(?=ได้|มี|เป็น)", ""), (r"(ได้|มี|เป็น)", r"ไม่\1")],
    "tr": [(r"\bvar\b", "yok"), (r"\boldu\b", "olmadı"), (r"\betti\b", "etmedi"), (r"\bolduğunu\b", "olmadığını")],
    "uk": [(r"\bне ", ""), (r"\b(був|була|було|були|буде|може|можуть|має|стала?)\b", r"не \1")],
    "vi": [(r"\bkhông ", ""), (r"\b(có thể|đã|sẽ|đang|phải)\b", r"không \1")],
    "zh": [(r"(?<![不没])不(?=是|会|能)", ""), (r"(?<![不没])(是|会|能)", r"不\1"), (r"(?<![没])有", "没有")],
}


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A changed sentence: the kind of change, the changed text and the original text."""

    kind: str
    text: str
    original: str


def near_misses(text: str, language: str, random: np.random.Generator) -> list[NearMiss]:
    """Return all near misses that the rules can make of a text, at most one of each kind.

    Parameters
    ----------
    text
        A sentence.
    language
        mlret's code of its language.
    random
        Chooses the position and the change.
    """
    code = language.partition("-")[0]
    changed = {
        "number": _number(text, random),
        "number word": _from_list(text, number_words(code), random, least=2),
        "month": _from_list(text, calendar[0] if (calendar := calendar_names(code)) else None, random, months=True),
        "weekday": _from_list(text, calendar[1] if calendar else None, random),
        "negation": _negation(text, code),
    }
    return [NearMiss(kind, other, text) for kind, other in changed.items() if other is not None and other != text]


def _number(text: str, random: np.random.Generator) -> str | None:
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    match = found[random.integers(len(found))]
    number = int(match[0])
    other = number + int(random.integers(1, 10))
    if 1900 <= number <= 2100:  # keep a year a year
        other = number - int(random.integers(1, 10))
    # Write the new number in the digits of the original number's script.
    zero = next(point for point in range(ord(match[0][0]), 0, -1) if chr(point).isdecimal() and int(chr(point)) == 0)
    digits = "".join(chr(zero + int(digit)) for digit in str(other))
    return text[: match.start()] + digits + text[match.end() :]


def _from_list(
    text: str,
    names: tuple[Names, dict[str, int]] | None,
    random: np.random.Generator,
    *,
    least: int = 0,
    months: bool = False,
) -> str | None:
    """Replace one name from a list with another name from it; ``None`` if the text contains none."""
    if names is None:
        return None
    pattern, values = names
    folded = text.casefold()
    if len(folded) != len(text):
        return None
    found = [match for match in pattern.finditer(folded) if values[match[0]] >= least and len(match[0]) > 2]
    if months:  # `may` and `mar` are also ordinary words
        found = [match for match in found if len(match[0]) > 3 and match[0] not in VAGUE_MONTHS]
    if not found:
        return None
    match = found[random.integers(len(found))]
    others = [name for name, value in values.items() if value != values[match[0]] and value >= least]
    others = [name for name in others if len(name) > 3 and name not in VAGUE_MONTHS] or others
    alike = [name for name in others if name[-1] == match[0][-1] and " " not in name] or others
    other = alike[random.integers(len(alike))]
    if text[match.start()].isupper():
        other = other[0].upper() + other[1:]
    return text[: match.start()] + other + text[match.end() :]


def _negation(text: str, language: str) -> str | None:
    for pattern, replacement in _NEGATION.get(language, ()):
        changed = str(regex.sub(pattern, replacement, text, count=1))
        if changed != text and changed:
            return changed[0].upper() + changed[1:] if text[0].isupper() else changed
    return None
