"""Language codes: every spelling a data set uses, brought to one form.

The form is BCP 47's shortest: the macro-language's two-letter code where there is one (``swh`` -> ``sw``,
``cmn`` -> ``zh``, ``arb`` -> ``ar``), plus the script where it is not the language's usual one
(``zh_TW`` -> ``zh-Hant``, ``sr@latin`` -> ``sr-Latn``). Countries are dropped.

Norwegian Bokmål is ``no``, as data sets and language detection have it for text that does not say more, whatever it is
called (``nb``, ``nob``, ``no``); Nynorsk is ``nn``.

Varieties that are not what a macro-language's code stands for by default keep codes of their own (``yue``, ``arz``,
``nn``). Which codes find each other in a filter is in one place, :func:`codes_found_by`.
"""

from __future__ import annotations

from functools import cache, lru_cache

from langcodes import Language, standardize_tag
from langcodes.data_dicts import LIKELY_SUBTAGS, MACROLANGUAGES
from langcodes.tag_parser import LanguageTagError

from mlret.errors import InputError

# gettext spells the script as a modifier: sr@latin.
_GETTEXT_SCRIPTS = {"latin": "Latn", "cyrillic": "Cyrl", "arabic": "Arab", "devanagari": "Deva"}
# Codes of one language, the one that mlret writes behind the other: langcodes folds every default member of a
# macro-language but this.
_SAME = {"nb": "no"}
# Codes for writing that takes in other codes' scripts: Korean and Japanese.
_SCRIPTS_OF_ONE = {"Hang": "Kore", "Hira": "Jpan", "Kana": "Jpan", "Hrkt": "Jpan"}
# South Azerbaijani is written as Persian is.
_WRITTEN_AS = {"azb": "fa"}
# One code for three languages; mlret's form of it is that of the standard that it mostly is.
_SERBO_CROATIAN = ("sh", "hbs", "scr")
# In ISO 639-3 members of a macro-language (Malay; Serbo-Croatian), in use languages beside what its code stands for.
_APART = frozenset({"id", "in", "hr", "bs", "sr", "cnr"})


@lru_cache(maxsize=4096)
def normalise_language(code: str) -> str:
    """Bring a language code to mlret's form.

    Parameters
    ----------
    code
        ISO 639-1, 639-2 or 639-3 code, BCP 47 tag, or gettext locale (``pt_BR``, ``sr@latin``).

    Returns
    -------
    str
        For example ``"pt"``, ``"sr-Latn"``, ``"zh-Hant"``.

    Raises
    ------
    InputError
        If the code is not a language known to BCP 47's registry.
    """
    if not isinstance(code, str):
        raise InputError(f"the language code {code!r} is {type(code).__name__}; give a string such as 'sw'")
    tag, _, modifier = code.strip().partition("@")
    tag = tag.replace("_", "-")
    if script := _GETTEXT_SCRIPTS.get(modifier):
        tag = f"{tag}-{script}"
    try:
        language = Language.get(standardize_tag(tag, macro=True))
    except LanguageTagError:
        language = Language.get("und")
    if language.language in (None, "und") or not Language.get(language.language or "und").is_valid():
        raise InputError(f"unknown language code {code!r}: use an ISO 639 or BCP 47 code such as 'sw' or 'zh-Hant'")
    name = _SAME.get(str(language.language), str(language.language))
    usual = _usual_script(name)
    script = language.script or (language.maximize().script if language.territory else usual)
    same = {script, _SCRIPTS_OF_ONE.get(str(script))}
    return name if usual in same else f"{name}-{script}"


def _usual_script(name: str) -> str | None:
    """The script of a language, by CLDR; of a variety that it does not know, that of the macro-language."""
    if name not in LIKELY_SUBTAGS:
        name = _WRITTEN_AS.get(name) or MACROLANGUAGES.get(name, name)
    return Language.get(name).maximize().script


@lru_cache(maxsize=4096)
def narrowed_language(code: str) -> str:
    """Bring a code that asks for texts to mlret's form, but as narrow as it was given.

    ``nb``, ``cmn`` and ``zh-Hans`` stay what they are, for ``no`` and ``zh`` ask for other varieties and scripts, too;
    ``swh`` is ``sw``.

    Raises
    ------
    InputError
        As of :func:`normalise_language`.
    """
    own = normalise_language(code)
    tag = code.strip().partition("@")[0].replace("_", "-")
    if tag.lower() in _SERBO_CROATIAN:
        return _SERBO_CROATIAN[0]
    script = Language.get(tag, normalize=False).script
    if script and "-" not in own:
        return f"{own}-{script}"
    name = Language.get(standardize_tag(tag)).language
    return name if name and name != own and own in _varieties() and normalise_language(name) == own else own


@lru_cache(maxsize=4096)
def codes_found_by(code: str) -> tuple[str, ...]:
    """Which codes of texts a code asks for.

    A language's code finds all of it: its varieties, if it is a macro-language's (``no`` finds ``nn``, ``ar`` finds
    ``arz``, ``zh`` finds ``yue``), and all its scripts. A variety's code, or one with a script, finds just that: ``nn``
    finds ``nn``, ``zh-Hant`` finds ``zh-Hant``. Two codes of one language find the same (``nb`` and ``no`` for Bokmål,
    which an index that an earlier version wrote may both hold).

    Parameters
    ----------
    code
        In any spelling.

    Returns
    -------
    tuple of str
        Codes as they are stored; one that ends in ``-*`` stands for the language in all scripts but its usual one.

    Raises
    ------
    InputError
        As of :func:`normalise_language`.
    """
    narrow = narrowed_language(code)
    if narrow == _SERBO_CROATIAN[0]:
        return ("bs", "bs-*", "hr", "hr-*", "sr", "sr-*")
    own = normalise_language(narrow)
    # What has a script that was given may be stored with it, by an earlier version that took another for the usual one.
    codes = [own, *(other for other, same in _SAME.items() if same == own)]
    if "-" in narrow:
        codes = list(dict.fromkeys([*codes, narrow]))
    else:
        codes += [f"{one}-*" for one in codes]
        codes += _varieties().get(narrow, [])
    return tuple(codes)


@cache
def _varieties() -> dict[str, list[str]]:
    """Macro-language -> its members that have codes of their own, in mlret's form; from ISO 639-3, by langcodes."""
    found: dict[str, set[str]] = {}
    for member, macro in MACROLANGUAGES.items():
        own, of = normalise_language(member), normalise_language(macro)
        if own != of and member not in _APART:
            found.setdefault(of, set()).add(own)
    return {macro: sorted(members) for macro, members in found.items()}


def cldr_code(code: str) -> str:
    """A code in mlret's form as Unicode's CLDR, and libraries that read it, have it: ``no`` is ``nb`` there."""
    name, mark, script = code.partition("-")
    return next((other for other, same in _SAME.items() if same == name), name) + mark + script


@lru_cache(maxsize=4096)
def language_name(code: str) -> str:
    """The English name of a language: ``language_name("sw")`` is ``"Swahili"``."""
    return Language.get(code).display_name()


@lru_cache(maxsize=4096)
def language_autonym(code: str) -> str:
    """The language's name for itself: ``language_autonym("sw")`` is ``"Kiswahili"``."""
    return Language.get(code).autonym()
