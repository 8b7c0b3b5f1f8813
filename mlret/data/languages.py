"""Language codes: every spelling a data set uses, brought to one form.

The form is BCP 47's shortest: the macro-language's two-letter code where there is one (``swh`` -> ``sw``,
``cmn`` -> ``zh``, ``arb`` -> ``ar``), plus the script where it is not the language's usual one
(``zh_TW`` -> ``zh-Hant``, ``sr@latin`` -> ``sr-Latn``). Countries are dropped.
"""

from __future__ import annotations

from functools import lru_cache

from langcodes import Language, standardize_tag
from langcodes.tag_parser import LanguageTagError

from mlret.errors import InputError

# gettext spells the script as a modifier: sr@latin.
_GETTEXT_SCRIPTS = {"latin": "Latn", "cyrillic": "Cyrl", "arabic": "Arab", "devanagari": "Deva"}


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
    name = str(language.language)
    script_of = language.maximize().script
    usual = Language.get(name).maximize().script
    return name if script_of == usual else f"{name}-{script_of}"


@lru_cache(maxsize=4096)
def language_name(code: str) -> str:
    """The English name of a language: ``language_name("sw")`` is ``"Swahili"``."""
    return Language.get(code).display_name()


@lru_cache(maxsize=4096)
def language_autonym(code: str) -> str:
    """The language's name for itself: ``language_autonym("sw")`` is ``"Kiswahili"``."""
    return Language.get(code).autonym()
