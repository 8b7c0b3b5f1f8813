"""The names of months, days and units of CLDR, from the data files of dateparser."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from mlret.data.languages import cldr_code

# dateparser replaces some letters in the data of these.
_CHANGED = frozenset({"ar", "fa"})


@lru_cache(maxsize=128)
def locale_data(language: str) -> dict[str, Any]:
    """Return what dateparser knows of a language.

    The file of the language is read alone where it holds everything: importing dateparser, whose parser is not used,
    takes tens of milliseconds, which the first search would need.

    Parameters
    ----------
    language
        Language code without script and country.

    Raises
    ------
    ValueError
        If dateparser lacks the language.
    """
    code = cldr_code(language)
    package = find_spec("dateparser")
    if code not in _CHANGED and package is not None and package.origin is not None:
        file = Path(package.origin).parent / "data" / "date_translation_data" / f"{code}.py"
        spec = spec_from_file_location(f"{__name__}.{code}", file)
        if file.exists() and spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return {key: value for key, value in module.info.items() if key != "locale_specific"}
    from dateparser.languages.loader import default_loader

    found: dict[str, Any] = default_loader.get_locale(code).info
    return found
