"""Read training data for retrieval, of any supported format, as one stream of examples."""

from __future__ import annotations

import warnings
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
    """Stream the training examples of several sources, one after another; memory use does not grow with them.

    Created by :func:`read_ranking`. It can be iterated any number of times and yields the same examples each time.

    Parameters
    ----------
    sources
        The opened sources.
    held_out
        Normalised texts that no example may contain.
    languages
        Codes of the languages whose queries are kept; ``None`` for all.
    max_negatives
        Maximum number of negatives of an example; ``None`` for all.
    limit
        Maximum number of examples in total; ``None`` for no limit.

    Attributes
    ----------
    sources
        The sources and the format of each.
    total_bytes
        Total number of bytes to read; ``None`` if it is unknown for a source.
    read_bytes
        Number of bytes read so far; for compressed files, compressed bytes.
    skipped
        Reason -> number of examples that were skipped, or passages that were excluded, for that reason.

    Examples
    --------
    The example is that of :func:`read_ranking`.

    >>> [source.format for source in reader.sources]
    ['columns']
    >>> sum(len(example.negatives) for example in reader)
    1
    >>> reader.read_bytes == reader.total_bytes
    True
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
        self.skipped: Counter[str] = Counter()
        self._held_out = held_out
        self._languages = languages
        self._max_negatives = max_negatives
        self._limit = limit

    @property
    def recognised(self) -> str:
        """One line for each source, stating its recognised format.

        Examples
        --------
        >>> reader.recognised
        'train.jsonl: queries with positive and negative passages'
        """
        return "\n".join(f"{source.name}: {source.title}" for source in self.sources)

    @property
    def passed_over(self) -> Counter[str]:
        """Deprecated name of :attr:`skipped`."""
        warnings.warn("RankingReader.passed_over is now RankingReader.skipped", DeprecationWarning, stacklevel=2)
        return self.skipped

    def __iter__(self) -> Iterator[RankingExample]:
        """Stream the examples.

        Raises
        ------
        InputError
            If a source is damaged or has no example, or a record is malformed; the message names the file and line
            (Parquet and hub: the row, from 1).
        """
        self.skipped.clear()
        done = self.read_bytes = count = 0
        for source in self.sources:
            found = False
            for position, outcome in source.read():
                self.read_bytes = done + position
                if isinstance(outcome, str):
                    self.skipped[outcome] += 1
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
                reasons = ", ".join(f"{why} ({number})" for why, number in self.skipped.items())
                raise InputError(f"{source.name}: no example in it can be used{': ' * bool(reasons)}{reasons}")
            done += max(0, source.bytes)
            self.read_bytes = done

    def _filtered(self, example: RankingExample) -> RankingExample | None:
        """Return the example without held-out negatives and with at most ``max_negatives``; ``None`` to skip it."""
        kept = list(range(len(example.passages)))
        first = len(example.positives)
        if self._languages is not None and example.language not in self._languages:
            self.skipped["query in another language"] += 1
            return None
        if self._held_out:
            if self._is_held_out(example.query) or any(map(self._is_held_out, example.positives)):
                self.skipped["query or positive in held-out text"] += 1
                return None
            clean = [place for place in kept if not self._is_held_out(example.passages[place])]
            self.skipped["negative in held-out text"] += len(kept) - len(clean)
            self.skipped += Counter()  # removes reasons with a count of zero
            kept = clean
        if self._max_negatives is not None:
            kept = kept[: first + self._max_negatives]
        return example if len(kept) == len(example.passages) else example.with_passages(kept)

    def _is_held_out(self, text: str) -> bool:
        # Evaluation files store titles separately; here the title is the first line of the text.
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
    """Open training data for retrieval and recognise its format.

    Every source is checked before this returns. Files may be compressed (``.gz``, ``.bz2``, ``.xz``).

    ============ ================================================================================================
    format       content
    ============ ================================================================================================
    columns      JSONL, Parquet, TSV with a header, or the hub: ``query``, ``anchor`` or ``question``; ``positive``,
                 ``pos`` or ``answer``; ``negative``, ``negative_1`` …, ``neg``; or a list of ``passages`` with
                 ``labels`` or ``scores``; what ``mlret mine`` and ``mlret score`` write
    mrtydi       ``query``, ``positive_passages``, ``negative_passages``: Mr.TyDi and MIRACL on the hub
    dpr          ``question``, ``positive_ctxs``, ``hard_negative_ctxs``: one JSON array, read element by element
    squad        questions with their paragraphs: SQuAD, XQuAD, MLQA, TyDi GoldP
    triples      TSV: query, positive, negative
    id-triples   TSV: query id, positive id, negative id
    id-records   ``qid``, ``pos``, ``neg`` by system; ``query_id``, ``positive_id``, ``negative_id``; ``query_id``,
                 ``document_ids``, ``scores``
    id-lists     JSON lists ``[qid, [pid, score], …]`` or ``[qid, pid, pid, …]``, the positive first
    judged       a folder of queries, judgements and a corpus: Mr.TyDi, MIRACL, BEIR, MS MARCO, and the like;
                 negatives are the documents judged 0 and those that a run ranks
    ============ ================================================================================================

    Parameters
    ----------
    sources
        One or several files, folders or data sets of the hub (``hub:NAME:CONFIG@SPLIT``). For a folder that contains
        triples, the triples are read.
    format
        Format of all sources; by default the format of each is recognised from its content.
    language
        Language of queries and passages if neither they nor their file's name state one. If a folder has separate files
        for each language, the language to read.
    languages
        Keep only examples whose query is in one of these languages.
    task
        Task of examples that do not state one.
    collection
        Where passages are looked up by id; by default in files beside the source or in the folder above it. The texts
        are first copied to an SQLite file, which takes about as much disk space as they do.
    queries
        Where queries are looked up by id, in the same way.
    qrels
        The judgements of ``judged``.
    run
        A run in TREC's format; documents of the run that are not judged positive become negatives of ``judged``, best
        first.
    split
        The split of a folder's files to read.
    max_negatives
        Keep at most this many negatives of an example, the first ones; by default all.
    per_system
        Keep at most this many negatives of each system of ``id-records``, the first ones; by default all.
    article_negatives
        For ``squad``: the number of other paragraphs of the article that become negatives.
    held_out
        Evaluation files (:func:`mlret.data.held_out.read_held_out`). Examples whose query or a positive is among their
        texts are skipped, and negatives among their texts are removed.
    limit
        Maximum number of examples in total; by default no limit.
    cache
        A folder in which the SQLite files are kept for the next time; by default they are temporary.
    say
        Called with a line of progress from time to time while the SQLite files are written.

    Returns
    -------
    RankingReader
        An iterable of the examples.

    Raises
    ------
    InputError
        If a source is missing, empty, of an unknown format, or malformed at its start; if texts are given by ids that
        are not found; if a language code is unknown or a number too small.
    MissingExtraError
        If a package for Parquet or the hub is not installed.

    Examples
    --------
    >>> import json
    >>> from mlret.data.ranking import read_ranking
    >>> with open("train.jsonl", "w", encoding="utf-8") as file:
    ...     row = {"query": "Treni inaondoka lini?", "positive": "Inaondoka saa mbili.", "negative": "Mvua inanyesha."}
    ...     print(json.dumps(row), file=file)
    >>> reader = read_ranking("train.jsonl", language="sw")
    >>> [(example.language, example.positives) for example in reader]
    [('sw', ('Inaondoka saa mbili.',))]
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
