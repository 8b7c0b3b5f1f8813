"""Ordered sentences of one language: which documents are trained on, and which are held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError

FEWEST_SENTENCES = 200
# A sentence is compared with those of other documents, and several documents are held out.
FEWEST_DOCUMENTS = 10
_HELD_OUT = 0.1
# Sentences that follow each other and form a part of a batch.
_RUN = 8


@dataclass(frozen=True)
class OrderedText:
    """The sentences of several documents, in order.

    Attributes
    ----------
    sentences
        The sentences of all documents, concatenated.
    document
        ``(n,)`` int64: the document of each sentence, ascending.
    """

    sentences: list[str]
    document: NDArray[np.int64]

    @classmethod
    def of(cls, documents: Sequence[Sequence[str]]) -> OrderedText:
        """Join documents, each a list of sentences. Documents of a single sentence have no context and are skipped."""
        usable = [sentences for sentences in documents if len(sentences) > 1]
        return cls(
            [sentence for sentences in usable for sentence in sentences],
            np.repeat(np.arange(len(usable)), [len(sentences) for sentences in usable]),
        )

    def __len__(self) -> int:
        return len(self.sentences)

    def rows_of(self, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of all sentences of some documents, ascending."""
        return np.flatnonzero(np.isin(self.document, documents))

    def split(self, seed: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Hold out a tenth of the documents.

        Parameters
        ----------
        seed
            Seed of the choice.
        most
            The largest number of documents to hold out.

        Returns
        -------
        tuple of numpy.ndarray
            The rows to train on and the held-out rows.
        """
        documents = np.random.default_rng(seed).permutation(np.unique(self.document))
        held_out = min(most, max(2, int(len(documents) * _HELD_OUT)))
        return self.rows_of(documents[held_out:]), self.rows_of(documents[:held_out])


def check_text(text: OrderedText, language: str) -> None:
    """Raise if there is too little text to adapt to a language.

    Parameters
    ----------
    text
        The text.
    language
        Its language, for the message.

    Raises
    ------
    InputError
        If there are too few sentences, or too few documents.
    """
    documents = len(np.unique(text.document))
    if len(text) < FEWEST_SENTENCES:
        raise InputError(
            f"{len(text)} sentences of {language} with a neighbour in their document are too few: give at least "
            f"{FEWEST_SENTENCES} ordered sentences"
        )
    if documents < FEWEST_DOCUMENTS:
        raise InputError(
            f"the text of {language} is {documents} documents, and at least {FEWEST_DOCUMENTS} are needed, because "
            "sentences of other documents are the negatives: separate documents by blank lines, or give JSONL with "
            "one document in each line"
        )


@dataclass(frozen=True)
class ContextBatch:
    """Sentences of one batch, each of which is a centre.

    Attributes
    ----------
    rows
        ``(n,)`` int64 rows of the text.
    context
        ``(n,)`` int64 positions within the batch: the context of each centre.
    document
        ``(n,)`` int64 document of each sentence.
    """

    rows: NDArray[np.int64]
    context: NDArray[np.int64]
    document: NDArray[np.int64]


def context_batches(
    text: OrderedText, rows: NDArray[np.int64], *, size: int, window: int, seed: int
) -> Iterator[ContextBatch]:
    """Yield batches without end; each sentence is encoded once and is a centre and a context of its neighbours.

    A batch consists of runs of neighbouring sentences. All runs occur once before one occurs again.

    Parameters
    ----------
    text
        The text.
    rows
        The rows to train on.
    size
        The least number of sentences in a batch.
    window
        A context is at most this many sentences away.
    seed
        Seed of the order and of the contexts.
    """
    random = np.random.default_rng(seed)
    document = text.document[rows]
    ends = np.flatnonzero(np.diff(document)) + 1
    runs = [
        run for part in np.split(rows, ends) for run in np.array_split(part, max(1, len(part) // _RUN)) if len(run) > 1
    ]
    waiting: list[NDArray[np.int64]] = []
    while True:
        parts: list[NDArray[np.int64]] = []
        while sum(map(len, parts)) < size:
            if not waiting:
                waiting = [runs[position] for position in random.permutation(len(runs))]
            parts.append(waiting.pop())
        starts = np.cumsum([0, *map(len, parts)])
        lengths = np.repeat([len(part) for part in parts], [len(part) for part in parts])
        first = np.repeat(starts[:-1], [len(part) for part in parts])
        centre = np.arange(starts[-1])
        low = np.maximum(first, centre - window)
        high = np.minimum(first + lengths - 1, centre + window)
        context = random.integers(low, high)  # the upper end is exclusive, because the centre itself is skipped
        joined = np.concatenate(parts)
        yield ContextBatch(joined, context + (context >= centre), text.document[joined])
