"""Teachers: give training examples the scores that a student learns from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from mlret.data.ranking import RankingExample
from mlret.data.same_text import VERSION
from mlret.encoders.fingerprint import fingerprint_of
from mlret.encoders.loading import from_hub, is_multi_vector, load_encoder
from mlret.encoders.longest_input import keep_within_positions
from mlret.encoders.multi_vector import AnyEncoder, TokenEncoder, load_token_encoder
from mlret.errors import InputError
from mlret.training.labels.answers import KnownAnswers, repeatable
from mlret.training.labels.resumable import Progress, Worked, work_through

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# A text and its language.
_Text = tuple[str, str | None]
TeacherKind = Literal["auto", "encoder", "multi-vector", "cross-encoder"]


class Teacher(Protocol):
    """What scores passages for queries.

    Attributes
    ----------
    name
        A path or a hub id.
    kind
        What its scores are.
    """

    name: str
    kind: str

    @property
    def fingerprint(self) -> str:
        """Changes when its scores would."""

    def scores(self, examples: Sequence[RankingExample]) -> list[tuple[float, ...]]:
        """For each example a score for each passage, positives first; higher is better."""


class EncoderTeacher:
    """An encoder: cosines, or MaxSim where it gives a vector for each token.

    Parameters
    ----------
    encoder
        The encoder.
    kept
        Numbers of float32 of the passages encoded last that are kept: negatives of one query are often those of others.
    """

    def __init__(self, encoder: AnyEncoder, *, kept: int = 1 << 26) -> None:
        self.encoder = encoder
        self._kept = kept
        self._passages: dict[_Text, NDArray[np.float32]] = {}  # the one used last at the end
        self._size = 0
        self.name = encoder.name
        self.kind = "MaxSim" if isinstance(encoder, TokenEncoder) else "cosine"

    @property
    def fingerprint(self) -> str:
        """That of the encoder."""
        return self.encoder.fingerprint

    def scores(self, examples: Sequence[RankingExample]) -> list[tuple[float, ...]]:
        """As of any teacher."""
        asked = list(dict.fromkeys((one.query, one.language) for one in examples))
        queries = dict(zip(asked, self._encode(self.encoder.encode_query, asked), strict=True))
        passages = self._encoded(
            dict.fromkeys(pair for one in examples for pair in zip(one.passages, one.languages, strict=True))
        )
        return [
            tuple(
                similarity(queries[one.query, one.language], passages[pair])
                for pair in zip(one.passages, one.languages, strict=True)
            )
            for one in examples
        ]

    def _encoded(self, texts: Iterable[_Text]) -> dict[_Text, NDArray[np.float32]]:
        """The vectors of passages, those encoded that are not kept."""
        wanted = list(texts)
        missing = [text for text in wanted if text not in self._passages]
        for text, vectors in zip(missing, self._encode(self.encoder.encode_document, missing), strict=True):
            self._passages[text] = vectors
            self._size += vectors.size
        found = {}
        for text in wanted:
            found[text] = self._passages[text] = self._passages.pop(text)
        while self._size > self._kept:
            self._size -= self._passages.pop(next(iter(self._passages))).size
        return found

    @staticmethod
    def _encode(encode: Callable[..., Any], texts: Sequence[_Text]) -> Any:
        return encode([text for text, _ in texts], language=[language for _, language in texts])


class CrossEncoderTeacher:
    """A cross-encoder: it reads query and passage together; its scores are logits, without bounds.

    Parameters
    ----------
    model
        With one label.
    name
        A path or a hub id.
    batch_size
        Pairs in one forward pass.

    Raises
    ------
    InputError
        If the model has several labels.
    """

    kind = "logit"

    def __init__(self, model: CrossEncoder, name: str = "", *, batch_size: int = 32) -> None:
        if model.num_labels != 1:
            raise InputError(f"{name} has {model.num_labels} labels: a teacher gives one score; choose a reranker")
        keep_within_positions(model)
        self.model = model
        self.name = name or type(model).__name__
        self._batch_size = batch_size

    @property
    def fingerprint(self) -> str:
        """Of its weights and its tokenizer."""
        return fingerprint_of(self.model, 1)

    def scores(self, examples: Sequence[RankingExample]) -> list[tuple[float, ...]]:
        """As of any teacher."""
        import torch

        pairs = [(one.query, passage) for one in examples for passage in one.passages]
        logits = self.model.predict(
            pairs,
            batch_size=self._batch_size,
            # The sigmoid that rerankers end with would press good passages together near 1.
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        rest = iter(np.asarray(logits, dtype=np.float64).tolist())
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
        What it is; by default what the folder says of itself, and of the hub an encoder with one vector a text.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.
    batch_size
        Of a cross-encoder.

    Raises
    ------
    InputError
        If it cannot be loaded, or there is no such kind.
    """
    if kind not in get_args(TeacherKind):
        raise InputError(f"no kind of teacher {kind!r}; there are {', '.join(get_args(TeacherKind))}")
    if name is None:
        return EncoderTeacher(load_encoder(device=device))
    if kind == "cross-encoder" or (kind == "auto" and _is_cross_encoder(Path(name))):
        return CrossEncoderTeacher(_load_cross_encoder(name, device), str(name), batch_size=batch_size)
    if kind == "multi-vector" or (kind == "auto" and is_multi_vector(Path(name))):
        return EncoderTeacher(load_token_encoder(name, device=device))
    return EncoderTeacher(load_encoder(name, device=device))


