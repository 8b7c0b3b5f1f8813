"""The lexical channel: BM25 over character n-grams, in the database of the records.

SQLite's FTS5 keeps the posting lists, so that they commit and roll back with the records; the scores are summed here.
FTS5's own ``bm25()`` is not used: it visits every record that any n-gram of the query matches, several microseconds
each, and needs lists with positions, of two and a half times the size. FTS5's ``contentless_delete`` (SQLite 3.43)
is not used either: a table that has it cannot be opened by an older SQLite. Records are removed by naming their text,
which every version can.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError, MlretError
from mlret.index.checksums import mixed, mixed_row, mixed_rows
from mlret.index.ngrams import ngrams

# BM25 as in Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), section 3.5, with their usual
# parameters; the inverse document frequency is the one that cannot become negative.
K1 = 1.2
B = 0.75
# How often an n-gram occurs is told apart up to three times, by a token of its own for each: a posting list without
# positions is then enough. BM25 saturates, and the fourth time hardly counts.
_LEVELS = ("", "²", "³")
# What one search may read, in postings: about 0.3 microseconds each.
POSTINGS = 200_000
# Cutting a text into n-grams takes as long as reading so many postings.
_TEXT_COST = 600
# Lengths are looked up for so many records at first, the best by what they can reach.
_FIRST_LENGTHS = 1024
_VARIABLES = 500  # in one statement; SQLite's own limit was 999 for long
# Sums of the same terms in another order differ in their last bits; rounded to so many digits, a tie stays a tie.
_DIGITS = 9

_SCHEMA = (
    """
    CREATE VIRTUAL TABLE lexical
    USING fts5(tokens, content = '', detail = none, columnsize = 0, tokenize = 'ascii')
    """,
    # FTS5 would count a list by reading it; the rarest n-grams of a query must be known beforehand.
    "CREATE TABLE lexical_ngrams (ngram TEXT PRIMARY KEY, records INTEGER NOT NULL) WITHOUT ROWID",
    # `checksum` is that of the text's n-grams, `crc` that of its row and length, which scores depend on.
    """
    CREATE TABLE lexical_texts (
        row INTEGER PRIMARY KEY, length INTEGER NOT NULL, checksum INTEGER NOT NULL, crc INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE TABLE lexical_totals (records INTEGER NOT NULL, length INTEGER NOT NULL, crc INTEGER NOT NULL DEFAULT 0)",
    "INSERT INTO lexical_totals (records, length) VALUES (0, 0)",
)
VOCABULARY = "CREATE VIRTUAL TABLE IF NOT EXISTS temp.lexical_vocabulary USING fts5vocab('main', 'lexical', 'row')"
# Rows that get their checksums at once.
_BATCH = 65_536


