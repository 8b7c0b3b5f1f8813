"""Mine hard negatives: passages that an index ranks high for a query although they do not answer it.

What an index ranks highest may be an answer that nobody has marked. Passages whose score is too close to that of the
positive are therefore excluded by a margin (NV-Retriever, arXiv 2407.15831, section 3; ``mine_hard_negatives`` of
sentence-transformers has the same rules), and the first ranks can be skipped.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlret.data.documents import Document
from mlret.data.ranking import RankingExample
from mlret.data.same_text import VERSION, text_key, text_number
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.index.hits import Hit
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.training.labels.answers import KnownAnswers, repeatable
from mlret.training.labels.mining_report import MiningReport
from mlret.training.labels.mining_settings import MiningSettings
from mlret.training.labels.resumable import Figures, Processed, Progress, process_to_file
from mlret.training.labels.teachers import similarity

_PASSAGE_ID = "passage_id"
_DEFAULT = MiningSettings()


class Mined(NamedTuple):
    """An example with its negatives, and counts of the hits that were excluded.

    Attributes
    ----------
    example
        The example with its new negatives.
    positives
        Number of hits that are positives of this example or of others with the same query, or that repeat one of these
        or the query.
    passed
        Number of hits that were skipped as the first ranks.
    near, outside
        Number of hits that were excluded by the margins, and by the bounds.
    mined
        Number of negatives that were found.
    positive_score, negative_score
        The lowest score of a positive, and the highest of the chosen negatives; NaN if there is none.
    """

    example: RankingExample
    positives: int = 0
    passed: int = 0
    near: int = 0
    outside: int = 0
    mined: int = 0
    positive_score: float = np.nan
    negative_score: float = np.nan


def mine_negatives(
    examples: Iterable[RankingExample],
    source: Index | AnyEncoder,
    settings: MiningSettings = _DEFAULT,
    *,
    batch_size: int = 128,
) -> Iterator[Mined]:
    """Add hard negatives to examples.

    A positive of the example, or of another example with the same query, never becomes its negative; nor does a passage
    with the same text as one of them or as the query (:func:`mlret.data.same_text.normalised`).

    Parameters
    ----------
    examples
        The examples. They are read several times: a :class:`mlret.data.ranking.RankingReader` is streamed, an iterator
        is first put into a list.
    source
        The index to search, of either kind; or an encoder, for which a temporary index of all passages of the examples
        is built.
    settings
        Which hits become negatives.
    batch_size
        Number of queries that are searched at once.

    Yields
    ------
    Mined
        The result for each example, in their order.

    Raises
    ------
    InputError
        If the mode needs a lexical channel that the index lacks, or if the settings depend on the language of a query
        that has none.
    """
    examples = repeatable(examples)
    if not isinstance(source, Index):
        with tempfile.TemporaryDirectory(prefix="mlret-") as folder:
            path = Path(folder) / "index"
            with index_passages(path, examples, source, lexical=settings.mode != "dense") as index:
                yield from mine_negatives(examples, index, settings, batch_size=batch_size)
        return
    answers = KnownAnswers(examples)
    rows = iter(examples)
    while batch := list(islice(rows, batch_size)):
        yield from _mine(batch, source, settings, answers)


def mine_to_file(
    examples: Iterable[RankingExample],
    index: Index,
    output: Path,
    settings: MiningSettings = _DEFAULT,
    *,
    batch_size: int = 128,
    data: Sequence[str] = (),
    progress: Progress | None = None,
) -> MiningReport:
    """Mine hard negatives into a file; a repeated call resumes where an interrupted one stopped.

    See :func:`mlret.training.labels.resumable.process_to_file`.

    Parameters
    ----------
    examples, index, settings, batch_size
        As for :func:`mine_negatives`.
    output
        A new file, ``.jsonl`` or ``.jsonl.gz``, which :func:`mlret.data.ranking.read_ranking` can read.
    data
        Names of what the examples were read from. A call resumes only if they are unchanged.
    progress
        Called after each batch with the number of examples that are done.

    Returns
    -------
    MiningReport
        What was found, over all queries.

    Raises
    ------
    InputError
        For the reasons of :func:`mine_negatives`, or if the file exists or was begun with other settings.
    """
    examples = repeatable(examples)
    answers = KnownAnswers(examples)

    def work(batch: Sequence[RankingExample]) -> list[Processed]:
        return [Processed(one.example, _figures(one)) for one in _mine(batch, index, settings, answers)]

    origin = {
        "mining": settings.model_dump(),
        "encoder": index.store.manifest.fingerprint,
        "data": list(data),
        "same_text": VERSION,
    }
    report = MiningReport(asked=settings.negatives)
    for figures in process_to_file(examples, work, output, settings=origin, batch_size=batch_size, progress=progress):
        report.count(figures)
    return report


def index_passages(
    path: Path,
    examples: Iterable[RankingExample],
    encoder: AnyEncoder,
    *,
    lexical: bool = False,
    progress: Progress | None = None,
) -> Index:
    """Build an index of all passages of the examples, or resume building one.

    Each passage is added once for each of its languages.

    Parameters
    ----------
    path
        Folder of the index.
    examples
        The examples whose passages are indexed.
    encoder
        Encoder of the passages.
    lexical
        Whether character n-grams are indexed, too.
    progress
        Called with the number of passages that have been processed.

    Returns
    -------
    Index
        The open index.

    Raises
    ------
    InputError
        For the reasons of :meth:`mlret.Index.create` and :meth:`mlret.Index.open`.
    """
    index = (
        Index.open(path, encoder)
        if path.exists()
        else Index.create(path, encoder, settings=IndexSettings(lexical=lexical))
    )
    count = 0
    for done in index.add_batches(_passages(examples), existing="skip"):
        count += done.added + done.skipped
        if progress is not None:
            progress(count)
    index.compact_if_due()
    return index


def _passages(examples: Iterable[RankingExample]) -> Iterator[Document]:
    for example in examples:
        ids = example.passage_ids or (None,) * len(example.passages)
        for text, name, language in zip(example.passages, ids, example.languages, strict=True):
            key = hashlib.sha256(f"{language}\0{text_key(text)}".encode()).hexdigest()[:32]
            yield Document(key, text, language, {} if name is None else {_PASSAGE_ID: name})


def _mine(
    batch: Sequence[RankingExample], index: Index, settings: MiningSettings, answers: KnownAnswers
) -> list[Mined]:
    if settings.keep:
        batch = [answers.without(one) for one in batch]
    compares = settings.mode != "lexical" and (
        settings.relative_margin is not None or settings.absolute_margin is not None or settings.with_scores
    )
    vectors = (
        index.encode_queries([one.query for one in batch], language=[one.language for one in batch])
        if compares or settings.mode == "dense"
        else None
    )
    found = _search(batch, vectors, index, settings, answers)
    scores = _positive_scores(batch, vectors, found, index) if compares else [None] * len(batch)
    return [_chosen(*one, settings, answers.of(one[0])) for one in zip(batch, found, scores, strict=True)]


def _search(
    batch: Sequence[RankingExample], vectors: Any, index: Index, settings: MiningSettings, answers: KnownAnswers
) -> list[list[Hit]]:
    """Return the hits of each query, searched with the filter that fits its language."""
    places: dict[str | None, list[int]] = defaultdict(list)
    for place, example in enumerate(batch):
        if settings.language != "any" and example.language is None:
            origin = f"{example.origin}: " if example.origin else ""
            raise InputError(
                f"{origin}the language of the query {example.query[:60]!r} is not known; give it (`language=…`), or "
                "take passages in any language"
            )
        places[example.language if settings.language != "any" else None].append(place)
    found: list[list[Hit]] = [[] for _ in batch]
    for code, some in places.items():
        filters = [] if settings.where is None else [settings.where]
        if settings.language != "any":
            filters.append({"lang": code if settings.language == "same" else {"$ne": code}})
        # Positives and their repetitions are among the hits, but do not count towards the depth.
        k = settings.depth + max(len(answers.of(batch[place])) for place in some)
        where = {"$and": filters} if filters else None
        if settings.mode == "dense":
            hits = index.search_vectors([vectors[place] for place in some], k, where=where)
        else:
            hits = index.search_batch(
                [batch[place].query for place in some],
                k,
                language=[batch[place].language for place in some],
                where=where,
                mode=settings.mode,
            )
        for place, one in zip(some, hits, strict=True):
            found[place] = one
    return found


def _positive_scores(
    batch: Sequence[RankingExample], vectors: Any, found: Sequence[Sequence[Hit]], index: Index
) -> list[list[float] | None]:
    """Return the scores of each example's positives for its query: that of the hit if it was found, else computed."""
    scores: list[list[float | None]] = []
    missing: dict[tuple[str, str | None], None] = {}
    for example, hits in zip(batch, found, strict=True):
        known = {text_key(hit.text): hit.scores["dense"] for hit in reversed(hits) if "dense" in hit.scores}
        mine = [known.get(text_key(text)) for text in example.positives]
        scores.append(mine)
        for text, language, score in zip(example.positives, example.languages, mine, strict=False):
            if score is None:
                missing[text, language] = None
    encoded: dict[tuple[str, str | None], Any] = {}
    if missing:
        texts, languages = zip(*missing, strict=True)
        given = index.encoder.encode_document(list(texts), language=list(languages))
        encoded = dict(zip(missing, index.store.space.prepared(given), strict=True))
    return [
        [
            similarity(vector, encoded[key]) if score is None else score
            for score, key in zip(mine, zip(example.positives, example.languages, strict=False), strict=True)
        ]
        for example, vector, mine in zip(batch, vectors, scores, strict=True)
    ]


