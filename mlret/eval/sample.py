"""Evaluate cross-lingual retrieval on the bundled sample, by pair of languages."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from mlret.data.sample import Sample
from mlret.index.hits import Hit
from mlret.index.index import Index

METRICS = ("recall@1", "recall@5", "mrr@10")


@dataclass(frozen=True)
class SampleResult:
    """Scores by language pair, and their means over the cross-lingual pairs.

    Attributes
    ----------
    pairs
        (question language, passage language) -> metric -> score from 0 to 1.
    hits
        (query id, passage language) -> the hits of that search, best first.
    """

    pairs: dict[tuple[str, str], dict[str, float]]
    hits: dict[tuple[str, str], list[Hit]]

    def mean(self, question: str | None = None, passage: str | None = None) -> dict[str, float]:
        """Return the mean of each metric over the pairs of two different languages.

        Parameters
        ----------
        question
            Only pairs whose questions are in this language; by default any language.
        passage
            Only pairs whose passages are in this language; by default any language.
        """
        chosen = [
            scores
            for (asked, answered), scores in self.pairs.items()
            if asked != answered and question in (None, asked) and passage in (None, answered)
        ]
        return {metric: sum(scores[metric] for scores in chosen) / len(chosen) for metric in METRICS}

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as plain data for JSON."""
        return {
            "mean": self.mean(),
            "pairs": [
                {"questions": asked, "passages": answered, **scores} for (asked, answered), scores in self.pairs.items()
            ],
        }


def evaluate_sample(index: Index, sample: Sample) -> SampleResult:
    """Search for every question of the sample among the passages of each language in turn.

    Parameters
    ----------
    index
        An index of the sample's passages.
    sample
        The sample.

    Returns
    -------
    SampleResult
        The scores and the hits.
    """
    questions = list(sample.questions.values())
    scores: dict[tuple[str, str], dict[str, float]] = {}
    hits: dict[tuple[str, str], list[Hit]] = {}
    vectors = index.encode_queries(
        [question.text for question in questions], language=[question.language for question in questions]
    )
    for passage_language in sample.languages:
        found = index.search_vectors(vectors, k=10, where={"lang": passage_language})
        for question, ranked in zip(questions, found, strict=True):
            hits[question.id, passage_language] = ranked
        in_language = {passage.id for passage in sample.passages if passage.language == passage_language}
        for question_language in sample.languages:
            scores[question_language, passage_language] = _scores(
                [
                    (
                        sample.qrels[question.id].keys() & in_language,
                        [hit.id for hit in hits[question.id, passage_language]],
                    )
                    for question in questions
                    if question.language == question_language
                ]
            )
    return SampleResult(scores, hits)


def _scores(searches: Sequence[tuple[Set[str], Sequence[str]]]) -> dict[str, float]:
    """Return the means of :data:`METRICS` over searches: the relevant passages and the ten best hits of each.

    Written out because the library that computes metrics elsewhere is not part of the light install.
    """
    totals = dict.fromkeys(METRICS, 0.0)
    for relevant, ranked in searches:
        first = next((rank for rank, passage in enumerate(ranked, start=1) if passage in relevant), None)
        totals["recall@1"] += len(relevant & set(ranked[:1])) / len(relevant)
        totals["recall@5"] += len(relevant & set(ranked[:5])) / len(relevant)
        totals["mrr@10"] += 0.0 if first is None else 1 / first
    return {metric: total / len(searches) for metric, total in totals.items()}
