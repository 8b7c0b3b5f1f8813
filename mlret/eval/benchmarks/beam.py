"""BEAM: retrieval of the messages that questions about very long chats are based on."""

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

_DESCRIPTION = (
    "Chats and questions of https://github.com/mohammadtavakoli78/BEAM. The benchmark itself scores answers by a "
    "rubric and a language model; this is the retrieval before that: recall@k is the share of the messages in "
    "source_chat_ids whose document is among the first k; a document is {document}. It is not comparable with BEAM's "
    "scores of answers. Abstention questions, and questions whose ids name no message or several, are left out."
)
_DOCUMENTS = {
    "message": "a message",
    "pair": "a message and the answer to it, as in the repository's pair_chunk",
    "turn": "all messages of a turn, as in the repository's turn_chunk",
}


class BeamSettings(HistorySettings):
    """Settings of `mlret eval beam`."""

    benchmark: Literal["beam"] = "beam"
    data: Path = Field(description="A folder of chats, e.g. chats/100K, or that of one chat.")
    granularity: Literal["message", "pair", "turn"] = Field(
        "pair", description="message, pair (a message with its answer), or turn."
    )


def read(settings: BeamSettings, notes: ReadingNotes) -> Iterator[History]:
    """Stream the chats."""
    from mlret.eval.readers.beam_data import read_beam

    return read_beam(settings.data, settings.granularity, notes)


def protocol_of(settings: BeamSettings) -> HistoryProtocol:
    """Return how rankings of messages are scored."""
    from mlret.eval.histories.history_metrics import evidence_metrics, evidence_scores
    from mlret.eval.histories.history_report import HistoryProtocol

    metrics = evidence_metrics()
    main = "recall@10"

    def score(history: History, question: Question, ranking: Sequence[int]) -> dict[str, float]:
        return evidence_scores(question.evidence, ranking)

    return HistoryProtocol(
        benchmark="beam",
        title=f"BEAM, evidence by {settings.granularity}",
        description=_DESCRIPTION.format(document=_DOCUMENTS[settings.granularity]),
        score=score,
        metrics=[main, *(metric for metric in metrics if metric != main)],
        shown=["recall@1", "recall@5", main, "recall@25", "recall@50", "any@10", "all@10", "ndcg@10"],
        groups=_groups,
    )


def _groups(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return the average and the abilities."""
    from mlret.eval.retrieval import AVERAGE

    abilities: dict[str, list[str]] = {}
    for one in questions:
        abilities.setdefault(one.group, []).append(one.id)
    return {AVERAGE: [one.id for one in questions], **dict(sorted(abilities.items()))}


BEAM = register(
    history_benchmark(
        BeamSettings,
        "Find the messages that questions about very long chats are based on: recall of BEAM's source_chat_ids.",
        "Clone https://github.com/mohammadtavakoli78/BEAM, and name one of chats/100K, 500K, 1M and 10M: a folder "
        "for each chat with chat.json and probing_questions/probing_questions.json. Nothing is downloaded.",
        protocol_of,
        read,
    )
)
