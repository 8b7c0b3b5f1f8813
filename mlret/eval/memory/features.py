"""Measure each ranking feature off and on, on data where it can make a difference.

There are two kinds of data: questions whose answer is a sentence of a paragraph (the paragraph is a session, its
sentences are the turns), and parallel news, whose documents are sessions. Each measurement states what it can show;
none of the data are conversations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlret.eval.memory.channels import Matrix, Records, ranks, within
from mlret.eval.readers.xquad_r_data import XquadR
from mlret.eval.significance import bootstrap_interval
from mlret.index.fusion import reciprocal_rank_fusion
from mlret.memory.search.ranking import confidence, contiguity, granularities
from mlret.memory.text.duplicates import NEIGHBOURS, DuplicateThresholds
from mlret.memory.text.passages import parts

Encode = Callable[[Sequence[str], str], NDArray[np.float32]]
_RESAMPLES = 2_000


@dataclass(frozen=True)
class Feature:
    """Measurement of one feature, off and on.

    Attributes
    ----------
    name, data, metric
        The feature, the data it was measured on, and the metric.
    off, on
        ``(q,)`` scores from 0 to 1 of the same queries or groups, with the feature off and on.
    default
        Whether the feature is on by default.
    shows
        What the measurement can and cannot show.
    """

    name: str
    data: str
    metric: str
    off: NDArray[np.float64]
    on: NDArray[np.float64]
    default: bool
    shows: str = field(default="")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the difference of the means, over queries."""
        return bootstrap_interval(self.on - self.off, _RESAMPLES, np.random.default_rng(0))


class Answers:
    """Encoded questions, the sentences that answer them, and their paragraphs, in some languages.

    Parameters
    ----------
    data
        The benchmark.
    encode
        Function from texts and their language to ``(n, dims)`` vectors.
    """

    def __init__(self, data: XquadR, encode: Encode) -> None:
        self.languages = data.languages
        self.ids = list(next(iter(data.questions.values())))
        self.questions = {one: [data.questions[one][id] for id in self.ids] for one in self.languages}
        self.vectors = {one: encode(texts, one) for one, texts in self.questions.items()}
        self.sentences: dict[str, Records] = {}
        self.merged: dict[str, Records] = {}
        self.keys: dict[str, NDArray[np.float32]] = {}
        self.paragraphs: dict[str, Records] = {}
        self.parts: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        self.sessions: dict[str, NDArray[np.int64]] = {}
        self.places: dict[str, NDArray[np.int64]] = {}
        self.gold: dict[str, NDArray[np.int64]] = {}
        for one in self.languages:
            self._read(data, one, encode)

    def _read(self, data: XquadR, language: str, encode: Encode) -> None:
        candidates = data.candidates[language]
        texts = [candidate.sentence for candidate in candidates]
        names = [candidate.id.rsplit("-", 1)[0] for candidate in candidates]
        rows: dict[str, list[int]] = defaultdict(list)
        for row, name in enumerate(names):
            rows[name].append(row)
        order = {name: number for number, name in enumerate(rows)}
        self.sessions[language] = np.array([order[name] for name in names])
        self.places[language] = np.array([rows[name].index(row) for row, name in enumerate(names)])
        place = {candidate.id: row for row, candidate in enumerate(candidates)}
        self.gold[language] = np.array([place[data.answers[language][id]] for id in self.ids])
        codes = [language] * len(texts)
        self.sentences[language] = Records(texts, codes, encode(texts, language))
        first = [texts[rows[name][0]] for name in names]
        both = [text if text == key else f"{key}\n{text}" for text, key in zip(texts, first, strict=True)]
        self.merged[language] = Records(both, codes, encode(both, language))
        self.keys[language] = self.sentences[language].vectors[[rows[name][0] for name in names]]
        whole = [" ".join(texts[row] for row in some) for some in rows.values()]
        self.paragraphs[language] = Records(whole, [language] * len(whole), encode(whole, language))
        cut = [(number, text[a:b]) for number, text in enumerate(whole) for a, b in parts(text)]
        self.parts[language] = encode([text for _, text in cut], language), np.array([number for number, _ in cut])

    def ways(self) -> Iterator[tuple[str, str]]:
        """Yield every pair of a question language and a record language."""
        for asked in self.languages:
            for stored in self.languages:
                yield asked, stored


def answer_features(answers: Answers, thresholds: DuplicateThresholds) -> list[Feature]:
    """Measure contiguity, representatives, granularities, keys and abstention over all pairs of languages.

    Parameters
    ----------
    answers
        The encoded questions, sentences and paragraphs.
    thresholds
        Thresholds calibrated on other texts.

    Returns
    -------
    list of Feature
        The measurements, separately for questions in the records' language and in other languages.
    """
    found: dict[str, dict[str, list[NDArray[np.float64]]]] = defaultdict(lambda: defaultdict(list))
    for asked, stored in answers.ways():
        where = "same language" if asked == stored else "other languages"
        for name, scores in _of_pair(answers, asked, stored).items():
            found[where][name].append(scores)
    features = []
    for where, names in found.items():
        mean = {name: np.mean(scores, axis=0) for name, scores in names.items()}
        data = f"XQuAD-R, {where}"
        for k in (1, 5):
            features += [
                Feature("contiguity", data, f"recall@{k}", mean[f"turn {k}"], mean[f"contiguity {k}"], True,
                        "questions were written with the paragraph in view: neighbours share its subject"),
                Feature("key merged into the value", data, f"recall@{k}", mean[f"turn {k}"], mean[f"merged {k}"], True,
                        "the key is the paragraph's first sentence, not a fact that a model extracted"),
                Feature("key as a second vector", data, f"recall@{k}", mean[f"turn {k}"], mean[f"key {k}"], True,
                        "the same key, the better of two vectors"),
                Feature("key by merging ranks", data, f"recall@{k}", mean[f"turn {k}"], mean[f"key ranks {k}"], False,
                        "the same key, reciprocal rank fusion of two lists"),
                Feature("representatives", data, f"paragraph recall@{k}, dense", mean[f"whole {k}"], mean[f"parts {k}"],
                        True, "paragraphs of five sentences; longer records have more to gain"),
                Feature("granularities", data, f"paragraph recall@{k}", mean[f"session {k}"], mean[f"levels {k}"], True,
                        "two levels: sentences and paragraphs"),
            ]  # fmt: skip
    return [*features, *_silence(answers, thresholds)]


