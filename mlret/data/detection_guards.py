"""Correct the detected language of a text by its script, its letters and a few words.

py3langid gives the languages that its model lacks a neighbour's code, often with a probability of 1: Tibetan becomes
Dzongkha, Tigrinya Amharic, Central Kurdish Southern Kurdish, Sindhi Pashto, Yiddish Biblical Hebrew. What distinguishes
each from its neighbour is in :data:`TABLE`. It also gives Chinese and Serbian one code for both of their scripts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from mlret.data.lazy_pattern import LazyPattern


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A language that the detector takes for another.

    Attributes
    ----------
    code
        Its code.
    taken_for
        Codes of the detector that it is given.
    own
        What its texts have and those of the others lack: letters or words.
    others
        What shows that a text is in one of the other languages.
    least
        The smallest share of the letters that ``own`` must match; 0 if it is enough that it matches more often than
        ``others``.
    """

    code: str
    taken_for: tuple[str, ...]
    own: LazyPattern
    others: LazyPattern
    least: float = 0.0


def _syllables(text: str) -> LazyPattern:
    """Return the pattern of whole Tibetan syllables."""
    letters = r"[\u0f40-\u0fbc]"
    return LazyPattern(rf"(?<!{letters})(?:{'|'.join(text.split())})(?!{letters})")


_ARABIC = ("ar", "ary", "arz", "fa", "ps", "sdh", "ug", "ur", "uzs")
TABLE = (
    Neighbour(
        "bo",
        ("dz",),
        _syllables("བྱས རེད ཡིན ཡིས ཀྱང ཞིག ནས བྱེད ཚོས ཏུ རྒྱུ རྒྱུར དུ དེའི བྱུང རྗེས ལ འོན ལྟར རྣམས ཀྱིས"),
        _syllables("ཚུ ཡོདཔ སྦེ ལུ ནུག ཨིན ཨིནམ སླབ བཟུམ འོང འགྱོ རྐྱབ ཡུ འབད མས ག ཅིན ཅིག ཟེར"),
    ),
    Neighbour(
        "ti",
        ("am",),
        LazyPattern(r"[ኣቐ-ቝኸ-ዅሓሒሑ]|(?<!\w)(?:ናይ|እዩ|እዚ|እቲ|ድማ|ካብ|ናብ|ምስ)(?!\w)"),
        LazyPattern(r"[አሁሀቸችቹኝኧ]|(?<!\w)(?:ነው|ላይ|እና|ነበር|ጋር|ወደ|ውስጥ)(?!\w)"),
    ),
    Neighbour("ckb", ("sdh",), LazyPattern(r"[ێۆڕڵ]"), LazyPattern(r"ۊ(?:.*ۊ)?"), least=0.005),
    Neighbour("sd", _ARABIC, LazyPattern("[ٻٽٺٿڀڄڃڇڊڌڍڏڙڦڪڱڳڻ۽۾]"), LazyPattern("[ݨۊێۆڕڵټډړږښڼۈۋ]"), least=0.04),
    Neighbour(
        "yi",
        ("he", "hbo"),
        LazyPattern(r"[װױײ]|(?<!\w)(?:איז|דער|דאָס|דאס|און|מיט|פון|פֿון|זענען|האָט|האט|אויף|נישט|ניט)(?!\w)"),
        LazyPattern(r"[\u0591-\u05af\u05b0-\u05b3\u05b5\u05b6\u05bb]|(?<!\w)(?:את|של|אשר|על|כי|לא|אל)(?!\w)"),
        least=0.03,
    ),
)  # fmt: skip
_THAANA = LazyPattern(r"\p{Thaana}{3}")  # The script of no other language than Dhivehi.
# Chinese: characters that only Cantonese and only Wu is written with.
_CANTONESE = LazyPattern("[嘅咗喺冇嚟哋啲嗰噉嘢畀佢唔咁]")
_MANDARIN = LazyPattern("[的們们這这沒没]")  # Words that Cantonese has others for.
_WU = LazyPattern("侬|儂|阿拉|搿|覅|嘸|弗|辰光|闲话|格个|伊拉|勿")
# Serbian has a vowel `e` where Croatian and Bosnian have `ije` or `je`.
_EKAVIAN = LazyPattern(
    r"(?:vreme|posle|pre|de(?:ca|ce|cu|lo|lu|la|lom|lovi\w*|vojk\w*)|umesto|mest[aou]|mestim\w*|reč[iju]*|lep[aoeiu]"
    r"|uvek|gde|ovde|negde|nedelj\w+|sledeć\w+|vide(?:ti|o|la|li)|hteo|žele(?:o|li|ti|la)|mlek\w+|telo|tela|verovatn\w+|verova\w+"
    r"|promen\w+|primer[aiu]?|uspe[hšlo]\w*|čovek\w*|cen[aeu]|vest[ia]?|sneg\w*|ce(?:o|la|li|le|log)|zahtev\w*|predsedni\w+"
    r"|sednic\w+|savet\w*|bezbedn\w+|razume\w*|izvešta\w+|odeljenj\w+|smešten\w*|ponedelj\w+|mesec\w*|pobed\w+|sever\w*"
    r"|zvezd\w+|vešta\w+|uveče|don(?:eo|ela)|procen(?:a|e|u|i|ila|ili)|rešen\w+|dve|obe|zamen\w+|namer\w+|delimičn\w+|podel\w+|vrednost\w*)"
)
_IJEKAVIAN = LazyPattern(
    r"[bcčćdđfghkmprsštvzž]ije|[bdmpstv]je\w|^(?:prije|poslije|dvije|obje|tisuć\w+|što|netko|nitko|svatko|tko|također"
    r"|europ\w+)$"
)
_WORDS = LazyPattern(r"\w+")
_IN_BOTH = frozenset("着")  # It is in use with traditional characters as well, but not in Big5.
_SERBO_CROATIAN = ("sr", "hr", "bs")
_CHINESE = ("zh", "yue", "wuu")


