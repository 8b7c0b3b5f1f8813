"""Checks that the lexical index holds the texts of the records and nothing else."""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mlret.index.lexical.fts import VOCABULARY, LexicalTable, tokens_of
from mlret.index.lexical.lexical_damage import DamagedLexicalError
from mlret.index.lexical.ngrams import ngrams
from mlret.index.sqlite.checksums import mixed_rows


def compare_with_texts(
    table: LexicalTable,
    connection: sqlite3.Connection,
    batches: Iterable[tuple[Sequence[int], Sequence[str]]],
    last_row: int,
) -> None:
    """Compare posting lists and lengths with the texts themselves; all of them are read.

    Parameters
    ----------
    table, connection
        The lexical index, and its database.
    batches
        Row numbers in ascending order and the text of each: everything that should be indexed.
    last_row
        The highest row number.

    Raises
    ------
    DamagedLexicalError
        If a text is indexed that should not be, or one is missing.
    """
    # The checksum of a text's n-grams is the sum of the checksums of each, so posting lists can be read one by one.
    sums = np.zeros(last_row + 1, dtype=np.int64)
    connection.execute(VOCABULARY)
    for (term,) in connection.execute("SELECT term FROM temp.lexical_vocabulary").fetchall():
        _, rows = table.postings([term])
        if len(rows) and not 0 <= rows.min() <= rows.max() <= last_row:
            raise DamagedLexicalError(f"the n-gram {term!r} is in texts that there are not")
        np.add.at(sums, rows, zlib.crc32(term.encode()))
    texts = 0
    for rows_of_batch, texts_of_batch in batches:
        stored = connection.execute(
            "SELECT row, length, checksum, crc FROM lexical_texts WHERE row BETWEEN ? AND ? ORDER BY row",
            (rows_of_batch[0], rows_of_batch[-1]),
        ).fetchall()
        counts = [Counter(ngrams(text)) for text in texts_of_batch]
        tokens = [tokens_of(count) for count in counts]
        lengths = [count.total() for count in counts]
        checksums = [zlib.crc32(" ".join(some).encode()) for some in tokens]
        crcs = mixed_rows(list(rows_of_batch), lengths)
        if stored != list(zip(rows_of_batch, lengths, checksums, crcs, strict=True)):
            raise DamagedLexicalError(f"the rows {rows_of_batch[0]} to {rows_of_batch[-1]} have other texts")
        texts += len(texts_of_batch)
        wanted = [sum(zlib.crc32(token.encode()) for token in some) for some in tokens]
        if sums[list(rows_of_batch)].tolist() != wanted:
            raise DamagedLexicalError(f"posting lists of the rows {rows_of_batch[0]} to {rows_of_batch[-1]} differ")
    if texts != len(table):
        raise DamagedLexicalError(f"it counts {len(table)} texts, and there are {texts}")
