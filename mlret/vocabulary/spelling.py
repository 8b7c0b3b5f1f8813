"""Spell a script that a vocabulary lacks in letters that it has, before texts are split into tokens.

An encoder that knows no letter of a script sees unknown tokens alone. Spelled in Latin letters, it reads the names,
numbers and borrowed words of the same text (``eval/results/ccp-adaptation/spelling.md``). New tokens for groups of
letters gain less: ``scripts/unknown_scripts.py run --ways tokens`` measures them.
"""

from __future__ import annotations

import copy
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sentence_transformers.base.modules import Transformer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from mlret.data.scripts import script_of
from mlret.encoders.encoder import Encoder
from mlret.errors import InputError, require
from mlret.vocabulary.surgery import TokenizerState
from mlret.vocabulary.target_model import retokenized

# First letters of the general categories of white space, and of controls and other characters without a form.
_WITHOUT_FORM = ("C", "Z")
# Every character is a step of the normaliser, about a microsecond for each text. Larger scripts have signs for words.
_MOST_CHARACTERS = 2_000
# The marks that words start and continue with are no characters of a text.
_MARKS = "▁#"


@dataclass(frozen=True)
class SpellingReport:
    """What spelling a script does to texts.

    Attributes
    ----------
    scripts
        The scripts that are spelled, in lower case; none if the vocabulary knows the scripts of the texts.
    characters
        Number of characters that are spelled.
    unknown_before, unknown_after
        Share of the tokens of the texts that are unknown without and with it, from 0 to 1.
    per_text_before, per_text_after
        Mean number of tokens of a text without and with it.

    Examples
    --------
    >>> from mlret.vocabulary import SpellingReport
    >>> print(SpellingReport(("tibetan",), 80, 0.35, 0.01, 40.0, 95.0))
    script: tibetan is spelled in Latin letters; 35.0% of the text's tokens were unknown, now 1.0%; a sentence had 40 \
tokens, now 95
    """

    scripts: tuple[str, ...]
    characters: int
    unknown_before: float
    unknown_after: float
    per_text_before: float
    per_text_after: float

    def __str__(self) -> str:
        """Return a sentence."""
        if not self.scripts:
            return f"script: {self.unknown_before:.1%} of the text's tokens are unknown; the vocabulary has its script"
        return (
            f"script: {' and '.join(self.scripts)} is spelled in Latin letters; {self.unknown_before:.1%} of the "
            f"text's tokens were unknown, now {self.unknown_after:.1%}; a sentence had {self.per_text_before:.0f} "
            f"tokens, now {self.per_text_after:.0f}"
        )


def spell_unknown_script(encoder: Encoder, texts: Sequence[str]) -> tuple[Encoder, SpellingReport]:
    """Return an encoder that reads the scripts of texts that its vocabulary lacks in Latin letters.

    Only the normaliser of its tokenizer changes. Texts without a character of these scripts get the same tokens, and so
    the same vectors bit for bit.

    Parameters
    ----------
    encoder
        An encoder whose first module is a transformer; it is not changed.
    texts
        Texts of a language; a few sentences are enough.

    Returns
    -------
    Encoder, SpellingReport
        The encoder in torch, with another fingerprint; the given one if the vocabulary has most letters of each script
        of the texts, or has no unknown token because it is made of bytes.

    Raises
    ------
    InputError
        If there are no texts, or the encoder does not begin with a transformer.
    MissingExtraError
        If torch or anyascii is not installed.

    Examples
    --------
    >>> import mlret
    >>> from mlret.vocabulary import spell_unknown_script
    >>> encoder, report = spell_unknown_script(mlret.load_encoder(), ["ދިވެހި ބަހުގެ ޚަބަރުތައް"])
    >>> report.scripts, report.unknown_before, report.unknown_after
    (('thaana',), 0.5, 0.0)
    """
    if isinstance(texts, str) or not texts:
        raise InputError("spell_unknown_script needs a list of texts in the language: give at least one")
    first: Any = encoder.model[0]
    if not isinstance(first, Transformer):
        raise InputError(f"{encoder.name} begins with {type(first).__name__}: only a transformer's script is spelled")
    spelled, report = spelled_tokenizer(first.tokenizer.backend_tokenizer, texts)
    if spelled is None:
        return encoder, report
    # The weights are shared: spelling does not change them.
    shared = {id(parameter): parameter for parameter in encoder.model.parameters()}
    model = copy.deepcopy(encoder.model, shared)
    set_tokenizer(model, retokenized(first.tokenizer, spelled))
    return Encoder(model, encoder.name), report


