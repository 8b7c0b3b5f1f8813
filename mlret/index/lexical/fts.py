"""The lexical channel: BM25 over character n-grams, kept in the database of the records.

SQLite's FTS5 stores the posting lists, so that they commit and roll back with the records; the scores are computed
here. FTS5's own ``bm25()`` is not used: it visits every record that any n-gram of the query matches, at several
microseconds each, and needs posting lists with positions, which are two and a half times as large. FTS5's
``contentless_delete`` (SQLite 3.43) is not used either, because an older SQLite cannot open a table that has it.
Records are removed by passing their text, which every version supports.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.errors import Corrupt, InputError, MlretError
from mlret.index.lexical.bm25 import DIGITS, MOST_TIMES, Floats, length_norms, saturation
from mlret.index.lexical.kept_postings import KeptPostings
from mlret.index.lexical.ngrams import ngrams
from mlret.index.lexical.plan import LexicalPlan, LexicalStatistics, plan_search
from mlret.index.sqlite.checksums import mixed, mixed_row, mixed_rows
from mlret.index.sqlite.sql import integers_of, marks, parts

# Up to MOST_TIMES occurrences of an n-gram are distinguished, each by a token of its own, so that posting lists need no
# positions.
_LEVELS = ("", "²", "³")
_TIMES = np.arange(1, MOST_TIMES + 1, dtype=np.float64)
# Lengths are first looked up for this many records, those with the highest upper bounds of their scores.
_FIRST_LENGTHS = 256

_SCHEMA = (
    """
    CREATE VIRTUAL TABLE lexical
    USING fts5(tokens, content = '', detail = none, columnsize = 0, tokenize = 'ascii')
    """,
    # FTS5 would have to read a list to count it, but the rarest n-grams of a query must be known beforehand.
    "CREATE TABLE lexical_ngrams (ngram TEXT PRIMARY KEY, records INTEGER NOT NULL) WITHOUT ROWID",
    # `checksum` is that of the text's n-grams; `crc` is that of the row and length, on which scores depend.
    """
    CREATE TABLE lexical_texts (
        row INTEGER PRIMARY KEY, length INTEGER NOT NULL, checksum INTEGER NOT NULL, crc INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE TABLE lexical_totals (records INTEGER NOT NULL, length INTEGER NOT NULL, crc INTEGER NOT NULL DEFAULT 0)",
    "INSERT INTO lexical_totals (records, length) VALUES (0, 0)",
)
VOCABULARY = "CREATE VIRTUAL TABLE IF NOT EXISTS temp.lexical_vocabulary USING fts5vocab('main', 'lexical', 'row')"
# Number of rows that get their checksums in one step.
_BATCH = 65_536