class DamagedLexicalError(MlretError):
    """The lexical index is not what was written: ``why``."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the lexical index is damaged ({why}); `mlret index verify --repair` makes it again from the records"
        )


class LexicalTable:
    """Texts by row number, searched by BM25 over their character n-grams.

    Nothing here begins or ends a transaction: what :meth:`add` and :meth:`remove` do becomes durable with the
    caller's commit and vanishes with its rollback.

    Parameters
    ----------
    connection
        An open database.
    texts
        Gives the texts of rows, by row, without those that are removed. With it a search in few rows of a large index
        reads the rows instead of the posting lists.
    """

    def __init__(
        self, connection: sqlite3.Connection, texts: Callable[[Sequence[int]], Mapping[int, str]] | None = None
    ) -> None:
        self._connection = connection
        self._texts = texts

    def create(self) -> None:
        """Make the empty tables.

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
        """Give tables that an earlier version made the columns that are checked when texts are searched."""
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
        """Index texts.

        Parameters
        ----------
        rows
            ``n`` row numbers that are not indexed.
        texts
            The text of each.

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
        """Take texts out of the index.

        Parameters
        ----------
        rows
            ``n`` row numbers that are indexed, each once.
        texts
            The text of each, as it was added: FTS5 finds the postings by it.

        Raises
        ------
        DamagedLexicalError
            If a row is not indexed, or with another text, before anything is removed.
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
        """Empty the index, to be filled again."""
        self._connection.execute("INSERT INTO lexical (lexical) VALUES ('delete-all')")
        for table in ("lexical_ngrams", "lexical_texts"):
            self._connection.execute(f"DELETE FROM {table}")
        self._set_totals(0, 0)

    def purge(self) -> None:
        """Merge all posting lists, so that no posting of a removed text is left in them: seconds at a million texts.

        FTS5 marks removed postings first and drops them when it merges. The pages that become free are overwritten
        only under ``PRAGMA secure_delete``.
        """
        self._connection.execute("INSERT INTO lexical (lexical) VALUES ('optimize')")

    def search(
        self, query: str, k: int, *, last_row: int | None = None, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The texts that match a query best.

        The n-grams of the query are read from the rarest on, until ``POSTINGS`` are read and ``k`` texts are found;
        in a large index the most frequent n-grams of a long query are so left out. Fewer than ``k`` texts come back
        only if no more share an n-gram with the query.

        Parameters
        ----------
        query
            Any text; nothing in it is an operator.
        k
            How many.
        last_row
            Rows beyond it are not seen.
        allowed
            ``(m,)`` int64, rising: the only rows to look at.

        Returns
        -------
        scores : numpy.ndarray
            ``(n,)`` float64, falling, above 0; ``n`` is at most ``k``.
        rows : numpy.ndarray
            ``(n,)`` int64; equal scores by rising row.

        Raises
        ------
        InputError
            If ``k`` is below 1.
        DamagedLexicalError
            If counts, lengths or posting lists that it reads do not belong together.
        """
        if k < 1:
            raise InputError(f"k is {k}; ask for one text or more")
        records, length = self._totals()
        if allowed is not None and last_row is not None:
            allowed = allowed[: np.searchsorted(allowed, last_row, side="right")]
        if not records or not length or (allowed is not None and not len(allowed)):
            return np.empty(0), np.empty(0, dtype=np.int64)
        ngrams_by_rarity = self._by_rarity(query, records)
        weights = {
            ngram: math.log1p((records - frequency + 0.5) / (frequency + 0.5)) for ngram, frequency in ngrams_by_rarity
        }
        postings = sum(frequency for _, frequency in ngrams_by_rarity)
        if allowed is not None and self._texts is not None and _TEXT_COST * len(allowed) < postings:
            return _best_texts(self._texts(allowed.tolist()), weights, k, length / records)
        found: list[tuple[NDArray[np.int64], int, float]] = []
        spent = 0
        for ngram, frequency in ngrams_by_rarity:
            if spent + frequency > POSTINGS and _distinct(found) >= k:
                break
            spent += frequency
            for level, mark in enumerate(_LEVELS):
                rows = self.postings(ngram + mark, last_row, allowed)
                if not level and last_row is None and allowed is None and len(rows) != frequency:
                    raise DamagedLexicalError(f"the n-gram {ngram!r} is not in as many texts as were counted")
                if not len(rows):
                    break
                found.append((rows, level, weights[ngram]))
        if not found:
            return np.empty(0), np.empty(0, dtype=np.int64)
        return self._best(*_summed(found), k, length / records)

    def check(self, *, postings: bool = True) -> None:
        """Compare the posting lists, the frequencies and the totals with each other; reads all of them.

        Parameters
        ----------
        postings
            Let FTS5 check its posting lists, which takes a statement that writes.

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
        plain = f"SELECT term, doc FROM temp.lexical_vocabulary WHERE substr(term, -1) NOT IN ({_marks(_LEVELS[1:])})"
        stored = "SELECT ngram, records FROM lexical_ngrams"
        for one, other in ((plain, stored), (stored, plain)):
            odd = run(f"{one} EXCEPT {other} LIMIT 1", _LEVELS[1:]).fetchone()
            if odd is not None:
                raise DamagedLexicalError(f"the n-gram {odd[0]!r} is not in as many texts as were counted")

    def _totals(self) -> tuple[int, int]:
        """How many texts there are, and how many n-grams in all of them.

        Raises
        ------
        DamagedLexicalError
            If they are not what was written.
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

    def _by_rarity(self, query: str, records: int) -> list[tuple[str, int]]:
        """The n-grams of a query that are in the index, with the number of texts of each, the rarest first."""
        wanted = sorted(set(ngrams(query)))
        found: list[tuple[str, int]] = []
        for start in range(0, len(wanted), _VARIABLES):
            part = wanted[start : start + _VARIABLES]
            statement = f"SELECT ngram, records FROM lexical_ngrams WHERE ngram IN ({_marks(part)})"
            found += self._connection.execute(statement, part)
        if any(type(frequency) is not int or not 0 < frequency <= records for _, frequency in found):
            raise DamagedLexicalError("an n-gram is counted in more texts than there are, or in none")
        return sorted(found, key=lambda pair: (pair[1], pair[0]))

    def postings(
        self, token: str, last_row: int | None = None, allowed: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """The rows of the texts that have a token, ascending, of those that are looked at (:meth:`search`)."""
        match = f'"{token}"'  # a token has no quotation mark in it
        first, last = 0, np.iinfo(np.int64).max if last_row is None else last_row
        if allowed is not None:
            first, last = int(allowed[0]), min(int(allowed[-1]), int(last))
        # One string of numbers is read several times faster than as many rows.
        query = "SELECT group_concat(rowid) FROM lexical WHERE lexical MATCH ? AND rowid BETWEEN ? AND ?"
        rows = _numbers(self._connection.execute(query, (match, first, int(last))))
        if allowed is None or not len(rows):
            return rows
        places = np.searchsorted(allowed, rows)
        inside: NDArray[np.int64] = rows[allowed[np.minimum(places, len(allowed) - 1)] == rows]
        return inside

    def _best(
        self, rows: NDArray[np.int64], weights: NDArray[np.float64], k: int, mean_length: float
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The ``k`` best rows; the lengths of those that cannot be among them are not looked up."""
        reach = weights @ _saturated(np.zeros(1))[0]
        order = np.argsort(-reach, kind="stable")
        scores, kept = np.empty(0), np.empty(0, dtype=np.int64)
        start, count = 0, max(_FIRST_LENGTHS, 2 * k)
        while start < len(order):
            if len(scores) == k and scores[-1] > round(reach[order[start]], _DIGITS):
                break
            part = order[start : start + count]
            lengths = self._lengths(rows[part])
            present = lengths >= 0
            some = _scored(weights[part], lengths / mean_length)
            scores, kept = np.r_[scores, some[present]], np.r_[kept, rows[part][present]]
            best = np.lexsort((kept, -scores))[:k]
            scores, kept = scores[best], kept[best]
            start, count = start + count, 2 * count
        return scores, kept

    def _lengths(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The length of each text in n-grams; -1 for a row that is not indexed any more."""
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
    """What FTS5 stores of a text: each n-gram, and once more for the second and the third time that it occurs."""
    return [*counts] + [
        ngram + mark for ngram, count in counts.items() if count > 1 for mark in _LEVELS[1 : min(count, len(_LEVELS))]
    ]


def _numbers(cursor: sqlite3.Cursor) -> NDArray[np.int64]:
    (joined,) = cursor.fetchone()
    numbers: NDArray[np.int64] = np.fromstring(joined or "", dtype=np.int64, sep=",")
    return numbers


def _distinct(found: Iterable[tuple[NDArray[np.int64], int, float]]) -> int:
    lists = [rows for rows, level, _ in found if level == 0]
    return len(np.unique(np.concatenate(lists))) if lists else 0


def _summed(
    found: Sequence[tuple[NDArray[np.int64], int, float]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows, and for each the summed weights of its n-grams that occur once, twice, and more often: ``(n, 3)``."""
    rows, places = np.unique(np.concatenate([rows for rows, _, _ in found]), return_inverse=True)
    weights = np.repeat([weight for _, _, weight in found], [len(rows) for rows, _, _ in found])
    levels = np.repeat([level for _, level, _ in found], [len(rows) for rows, _, _ in found])
    at_least = [
        np.bincount(places[levels == level], weights[levels == level], minlength=len(rows))
        for level in range(len(_LEVELS))
    ]
    once, twice, often = at_least
    return rows, np.stack([once - twice, twice - often, often], axis=1)


def _best_texts(
    texts: Mapping[int, str], weights: Mapping[str, float], k: int, mean_length: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The same scores from the texts themselves."""
    rows = np.array(sorted(texts), dtype=np.int64)
    sums, lengths = np.zeros((len(rows), len(_LEVELS))), np.zeros(len(rows))
    for place, row in enumerate(rows.tolist()):
        counts = Counter(ngrams(texts[row]))
        lengths[place] = counts.total()
        for ngram, weight in weights.items():
            if ngram in counts:
                sums[place, min(counts[ngram], len(_LEVELS)) - 1] += weight
    scores = _scored(sums, lengths / mean_length)
    best = np.lexsort((rows, -scores))[:k]
    best = best[scores[best] > 0]
    return scores[best], rows[best]


def _scored(weights: NDArray[np.float64], relative_lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = np.einsum("ij,ij->i", weights, _saturated(relative_lengths)).round(_DIGITS)
    return scores


def _saturated(relative_lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """BM25's factor for an n-gram that occurs once, twice and three times, in texts of these lengths: ``(n, 3)``."""
    times = np.arange(1, len(_LEVELS) + 1, dtype=np.float64)
    return times * (K1 + 1) / (times + K1 * (1 - B + B * relative_lengths[:, None]))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
