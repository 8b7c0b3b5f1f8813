"""Add the scores of a teacher to training examples, so that a student can be distilled from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from mlret.data.ranking import RankingExample
from mlret.data.same_text import VERSION
from mlret.encoders.cross_encoder import checked_cross_encoder, is_cross_encoder, load_cross_encoder, logits
from mlret.encoders.fingerprint import fingerprint_of
from mlret.encoders.loading import is_multi_vector, load_encoder
from mlret.encoders.multi_vector import AnyEncoder, load_token_encoder
from mlret.encoders.passage_cache import PassageCache, encoded
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.training.labels.answers import KnownAnswers, repeatable
from mlret.training.labels.resumable import Processed, Progress, process_to_file

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# A text and the code of its language.
TeacherKind = Literal["auto", "encoder", "multi-vector", "cross-encoder"]


class Teacher(Protocol):
    """A model that scores passages for queries.

    Attributes
    ----------
    name
        Path or hub id of the model.
    kind
        What its scores are, such as ``"cosine"``.
    """

    name: str
    kind: str

    @property
    def fingerprint(self) -> str:
        """A string that changes whenever the scores would change."""

    def scores(self, examples: Sequence[RankingExample]) -> list[tuple[float, ...]]:
        """Return the scores of each example's passages, positives first; a higher score is better."""


class EncoderTeacher:
    """An encoder as a teacher: its scores are cosines, or MaxSim if it gives a vector for each token.

    Parameters
    ----------
    encoder
        The encoder.
    kept
        Size of the cache of encoded passages, in float32 values. Passages are cached because the negatives of one query
        are often those of others.
    """

    def __init__(self, encoder: AnyEncoder, *, kept: int = 1 << 26) -> None:
        self.encoder = encoder
        self._passages = PassageCache(encoder, size=kept)
        self.name = encoder.name
        self.kind = "MaxSim" if isinstance(encoder, TokenEncoder) else "cosine"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the encoder."""
        return self.encoder.fingerprint

    def scores(self, examples: Sequence[RankingExample]) -> list[tuple[float, ...]]:
        """Return the scores of each example's passages, positives first."""
        asked = list(dict.fromkeys((one.query, one.language) for one in examples))
        queries = dict(zip(asked, encoded(self.encoder.encode_query, asked), strict=True))
        passages = self._passages([pair for one in examples for pair in zip(one.passages, one.languages, strict=True)])
        return [
            tuple(
                similarity(queries[one.query, one.language], passages[pair])
                for pair in zip(one.passages, one.languages, strict=True)
            )
            for one in examples
        ]


class CrossEncoderTeacher:
    """A cross-encoder as a teacher. It reads query and passage together; its scores are unbounded logits.

    Parameters
    ----------
    model
        A cross-encoder with one label.
    name
        Path or hub id of the model.
    batch_size
        Number of pairs in a forward pass.

    Raises
    ------
    InputError
        If the model has several labels.
    """

    kind = "logit"

    def __init__(self, model: CrossEncoder, name: str = "", *, batch_size: int = 32) -> None:
        self.name = name or type(model).__name__
        self.model = checked_cross_encoder(model, self.name)
        self._batch_size = batch_size

    @property
    def fingerprint(self) -> str:
        """A fingerprint of its weights and its tokenizer."""
        return fingerprint_of(self.model, 1)

    def scores(self, examples: Sequence[RankingExample]) -> list[tuple[float, ...]]:
        """Return the logits of each example's passages, positives first."""
        pairs = [(one.query, passage) for one in examples for passage in one.passages]
        rest = iter(logits(self.model, pairs, batch_size=self._batch_size).tolist())
        return [tuple(islice(rest, len(one.passages))) for one in examples]


def load_teacher(
    name: str | Path | None, kind: TeacherKind = "auto", *, device: str | None = None, batch_size: int = 32
) -> Teacher:
    """Load a teacher.

    Parameters
    ----------
    name
        A folder or a hub id; ``None`` for the bundled encoder.
    kind
        Kind of the model. By default it is read from the folder; a hub id is loaded as an encoder with one vector for
        each text.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.
    batch_size
        Number of pairs in a forward pass of a cross-encoder.

    Returns
    -------
    Teacher
        The loaded teacher.

    Raises
    ------
    InputError
        If the model cannot be loaded, or the kind is unknown.
    """
    if kind not in get_args(TeacherKind):
        raise InputError(f"no kind of teacher {kind!r}; there are {', '.join(get_args(TeacherKind))}")
    if name is None:
        return EncoderTeacher(load_encoder(device=device))
    if kind == "cross-encoder" or (kind == "auto" and is_cross_encoder(Path(name))):
        return CrossEncoderTeacher(load_cross_encoder(name, device), str(name), batch_size=batch_size)
    if kind == "multi-vector" or (kind == "auto" and is_multi_vector(Path(name))):
        return EncoderTeacher(load_token_encoder(name, device=device))
    return EncoderTeacher(load_encoder(name, device=device))