def set_tokenizer(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give an encoder whose first module is a transformer another tokenizer; it is changed in place."""
    first = model[0]
    if isinstance(first.processor, PreTrainedTokenizerBase):
        first.processor = tokenizer
    else:
        first.processor.tokenizer = tokenizer


def spelled_tokenizer(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tokenizer | None, SpellingReport]:
    """Return a tokenizer that spells the scripts of texts that its vocabulary lacks, and what that does to the texts.

    Parameters
    ----------
    tokenizer
        The tokenizer, which is not changed.
    texts
        Texts of a language.

    Returns
    -------
    tokenizers.Tokenizer or None, SpellingReport
        ``None`` if there is nothing to spell.
    """
    unknown, length = _measured(tokenizer, texts)
    normaliser = tokenizer.normalizer
    known = _known_characters(tokenizer)
    normal = [text if normaliser is None else normaliser.normalize_str(text) for text in texts]
    scripts = set() if known is None else unknown_scripts(normal, known)
    scripts = {script for script in scripts if len(characters_of({script})) <= _MOST_CHARACTERS}
    if known is None or not scripts:
        return None, SpellingReport((), 0, unknown, unknown, length, length)
    spelling = Spelling(known)
    table = {character: spelling(character) for character in characters_of(scripts) if character not in known}
    spelled = with_replacements(tokenizer, table)
    after = _measured(spelled, texts)
    names = tuple(sorted(script.lower() for script in scripts))
    return spelled, SpellingReport(names, len(table), unknown, after[0], length, after[1])


def with_replacements(tokenizer: Tokenizer, table: Mapping[str, str]) -> Tokenizer:
    """Return a tokenizer whose normaliser replaces characters.

    Parameters
    ----------
    tokenizer
        The tokenizer, which is not changed.
    table
        Character, as the normaliser has it -> what replaces it.
    """
    state = json.loads(tokenizer.to_str())
    old = state["normalizer"]
    steps = [] if old is None else old["normalizers"] if old["type"] == "Sequence" else [old]
    # Replacements may leave several spaces, which a tokenizer that joins them does at the end.
    behind = 1 if steps and steps[-1]["type"] == "Replace" and "Regex" in steps[-1]["pattern"] else 0
    place = len(steps) - behind
    new = [{"type": "Replace", "pattern": {"String": one}, "content": other} for one, other in sorted(table.items())]
    state["normalizer"] = {"type": "Sequence", "normalizers": [*steps[:place], *new, *steps[place:]]}
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


class Spelling:
    """Spells characters in Latin letters; a mark between syllables is spelled as a space.

    Parameters
    ----------
    known
        The characters of the vocabulary.

    Raises
    ------
    MissingExtraError
        If the package anyascii is not installed.

    Examples
    --------
    >>> from mlret.vocabulary.spelling import Spelling
    >>> spelling = Spelling("abcdefghijklmnopqrstuvwxyz")
    >>> [spelling(letter) for letter in "ދިވެހި"]
    ['dh', 'i', 'v', 'e', 'h', 'i']
    """

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known) | {" "}
        library = require("anyascii", extra="train", feature="spelling another script in Latin letters")
        self._in_ascii: Callable[[str], str] = library.anyascii

    def __call__(self, character: str) -> str:
        """Return how a character is spelled in known characters; an empty string if it has no sound of its own."""
        if character in self._known:
            return character
        spelled = self._in_ascii(character).lower()
        if spelled == "-" and unicodedata.category(character) == "Po":
            return " "  # the mark between the syllables of Tibetan
        return "".join(letter for letter in spelled if letter in self._known)


def unknown_scripts(texts: Iterable[str], known: Collection[str]) -> set[str]:
    """Return the scripts of which a vocabulary lacks most of the letters that occur in texts.

    A few letters that are missing from a script that the vocabulary has otherwise make it no unknown script: without
    training, an encoder finds translations more rarely when such letters are read as others than when they are unknown.

    Parameters
    ----------
    texts
        Normalised texts.
    known
        The characters of the vocabulary.

    Returns
    -------
    set of str
        Their names, as :func:`mlret.data.scripts.script_of` returns them.
    """
    lacking: Counter[str] = Counter()
    written: Counter[str] = Counter()
    for character, count in Counter(character for text in texts for character in text).items():
        if (script := script_of(character)) is not None:
            written[script] += count
            lacking[script] += count * (character not in known)
    return {script for script, count in written.items() if 2 * lacking[script] > count}


def characters_of(scripts: Collection[str]) -> list[str]:
    """Return the letters, marks, digits and punctuation of some scripts, in the order of their code points."""
    found = []
    for character in map(chr, range(0x80, sys.maxunicode + 1)):
        if unicodedata.category(character)[0] in _WITHOUT_FORM:
            continue
        # Digits and punctuation belong to no script, but are named after the one that they are used in.
        name = script_of(character) or unicodedata.name(character, "").partition(" ")[0]
        if name in scripts:
            found.append(character)
    return found


def _known_characters(tokenizer: Tokenizer) -> set[str] | None:
    """Return the characters of a vocabulary; ``None`` if it knows every text because it has tokens for bytes."""
    state = TokenizerState(tokenizer)
    if state.byte_level or state.model.get("byte_fallback"):
        return None
    return {character for token in state.tokens if token is not None for character in token} - set(_MARKS)


def _measured(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[float, float]:
    """Return the share of unknown tokens of texts, and the mean number of tokens of a text, without truncation."""
    state = json.loads(tokenizer.to_str())
    plain = Tokenizer.from_str(json.dumps(state | {"truncation": None, "padding": None}))
    model = state["model"]
    unknown = model.get("unk_id") if "unk_id" in model else plain.token_to_id(model.get("unk_token") or "")
    encoded = plain.encode_batch(list(texts), add_special_tokens=False)
    ids = np.array([number for one in encoded for number in one.ids], dtype=np.int64)
    share = 0.0 if unknown is None or not len(ids) else float((ids == unknown).mean())
    return share, len(ids) / len(texts)
