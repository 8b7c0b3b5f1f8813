"""Make training examples from queries, judgements and a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlret.data.ranking.example import Passage
from mlret.data.ranking.records import IdentifiedExample
from mlret.data.retrieval import read_any_qrels, read_run


def stream_judged(qrels_path: Path, run_path: Path | None) -> Iterator[IdentifiedExample | str]:
    """Yield an example for each judged query, in the order of the judgements, or the reason why it is skipped.

    Positives are the documents judged above 0, highest grades first. Negatives are those judged 0, followed by the
    documents of the run that are not judged positive, best first.

    Parameters
    ----------
    qrels_path
        The judgements, in TREC's or BEIR's format.
    run_path
        A run in TREC's format; ``None`` for no run.

    Raises
    ------
    InputError
        If a file is missing, empty or malformed.
    """
    qrels = read_any_qrels(qrels_path)
    run = {} if run_path is None else read_run(run_path)
    for query, grades in qrels.items():
        positives = sorted((name for name, grade in grades.items() if grade > 0), key=lambda name: -grades[name])
        if not positives:
            yield "query without a document judged relevant"
            continue
        scores = run.get(query, {})
        ranked = sorted(scores, key=lambda name: (-scores[name], name))
        negatives = dict.fromkeys(name for name, grade in grades.items() if grade <= 0)
        negatives.update(dict.fromkeys(name for name in ranked if grades.get(name, 0) <= 0))
        yield IdentifiedExample(
            query,
            tuple(Passage("", name) for name in positives),
            tuple(Passage("", name) for name in negatives),
            f"{qrels_path}: query {query!r}",
        )
