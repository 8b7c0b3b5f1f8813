"""Words and parts of words that negate, for the languages that have a list here.

A list holds what negates a sentence or a part of it: particles, negative pronouns and adverbs, negative verbs, and
*without*. Negation inside words (*unable*) is not listed. Where a language negates by a part of the verb (Turkish,
Swahili, Japanese, Korean), the pattern covers the commonest forms; it misses some, and matches a few other, rare words.
"""

from __future__ import annotations

from functools import lru_cache

import regex

# Whole words of case-folded text; a star stands for any ending.
_WORDS = {
    "af": "nie nooit niks niemand geen sonder",
    "ar": "لا لم لن ليس ليست ليسوا لست لسنا ليسا غير بدون دون ولا ولم ولن وليس وليست فلا فلم فلن بلا",
    "be": "не няма ні ніхто нічога ніколі без",
    "bg": "не няма нямаше нито никой нищо никога без",
    "ca": "no mai cap res ningú sense tampoc",
    "da": "ikke ingen intet ingenting aldrig uden ej hverken",
    "de": "nicht kein* nie niemals niemand* nichts nirgend* ohne weder",
    "el": "δεν δε μην μη όχι ποτέ κανείς κανένας καμία κανένα τίποτα χωρίς ούτε",
    "en": "not cannot no never nobody nothing none nor neither without nowhere",
    "eo": "ne neniu neniam nenio sen",
    "es": "no nunca jamás ningun* ningún nada nadie sin tampoco ni",
    "et": "ei ära mitte pole polnud ilma keegi",
    "eu": "ez inoiz gabe",
    "fa": "نه نیست نبود نیستند نبودند بدون هیچ هرگز نمی ندارد نداشت نشد نکرد",
    "fi": "ei en et emme ette eivät eikä älä älkää ilman",
    "fr": "ne pas jamais aucun* rien sans non",
    "gl": "non nunca ningún ningunha nada ninguén sen",
    "he": "לא אין בלי אינו אינה אינם אינן מעולם ללא ולא שלא",
    "hi": "नहीं नही न मत बिना",
    "hr": "ne nije nisu nisam nismo niste nisi nema nikad nikada nitko ništa bez nemoj nemojte",
    "hu": "nem ne nincs nincsenek sem soha senki semmi nélkül",
    "id": "tidak bukan belum jangan tanpa tak tiada",
    "is": "ekki engin* enginn ekkert aldrei án",
    "it": "non mai nessun* niente nulla senza né",
    "lt": "ne nėra niekada niekas be",
    "lv": "ne nav nekad neviens bez",
    "mk": "не нема никој ништо никогаш без",
    "ms": "tidak bukan belum jangan tanpa tak tiada",
    "no": "ikke ingen intet ingenting aldri uten verken",
    "nl": "niet geen nooit niets niemand zonder noch nergens",
    "pl": "nie bez nigdy nikt nic żaden żadna żadne żadnych żadnego ani",
    "pt": "não nunca jamais nenhum* nada ninguém sem nem",
    "ro": "nu niciodată nimeni nimic fără nici",
    "ru": "не нет ни никогда никто ничего ничто без нельзя",
    "sl": "ne ni niso nisem nismo nikoli nihče nič brez nima nimajo",
    "sq": "nuk mos s' jo asnjë kurrë pa",
    "sr": "не није нису нисам нисмо нема никад никада нико ништа без",
    "sv": "inte ej icke ingen inga inget ingenting aldrig utan varken",
    "uk": "не немає нема ні ніколи ніхто нічого без",
    "vi": "không chưa chẳng đừng chớ",
}
# Patterns that match anywhere in the text: parts of words, and languages written without spaces.
_PATTERNS = {
    "en": r"\w+n['’]t\b",
    "ca": r"\bn['’](?=\w)",
    "fr": r"\bn['’](?=\w)",
    "ro": r"\bn-(?=\w)",
    "cs": r"\b(?:ne(?!j|bo\b|to\b|pal|děl|mec|mo[cv])\w+|ne|není|bez|nikdy|nikdo|nic|žádn\w+)\b",
    "sk": r"\b(?:ne(?!bo\b|v[ýy]h|mec|de[ľl])\w+|nie|bez|nikdy|nikto|nič|žiadn\w+)\b",
    "hy": r"\b(?:չ\w+|ոչ|առանց)\b",
    "ja": r"(?<![少危汚幼切])な(?:い|かっ|く(?!さん))|ません|ずに|(?<=[らかさたまわば])ぬ|無[いし]",
    "ka": r"\b(?:არ|ვერ|ნუ|არა|არც|გარეშე)\b",
    "km": r"មិន|គ្មាន|ពុំ|កុំ",
    "ko": r"않|못|없|아니|아닌|아닙|(?<!\w)안\s|지\s?마",
    "lo": r"ບໍ່|ບໍ",
    "my": r"မ[^\s]{1,12}(?:ဘူး|ပါ|ဘဲ)",
    "sw": r"\b(?:si|sio|siyo|hapana|bila|wala|hakuna|hamna|hana|hatuna|hawana|sina|sijui|sitaki|siwezi|hawezi|hatuwezi|"
    r"hawawezi|(?:ha|hatu|hawa|ham)(?:ku|ta|ja)\w{2,}|kuto\w{3,})\b",
    "th": r"ไม่|มิได้|ไร้|อย่า|ปราศจาก",
    "tr": r"\b(?:değil\w*|yok\w*|hiç\w*|\w+s[ıiuü]z|\w{2,}m(?:[ae]d[ıiuü]\w*|[ae]m[ıi]ş\w*|[ıiuü]yor\w*|[ae]z\w*|"
    r"[ae]y[ae]c[ae]\w+|[ae]y[ae]n\w*|[ae]d[ae]n))\b",
    "zh": r"(?<![区分差特个级性])[不没沒無无未](?![同错料断仅])|(?<![分区差级])别(?=[再忘让说去来])",
}


@lru_cache(maxsize=256)
def negation_pattern(language: str) -> regex.Pattern[str] | None:
    r"""Return the pattern of the negations in case-folded text of a language; ``None`` if it has no list.

    The `regex` module is used because its ``\\w`` includes the vowel signs of Indic scripts.

    Parameters
    ----------
    language
        BCP 47 code in mlret's form; script and country are ignored.
    """
    code = language.partition("-")[0]
    parts = []
    if code in _WORDS:
        words = sorted(_WORDS[code].split(), key=len, reverse=True)
        parts.append(r"\b(?:" + "|".join(regex.escape(word).replace(r"\*", r"\w*") for word in words) + r")(?!\w)")
    if code in _PATTERNS:
        parts.append(_PATTERNS[code])
    return regex.compile("|".join(parts)) if parts else None