def guarded(
    text: str, code: str, probability: float, probabilities: Callable[[], Mapping[str, float]], confidence: float
) -> tuple[str, float]:
    """Return the language of a text and its probability, from those that were detected.

    Parameters
    ----------
    text
        The text.
    code, probability
        The most probable language, as the detector writes it, and its probability.
    probabilities
        Returns the probability of every language. If the guard decides within a group of languages, these are added;
        it is called only if that is necessary to reach ``confidence``.
    confidence
        The probability that the caller needs.
    """
    if not text.isascii() and _THAANA.search(text):
        return "dv", 1.0
    for neighbour in _by_code().get(code, ()):
        if _is_in(text, neighbour):
            return neighbour.code, 1.0
    for group, decide in ((_CHINESE, _chinese), (_SERBO_CROATIAN, _serbo_croatian)):
        if code in group:
            decided, sure = decide(text, code, probability >= confidence)
            if sure and probability < confidence:
                probability = sum(probabilities().get(one, 0.0) for one in group)
            return decided, probability
    return code, probability


@cache
def _by_code() -> dict[str, tuple[Neighbour, ...]]:
    codes = {code for neighbour in TABLE for code in neighbour.taken_for}
    return {code: tuple(one for one in TABLE if code in one.taken_for) for code in codes}


def _is_in(text: str, neighbour: Neighbour) -> bool:
    own = sum(1 for _ in neighbour.own.finditer(text))
    if not own:
        return False
    if own <= sum(1 for _ in neighbour.others.finditer(text)):
        return False
    return not neighbour.least or own >= neighbour.least * sum(map(str.isalpha, text))


def _chinese(text: str, code: str, certain: bool) -> tuple[str, bool]:
    """Return Cantonese or Wu if a character of theirs occurs, otherwise Mandarin, with the script if it shows."""
    if _CANTONESE.search(text) or (code == "yue" and certain and not _MANDARIN.search(text)):
        language = "yue"
    elif code == "wuu" and _WU.search(text):
        language = "wuu"
    else:
        language = "zh"
    script = chinese_script(text)
    usual = "Hant" if language == "yue" else "Hans"
    return language if script in (None, usual) else f"{language}-{script}", True


def chinese_script(text: str) -> str | None:
    """Return whether a Chinese text is in simplified (``Hans``) or traditional (``Hant``) characters.

    A character is simplified if it is in GB 2312, the character set of China, and not in Big5, that of Taiwan, and
    traditional if it is the other way round.

    Returns
    -------
    str or None
        ``None`` if no character shows it, or as many are simplified as traditional.
    """
    simplified, traditional = _characters()
    difference = sum((one in simplified) - (one in traditional) for one in text)
    return "Hans" if difference > 0 else "Hant" if difference < 0 else None


@cache
def _characters() -> tuple[frozenset[str], frozenset[str]]:
    sets = []
    for encoding, rows, cells in (
        ("gb2312", range(0xB0, 0xF8), range(0xA1, 0xFF)),
        ("big5", range(0xA4, 0xFA), range(0x40, 0xFF)),
    ):
        table = b"".join(bytes((row, cell)) for row in rows for cell in cells if not 0x7F <= cell < 0xA1)
        sets.append(frozenset(one for one in table.decode(encoding, "ignore") if "\u4e00" <= one <= "\u9fff"))
    return sets[0] - sets[1] - _IN_BOTH, sets[1] - sets[0] - _IN_BOTH


def _serbo_croatian(text: str, code: str, certain: bool) -> tuple[str, bool]:
    """Return Serbian in its script, and whether the text shows it; other text keeps its code."""
    letters = sum(1 for one in text if "\u0400" <= one <= "\u04ff")
    if 2 * letters > sum(map(str.isalpha, text)):
        return "sr", code != "sr"
    if sum(map(_serbian, _WORDS.findall(text.casefold()))) > 0:
        return "sr-Latn", True
    return "sr-Latn" if code == "sr" else code, certain


@lru_cache(maxsize=1 << 14)
def _serbian(word: str) -> int:
    """Return 1 for a word with the vowel of Serbian, -1 for one with that of Croatian and Bosnian, else 0."""
    return 1 if _EKAVIAN.fullmatch(word) else -1 if _IJEKAVIAN.search(word) else 0
