"""Words for single days relative to today: those that dateparser lacks, and those that contain another day's word.

*The day before yesterday* contains *yesterday* in many languages (Arabic أول أمس), and the word for *tomorrow* is that
for *morning* in some (German `morgen`, Spanish `mañana`). The longest expression counts, so each of these is listed.
Expressions that may mean two days, or none, are listed under ``None`` and have no meaning.
"""

from __future__ import annotations

from functools import lru_cache

import regex

from mlret.data.lazy_pattern import LazyPattern
from mlret.memory.text.word_lists import needed_letters

# Language -> days from today -> patterns of case-folded text, separated by blanks; an underscore is white space.
_DAYS: dict[str, dict[int | None, str]] = {
    "ar": {
        -2: "[أا]ول_[أا]مس [أا]مس_ال[أا]ول [أا]ول_من_[أا]مس [أا]ول_البارحة قبل_[أا]مس اليوم_قبل_[أا]مس ما_قبل_[أا]مس",
        -1: "[أا]مس ال[أا]مس البارحة الليلة_الماضية ليلة_[أا]مس",
        0: "هذا_الصباح هذا_اليوم",
        1: "غدا غداً يوم_غد",
        2: "بعد_غدٍ? بعد_الغد بعد_غدًا بعد_غدا",
        None: "اليوم_السابق اليوم_الت[اأ]لي",
    },
    "bg": {-2: "завчера онзи_ден", -1: "снощи", 0: "тази_сутрин", 2: "вдруги_ден", None: "другия?_ден"},
    "cs": {
        -3: "předpředevčírem",
        -2: "předevčírem předvčírem",
        -1: "minulou_noc včera_v_noci",
        0: "dnes_ráno",
        2: "pozítří",
    },
    "da": {
        -2: "(?:i_)?forgårs i_forgårs_aftes",
        -1: "i_går_aftes (?<!i_)aftes sidste_nat",
        0: "i_morges",
        2: "i_overmorgen overmorgen",
    },
    "de": {
        -3: "vorvorgestern",
        -2: "vorgestern(?:_morgen)? vorletzte_nacht",
        -1: "letzte_nacht gestern_morgen vergangene_nacht",
        0: "heute_morgen heute_früh",
        1: "morgen_(?:früh|morgen)",
        2: "übermorgen(?:_früh)?",
        3: "überübermorgen",
        None: "(?:am|jeden|jeder|eines|guten|diese[mnrs]|nächsten|zum|vom|den|dem|der|einem|einen|gegen|frühen|späten"
        "|ganzen|letzten)_morgen (?<=(?:montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonnabend|sonntag)_)morgen",
    },
    "el": {
        -3: "αντιπροχθές αντιπροχτές",
        -2: "προχθές προχτές προχθες προχτες",
        -1: "χτες χθες εχθές εχτές χθεσινο",
        0: "σήμερα_το_πρωί",
        2: "μεθαύριο",
    },
    "en": {
        -2: "the_day_before_yesterday the_night_before_last",
        -1: "last_night yesternight",
        0: "this_(?:morning|afternoon|evening) tonight",
        2: "the_day_after_tomorrow overmorrow",
    },
    "es": {
        -3: "trasanteayer antes_de_anteayer tras_antier",
        -2: "antes_de_ayer anteayer antier antenoche anteanoche antes_de_anoche",
        -1: "anoche ayer_por_la_mañana ayer_en_la_mañana la_noche_pasada",
        0: "esta_(?:mañana|tarde|noche) hoy_por_la_mañana",
        1: "mañana_(?:por|en|a)_la_mañana",
        2: "pasado_mañana(?:_por_la_mañana)?",
        None: "(?:la|las|cada|una|unas|esa|esas|aquella|toda|media|buena|otra)_mañanas? el_día_de_mañana",
    },
    "fi": {
        -2: "toissapäivänä toissapäiväistä toissa_päivänä toissayönä",
        -1: "viime_yönä eilisiltana eilisaamuna eilisiltana eilis(?:aamuna|iltana)",
        0: "tänä_aamuna tänään_aamulla",
        1: "huomisaamuna huomen(?:aamulla|aamuna|iltana|illalla)",
        2: "ylihuomenna",
    },
    "fr": {
        -3: "avant-avant-hier avant_avant_hier",
        -2: "avant[-_]hier l'avant-veille",
        -1: "la_nuit_dernière",
        0: "ce_matin cet_après-midi ce_soir",
        2: "après[-_]demain",
        3: "après-après-demain",
        None: "la_veille le_lendemain",
    },
    "he": {
        -2: "שלשום יום_לפני_אתמול לפני_אתמול",
        -1: "אמש",
        0: "הבוקר הערב",
        2: "מחרתיים יום_אחרי_מחר",
    },
    "hi": {-3: "नरसों", -2: "बीते_परसों", -1: "बीते_कल", 1: "आने_वाले_कल आने_वाला_कल", 2: "आने_वाले_परसों"},
    "id": {
        -2: "kemarin_(?:lusa|dulu|dahulu)",
        -1: "tadi_malam kemarin_malam",
        0: "(?:pagi|siang|sore)_ini tadi_pagi",
        2: "lusa besok_lusa",
        None: "semalam malam_ini",
    },
    "it": {
        -2: "l'altro_?ieri l'altroieri ieri_l'altro ierlaltro avantieri avant'ieri altro_ieri altroieri",
        -1: "la_notte_scorsa ieri_notte ieri_sera iersera",
        0: "stamattina stamani stamane questa_mattina stasera questa_sera",
        2: "dopodomani dopo_domani",
    },
    "ja": {
        -3: "一昨々日 一昨昨日 さきおととい さきおとつい",
        -2: "一昨日 おととい おとつい 一昨夜 一昨晩",
        -1: "昨日 昨夜 昨晩 ゆうべ きのう(?!こ) 昨夕 昨朝",
        0: "今朝 今日 きょう(?![うりのだくそみし]) 本日 今晩 今夜",
        1: "明日 あした(?!の?ば) 明朝",
        2: "明後日 あさって",
        3: "明々後日 明明後日 しあさって",
        None: "前日 翌日 翌々日",
    },
    "ko": {
        -3: "그끄저께 그끄제 삼작일",
        -2: "그저께 그제(?!야|서야|의) 아래께",
        -1: "어젯밤 간밤 지난밤 어제 어저께",
        0: "오늘 오늘_아침",
        1: "내일(?!_?모레)",
        2: "내일_?모레 모레(?!_?시계)",
        3: "글피",
        None: "엊그제 엊그저께",
    },
    "nl": {
        -2: "eergisteren(?:_(?:morgen|ochtend|avond))? eergister(?:avond|ochtend|morgen|middag)",
        -1: "gister gister(?:avond|ochtend|morgen|middag|nacht) gisteren_morgen afgelopen_nacht",
        0: "vanmorgen vanochtend vanmiddag vanavond deze_morgen",
        1: "morgen_(?:vroeg|morgen)",
        2: "overmorgen",
        None: "(?:de|elke|iedere|op_een|goede|goeden|een)_morgen 's_morgens "
        "(?<=(?:maandag|dinsdag|woensdag|donderdag|vrijdag|zaterdag|zondag)_)morgen",
    },
    "pl": {
        -2: "przedwczoraj",
        -1: "wczoraj zeszłej_nocy ubiegłej_nocy",
        0: "dziś_rano dzisiaj_rano",
        2: "pojutrze",
        3: "popojutrze",
    },
    "pt": {
        -3: "trasanteontem trás-anteontem anteanteontem",
        -2: "antes_de_ontem anteontem antes_d'ontem",
        -1: "noite_passada ontem_à_noite",
        0: "esta_manhã hoje_de_manhã",
        2: "depois_de_amanhã",
    },
    "ro": {
        -2: "alaltăieri alaltăseară",
        -1: "aseară noaptea_trecută azi-noapte",
        0: "azi[-_]dimineață azi[-_]dimineaţă în_această_dimineață",
        2: "poimâine",
        3: "răspoimâine",
    },
    "ru": {
        -3: "позапозавчера поза-позавчера",
        -2: "позавчера поза-вчера третьего_дня",
        -1: "прошлой_ночью",
        0: "сегодня_утром",
        2: "послезавтра после_завтра",
        3: "послепослезавтра",
        None: "накануне",
    },
    "sv": {
        -3: "i_förrförrgår",
        -2: "(?:i_)?förrgår (?:i_)?förrgår_kväll",
        -1: "i_går_kväll igår_kväll i_går_natt",
        0: "i_morse imorse",
        2: "(?:i_)?övermorgon",
    },
    "sw": {
        -2: "juzi",
        -1: "jana_usiku",
        0: "asubuhi_hii asubuhi_ya_leo",
        2: "kesho_?kutwa",
        3: "mtondo",
        None: "juzi_?juzi siku_nyingine",
    },
    "tr": {
        -2: "evvelsi_gün evvelki_gün önceki_gün dünden_önceki_gün evvelsi_gece",
        -1: "dün_gece",
        0: "bu_sabah",
        2: "öbür_gün yarından_sonraki_gün",
        None: "geçen_gün ertesi_gün önümüzdeki_gün bir_önceki_gün",
    },
    "uk": {
        -2: "позавчора позаучора поза-вчора",
        -1: "минулої_ночі",
        0: "сьогодні_вранці",
        2: "післязавтра після_завтра",
        3: "післяпіслязавтра",
    },
    "vi": {
        -3: "hôm_kìa",
        -2: "hôm_kia (?:đêm|tối|sáng|chiều)_(?:hôm_)?kia",
        -1: "(?:tối|đêm|sáng|chiều|trưa)_qua",
        0: "(?:sáng|trưa|chiều|tối)_nay",
        1: "(?:sáng|trưa|chiều|tối|đêm)_mai ngày_mai hôm_sau(?!.)",
        2: "ngày_kia ngày_mốt (?:sáng|chiều|tối)_mốt",
        3: "ngày_kìa",
        None: "hôm_trước hôm_nọ",
    },
    "zh": {
        -3: "大前[天日] 大前晚",
        -2: "(?<!大)前[天日](?!天) 前晚 前天夜里",
        -1: "昨[天日晚夜早]",
        0: "今[天日早晨晚夜]",
        1: "明[天日早晨晚](?!星)",
        2: "(?<![大之今最])[后後][天日](?!性|的努力)",
        3: "大[后後]天",
        None: "[后後]天性 第二天 先[后後]天",
    },
}  # fmt: skip
_ANYWHERE = frozenset({"zh", "ja"})
_ENDINGS = frozenset({"ko"})  # Particles are written together with the word before them.
_PREFIXES = {"ar": "[وفبل]?", "he": "[ובלמהש]{0,2}"}
# Hindi has one word for yesterday and tomorrow, and one for two days from now in either direction. With a verb in the
# future tense (this pattern) they are about the future.
_AHEAD = regex.compile(r"\w(?:ूँगा|ूंगा|ऊँगा|ऊंगा|ूँगी|ूंगी|ऊँगी|ऊंगी|ेगा|एगा|ेगी|एगी|ेंगे|एंगे|एँगे|ेंगी|एंगी|ोगे|ओगे|ोगी|ोगा)(?!\w)")
_EITHER_WAY = regex.compile(r"(?<!\w)(?:कल|परसों)(?!\w)")