def add_scores(
    examples: Iterable[RankingExample], teacher: Teacher, *, batch_size: int = 32
) -> Iterator[RankingExample]:
    """Give examples a teacher's scores, in place of those that they have.

    Parameters
    ----------
    examples
        Streamed.
    teacher
        See :func:`load_teacher`.
    batch_size
        Examples at a time.
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
    """The same into a file, going on where a call that was stopped got to; see
    :func:`mlret.training.labels.resumable.work_through`.

    Negatives that answer the query in another example are dropped.

    Parameters
    ----------
    examples, teacher, batch_size
        As for :func:`add_scores`; the examples are read twice, so that an iterator is put into a list first.
    output
        A new file, ``.jsonl`` or ``.jsonl.gz``, that :func:`mlret.data.ranking.read_ranking` reads.
    margin
        Negatives that do not score lower than the lowest positive by this much are dropped
        (:func:`without_near_positives`).
    data
        What the examples were read from: a call is gone on with only where it is the same.
    progress
        Called after each batch with how many examples are done.

    Raises
    ------
    InputError
        If the file exists, may not be written, or was begun with other settings.
    """

    examples = repeatable(examples)
    answers = KnownAnswers(examples)

    def work(batch: Sequence[RankingExample]) -> list[Worked]:
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
            found.append(Worked(kept, figures | right | {"positive": sum(positives) / first}))
        return found

    origin = {"teacher": teacher.fingerprint, "margin": margin, "data": list(data), "same_text": VERSION}
    report = ScoringReport(teacher.name, teacher.kind)
    for figures in work_through(examples, work, output, settings=origin, batch_size=batch_size, progress=progress):
        report.queries += 1
        report.passages += int(figures["passages"])
        report.dropped += int(figures["dropped"])
        report.answers += int(figures["answers"])
        report.compared += "right" in figures
        report.agreed += int(figures.get("right", 0))
    return report


@dataclass
class ScoringReport:
    """What a teacher scored.

    Attributes
    ----------
    teacher, kind
        Its name, and what its scores are.
    queries, passages
        How many.
    dropped
        Negatives that the margin took away.
    answers
        Negatives that were left out because they answer the same query in another example.
    compared, agreed
        Queries with negatives, and those of them whose positives all score above every negative.
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
    """The example without negatives that a teacher scores above the lowest positive less a margin: they are likely
    answers, too. (3 logits of a cross-encoder in sentence-transformers' training on MS MARCO, and in ColBERT-XM.)

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
    """The inner product of two vectors, ``(dims,)``; MaxSim of two matrices of tokens, ``(t, dims)``: the sum over the
    query's tokens of the highest inner product with one of the passage's."""
    a, b = np.asarray(query, dtype=np.float64), np.asarray(passage, dtype=np.float64)
    if a.ndim == 1:
        return float(a @ b)
    return float((a @ b.T).max(axis=1).sum()) if len(a) and len(b) else 0.0


def _is_cross_encoder(path: Path) -> bool:
    """Whether a folder holds a reranker, of sentence-transformers or of transformers."""
    try:
        config = path / "config_sentence_transformers.json"
        if config.is_file():
            return bool(json.loads(config.read_text(encoding="utf-8")).get("model_type") == "CrossEncoder")
        architectures = json.loads((path / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
    except (OSError, ValueError):
        return False
    return str(architectures[0]).endswith("ForSequenceClassification")


def _load_cross_encoder(name: str | Path, device: str | None) -> CrossEncoder:
    from sentence_transformers import CrossEncoder

    try:
        if Path(name).is_dir():
            model: CrossEncoder = CrossEncoder(str(name), device=device, local_files_only=True)
        else:
            model = from_hub(name, lambda: CrossEncoder(str(name), device=device))
        return model
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name} cannot be loaded as a cross-encoder: {reason}") from error
