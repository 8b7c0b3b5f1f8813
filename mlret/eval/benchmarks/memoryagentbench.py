"""MemoryAgentBench's accurate retrieval: chunks of a long text that contain the answer to a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlret.errors import InputError
from mlret.eval.histories.history_benchmark import OPTIONS, HistorySettings, history_benchmark
from mlret.eval.registry import Names, register

if TYPE_CHECKING:
    from mlret.eval.histories.history_report import HistoryProtocol
    from mlret.eval.readers.history import History, Question, ReadingNotes

_DESCRIPTION = (
    "Texts, questions and answers of https://huggingface.co/datasets/ai-hyz/MemoryAgentBench. The benchmark itself "
    "scores the answers of a model, of these sources by substring_exact_match; it labels no evidence. This is the "
    "retrieval before that: any@k is the share of questions for which a chunk among the first k contains an answer, "
    "compared as substring_exact_match compares it. Chunks are consecutive sentences of at most {characters:,} "
    "characters; those of the repository are counted in tokens of GPT-4o mini. Questions whose answer is in no chunk "
    "are left out. A chunk may contain the words of an answer by chance, so compare with random (--systems random)."
)


class MemoryAgentBenchSettings(HistorySettings):
    """Settings of `mlret eval memoryagentbench`."""

    benchmark: Literal["memoryagentbench"] = "memoryagentbench"
    data: Path = Field(
        description="Accurate_Retrieval-00000-of-00001.parquet, or its rows as a JSON array (.json) or JSON lines "
        "(.jsonl)."
    )
    sources: Names = Field(
        None,
        description="Sources to score, in which * stands for any characters; by default ruler_qa*, whose answers are "
        "short and occur in the text.",
    )
    chunk_characters: int = Field(2000, ge=100, description="Characters of the longest chunk.")


def read(settings: MemoryAgentBenchSettings, notes: ReadingNotes) -> Iterator[History]:
    """Stream the texts."""
    from mlret.eval.readers.memoryagentbench_data import SOURCES, read_memoryagentbench

    if not settings.language:
        raise InputError("memoryagentbench splits texts into sentences: give their language")
    sources = settings.sources or SOURCES
    return read_memoryagentbench(settings.data, sources, settings.chunk_characters, settings.language, notes)


def protocol_of(settings: MemoryAgentBenchSettings) -> HistoryProtocol:
    """Return how rankings of chunks are scored."""
    from mlret.eval.histories.history_metrics import evidence_metrics, evidence_scores
    from mlret.eval.histories.history_report import HistoryProtocol

    metrics = [metric for metric in evidence_metrics() if metric.startswith("any@")]
    main = "any@10"

    def score(history: History, question: Question, ranking: Sequence[int]) -> dict[str, float]:
        return evidence_scores(question.evidence, ranking)

    return HistoryProtocol(
        benchmark="memoryagentbench",
        title="MemoryAgentBench, accurate retrieval",
        description=_DESCRIPTION.format(characters=settings.chunk_characters),
        score=score,
        metrics=[main, *(metric for metric in metrics if metric != main)],
        shown=metrics,
        groups=_groups,
    )


def _groups(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return the average over all questions, and the sources."""
    from mlret.eval.retrieval import AVERAGE

    sources: dict[str, list[str]] = {}
    for one in questions:
        sources.setdefault(one.group, []).append(one.id)
    return {AVERAGE: [one.id for one in questions], **sources}


MEMORYAGENTBENCH = register(
    history_benchmark(
        MemoryAgentBenchSettings,
        "Find the chunks of long texts that contain the answer: MemoryAgentBench's accurate retrieval.",
        "Get data/Accurate_Retrieval-00000-of-00001.parquet from "
        "https://huggingface.co/datasets/ai-hyz/MemoryAgentBench: rows of context, questions, answers and "
        "metadata.source. Nothing is downloaded.",
        protocol_of,
        read,
        options=("data", "sources", "chunk_characters", *OPTIONS[2:]),
    )
)