def day_words(text: str, language: str) -> list[tuple[int, int, int | None]]:
    """Return where a text names a day: start, end, and days from today, ``None`` if ambiguous.

    Parameters
    ----------
    text
        Case-folded text.
    language
        Language code without script and country.
    """
    found = [
        (match.start(), match.end(), days)
        for letters, pattern, days in _patterns(language)
        if letters in text
        for match in pattern.finditer(text)
    ]
    if language == "hi" and _AHEAD.search(text):
        found = [one for one in found if one[2] is None or one[2] < 0] + [
            (match.start(), match.end(), 1 if match[0] == "कल" else 2) for match in _EITHER_WAY.finditer(text)
        ]
    return found


@lru_cache(maxsize=32)
def _patterns(language: str) -> list[tuple[str, LazyPattern, int | None]]:
    """Return for each expression the letters that it needs, its pattern, and the days from today."""
    before = "" if language in _ANYWHERE else rf"(?<![\w]){_PREFIXES.get(language, '')}"
    after = "" if language in _ANYWHERE | _ENDINGS else r"(?!\w)"
    return [
        (needed_letters(spaced), LazyPattern(f"{before}(?:{spaced}){after}"), days)
        for days, words in _DAYS.get(language, {}).items()
        for word in words.casefold().split(" ")
        for spaced in [word.replace("_?", r"[\s-]?").replace("_", r"\s+")]
    ]