class DamagedLexicalError(Corrupt):
    """The lexical index is not what was written; ``why`` is the reason."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the lexical index is damaged ({why}); `mlret index verify --repair` makes it again from the records"
        )


class Matches(NamedTuple):
    """The texts that match a query.

    Attributes
    ----------
    scores
        ``(n,)`` float64 in descending order, above 0.
    rows
        ``(n,)`` int64; equal scores are ordered by ascending row.
    texts
        The number of texts that share an n-gram that was read with the query.
    """

    scores: NDArray[np.float64]
    rows: NDArray[np.int64]
    texts: int


NO_MATCHES = Matches(np.empty(0), np.empty(0, dtype=np.int64), 0)


class LexicalTable:
    """Texts by row number, which are searched by BM25 over their character n-grams.

    No method begins or ends a transaction: what :meth:`add` and :meth:`remove` write becomes durable with the caller's
    commit and is undone by its rollback.

    Parameters
    ----------
    connection
        An open database.
    texts
        A function that returns the texts of rows by row number, without deleted rows. With it, a search in few rows of
        a large index reads the texts instead of the posting lists.
    changes
        A function that returns a number that differs after each change of the database. With it, posting lists that
        were read are kept in memory for the next searches.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        texts: Callable[[Sequence[int]], Mapping[int, str]] | None = None,
        changes: Callable[[], int] | None = None,
    ) -> None:
        self._connection = connection
        self._texts = texts
        self._kept = None if changes is None else KeptPostings(changes)

    def create(self) -> None:
        """Create the empty tables.

        Raises
        ------
        MlretError
            If this SQLite was built without FTS5.
        """
        try:
            for statement in _SCHEMA:
                self._connection.execute(statement)
            self._set_totals(0, 0)
        except sqlite3.OperationalError as error:
            if "fts5" not in str(error):
                raise
            raise MlretError(
                f"the SQLite {sqlite3.sqlite_version} of this Python was built without FTS5, which lexical search "
                "needs; use a Python whose sqlite3 module has it"
            ) from error

    def add_checksums(self) -> None:
        """Add the checksum columns, which searches check, to tables that an earlier version made."""
        for table in ("lexical_texts", "lexical_totals"):
            self._connection.execute(f"ALTER TABLE {table} ADD COLUMN crc INTEGER NOT NULL DEFAULT 0")
        last = 0
        query = "SELECT row, length FROM lexical_texts WHERE row > ? ORDER BY row LIMIT ?"
        while found := self._connection.execute(query, (last, _BATCH)).fetchall():
            rows, lengths = np.array(found, dtype=np.int64).T
            self._connection.executemany(
                "UPDATE lexical_texts SET crc = ? WHERE row = ?",
                zip(mixed(rows, lengths).tolist(), rows.tolist(), strict=True),
            )
            last = int(rows[-1])
        self._set_totals(*self._connection.execute("SELECT records, length FROM lexical_totals").fetchone())

    def __len__(self) -> int:
        return self._totals()[0]

    def add(self, rows: Sequence[int], texts: Sequence[str]) -> None:
        """Add texts to the index.

        Parameters
        ----------
        rows
            ``n`` row numbers that are not indexed.
        texts
            The text of each row.

        Raises
        ------
        sqlite3.IntegrityError
            If a row is indexed already; the caller rolls back.
        """
        postings, lengths, frequencies = [], [], Counter[str]()
        for row, text in zip(rows, texts, strict=True):
            counts = Counter(ngrams(text))
            tokens = " ".join(tokens_of(counts))
            frequencies.update(counts.keys())
            postings.append((int(row), tokens))
            lengths.append((int(row), counts.total(), zlib.crc32(tokens.encode())))
        checksums = mixed_rows([row for row, *_ in lengths], [length for _, length, _ in lengths])
        self._connection.executemany(
            "INSERT INTO lexical_texts VALUES (?, ?, ?, ?)",
            [(*one, crc) for one, crc in zip(lengths, checksums, strict=True)],
        )
        self._connection.executemany("INSERT INTO lexical (rowid, tokens) VALUES (?, ?)", postings)
        self._connection.executemany(
            "INSERT INTO lexical_ngrams VALUES (?, ?) ON CONFLICT DO UPDATE SET records = records + excluded.records",
            sorted(frequencies.items()),
        )
        records, length = self._totals()
        self._set_totals(records + len(lengths), length + sum(length for _, length, _ in lengths))

    def remove(self, rows: Sequence[int], texts: Sequence[str]) -> None:
        """Remove texts from the index.

        Parameters
        ----------
        rows
            ``n`` row numbers that are indexed, without duplicates.
        texts
            The text of each row as it was added, because FTS5 finds the postings by the text.

        Raises
        ------
        DamagedLexicalError
            If a row is not indexed, or with another text. It is raised before any posting is removed.
        """
        postings, lengths, frequencies = [], [], Counter[str]()
        for row, text in zip(rows, texts, strict=True):
            counts = Counter(ngrams(text))
            tokens = " ".join(tokens_of(counts))
            query = "SELECT length, checksum FROM lexical_texts WHERE row = ?"
            if self._connection.execute(query, (int(row),)).fetchone() != (
                counts.total(),
                zlib.crc32(tokens.encode()),
            ):
                raise DamagedLexicalError(f"it does not hold the text of row {row}")
            frequencies.update(counts.keys())
            postings.append((int(row), tokens))
            lengths.append(counts.total())
        self._connection.executemany(
            "INSERT INTO lexical (lexical, rowid, tokens) VALUES ('delete', ?, ?)", sorted(postings)
        )
        self._connection.executemany("DELETE FROM lexical_texts WHERE row = ?", [(row,) for row, _ in postings])
        self._connection.executemany(
            "UPDATE lexical_ngrams SET records = records - ? WHERE ngram = ?",
            [(count, ngram) for ngram, count in sorted(frequencies.items())],
        )
        self._connection.executemany(
            "DELETE FROM lexical_ngrams WHERE ngram = ? AND records <= 0", [(ngram,) for ngram in sorted(frequencies)]
        )
        records, length = self._totals()
        self._set_totals(records - len(lengths), length - sum(lengths))

    def clear(self) -> None:
        """Remove all texts from the index."""
        self._connection.execute("INSERT INTO lexical (lexical) VALUES ('delete-all')")
        for table in ("lexical_ngrams", "lexical_texts"):
            self._connection.execute(f"DELETE FROM {table}")
        self._set_totals(0, 0)

    def purge(self) -> None:
        """Merge all posting lists, so that none of them holds a removed text. This takes seconds for a million texts.

        FTS5 only marks removed postings at first, and removes them when it merges. Freed pages are overwritten only
        under ``PRAGMA secure_delete``.
        """
        self._connection.execute("INSERT INTO lexical (lexical) VALUES ('optimize')")

    def search(
        self, query: str, k: int, *, last_row: int | None = None, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the texts that match a query best.

        The n-grams of the query are read in order of rarity until ``POSTINGS`` postings are read and ``k`` texts are
        found, so in a large index the most frequent n-grams of a long query are skipped. Fewer than ``k`` texts are
        returned only if no more texts share an n-gram with the query.

        Parameters
        ----------
        query
            Any text; it has no operators.
        k
            The number of texts to return.
        last_row
            Rows after it are ignored.
        allowed
            ``(m,)`` int64 in ascending order: the only rows to search.

        Returns
        -------
        scores : numpy.ndarray
            ``(n,)`` float64 in descending order, above 0; ``n`` is at most ``k``.
        rows : numpy.ndarray
            ``(n,)`` int64; equal scores are ordered by ascending row.

        Raises
        ------
        InputError
            If ``k`` is below 1.
        DamagedLexicalError
            If the counts, lengths or posting lists that are read do not belong together.
        """
        if k < 1:
            raise InputError(f"k is {k}; ask for one text or more")
        if allowed is not None and last_row is not None:
            allowed = allowed[: np.searchsorted(allowed, last_row, side="right")]
        wanted = sorted(set(ngrams(query)))
        statistics = self.statistics(wanted)
        readable = None if allowed is None or self._texts is None else len(allowed)
        plan = plan_search(wanted, statistics, readable, least=k)
        found = self.matches(plan, k, last_row=last_row, allowed=allowed, frequencies=statistics.frequencies)
        return found.scores[:k], found.rows[:k]

    def statistics(self, wanted: Sequence[str]) -> LexicalStatistics:
        """Return the number and length of all texts, and how many of them have each n-gram.

        Parameters
        ----------
        wanted
            Distinct n-grams.

        Raises
        ------
        DamagedLexicalError
            If the counts do not belong together.
        """
        records, length = self._totals()
        if not records or not length:
            return LexicalStatistics(records, length)
        found: dict[str, int] = {}
        for part in parts(wanted):
            statement = f"SELECT ngram, records FROM lexical_ngrams WHERE ngram IN ({marks(part)})"
            found.update(self._connection.execute(statement, part))
        if any(type(frequency) is not int or not 0 < frequency <= records for frequency in found.values()):
            raise DamagedLexicalError("an n-gram is counted in more texts than there are, or in none")
        return LexicalStatistics(records, length, found)

    def matches(
        self,
        plan: LexicalPlan,
        k: int,
        *,
        last_row: int | None = None,
        allowed: NDArray[np.int64] | None = None,
        frequencies: Mapping[str, int] | None = None,
    ) -> Matches:
        """Return the texts that match a query best, as a plan says.

        Parameters
        ----------
        plan
            The plan, which may have been made from the statistics of more texts than these.
        k
            The number of texts to return. All that are tied with the last of them are returned too.
        last_row, allowed
            As for :meth:`search`.
        frequencies
            The number of these texts that have each n-gram, to check the posting lists and to skip those that are
            empty; ``None`` if it is unknown.

        Returns
        -------
        Matches
            The best texts.

        Raises
        ------
        DamagedLexicalError
            If the counts, lengths or posting lists that are read do not belong together.
        """
        if not plan.ngrams or (allowed is not None and not len(allowed)):
            return NO_MATCHES
        if plan.from_texts and allowed is not None and self._texts is not None:
            weights = dict(zip(plan.ngrams, plan.weights, strict=True))
            return _best_texts(self._texts(allowed.tolist()), weights, k, plan.mean_length)
        found: list[tuple[NDArray[np.int64], int, float]] = []
        for place, (ngram, weight) in enumerate(zip(plan.ngrams, plan.weights, strict=True)):
            if place >= plan.reading and _distinct(found) >= plan.least:
                break
            frequency = None if frequencies is None else frequencies.get(ngram, 0)
            if frequency == 0:
                continue
            for level, mark in enumerate(_LEVELS):
                rows = self.postings(ngram + mark, last_row, allowed)
                if not level and last_row is None and allowed is None and frequency not in (None, len(rows)):
                    raise DamagedLexicalError(f"the n-gram {ngram!r} is not in as many texts as were counted")
                if not len(rows):
                    break
                found.append((rows, level, weight))
        return self._best(*_summed(found), k, plan.mean_length) if found else NO_MATCHES

    def check(self, *, postings: bool = True) -> None:
        """Compare the posting lists, the frequencies and the totals with each other; all of them are read.

        Parameters
        ----------
        postings
            Let FTS5 check its posting lists too, which needs a writable database.

        Raises
        ------
        DamagedLexicalError
            If they disagree.
        sqlite3.DatabaseError
            If a posting list is damaged.
        """
        run = self._connection.execute
        if postings:
            run("INSERT INTO lexical (lexical) VALUES ('integrity-check')")
        counted = run("SELECT count(*), coalesce(sum(length), 0) FROM lexical_texts").fetchone()
        if counted != self._totals():
            raise DamagedLexicalError(f"it holds {counted[0]} texts and counts {len(self)}")
        run(VOCABULARY)
        plain = f"SELECT term, doc FROM temp.lexical_vocabulary WHERE substr(term, -1) NOT IN ({marks(_LEVELS[1:])})"
        stored = "SELECT ngram, records FROM lexical_ngrams"
        for one, other in ((plain, stored), (stored, plain)):
            odd = run(f"{one} EXCEPT {other} LIMIT 1", _LEVELS[1:]).fetchone()
            if odd is not None:
                raise DamagedLexicalError(f"the n-gram {odd[0]!r} is not in as many texts as were counted")

    def _totals(self) -> tuple[int, int]:
        """Return the number of texts and the number of n-grams in all of them.

        Raises
        ------
        DamagedLexicalError
            If the totals do not match their checksum.
        """
        found = self._connection.execute("SELECT records, length, crc FROM lexical_totals").fetchall()
        if len(found) != 1 or any(type(value) is not int for value in found[0]):
            raise DamagedLexicalError("its totals are not what was written")
        records, length, crc = found[0]
        if crc != _crc_of_totals(records, length):
            raise DamagedLexicalError("its totals are not what was written")
        return records, length

    def _set_totals(self, records: int, length: int) -> None:
        self._connection.execute(
            "UPDATE lexical_totals SET records = ?, length = ?, crc = ?",
            (records, length, _crc_of_totals(records, length)),
        )

    def postings(
        self, token: str, last_row: int | None = None, allowed: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return the rows of the texts that have a token, in ascending order.

        Parameters
        ----------
        token
            An n-gram, with the mark of its second or third occurrence if any.
        last_row, allowed
            The rows to search, as for :meth:`search`.
        """
        kept = None if self._kept is None or last_row is not None else self._kept.get(token)
        if kept is not None:
            rows = kept
        else:
            match = f'"{token}"'  # Tokens contain no quotation marks.
            first, last = 0, np.iinfo(np.int64).max if last_row is None else last_row
            if allowed is not None:
                first, last = int(allowed[0]), min(int(allowed[-1]), int(last))
            query = "SELECT group_concat(rowid) FROM lexical WHERE lexical MATCH ? AND rowid BETWEEN ? AND ?"
            rows = integers_of(self._connection.execute(query, (match, first, int(last))).fetchone()[0])
            if self._kept is not None and last_row is None and allowed is None:
                self._kept.keep(token, rows)
        if allowed is None or not len(rows):
            return rows
        places = np.searchsorted(allowed, rows)
        inside: NDArray[np.int64] = rows[allowed[np.minimum(places, len(allowed) - 1)] == rows]
        return inside

    def _best(self, rows: NDArray[np.int64], weights: NDArray[np.float64], k: int, mean_length: float) -> Matches:
        """Return the ``k`` best texts and all that are tied with the last.

        Lengths are not looked up for rows that cannot be among them.
        """
        reach = weights @ _saturated(np.zeros(1))[0]
        order = np.argsort(-reach, kind="stable")
        scores, kept = np.empty(0), np.empty(0, dtype=np.int64)
        start, count = 0, max(_FIRST_LENGTHS, 2 * k)
        while start < len(order):
            if len(scores) >= k and scores[k - 1] > round(reach[order[start]], DIGITS):
                break
            part = order[start : start + count]
            lengths = self._lengths(rows[part])
            present = lengths >= 0
            some = _scored(weights[part], lengths / mean_length)
            scores, kept = np.r_[scores, some[present]], np.r_[kept, rows[part][present]]
            best = _first_with_ties(scores, kept, k)
            scores, kept = scores[best], kept[best]
            start, count = start + count, 2 * count
        return Matches(scores, kept, len(rows))

    def _lengths(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the length of each text in n-grams; -1 for a row that is no longer indexed."""
        query = "SELECT row, length, crc FROM json_each(?) AS some CROSS JOIN lexical_texts ON row = some.value"
        found = self._connection.execute(query, (json.dumps(rows.tolist()),)).fetchall()
        lengths = np.full(len(rows), -1.0)
        if found:
            try:
                known, length, crc = np.array(found, dtype=np.int64).T
            except (TypeError, ValueError, OverflowError) as error:
                raise DamagedLexicalError("the lengths of texts are not what was written") from error
            if not np.array_equal(mixed(known, length), crc):
                raise DamagedLexicalError("the lengths of texts are not what was written")
            order = np.argsort(rows, kind="stable")
            lengths[order[np.searchsorted(rows, known, sorter=order)]] = length
        return lengths


def _crc_of_totals(records: int, length: int) -> int:
    return mixed_row(records, length)


def tokens_of(counts: Counter[str]) -> list[str]:
    """Return the tokens that FTS5 stores for a text.

    They are each n-gram, and further tokens for its second and its third occurrence.
    """
    return [*counts] + [
        ngram + mark for ngram, count in counts.items() if count > 1 for mark in _LEVELS[1 : min(count, MOST_TIMES)]
    ]


def _distinct(found: Iterable[tuple[NDArray[np.int64], int, float]]) -> int:
    lists = [rows for rows, level, _ in found if level == 0]
    return len(np.unique(np.concatenate(lists))) if lists else 0


def _summed(
    found: Sequence[tuple[NDArray[np.int64], int, float]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the distinct rows, and for each the summed weights of its n-grams by occurrence.

    The weights are ``(n, 3)``: those of n-grams that occur once, twice, and three times or more.
    """
    rows, places = np.unique(np.concatenate([rows for rows, _, _ in found]), return_inverse=True)
    weights = np.repeat([weight for _, _, weight in found], [len(rows) for rows, _, _ in found])
    levels = np.repeat([level for _, level, _ in found], [len(rows) for rows, _, _ in found])
    at_least = [
        np.bincount(places[levels == level], weights[levels == level], minlength=len(rows))
        for level in range(MOST_TIMES)
    ]
    once, twice, often = at_least
    return rows, np.stack([once - twice, twice - often, often], axis=1)


def _best_texts(texts: Mapping[int, str], weights: Mapping[str, float], k: int, mean_length: float) -> Matches:
    """Return the best texts, computed from the texts instead of the posting lists, with the same result."""
    rows = np.array(sorted(texts), dtype=np.int64)
    sums, lengths = np.zeros((len(rows), MOST_TIMES)), np.zeros(len(rows))
    for place, row in enumerate(rows.tolist()):
        counts = Counter(ngrams(texts[row]))
        lengths[place] = counts.total()
        for ngram, weight in weights.items():
            if ngram in counts:
                sums[place, min(counts[ngram], MOST_TIMES) - 1] += weight
    scores = _scored(sums, lengths / mean_length)
    best = _first_with_ties(scores, rows, k)
    best = best[scores[best] > 0]
    return Matches(scores[best], rows[best], int(np.count_nonzero(scores > 0)))


def _first_with_ties(scores: NDArray[np.float64], rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the positions of the ``k`` best scores and of all that equal the last of them, in descending order."""
    order = np.lexsort((rows, -scores))
    if len(order) <= k:
        return order
    return order[: int(np.count_nonzero(scores >= scores[order[k - 1]]))]


def _scored(weights: NDArray[np.float64], relative_lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    scores: Floats = np.einsum("ij,ij->i", weights, _saturated(relative_lengths)).round(DIGITS)
    return scores


def _saturated(relative_lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return BM25's factor for one, two and three occurrences of an n-gram in texts of these lengths: ``(n, 3)``."""
    return saturation(_TIMES, length_norms(relative_lengths)[:, None])
