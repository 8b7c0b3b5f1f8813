"""The memory's ranking as a benchmark: small situations, and what a person would put first.

The situations and the measurements are in :mod:`mlret.eval.memory`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mlret.errors import InputError
from mlret.eval.loading import load_encoders
from mlret.eval.registry import BUNDLED, MEMORIES, Benchmark, Settings, register
from mlret.eval.report import Picture

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.report import Report


class SituationSettings(Settings):
    """Settings of `mlret eval memory-situations`."""

    benchmark: Literal["memory-situations"] = "memory-situations"
    data: Path = Field(Path(BUNDLED), description="A file of situations; by default those that come with mlret.")


def evaluate(settings: SituationSettings, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    """Read the situations, load the encoder and ask a memory that uses it."""
    from mlret.encoders.encoder import Encoder
    from mlret.eval.memory.situation_data import read_situations
    from mlret.eval.memory.situation_report import evaluate_situations

    situations = read_situations(settings.data)
    if settings.languages is not None:
        spoken = {situation.records[0].language for situation in situations}
        if unknown := [code for code in settings.languages if code not in spoken]:
            raise InputError(f"no situation has records in {', '.join(unknown)}; there are {', '.join(sorted(spoken))}")
        situations = [one for one in situations if one.records[0].language in settings.languages]
    if len(settings.models) + len(encoders) > 1:
        raise InputError("memory-situations looks into one encoder at a time: give one")
    (encoder,) = load_encoders(settings, encoders)
    if not isinstance(encoder, Encoder):
        raise InputError(f"{encoder.name} gives a vector for each token; this evaluation needs one per text")
    return evaluate_situations(encoder, situations, data=settings.data.name)


def _pictures(results: Mapping[str, Any]) -> list[Picture]:
    from mlret.eval.memory.situation_report import situation_pictures

    return situation_pictures(results)


MEMORY_SITUATIONS = register(
    Benchmark(
        SituationSettings,
        "Measure how often a memory puts first what a person would, in small situations in twelve languages.",
        evaluate,
        options=("data", "models", "languages"),
        panel=MEMORIES,
        pictures=_pictures,
    )
)
