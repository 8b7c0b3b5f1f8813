"""The languages that an encoder was trained in, as its folder or its language adapters say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlret.data.languages import codes_found_by, normalise_language
from mlret.encoders.loading import BUNDLED
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError

# What a model card says if a model knows many languages and none of them is named.
_NO_LANGUAGE = ("multilingual", "code")
# The name of an adapter for all languages that have none of their own.
_SHARED = "und"
_BUNDLED = "bundled:"


@dataclass(frozen=True, slots=True)
class Languages:
    """The languages that an encoder was trained in.

    Attributes
    ----------
    codes
        Their normalised codes.
    """

    codes: frozenset[str]

    def __contains__(self, code: object) -> bool:
        """Return whether the encoder knows a language, in any script, or the language that it is a variety of."""
        return isinstance(code, str) and (code in self.codes or _is_variety(code, self.codes))


@lru_cache(maxsize=4096)
def _is_variety(code: str, codes: frozenset[str]) -> bool:
    own = code.partition("-")[0]
    return own in codes or any(own in codes_found_by(one) for one in codes)


def languages_known_to(encoder: AnyEncoder) -> Languages | None:
    """Return the languages that an encoder was trained in, or ``None`` if they are not stated.

    They are those of its language adapters or, for an encoder without adapters, those that the card in its folder names
    (``language`` in the head of ``README.md``, as on the hub).

    Parameters
    ----------
    encoder
        The encoder.

    Returns
    -------
    Languages or None
        The languages.

    Examples
    --------
    >>> import mlret
    >>> from mlret.encoders.known_languages import languages_known_to
    >>> known = languages_known_to(mlret.load_encoder())
    >>> "sw" in known, "qu" in known
    (True, False)
    """
    one: Any = getattr(encoder, "behind", encoder)  # the encoder of a queue, for one that encodes by a queue
    opened = getattr(one, "folder", None)  # without torch, and without language adapters
    if opened is None:
        module = _module_with_adapters(getattr(one, "model", None))
        if module is not None:
            codes = frozenset([*module.languages, *module.neighbours])
            return None if _SHARED in codes else Languages(codes)
    folder = BUNDLED if one.name.startswith(_BUNDLED) else Path(one.name) if opened is None else opened.path
    return _languages_of_card(folder / "README.md")


def _module_with_adapters(model: Any) -> Any:
    """Return the module of a model that routes texts by their language, or ``None``."""
    modules = model.children() if hasattr(model, "children") else ()
    return next((one for one in modules if hasattr(one, "neighbours") and hasattr(one, "languages")), None)


@lru_cache(maxsize=64)
def _languages_of_card(card: Path) -> Languages | None:
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    if not text.startswith("---\n"):
        return None
    import yaml  # takes as long as a few searches, and most indexes are opened to be searched

    try:
        head = yaml.load(text[4:].partition("\n---")[0], getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        stated = head.get("language")
    except (yaml.YAMLError, AttributeError):
        return None
    codes = set()
    for code in [stated] if isinstance(stated, str) else stated if isinstance(stated, list) else []:
        if isinstance(code, bool):  # YAML 1.1 reads the code of Norwegian as "false".
            code = "no"
        if code in _NO_LANGUAGE:
            continue
        try:
            codes.add(normalise_language(code))
        except InputError:
            return None
    return Languages(frozenset(codes)) if codes else None
