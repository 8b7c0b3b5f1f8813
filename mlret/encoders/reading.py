"""What an encoder cannot read of texts: tokens beyond its longest input, characters that its tokenizer lacks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlret.data.languages import codes_found_by, normalise_language
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.encoders.encoder import Encoder
    from mlret.encoders.token_encoder import TokenEncoder

# What a model card says if a model knows many languages and none of them is named.
_NO_LANGUAGE = ("multilingual", "code")
# The name of an adapter for all languages that have none of their own.
_SHARED = "und"


class Tokenised(NamedTuple):
    """Texts as an encoder's tokenizer gives them, before they are cut.

    Attributes
    ----------
    ids
        The token ids of each text, special tokens included.
    longest
        The number of tokens that the encoder reads at most; ``None`` if it reads all.
    unknown
        The id that stands for what the tokenizer lacks; ``None`` if it lacks nothing.
    """

    ids: Sequence[Sequence[int]]
    longest: int | None
    unknown: int | None


class Reading(NamedTuple):
    """How much of a text an encoder reads.

    Attributes
    ----------
    tokens
        The number of tokens of the text, special tokens included.
    cut
        How many of them the encoder does not read, because the text is longer than its longest input.
    unknown
        How many of them stand for something that the tokenizer lacks.
    """

    tokens: int
    cut: int
    unknown: int


def readings_of(encoder: Encoder | TokenEncoder, texts: Sequence[str]) -> list[Reading] | None:
    """Return how much of documents an encoder reads.

    The bundled encoder takes about 1/400 of the time that encoding takes.

    Parameters
    ----------
    encoder
        The encoder.
    texts
        ``n`` texts.

    Returns
    -------
    list of Reading or None
        ``n`` readings; ``None`` if the encoder has no tokenizer that mlret can ask.

    Examples
    --------
    >>> import mlret
    >>> from mlret.encoders.reading import readings_of
    >>> short, long = readings_of(mlret.load_encoder(), ["Habari", "Habari ya asubuhi. " * 200])
    >>> short.cut, long.cut > 0, long.unknown
    (0, True, 0)
    """
    found = tokenised(encoder, texts)
    if found is None:
        return None
    longest, unknown = found.longest, found.unknown
    return [
        Reading(
            len(ids),
            0 if longest is None else max(0, len(ids) - longest),
            0 if unknown is None else ids.count(unknown),
        )
        for ids in found.ids
    ]


def tokenised(encoder: Encoder | TokenEncoder, texts: Sequence[str]) -> Tokenised | None:
    """Return the tokens of documents, or ``None`` if the encoder has no tokenizer that mlret can ask.

    Parameters
    ----------
    encoder
        The encoder.
    texts
        ``n`` texts.
    """
    own = getattr(encoder, "tokenised", None)  # encoders without torch, and those that encode by another one
    if own is not None:
        found: Tokenised | None = own(texts)
        return found
    tokenizer: Any = getattr(getattr(encoder, "model", None), "tokenizer", None)
    if not callable(tokenizer) or not hasattr(tokenizer, "unk_token_id"):
        return None
    from mlret.encoders.encoder import prompt_of_side

    model: Any = encoder.model
    prompt = prompt_of_side(model, "document")
    ids = tokenizer([prompt + text for text in texts], verbose=False)["input_ids"] if texts else []
    return Tokenised(ids, getattr(model, "max_seq_length", None), tokenizer.unk_token_id)


class Languages(NamedTuple):
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


def languages_known_to(encoder: Encoder | TokenEncoder) -> Languages | None:
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
    >>> from mlret.encoders.reading import languages_known_to
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
    from mlret.encoders.loading import BUNDLED, BUNDLED_NAME

    folder = BUNDLED if one.name == BUNDLED_NAME else Path(one.name) if opened is None else opened.path
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
    import yaml

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