def _silence(answers: Answers, thresholds: DuplicateThresholds) -> list[Feature]:
    """Measure, with half of the paragraphs stored, right hits that are kept and silence on unanswerable questions."""
    kept, refused = [], []
    for asked, stored in answers.ways():
        sessions = answers.sessions[stored]
        chosen = np.random.default_rng(0).permutation(sessions.max() + 1)[: (sessions.max() + 1) // 2]
        rows = np.flatnonzero(np.isin(sessions, chosen))
        cosines = answers.vectors[asked] @ answers.sentences[stored].vectors[rows].T
        best = np.sort(cosines, axis=1)[:, ::-1][:, : NEIGHBOURS + 1]
        usual = thresholds.density(asked)
        silent = np.array([confidence(row, usual) < thresholds.answer for row in best])
        gold = answers.gold[stored]
        answerable = np.isin(gold, rows)
        right = answerable & (rows[cosines.argmax(axis=1)] == gold)
        kept.append(float((~silent[right]).mean()) if right.any() else 1.0)
        refused.append(float(silent[~answerable].mean()))
    data, ones = "XQuAD-R, half stored", np.ones(len(kept))
    shows = (
        "the threshold is from the sample, and keeps nine right answers in ten there; a pair of languages counts once"
    )
    return [
        Feature("abstention", data, "right first sentences that are kept", ones, np.array(kept), False, shows),
        Feature("abstention", data, "silence where there is no answer", 0 * ones, np.array(refused), False),
    ]


def _of_pair(answers: Answers, asked: str, stored: str) -> dict[str, NDArray[np.float64]]:
    queries, vectors = answers.questions[asked], answers.vectors[asked]
    gold, sessions = answers.gold[stored], answers.sessions[stored]
    places: dict[str, NDArray[np.int64]] = {}

    turns = answers.sentences[stored].search(queries, asked, vectors)
    finite = _finite(turns["fused"])
    places["turn"] = ranks(finite, gold)
    near = np.stack([contiguity(row, sessions, answers.places[stored]) for row in finite])
    places["contiguity"] = ranks(np.round(finite + near, 6), gold)
    merged = answers.merged[stored].search(queries, asked, vectors)
    places["merged"] = ranks(_finite(merged["fused"]), gold)
    of_key = np.round(vectors.astype(np.float64) @ answers.keys[stored].T.astype(np.float64), 6)
    lexical = np.where(np.isfinite(turns["lexical"]), turns["lexical"], np.nan)
    better = answers.sentences[stored].fused(queries, asked, np.maximum(turns["dense"], of_key), lexical)
    places["key"] = ranks(_finite(better), gold)
    places["key ranks"] = ranks(_by_ranks(finite, of_key), gold)

    paragraph = sessions[gold]
    whole = answers.paragraphs[stored].search(queries, asked, vectors)
    places["whole"] = ranks(whole["dense"], paragraph)
    parted, owner = answers.parts[stored]
    best = whole["dense"].copy()
    np.maximum.at(best.T, owner, np.round(parted.astype(np.float64) @ vectors.T.astype(np.float64), 6))
    places["parts"] = ranks(best, paragraph)
    session = _finite(whole["fused"])
    places["session"] = ranks(session, paragraph)
    places["levels"] = ranks(_both_levels(finite, session, sessions), paragraph)
    return {f"{name} {k}": within(place, k) for name, place in places.items() for k in (1, 5)}


def _finite(scores: Matrix) -> Matrix:
    """Give records that are not candidates the candidates' lowest score, so that a neighbour can still raise them."""
    finite = np.where(np.isfinite(scores), scores, np.inf)
    return np.where(np.isfinite(scores), scores, finite.min(axis=1, keepdims=True))


def _by_ranks(first: Matrix, second: Matrix) -> Matrix:
    rows = np.arange(first.shape[1])
    applies = np.ones((len(rows), 2), dtype=np.bool_)
    found = np.empty_like(first)
    for query, pair in enumerate(zip(first, second, strict=True)):
        fused = reciprocal_rank_fusion(rows, np.column_stack(pair), applies)
        found[query, fused.rows] = fused.scores
    return found


def _both_levels(turns: Matrix, wholes: Matrix, sessions: NDArray[np.int64]) -> Matrix:
    units = np.concatenate([sessions, np.arange(wholes.shape[1])])
    levels = np.array(["turn"] * turns.shape[1] + ["session"] * wholes.shape[1])
    found = np.empty_like(wholes)
    for query, scores in enumerate(np.concatenate([turns, wholes], axis=1)):
        order, totals = granularities(scores, levels, units)
        found[query, order] = totals
    return found


def mean_of(values: Mapping[str, Sequence[NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    """Return the mean over language pairs of each query's scores: name -> ``(q,)``."""
    return {name: np.mean(some, axis=0) for name, some in values.items()}
