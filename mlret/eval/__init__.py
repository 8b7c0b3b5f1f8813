"""Evaluate encoders and saved runs on standard benchmarks.

``mlret.eval.evaluate("mrtydi", data="…", models=["my-model"])`` is the main entry point; the modules of this package
hold its parts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlret.eval.compare import compare_results
    from mlret.eval.metrics import evaluate_run
    from mlret.eval.report import Report
    from mlret.eval.run import evaluate

__all__ = ["Report", "compare_results", "evaluate", "evaluate_run"]

_HOMES = {
    "Report": "mlret.eval.report",
    "compare_results": "mlret.eval.compare",
    "evaluate": "mlret.eval.run",
    "evaluate_run": "mlret.eval.metrics",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mlret.eval' has no attribute {name!r}")
