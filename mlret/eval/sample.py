"""Evaluate cross-lingual retrieval on the bundled sample, by pair of languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlret.data.sample import Sample
from mlret.eval.metrics import evaluate_run
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
        run = {}
        for question, ranked in zip(questions, found, strict=True):
            hits[question.id, passage_language] = ranked
            run[question.id] = {hit.id: hit.score for hit in ranked}
        in_language = {passage.id for passage in sample.passages if passage.language == passage_language}
        for question_language in sample.languages:
            qrels = {
                qid: {passage: grade for passage, grade in sample.qrels[qid].items() if passage in in_language}
                for qid, question in sample.questions.items()
                if question.language == question_language
            }
            scores[question_language, passage_language] = evaluate_run(qrels, run, METRICS).mean
    return SampleResult(scores, hits)
