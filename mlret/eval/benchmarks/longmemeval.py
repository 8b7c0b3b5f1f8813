"""LongMemEval: retrieval of the sessions or turns that answer a question about a long chat history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlret.eval.histories.history_benchmark import HistorySettings, history_benchmark
from mlret.eval.registry import register

if TYPE_CHECKING:
    from mlret.eval.histories.history_report import HistoryProtocol
    from mlret.eval.readers.history import History, Question, ReadingNotes

PRINTED = "average of print_retrieval_metrics"
_DESCRIPTION = (
    "As in src/retrieval and src/evaluation of https://github.com/xiaowu0162/LongMemEval: only user turns are "
    "searched; a document is {document}; recall_all@k: all evidence is among the first k; recall_any@k: some of it "
    "is; ndcg_any@k: rank r is discounted by log2(r), so rank 2 is not discounted. Abstention questions are left out. "
    "average: over the questions with evidence in a user turn, as run_retrieval.py; the other average is that of "
    "print_retrieval_metrics.py, which also counts questions without such evidence: recall_all 1, the others 0."
)


class LongMemEvalSettings(HistorySettings):
    """Settings of `mlret eval longmemeval`."""

    benchmark: Literal["longmemeval"] = "longmemeval"
    data: Path = Field(
        description="longmemeval_s.json, longmemeval_m.json or longmemeval_oracle.json, or a cleaned one."
    )
    granularity: Literal["session", "turn"] = Field(
        "session", description="session or turn; a ranking of turns is also scored by sessions."
    )


def read(settings: LongMemEvalSettings, notes: ReadingNotes) -> Iterator[History]:
    """Stream the history of each question."""
    from mlret.eval.readers.longmemeval_data import read_longmemeval

    return read_longmemeval(settings.data, settings.granularity, notes)


def protocol_of(settings: LongMemEvalSettings) -> HistoryProtocol:
    """Return how rankings of sessions or turns are scored."""
    from mlret.eval.histories.history_metrics import longmemeval_metrics, longmemeval_scores
    from mlret.eval.histories.history_report import HistoryProtocol

    unit = settings.granularity
    metrics = longmemeval_metrics(unit)
    main = "recall_all@5"
    shown = ["recall_any@5", main, "ndcg_any@5", "recall_any@10", "recall_all@10", "ndcg_any@10"]
    if unit == "turn":
        shown += ["recall_all@50", "ndcg_any@50", "session_recall_all@5", "session_ndcg_any@5"]
    return HistoryProtocol(
        benchmark="longmemeval",
        title=f"LongMemEval by {unit}",
        description=_DESCRIPTION.format(document="all user turns of a session" if unit == "session" else "a user turn"),
        score=longmemeval_scores,
        metrics=[main, *(metric for metric in metrics if metric != main)],
        shown=shown,
        groups=_groups,
    )


def _groups(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return the two averages and the types of questions, which are those of the first average."""
    from mlret.eval.readers.longmemeval_data import NO_TARGET
    from mlret.eval.retrieval import AVERAGE

    scored = [one for one in questions if NO_TARGET not in one.tags]
    types: dict[str, list[str]] = {}
    for one in sorted(scored, key=lambda one: one.group):
        types.setdefault(one.group, []).append(one.id)
    averages = {AVERAGE: [one.id for one in scored], PRINTED: [one.id for one in questions]}
    return {**averages, **types}


LONGMEMEVAL = register(
    history_benchmark(
        LongMemEvalSettings,
        "Find the sessions or turns that answer questions about chat histories: LongMemEval S, M and oracle.",
        "Get the files from https://huggingface.co/datasets/xiaowu0162/longmemeval-cleaned (or longmemeval, without "
        "cleaning): one JSON array of 500 questions, each with haystack_sessions, haystack_session_ids, "
        "haystack_dates and answer_session_ids. Nothing is downloaded.",
        protocol_of,
        read,
    )
)
