"""Read training data for retrieval, of any form, as one stream of examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from mlret.data.held_out import read_held_out
from mlret.data.languages import normalise_language
from mlret.data.ranking.example import RankingExample
from mlret.data.ranking.formats import FORMATS, Format
from mlret.data.ranking.opening import Opening, RankingSource
from mlret.data.ranking.resolve import Source, TextStores
from mlret.data.ranking.texts import Say
from mlret.data.same_text import normalised
from mlret.errors import InputError


class RankingReader:
    """Training examples of several sources, one after another; memory does not grow with them.

    Made by :func:`read_ranking`. Can be read from its start any number of times, and gives the same each time.

    Attributes
    ----------
    sources
        What is read, and the format of each.
    total_bytes
        How much there is to read; ``None`` where a source does not say.
    read_bytes
        How much of it has been read, of compressed files in their own bytes.
    passed_over
        Why examples were passed over, or passages left out, and how many.
    """

    def __init__(
        self,
        sources: Sequence[RankingSource],
        *,
        held_out: set[str],
        languages: Collection[str] | None,
        max_negatives: int | None,
        limit: int | None,
    ) -> None:
        self.sources = list(sources)
        sizes = [source.bytes for source in sources]
        self.total_bytes = sum(sizes) if all(size >= 0 for size in sizes) else None
        self.read_bytes = 0
        self.passed_over: Counter[str] = Counter()
        self._held_out = held_out
        self._languages = languages
        self._max_negatives = max_negatives
        self._limit = limit

    @property
    def recognised(self) -> str:
        """What each source was found to be, a line each."""
        return "\n".join(f"{source.name}: {source.title}" for source in self.sources)

    def __iter__(self) -> Iterator[RankingExample]:
        """Stream the examples.

        Raises
        ------
        InputError
            If a source is damaged or has no example, or a record is malformed; the message names file and line
            (Parquet and hub: row, from 1).
        """
        self.passed_over.clear()
        done = self.read_bytes = count = 0
        for source in self.sources:
            found = False
            for position, outcome in source.read():
                self.read_bytes = done + position
                if isinstance(outcome, str):
                    self.passed_over[outcome] += 1
                    continue
                found = True
                example = self._filtered(outcome)
                if example is None:
                    continue
                yield example
                count += 1
                if count == self._limit:
                    return
            if not found:
                reasons = ", ".join(f"{why} ({number})" for why, number in self.passed_over.items())
                raise InputError(f"{source.name}: no example in it can be used{': ' * bool(reasons)}{reasons}")
            done += max(0, source.bytes)
            self.read_bytes = done

    def _filtered(self, example: RankingExample) -> RankingExample | None:
        """The example without held-out text, and with no more negatives than asked for."""
        kept = list(range(len(example.passages)))
        first = len(example.positives)
        if self._languages is not None and example.language not in self._languages:
            self.passed_over["query in another language"] += 1
            return None
        if self._held_out:
            if self._is_held_out(example.query) or any(map(self._is_held_out, example.positives)):
                self.passed_over["query or positive in held-out text"] += 1
                return None
            clean = [place for place in kept if not self._is_held_out(example.passages[place])]
            self.passed_over["negative in held-out text"] += len(kept) - len(clean)
            self.passed_over += Counter()  # no reasons that were none
            kept = clean
        if self._max_negatives is not None:
            kept = kept[: first + self._max_negatives]
        return example if len(kept) == len(example.passages) else example.with_passages(kept)

    def _is_held_out(self, text: str) -> bool:
        # Evaluation files keep titles apart, which here are the first line.
        parts = {text, text.partition("\n")[2]}
        return any(normalised(part) in self._held_out for part in parts)


def read_ranking(
    sources: Source | Sequence[Source],
    format: Format | Literal["auto"] = "auto",
    *,
    language: str | None = None,
    languages: Sequence[str] | None = None,
    task: str | None = None,
    collection: Source | Sequence[Source] | None = None,
    queries: Source | None = None,
    qrels: Source | None = None,
    run: Source | None = None,
    split: str = "train",
    max_negatives: int | None = None,
    per_system: int | None = None,
    article_negatives: int = 0,
    held_out: Iterable[Source] = (),
    limit: int | None = None,
    cache: Path | None = None,
    say: Say | None = None,
) -> RankingReader:
    """Open training data for retrieval, and say what it is.

    Every source is looked at before this returns. Files may be compressed (``.gz``, ``.bz2``, ``.xz``).

    ============ ================================================================================================
    format       what it is
    ============ ================================================================================================
    columns      JSONL, Parquet, TSV with a header, or the hub: ``query``, ``anchor`` or ``question``; ``positive``,
                 ``pos`` or ``answer``; ``negative``, ``negative_1`` …, ``neg``; or a list of ``passages`` with
                 ``labels`` or ``scores``; what `mlret mine` and `mlret score` write
    mrtydi       ``query``, ``positive_passages``, ``negative_passages``: Mr.TyDi and MIRACL on the hub
    dpr          ``question``, ``positive_ctxs``, ``hard_negative_ctxs``: one JSON array, read element by element
    squad        questions with their paragraphs: SQuAD, XQuAD, MLQA, TyDi GoldP
    triples      TSV: query, positive, negative
    id-triples   TSV: query id, positive id, negative id
    id-records   ``qid``, ``pos``, ``neg`` by system; ``query_id``, ``positive_id``, ``negative_id``; ``query_id``,
                 ``document_ids``, ``scores``
    id-lists     JSON lists ``[qid, [pid, score], …]`` or ``[qid, pid, pid, …]``, the positive first
    judged       a folder of queries, judgements and a corpus: Mr.TyDi, MIRACL, BEIR, MS MARCO, and the like;
                 negatives are what is judged 0, and what a run ranks
    ============ ================================================================================================

    Parameters
    ----------
    sources
        Files, folders, data sets of the hub (``hub:NAME:CONFIG@SPLIT``), one or several. A folder that has triples
        stands for them.
    format
        Of all sources; by default each is recognised from its content.
    language
        Of queries and passages that do not say theirs, and whose file's name does not. Of a folder that keeps
        languages in files of their own, the one to read.
    languages
        Keep only examples whose query is in one of these.
    task
        The name of the task of examples that do not say theirs.
    collection, queries
        Where ids are found; by default beside the file, or in the folder above it. They are put into an SQLite file
        first, which takes about as much disk as they do.
    qrels, run
        The judgements of ``judged``, and a run in TREC's format whose documents that are not judged positive become
        negatives, the best first.
    split
        Which files of a folder.
    max_negatives
        Of an example, the first so many; by default all.
    per_system
        Of each system of ``id-records``, the first so many.
    article_negatives
        For ``squad``: so many other paragraphs of the article become negatives.
    held_out
        Evaluation files (:func:`mlret.data.held_out.read_held_out`): examples whose query or positive is among their
        texts are dropped, and such negatives.
    limit
        Examples to read in all.
    cache
        A folder in which the SQLite files are kept for the next time; by default they are temporary.
    say
        Takes a line now and then while they are written.

    Raises
    ------
    InputError
        If a source is missing, empty, of no format that is known, or bad from its start; if ids are given and their
        texts are not found; if a language code is unknown or a number below what it must be.
    MissingExtraError
        If a package for Parquet or the hub is not installed.
    """
    if format != "auto" and format not in FORMATS:
        raise InputError(f"no format {format!r}; there are {', '.join(FORMATS)}, and auto")
    for name, value, least in (("limit", limit, 1), ("max_negatives", max_negatives, 0), ("per_system", per_system, 1)):
        if value is not None and value < least:
            raise InputError(f"{name} is {value}; give {least} or more, or none for all")
    if article_negatives < 0:
        raise InputError(f"article_negatives is {article_negatives}; give 0 or more")
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    if not given:
        raise InputError("no training data; name a file or a folder")
    opening = Opening(
        format=format,
        language=None if language is None else normalise_language(language),
        task=task,
        collection=None
        if collection is None
        else [collection]
        if isinstance(collection, str | Path)
        else [*collection],
        queries=queries,
        qrels=qrels,
        run=run,
        split=split,
        per_system=per_system,
        article_negatives=article_negatives,
        stores=TextStores(cache, say or (lambda line: None)),
    )
    return RankingReader(
        [opening.source(source) for source in given],
        held_out=read_held_out(map(Path, held_out)),
        languages=None if languages is None else set(map(normalise_language, languages)),
        max_negatives=max_negatives,
        limit=limit,
    )
