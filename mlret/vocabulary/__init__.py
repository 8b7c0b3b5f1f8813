"""Vocabularies: trim one to some languages (count, choose, cut, verify), or spell a script that one lacks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlret.vocabulary.drafter import load_drafter, trim_head
    from mlret.vocabulary.report import TrimReport
    from mlret.vocabulary.spelling import SpellingReport, spell_unknown_script
    from mlret.vocabulary.trim import preview, trim_vocabulary

__all__ = [
    "SpellingReport",
    "TrimReport",
    "load_drafter",
    "preview",
    "spell_unknown_script",
    "trim_head",
    "trim_vocabulary",
]

_HOMES = {
    "SpellingReport": "mlret.vocabulary.spelling",
    "TrimReport": "mlret.vocabulary.report",
    "load_drafter": "mlret.vocabulary.drafter",
    "preview": "mlret.vocabulary.trim",
    "spell_unknown_script": "mlret.vocabulary.spelling",
    "trim_head": "mlret.vocabulary.drafter",
    "trim_vocabulary": "mlret.vocabulary.trim",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mlret.vocabulary' has no attribute {name!r}")
