"""Normalise language codes: convert every spelling that data sets use to one form.

The normalised form is BCP 47's shortest: the macro-language's two-letter code if there is one (``swh`` -> ``sw``,
``cmn`` -> ``zh``, ``arb`` -> ``ar``), plus the script if it is not the language's usual one (``zh_TW`` -> ``zh-Hant``,
``sr@latin`` -> ``sr-Latn``). Countries are dropped.

Norwegian Bokmål is ``no`` under all its codes (``nb``, ``nob``, ``no``), because data sets and language detection use
``no`` for Norwegian text that is not specified further; Nynorsk is ``nn``.

Varieties that are not the default meaning of a macro-language's code keep codes of their own (``yue``, ``arz``,
``nn``). :func:`codes_found_by` alone decides which codes match each other in a filter.
"""

from __future__ import annotations

from functools import cache, lru_cache

from langcodes import Language, standardize_tag
from langcodes.data_dicts import LIKELY_SUBTAGS, MACROLANGUAGES
from langcodes.tag_parser import LanguageTagError

from mlret.errors import InputError

# gettext writes the script as a modifier: sr@latin.
_GETTEXT_SCRIPTS = {"latin": "Latn", "cyrillic": "Cyrl", "arabic": "Arab", "devanagari": "Deva"}
# Codes of one language -> the code that mlret uses. langcodes replaces every other default member of a macro-language
# by the macro-language, but not this one.
_SAME = {"nb": "no"}
# Script codes of Korean and Japanese that include other scripts.
_SCRIPTS_OF_ONE = {"Hang": "Kore", "Hira": "Jpan", "Kana": "Jpan", "Hrkt": "Jpan"}
# South Azerbaijani is written in the same script as Persian.
_WRITTEN_AS = {"azb": "fa"}
# Codes for Bosnian, Croatian and Serbian together; the first is used in normalised form.
_SERBO_CROATIAN = ("sh", "hbs", "scr")
# Members of a macro-language in ISO 639-3 (Malay, Serbo-Croatian) that are in practice separate languages.
_APART = frozenset({"id", "in", "hr", "bs", "sr", "cnr"})


@lru_cache(maxsize=4096)
def normalise_language(code: str) -> str:
    """Convert a language code to its normalised form.

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
        If the code is not a string, or not a language in BCP 47's registry.

    Examples
    --------
    >>> normalise_language("pt_BR"), normalise_language("swh"), normalise_language("zh_TW")
    ('pt', 'sw', 'zh-Hant')
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
    """Return a language's usual script from CLDR; a variety that CLDR does not know has its macro-language's script."""
    if name not in LIKELY_SUBTAGS:
        name = _WRITTEN_AS.get(name) or MACROLANGUAGES.get(name, name)
    return Language.get(name).maximize().script


@lru_cache(maxsize=4096)
def narrowed_language(code: str) -> str:
    """Normalise a code that is used in a query, but keep it as specific as it was given.

    ``nb``, ``cmn`` and ``zh-Hans`` are kept, because ``no`` and ``zh`` would also match other varieties and scripts;
    ``swh`` becomes ``sw``.

    Parameters
    ----------
    code
        A language code in any spelling.

    Returns
    -------
    str
        For example ``"nb"``, ``"zh-Hans"``, ``"sw"``; ``"sh"`` for Serbo-Croatian.

    Raises
    ------
    InputError
        As :func:`normalise_language`.
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
    """Return the codes of stored texts that a language code in a query matches.

    The code of a language matches all of its scripts and, if it is a macro-language, its varieties (``no`` matches
    ``nn``, ``ar`` matches ``arz``, ``zh`` matches ``yue``). The code of a variety, or one with a script, matches only
    that: ``nn`` matches ``nn``, ``zh-Hant`` matches ``zh-Hant``. Two codes of one language match the same texts (``nb``
    and ``no`` for Bokmål, both of which may occur in an index that an earlier version wrote).

    Parameters
    ----------
    code
        A language code in any spelling.

    Returns
    -------
    tuple of str
        Codes as they are stored; a code that ends in ``-*`` stands for the language in all scripts except its usual
        one.

    Raises
    ------
    InputError
        As :func:`normalise_language`.

    Examples
    --------
    >>> codes_found_by("no")
    ('no', 'nb', 'no-*', 'nb-*', 'nn')
    >>> codes_found_by("zh-Hant")
    ('zh-Hant',)
    """
    narrow = narrowed_language(code)
    if narrow == _SERBO_CROATIAN[0]:
        return ("bs", "bs-*", "hr", "hr-*", "sr", "sr-*")
    own = normalise_language(narrow)
    # An earlier version, with another usual script, may have stored a code together with the given script.
    codes = [own, *(other for other, same in _SAME.items() if same == own)]
    if "-" in narrow:
        codes = list(dict.fromkeys([*codes, narrow]))
    else:
        codes += [f"{one}-*" for one in codes]
        codes += _varieties().get(narrow, [])
    return tuple(codes)


@cache
def _varieties() -> dict[str, list[str]]:
    """Map each macro-language to its members with codes of their own, normalised (ISO 639-3, from langcodes)."""
    found: dict[str, set[str]] = {}
    for member, macro in MACROLANGUAGES.items():
        own, of = normalise_language(member), normalise_language(macro)
        if own != of and member not in _APART:
            found.setdefault(of, set()).add(own)
    return {macro: sorted(members) for macro, members in found.items()}


def cldr_code(code: str) -> str:
    """Convert a normalised code to the one that Unicode's CLDR and libraries based on it use: ``no`` becomes ``nb``."""
    name, mark, script = code.partition("-")
    return next((other for other, same in _SAME.items() if same == name), name) + mark + script


@lru_cache(maxsize=4096)
def language_name(code: str) -> str:
    """Return the English name of a language: ``language_name("sw")`` is ``"Swahili"``."""
    return Language.get(code).display_name()
