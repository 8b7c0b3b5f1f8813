"""Ask a memory about conversations, and report how much of the evidence it finds, with each feature on and off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder
from mlret.eval.memory.conversation_data import Conversation
from mlret.eval.memory.variants import DEFAULTS, VARIANTS, Variant
from mlret.eval.report import Figures, Picture, Report, source_of
from mlret.eval.retrieval import AVERAGE
from mlret.eval.significance import bootstrap_interval
from mlret.memory.memory import Memory
from mlret.memory.results import Found
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

NAME = "memory-conversations"
PROTOCOL = (
    "All turns are stored in one scope, in the order of their times, each with its speaker as the role of its source, "
    "its session and the time of the session. recall@k: the share of the turns that answer a question among the first "
    "k, averaged over questions. all@10: the share of questions of which all turns are among the first ten. Written "
    "for mlret, and used to tune the ranking: see the other benchmarks for what it gains elsewhere."
)
METRICS = ("recall@1", "recall@5", "recall@10", "all@10")
ONE, SEVERAL = "answered by one turn", "answered by several turns"
_SCOPE = {"user": "all"}
_RESAMPLES = 2_000
_DEPTH = 10


def evaluate_conversations(encoder: Encoder, conversations: Sequence[Conversation], *, data: str) -> Report:
    """Store conversations in a memory that uses an encoder, ask their questions, and report the evidence found.

    Parameters
    ----------
    encoder
        An encoder with one vector per text.
    conversations
        The conversations; they need at least one question.
    data
        Name of the file that they were read from.
    """
    questions = [(talk, question) for talk in conversations for question in talk.questions]
    several = np.array([len(question.evidence) > 1 for _, question in questions])
    groups = {AVERAGE: np.ones(len(questions), dtype=np.bool_), ONE: ~several, SEVERAL: several}
    scores = ask_all(encoder, conversations)
    figures: Figures = {}
    for name, found in scores.items():
        system = encoder.name if name == DEFAULTS else f"{encoder.name}, {name}"
        figures[system] = {
            group: {metric: float(found[metric][rows].mean()) for metric in METRICS}
            for group, rows in groups.items()
            if rows.any()
        }
    systems = {encoder.name: {"fingerprint": encoder.fingerprint, "dims": encoder.dims}}
    names = [f"{talk.id}/{number}" for talk in conversations for number in range(1, len(talk.questions) + 1)]
    return Report(
        benchmark=NAME,
        data=data,
        protocol=PROTOCOL,
        figures=figures,
        tables=[_features_table(encoder, scores), _groups_table(figures[encoder.name], groups)],
        systems=systems,
        query_scores={
            encoder.name: {
                "en": {metric: dict(zip(names, scores[DEFAULTS][metric].tolist(), strict=True)) for metric in METRICS}
            }
        },
        pictures=conversation_pictures({"systems": systems, "figures": figures, "data": data}),
    )


def conversation_pictures(results: Mapping[str, Any]) -> list[Picture]:
    """Return the plot of all ways to ask by metric from the content of ``report.json``."""
    name = next(iter(results["systems"]))
    labels = {system: system.removeprefix(f"{name}, ") for system in results["figures"]} | {name: DEFAULTS}
    values = [[figures[AVERAGE][metric] for metric in METRICS] for figures in results["figures"].values()]
    title = f"Evidence found in conversations\n{name}"
    draw = partial(plots.heat_map, title, list(labels.values()), list(METRICS), values, source=source_of(results))
    return [Picture("conversations", draw)]


def ask_all(
    encoder: Encoder, conversations: Sequence[Conversation], variants: Sequence[Variant] = VARIANTS
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the scores of each way to ask: variant -> metric -> ``(q,)``, from 0 to 1."""
    asked = asked_in(encoder, conversations)
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for compared in dict.fromkeys(one.compared for one in variants):
        with remembering(encoder, conversations, compared=compared) as memory:
            for variant in variants:
                if variant.compared != compared:
                    continue
                rows = []
                for one in asked:
                    hits = one.hits(memory, _DEPTH, mode=variant.mode, ranking=variant.ranking)
                    ids = [id for hit in hits for id in (hit.id, *hit.also)]
                    rows.append(evidence_scores(ids, one.evidence))
                found[variant.name] = dict(zip(METRICS, np.array(rows).T, strict=True))
    return {variant.name: found[variant.name] for variant in variants}


