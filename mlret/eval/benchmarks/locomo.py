"""LoCoMo: retrieval of the turns or sessions that contain the evidence for questions about ten long conversations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlret.eval.histories.history_benchmark import OPTIONS, HistorySettings, history_benchmark
from mlret.eval.registry import register

if TYPE_CHECKING:
    from mlret.eval.histories.history_report import HistoryProtocol
    from mlret.eval.readers.history import History, Question, ReadingNotes

ALL = "average of all five categories"
_DESCRIPTION = (
    "As in task_eval of https://github.com/snap-research/locomo: recall@k is the share of the pieces of evidence of a "
    "question that are among the first k documents; a document is {document}. Evidence that is not in the "
    "conversation counts as not found. average: over questions with evidence in the categories 1 to 4; the other "
    "average is over all five categories, and a question without evidence counts 1, as in evaluation.py. any@k, all@k "
    "and ndcg@k (discount log2(rank + 1)) are not the repository's."
)
_DOCUMENTS = {
    "turn": "a turn with its speaker and the caption of its picture",
    "session": "all turns of a session",
    "summary": "the summary of a session that is in the file",
}


class LocomoSettings(HistorySettings):
    """Settings of `mlret eval locomo`."""

    benchmark: Literal["locomo"] = "locomo"
    data: Path = Field(description="locomo10.json.")
    granularity: Literal["turn", "session", "summary"] = Field(
        "turn", description="turn, session, or summary (those of the sessions in the file)."
    )
    audit: Path | None = Field(
        None,
        description="errors.json of https://github.com/dial481/locomo-audit, or its folder audit/: questions with a "
        "wrong answer are left out, wrong evidence is corrected. Or a text file with the id of a question to leave "
        "out on each line, e.g. locomo_0_qa2.",
    )


def read(settings: LocomoSettings, notes: ReadingNotes) -> Iterator[History]:
    """Stream the conversations."""
    from mlret.eval.readers.locomo_data import NO_AUDIT, read_audit, read_locomo

    audit = NO_AUDIT if settings.audit is None else read_audit(settings.audit)
    return read_locomo(settings.data, settings.granularity, audit, notes)


def protocol_of(settings: LocomoSettings) -> HistoryProtocol:
    """Return how rankings of turns or sessions are scored."""
    from mlret.eval.histories.history_metrics import EVIDENCE_CUTOFFS, evidence_metrics, evidence_scores
    from mlret.eval.histories.history_report import HistoryProtocol

    metrics = evidence_metrics()
    main = "recall@10"
    nothing = dict.fromkeys(metrics, 1.0)

    def score(history: History, question: Question, ranking: Sequence[int]) -> dict[str, float]:
        return evidence_scores(question.evidence, ranking, EVIDENCE_CUTOFFS) if question.evidence else nothing

    return HistoryProtocol(
        benchmark="locomo",
        title=f"LoCoMo by {settings.granularity}{'' if settings.audit is None else ', audited'}",
        description=_DESCRIPTION.format(document=_DOCUMENTS[settings.granularity]),
        score=score,
        metrics=[main, *(metric for metric in metrics if metric != main)],
        shown=["recall@1", "recall@5", main, "recall@25", "recall@50", "any@10", "all@10", "ndcg@10"],
        groups=_groups,
    )


def _groups(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return the two averages, and the questions with evidence of each category."""
    from mlret.eval.readers.locomo_data import CATEGORIES
    from mlret.eval.retrieval import AVERAGE

    scored = [one for one in questions if one.evidence]
    return {
        AVERAGE: [one.id for one in scored if one.group != CATEGORIES[5]],
        ALL: [one.id for one in questions],
        **{name: [one.id for one in scored if one.group == name] for name in CATEGORIES.values()},
    }


LOCOMO = register(
    history_benchmark(
        LocomoSettings,
        "Find the evidence for questions about ten long conversations: LoCoMo's recall by category.",
        "Get data/locomo10.json from https://github.com/snap-research/locomo (CC BY-NC 4.0; unpack it where it is a "
        "zip): a JSON array of conversations with session_1, session_1_date_time and so on, and qa with category and "
        "evidence. Nothing is downloaded.",
        protocol_of,
        read,
        options=(*OPTIONS[:2], "audit", *OPTIONS[2:]),
    )
)
