"""Find which stored record a new text replaces, or which one replaces it, when the text is added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlret.memory.text.changes import CHANGES, Said, may_replace, replaces, said_in
from mlret.memory.text.duplicates import DuplicateThresholds
from mlret.memory.text.sentence_kinds import Shown

COMPARED = 8
"""Nearest records that are compared with a new text."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A text that is compared.

    Attributes
    ----------
    id, text, language
        Id, text and language of its record.
    valid_from
        Start of its validity, in microseconds since 1970 in UTC.
    cosine
        Cosine with the new text; 1 for the new text itself.
    speaker
        Who said it, ``None`` if unknown. Nobody takes back what another one said.
    kinds
        Kinds of sentences that its vector shows (:mod:`mlret.memory.text.sentence_kinds`); ``None`` if the encoder
        has none.
    """

    id: str
    text: str
    language: str | None
    valid_from: int
    cosine: float = 1.0
    speaker: str | None = None
    kinds: Shown | None = None


def succession(new: Neighbour, others: Sequence[Neighbour], thresholds: DuplicateThresholds) -> tuple[str, str] | None:
    """Return the ids of the record that replaces and of the one that is replaced, one of which is the new text.

    Of two texts the one that is valid from a later time replaces the other, and of equal times the new text. Only the
    strongest succession counts: it is better to miss one than to invent one.

    Parameters
    ----------
    new
        The new text.
    others
        Stored texts near it.
    thresholds
        Thresholds of the encoder, for the usual density of the language.
    """
    usual = thresholds.density(new.language)
    best: tuple[float, str, str] | None = None
    for other in others:
        later, earlier = (new, other) if new.valid_from >= other.valid_from else (other, new)
        if other.speaker != new.speaker and None not in (other.speaker, new.speaker):
            continue
        if other.language != new.language or not _may_replace(later):
            continue
        strength = replaces(_said(later), _said(earlier), other.cosine - usual)
        if strength is not None and (best is None or strength > best[0]):
            best = strength, later.id, earlier.id
    return None if best is None else best[1:]


def _may_replace(one: Neighbour) -> bool:
    return bool(one.kinds and one.kinds.likely & CHANGES) or may_replace(one.text, one.language)


def _said(one: Neighbour) -> Said:
    """Return what a text says by its words and by its vector."""
    return replace(said_in(one.text, one.language), shown=one.kinds)
