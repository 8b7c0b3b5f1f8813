"""Find all passages that answer each query anywhere in the training data, so that none of them becomes a negative."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlret.data.ranking import RankingExample
from mlret.data.same_text import text_number


class KnownAnswers:
    """The positives of every query, collected over all examples that ask it.

    Data often has one row for each pair of a query and a passage that answers it. Two rows ask the same query if the
    texts of their queries are the same (:func:`mlret.data.same_text.normalised`) or if they have the same id.

    Parameters
    ----------
    examples
        All examples; they are read once. This takes about a hundred bytes of memory for each query.
    """

    def __init__(self, examples: Iterable[RankingExample]) -> None:
        # Most queries have a single positive, which is stored as a bare number to save memory.
        self._answers: dict[int | str, int | set[int]] = {}
        for example in examples:
            positives = {text_number(text) for text in example.positives}
            for query in _queries(example):
                known = self._answers.get(query)
                if known is None:
                    self._answers[query] = positives if len(positives) > 1 else next(iter(positives))
                elif known not in (positives, *positives):
                    self._answers[query] = positives | (known if isinstance(known, set) else {known})

    def of(self, example: RankingExample) -> set[int]:
        """Return the numbers of all passages that answer the query of an example, including its own positives.

        Numbers are those of :func:`mlret.data.same_text.text_number`.
        """
        found = {text_number(text) for text in example.positives}
        for query in _queries(example):
            known = self._answers.get(query, found)
            found |= known if isinstance(known, set) else {known}
        return found

    def without(self, example: RankingExample) -> RankingExample:
        """Return the example without those of its negatives that answer its query."""
        if not example.negatives:
            return example
        answers, first = self.of(example), len(example.positives)
        kept = [
            place for place, text in enumerate(example.passages) if place < first or text_number(text) not in answers
        ]
        return example if len(kept) == len(example.passages) else example.with_passages(kept)


def repeatable(examples: Iterable[RankingExample]) -> Iterable[RankingExample]:
    """Return examples that can be read several times: a list if they are an iterator, else the same object."""
    return list(examples) if isinstance(examples, Iterator) else examples


def _queries(example: RankingExample) -> Iterator[int | str]:
    """Yield the keys of an example's query: the number of its text, and its id if it has one."""
    yield text_number(example.query)
    if example.query_id is not None:
        yield example.query_id
