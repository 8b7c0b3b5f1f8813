"""The memory's ranking of turns as a benchmark: conversations, and the turns that answer questions about them.

The conversations and the measurements are in :mod:`mlret.eval.memory`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mlret.errors import InputError
from mlret.eval.loading import load_encoders
from mlret.eval.registry import BUNDLED, Benchmark, Settings, register
from mlret.eval.report import Picture

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.report import Report


class ConversationSettings(Settings):
    """Settings of `mlret eval memory-conversations`."""

    benchmark: Literal["memory-conversations"] = "memory-conversations"
    data: Path = Field(Path(BUNDLED), description="A file of conversations; by default those that come with mlret.")


def evaluate(settings: ConversationSettings, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    """Read the conversations, load the encoder and ask a memory that uses it."""
    from mlret.encoders.encoder import Encoder
    from mlret.eval.memory.conversation_data import read_conversations
    from mlret.eval.memory.conversation_report import evaluate_conversations

    conversations = read_conversations(settings.data)
    if len(settings.models) + len(encoders) > 1:
        raise InputError("memory-conversations looks into one encoder at a time: give one")
    (encoder,) = load_encoders(settings, encoders)
    if not isinstance(encoder, Encoder):
        raise InputError(f"{encoder.name} gives a vector for each token; this evaluation needs one per text")
    return evaluate_conversations(encoder, conversations, data=settings.data.name)


def _pictures(results: Mapping[str, Any]) -> list[Picture]:
    from mlret.eval.memory.conversation_report import conversation_pictures

    return conversation_pictures(results)


MEMORY_CONVERSATIONS = register(
    Benchmark(
        ConversationSettings,
        "Measure how much of the evidence for questions about conversations a memory finds.",
        evaluate,
        options=("data", "models"),
        pictures=_pictures,
    )
)
