"""What answers each query, over all rows of the training data: no such passage is a negative of any of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlret.data.ranking import RankingExample
from mlret.data.same_text import text_number


class KnownAnswers:
    """The positives of every query, over all rows that ask it.

    Data often has a row for each pair of a query and a passage that answers it. Rows ask the same if their queries say
    the same (:func:`mlret.data.same_text.normalised`) or have the same id.

    Parameters
    ----------
    examples
        All of them; read once. Memory: about a hundred bytes for each query.
    """

    def __init__(self, examples: Iterable[RankingExample]) -> None:
        # Most queries have one positive, for which a number does.
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
        """The numbers (:func:`mlret.data.same_text.text_number`) of all passages that answer an example's query, its
        own positives among them."""
        found = {text_number(text) for text in example.positives}
        for query in _queries(example):
            known = self._answers.get(query, found)
            found |= known if isinstance(known, set) else {known}
        return found

    def without(self, example: RankingExample) -> RankingExample:
        """The example without the negatives that answer its query."""
        if not example.negatives:
            return example
        answers, first = self.of(example), len(example.positives)
        kept = [
            place for place, text in enumerate(example.passages) if place < first or text_number(text) not in answers
        ]
        return example if len(kept) == len(example.passages) else example.with_passages(kept)


def repeatable(examples: Iterable[RankingExample]) -> Iterable[RankingExample]:
    """The same examples, in a list if they can be read only once."""
    return list(examples) if isinstance(examples, Iterator) else examples


def _queries(example: RankingExample) -> Iterator[int | str]:
    """What names the query of an example."""
    yield text_number(example.query)
    if example.query_id is not None:
        yield example.query_id