@dataclass(frozen=True)
class Asked:
    """A question, and what answers it.

    Attributes
    ----------
    talk, text, language
        Id of the conversation, and the question.
    evidence
        Ids of the turns that answer it.
    vector
        Its vector, ``(dims,)`` float32.
    now
        When it is asked.
    """

    talk: str
    text: str
    language: str
    evidence: tuple[str, ...]
    vector: NDArray[np.float32]
    now: datetime

    def hits(self, memory: Memory, k: int, **how: Any) -> Found:
        """Ask a memory that :func:`remembering` yields."""
        return memory.search(self.text, _SCOPE, k, language=self.language, now=self.now, vector=self.vector, **how)


def asked_in(encoder: Encoder, conversations: Sequence[Conversation]) -> list[Asked]:
    """Return the questions of conversations, asked a month after the last of them."""
    asked = [(question, talk) for talk in conversations for question in talk.questions]
    vectors = encoder.encode_query([one.text for one, _ in asked], language=[talk.language for _, talk in asked])
    now = max(at for talk in conversations for _, at, _ in talk.turns()) + timedelta(days=30)
    return [
        Asked(talk.id, one.text, talk.language, tuple(f"{talk.id}/{place}" for place in one.evidence), vector, now)
        for (one, talk), vector in zip(asked, vectors, strict=True)
    ]


def turns_of(conversations: Sequence[Conversation]) -> list[dict[str, Any]]:
    """Return all turns, in the order of their times, as items for :meth:`mlret.memory.memory.Memory.add_batch`."""
    turns = sorted(
        ((at, talk, place, turn) for talk in conversations for place, at, turn in talk.turns()),
        key=lambda one: one[0],
    )
    return [
        {
            "id": f"{talk.id}/{place}",
            "text": turn.text,
            "language": talk.language,
            "session": f"{talk.id}/{place.partition(':')[0]}",
            "event_time": at,
            "source": {"role": turn.by},
        }
        for at, talk, place, turn in turns
    ]


@contextmanager
def remembering(
    encoder: Encoder,
    conversations: Sequence[Conversation],
    vectors: NDArray[np.float32] | None = None,
    *,
    compared: bool = True,
) -> Iterator[Memory]:
    """Yield a memory that holds all turns of conversations.

    Parameters
    ----------
    encoder, conversations
        The encoder and the conversations.
    vectors
        ``(n, dims)``: vectors of the turns in the order of :func:`turns_of`; by default those of their texts.
    compared
        Whether turns are compared with the records before them.
    """
    items = turns_of(conversations)
    if vectors is None:
        texts, languages = ([item[name] for item in items] for name in ("text", "language"))
        vectors = encoder.encode_document(texts, language=languages)
    with TemporaryDirectory() as folder, Memory.open(Path(folder) / "memory", encoder) as memory:
        stored = [{**item, "vector": vector} for item, vector in zip(items, vectors, strict=True)]
        memory.add_batch(stored, _SCOPE, dedupe=compared)
        yield memory


def evidence_scores(ids: Sequence[str], evidence: Sequence[str]) -> list[float]:
    """Return the metrics of one question.

    Parameters
    ----------
    ids
        Ids of the turns that were found, best first.
    evidence
        Ids of the turns that answer the question.

    Returns
    -------
    list of float
        One value for each of :data:`METRICS`.
    """
    shares = [len(set(ids[:k]) & set(evidence)) / len(set(evidence)) for k in (1, 5, _DEPTH)]
    return [*shares, float(shares[-1] == 1)]


def _features_table(encoder: Encoder, scores: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> ResultTable:
    before = scores[DEFAULTS]["recall@10"]
    rows = []
    for variant in VARIANTS:
        found = scores[variant.name]
        difference = found["recall@10"] - before
        low, high = bootstrap_interval(difference, _RESAMPLES, np.random.default_rng(0))
        change = "" if variant.name == DEFAULTS else f"{100 * difference.mean():+.1f}"
        interval = "" if variant.name == DEFAULTS else f"{100 * low:+.1f} … {100 * high:+.1f}"
        rows.append([variant.name, *(percent(float(found[metric].mean())) for metric in METRICS), change, interval])
    title = f"{len(before)} questions with {encoder.name}, in per cent: the defaults, and one feature switched"
    return ResultTable(title, ["", *METRICS, "change of recall@10", "95 %"], [rows[:1], rows[1:]], PROTOCOL)


def _groups_table(figures: Mapping[str, Mapping[str, float]], groups: Mapping[str, NDArray[np.bool_]]) -> ResultTable:
    rows = [
        [name, f"{int(groups[name].sum())}", *(percent(values[metric]) for metric in METRICS)]
        for name, values in figures.items()
    ]
    return ResultTable("By number of turns, in per cent, with the defaults", ["", "number", *METRICS], [rows])
