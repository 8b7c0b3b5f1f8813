"""Vocabulary trimming: count and choose tokens, cut the tokenizer and weights, and verify the result."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlret.vocabulary.drafter import load_drafter, trim_head
    from mlret.vocabulary.report import TrimReport
    from mlret.vocabulary.trim import preview, trim_vocabulary

__all__ = ["TrimReport", "load_drafter", "preview", "trim_head", "trim_vocabulary"]

_HOMES = {
    "TrimReport": "mlret.vocabulary.report",
    "load_drafter": "mlret.vocabulary.drafter",
    "preview": "mlret.vocabulary.trim",
    "trim_head": "mlret.vocabulary.drafter",
    "trim_vocabulary": "mlret.vocabulary.trim",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mlret.vocabulary' has no attribute {name!r}")