def _chosen(
    example: RankingExample,
    hits: Sequence[Hit],
    positive_scores: list[float] | None,
    settings: MiningSettings,
    answers: set[int],
) -> Mined:
    """Choose the negatives from the hits of a query; ``answers`` has the numbers of the passages that answer it."""
    answers = answers | {text_number(example.query)}
    seen = {text_number(text) for text in example.negatives} if settings.keep else set()
    lowest = min(positive_scores) if positive_scores else np.nan
    ceiling = _ceiling(lowest, settings)
    positives = near = outside = 0
    ranked: list[Hit] = []
    for hit in hits:
        key = text_number(hit.text)
        if key in answers:
            positives += 1
        elif key not in seen:
            seen.add(key)
            ranked.append(hit)
    ranked = ranked[: settings.depth]
    candidates = []
    for hit in ranked[settings.skip :]:
        score = hit.scores.get("dense", hit.score)
        if score > ceiling:
            near += 1
        elif (settings.max_score is not None and score > settings.max_score) or (
            settings.min_score is not None and score < settings.min_score
        ):
            outside += 1
        else:
            candidates.append(hit)
    if settings.sampling == "random" and len(candidates) > settings.negatives:
        drawn = random.Random(f"{settings.seed}\0{example.query}").sample(range(len(candidates)), settings.negatives)
        candidates = [candidates[place] for place in sorted(drawn)]
    candidates = candidates[: settings.negatives]
    return Mined(
        _with_negatives(example, candidates, positive_scores, settings),
        positives=positives,
        passed=min(settings.skip, len(ranked)),
        near=near,
        outside=outside,
        mined=len(candidates),
        positive_score=lowest,
        negative_score=max((hit.scores.get("dense", hit.score) for hit in candidates), default=np.nan),
    )


