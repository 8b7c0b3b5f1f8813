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
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError, MlretError
from mlret.index.lexical.bm25 import MOST_TIMES, Floats
from mlret.index.lexical.lexical_damage import DamagedLexicalError
from mlret.index.lexical.ngrams import ngrams
from mlret.index.lexical.plan import plan_search
from mlret.index.lexical.text_search import TextSearch
from mlret.index.sqlite.checksums import mixed, mixed_row, mixed_rows
from mlret.index.sqlite.sql import integers_of, marks, parts

# Up to MOST_TIMES occurrences of an n-gram are distinguished, each by a token of its own, so that posting lists need no
# positions.
_LEVELS = ("", "²", "³")

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
    """

    def __init__(
        self, connection: sqlite3.Connection, texts: Callable[[Sequence[int]], Mapping[int, str]] | None = None
    ) -> None:
        self._connection = connection
        self._texts = texts
        self.readable = texts is not None

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
        return self.totals()[0]

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
        records, length = self.totals()
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
        records, length = self.totals()
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
        self, query: str, k: int, *, allowed: NDArray[np.int64] | None = None
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
        # What is read is kept for this search only.
        searched = TextSearch(lambda: (self,), lambda: 0)
        wanted = sorted(set(ngrams(query)))
        readable = len(allowed) if allowed is not None and self.readable else None
        plan = plan_search(wanted, searched.statistics(wanted), readable, least=k)
        found = searched.matches(plan, k, allowed=None if allowed is None else (allowed,))
        return found.scores[:k], found.numbers[:k]

    def texts(self, rows: Sequence[int]) -> Mapping[int, str]:
        """Return the texts of rows, without deleted rows; only if the table is ``readable``."""
        assert self._texts is not None
        return self._texts(rows)

    def frequencies(self, wanted: Sequence[str]) -> dict[str, int]:
        """Return the number of texts that have each n-gram, without those that no text has.

        Parameters
        ----------
        wanted
            Distinct n-grams.
        """
        found: dict[str, int] = {}
        for part in parts(wanted):
            statement = f"SELECT ngram, records FROM lexical_ngrams WHERE ngram IN ({marks(part)})"
            found.update(self._connection.execute(statement, part))
        return found

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
        if counted != self.totals():
            raise DamagedLexicalError(f"it holds {counted[0]} texts and counts {len(self)}")
        run(VOCABULARY)
        plain = f"SELECT term, doc FROM temp.lexical_vocabulary WHERE substr(term, -1) NOT IN ({marks(_LEVELS[1:])})"
        stored = "SELECT ngram, records FROM lexical_ngrams"
        for one, other in ((plain, stored), (stored, plain)):
            odd = run(f"{one} EXCEPT {other} LIMIT 1", _LEVELS[1:]).fetchone()
            if odd is not None:
                raise DamagedLexicalError(f"the n-gram {odd[0]!r} is not in as many texts as were counted")

    def totals(self) -> tuple[int, int]:
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
        self, wanted: Sequence[str], times: Sequence[int] = (1,), within: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of the texts that have each n-gram, in ascending order.

        One statement reads all lists, which takes half as long as a statement for each.

        Parameters
        ----------
        wanted
            ``n`` n-grams.
        times
            How often a text must have the n-gram at least, ``m`` numbers.
        within
            The first and the last row to return.

        Returns
        -------
        counts : numpy.ndarray
            ``(m, n)`` int64: the number of rows of each n-gram.
        rows : numpy.ndarray
            ``(counts.sum(),)`` int64: the rows of one n-gram after another, first those of ``times[0]``.
        """
        # n-grams contain no quotation marks.
        tokens = [f'"{ngram}{_LEVELS[level - 1]}"' for level in times for ngram in wanted]
        listed = "SELECT group_concat(rowid) FROM lexical WHERE lexical MATCH some.value"
        parameters: list[object] = [json.dumps(tokens, ensure_ascii=False)]
        if within is not None:
            listed += " AND rowid BETWEEN ?2 AND ?3"
            parameters += within
        found = self._connection.execute(f"SELECT some.key, ({listed}) FROM json_each(?1) AS some", parameters)
        joined = [""] * len(tokens)
        for place, rows in found:
            joined[place] = rows or ""
        counts = np.array([one.count(",") + 1 if one else 0 for one in joined], dtype=np.int64)
        together = integers_of(",".join(one for one in joined if one))
        if len(together) != counts.sum():
            raise DamagedLexicalError("its posting lists are not what was written")
        return counts.reshape(len(times), len(wanted)), together

    def lengths(self, rows: NDArray[np.int64]) -> Floats:
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