def add_scores(
    examples: Iterable[RankingExample], teacher: Teacher, *, batch_size: int = 32
) -> Iterator[RankingExample]:
    """Yield the examples with the scores of a teacher, which replace those that they have.

    Parameters
    ----------
    examples
        The examples; they are streamed.
    teacher
        See :func:`load_teacher`.
    batch_size
        Number of examples in a batch.

    Yields
    ------
    RankingExample
        Each example with its scores, in their order.
    """
    rows = iter(examples)
    while batch := list(islice(rows, batch_size)):
        for example, scores in zip(batch, teacher.scores(batch), strict=True):
            yield replace(example, scores=scores)


def score_to_file(
    examples: Iterable[RankingExample],
    teacher: Teacher,
    output: Path,
    *,
    margin: float | None = None,
    batch_size: int = 32,
    data: Sequence[str] = (),
    progress: Progress | None = None,
) -> ScoringReport:
    """Write examples with the scores of a teacher to a file; a repeated call resumes where an interrupted one stopped.

    See :func:`mlret.training.labels.resumable.process_to_file`. Negatives that answer the query in another example are
    dropped.

    Parameters
    ----------
    examples, teacher, batch_size
        As for :func:`add_scores`; the examples are read twice, so an iterator is first put into a list.
    output
        A new file, ``.jsonl`` or ``.jsonl.gz``, which :func:`mlret.data.ranking.read_ranking` can read.
    margin
        Negatives whose score is not at least this much below that of the lowest positive are dropped
        (:func:`without_near_positives`).
    data
        Names of what the examples were read from. A call resumes only if they are unchanged.
    progress
        Called after each batch with the number of examples that are done.

    Returns
    -------
    ScoringReport
        What was scored, over all queries.

    Raises
    ------
    InputError
        If the file exists, cannot be written, or was begun with other settings.
    """
    examples = repeatable(examples)
    answers = KnownAnswers(examples)

    def work(batch: Sequence[RankingExample]) -> list[Processed]:
        found = []
        clean = [answers.without(one) for one in batch]
        for before, example in zip(batch, add_scores(clean, teacher, batch_size=batch_size), strict=True):
            kept = example if margin is None else without_near_positives(example, margin)
            assert example.scores is not None
            first = len(example.positives)
            positives, negatives = example.scores[:first], example.scores[first:]
            figures = {
                "passages": len(kept.passages),
                "dropped": len(example.passages) - len(kept.passages),
                "answers": len(before.passages) - len(example.passages),
            }
            right = {"right": float(min(positives) > max(negatives))} if negatives else {}
            found.append(Processed(kept, figures | right | {"positive": sum(positives) / first}))
        return found

    origin = {"teacher": teacher.fingerprint, "margin": margin, "data": list(data), "same_text": VERSION}
    report = ScoringReport(teacher.name, teacher.kind)
    for figures in process_to_file(examples, work, output, settings=origin, batch_size=batch_size, progress=progress):
        report.queries += 1
        report.passages += int(figures["passages"])
        report.dropped += int(figures["dropped"])
        report.answers += int(figures["answers"])
        report.compared += "right" in figures
        report.agreed += int(figures.get("right", 0))
    return report


@dataclass
class ScoringReport:
    """Summary of the scores of a teacher.

    Attributes
    ----------
    teacher, kind
        Name of the teacher, and what its scores are.
    queries, passages
        Number of queries, and of passages that were written.
    dropped
        Number of negatives that the margin excluded.
    answers
        Number of negatives that were excluded because they answer the same query in another example.
    compared, agreed
        Number of queries with negatives, and of those among them whose positives all score above every negative.
    """

    teacher: str
    kind: str
    queries: int = 0
    passages: int = 0
    dropped: int = 0
    answers: int = 0
    compared: int = 0
    agreed: int = 0


def without_near_positives(example: RankingExample, margin: float) -> RankingExample:
    """Return the example without the negatives that score above the lowest positive minus ``margin``.

    Such negatives are likely to be answers, too. The training of sentence-transformers on MS MARCO, and that of
    ColBERT-XM, use a margin of 3 logits of a cross-encoder.

    Parameters
    ----------
    example
        An example with the scores of a teacher.
    margin
        Margin, in the unit of the scores.

    Raises
    ------
    InputError
        If the example has no scores.
    """
    if example.scores is None:
        raise InputError(f"{example.origin or 'an example'}: has no scores; add those of a teacher first (mlret score)")
    first = len(example.positives)
    ceiling = min(example.scores[:first]) - margin
    kept = [place for place, score in enumerate(example.scores) if place < first or score <= ceiling]
    return example.with_passages(kept)


def similarity(query: NDArray[np.floating[Any]], passage: NDArray[np.floating[Any]]) -> float:
    """Return the inner product of two vectors, or MaxSim of two matrices of token vectors, in float64.

    MaxSim is the sum, over the tokens of the query, of the highest inner product with a token of the passage. It is 0
    if either has no tokens.

    Parameters
    ----------
    query, passage
        Either two vectors ``(dims,)``, or two matrices ``(tokens, dims)``, which may differ in their number of tokens.
    """
    a, b = np.asarray(query, dtype=np.float64), np.asarray(passage, dtype=np.float64)
    if a.ndim == 1:
        return float(a @ b)
    return float((a @ b.T).max(axis=1).sum()) if len(a) and len(b) else 0.0
