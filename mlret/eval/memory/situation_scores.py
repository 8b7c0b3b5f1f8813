"""Ask a memory about situations, with each ranking feature on and off, and judge what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder
from mlret.eval.memory.situation_data import Situation, SituationRecord
from mlret.eval.memory.variants import VARIANTS, Variant
from mlret.memory.memory import Memory
from mlret.memory.results import Found

_NOON = time(12, tzinfo=UTC)
Text = tuple[str, str]
"""A text and its language."""


@dataclass(frozen=True)
class Vectors:
    """The vectors of texts: ``(dims,)`` float32 each.

    Attributes
    ----------
    records, questions
        Vectors of records and of questions, which an encoder may encode in different ways.
    """

    records: Mapping[Text, NDArray[np.float32]]
    questions: Mapping[Text, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """What a memory made of a situation.

    Attributes
    ----------
    first
        Whether an answer came first.
    order
        Whether every answer came before every record that must not come before it.
    said
        Whether exactly the records that no longer hold were said to be replaced, each by a record that replaces it.
    """

    first: bool
    order: bool
    said: bool

    @property
    def ranked(self) -> bool:
        """Whether the ranking is right: what comes first, and what comes before what."""
        return self.first and self.order

    @property
    def right(self) -> bool:
        """Whether all of it is right."""
        return self.ranked and self.said


def ask_all(
    encoder: Encoder, situations: Sequence[Situation], variants: Sequence[Variant] = VARIANTS
) -> dict[str, list[Outcome]]:
    """Store every situation in a memory, as another user's, and ask its question in each of the ways.

    Parameters
    ----------
    encoder
        The encoder of the memory.
    situations
        The situations.
    variants
        The ways to ask.

    Returns
    -------
    dict
        Name of the variant -> one outcome for each situation.
    """
    records = [(record.text, record.language) for situation in situations for record in situation.records]
    questions = [(situation.question, situation.language) for situation in situations]
    # Every text is encoded once, in large batches, whatever is asked afterwards.
    vectors = Vectors(_by_text(encoder.encode_document, records), _by_text(encoder.encode_query, questions))
    found: dict[str, list[Outcome]] = {}
    for compared in dict.fromkeys(one.compared for one in variants):
        with _remembering(encoder, situations, vectors, compared=compared) as memory:
            for variant in variants:
                if variant.compared == compared:
                    found[variant.name] = [judge(one, _ask(memory, one, vectors, variant)) for one in situations]
    return {variant.name: found[variant.name] for variant in variants}


def judge(situation: Situation, found: Found) -> Outcome:
    """Compare the answer of a memory with what a person expects.

    A record that is collapsed into a hit has the rank of the hit, after it; one that is not returned comes last.

    Parameters
    ----------
    situation
        The situation.
    found
        The hits; the ids of the records are those that :func:`record_id` gives.
    """
    ranks: dict[str, int] = {}
    for hit in found:
        for id in (hit.id, *hit.also):
            ranks.setdefault(id, len(ranks))
    last = len(situation.records)
    place = {record.id: ranks.get(record_id(situation, record.id), last) for record in situation.records}
    replaced: Mapping[str, Sequence[str]] = {hit.id: hit.yields_to for hit in found}
    said = all(
        _named(situation, replaced.get(record_id(situation, record.id)), situation.superseded.get(record.id, ()))
        for record in situation.records
        if record_id(situation, record.id) in ranks
    )
    return Outcome(
        first=any(place[id] == 0 for id in situation.first),
        order=max(place[id] for id in situation.first) < min(place[id] for id in situation.behind),
        said=said,
    )


def record_id(situation: Situation, id: str) -> str:
    """Return the id that a record of a situation has in the memory."""
    return f"{situation.id}/{id}"


def _named(situation: Situation, named: Sequence[str] | None, replacements: Sequence[str]) -> bool:
    """Return whether what is said about a record is right; ``None`` if it was collapsed into another."""
    wanted = {record_id(situation, id) for id in replacements}
    return bool(wanted & set(named or ())) if wanted else not named


@contextmanager
def _remembering(
    encoder: Encoder, situations: Sequence[Situation], vectors: Vectors, *, compared: bool
) -> Iterator[Memory]:
    """Yield a memory that holds the records of all situations, each as a user of its own."""
    with TemporaryDirectory() as folder, Memory.open(Path(folder) / "memory", encoder) as memory:
        for situation in situations:
            items = [_item(situation, record, vectors) for record in situation.records]
            memory.add_batch(items, {"user": situation.id}, dedupe=compared)
        yield memory


def _item(situation: Situation, record: SituationRecord, vectors: Vectors) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": record_id(situation, record.id),
        "text": record.text,
        "language": record.language,
        "event_time": _instant(record.at),
        "session": record.session,
        "vector": vectors.records[record.text, record.language],
    }
    return item if record.by is None else item | {"source": {"role": record.by}}


def _ask(memory: Memory, situation: Situation, vectors: Vectors, variant: Variant) -> Found:
    return memory.search(
        situation.question,
        {"user": situation.id},
        k=len(situation.records),
        language=situation.language,
        mode=variant.mode,
        ranking=variant.ranking,
        now=_instant(situation.asked),
        vector=vectors.questions[situation.question, situation.language],
    )


def _by_text(encode: Callable[..., NDArray[np.float32]], texts: Sequence[Text]) -> dict[Text, NDArray[np.float32]]:
    several = list(dict.fromkeys(texts))
    vectors = encode([text for text, _ in several], language=[language for _, language in several])
    return dict(zip(several, vectors, strict=True))


def _instant(day: date) -> datetime:
    return datetime.combine(day, _NOON)