def _ceiling(positive: float, settings: MiningSettings) -> float:
    """Return the highest score that a negative may have."""
    if settings.mode == "lexical":
        return np.inf
    limits = [np.inf]
    if settings.relative_margin is not None:
        limits.append(positive - settings.relative_margin * abs(positive))
    if settings.absolute_margin is not None:
        limits.append(positive - settings.absolute_margin)
    return min(limits)


def _with_negatives(
    example: RankingExample, hits: Sequence[Hit], positive_scores: list[float] | None, settings: MiningSettings
) -> RankingExample:
    """Return the example with the hits as its negatives, or added to those that it has."""
    if settings.keep and not hits:
        return example
    base = example if settings.keep else example.with_passages(range(len(example.positives)))
    ids = base.passage_ids or (None,) * len(base.passages)
    languages = (*base.languages, *(hit.language for hit in hits))
    scores = None
    if settings.with_scores and positive_scores is not None:
        scores = (*positive_scores, *(hit.scores["dense"] for hit in hits))
    return replace(
        base,
        negatives=(*base.negatives, *(hit.text for hit in hits)),
        scores=scores,
        passage_ids=(*ids, *(str(hit.metadata.get(_PASSAGE_ID, hit.id)) for hit in hits)),
        passage_languages=languages if any(code != base.language for code in languages) else None,
    )


def _figures(mined: Mined) -> Figures:
    names = ("positives", "passed", "near", "outside", "mined", "positive_score", "negative_score")
    values = {name: getattr(mined, name) for name in names}
    return {name: value for name, value in values.items() if not np.isnan(value)}
