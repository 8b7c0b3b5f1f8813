"""Receipts: the answers to requests with an idempotency key, committed together with what the requests stored.

A client that lost the connection, or whose server was killed, cannot know whether its texts were stored. It sends the
same request with the same key again. A receipt is in the database of the folder and written in the transaction that
stores the texts, so that one exists exactly if the other does, whatever happened in between.

A request that arrives in several parts leaves one receipt for each part. A repeated request is compared with them part
by part, is answered from them, and resumes where they end.

A receipt holds ids, and a hash of the texts. Whoever erases a record removes its receipts in the same transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from mlret.index.storage.records import Records

# An answer is kept this long, in seconds, as other services keep theirs.
KEPT = 24 * 3600
TABLE = "served_requests"
_SCHEMA = (
    f"""
    CREATE TABLE IF NOT EXISTS {TABLE} (
        key TEXT NOT NULL, part INTEGER NOT NULL, lines INTEGER NOT NULL, digest BLOB NOT NULL, last INTEGER NOT NULL,
        answer BLOB NOT NULL, written REAL NOT NULL, PRIMARY KEY (key, part)
    ) WITHOUT ROWID
    """,
    f"CREATE INDEX IF NOT EXISTS {TABLE}_written ON {TABLE} (written)",
)
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was answered to one part of a request.

    Attributes
    ----------
    part
        The number of the part, from 0.
    lines
        Number of documents of the part.
    digest
        Hash of the request from its beginning to the end of this part.
    last
        Whether the request ends with this part.
    answer
        The answer to this part, as it was sent.
    """

    part: int
    lines: int
    digest: bytes
    last: bool
    answer: bytes


def receipts_of(records: Records, key: str) -> list[Receipt]:
    """Return the receipts of a request, in the order of its parts; those that have expired do not count."""
    if not records.read(_EXISTS, (TABLE,)):
        return []
    query = f"SELECT part, lines, digest, last, answer FROM {TABLE} WHERE key = ? AND written > ? ORDER BY part"
    rows = records.read(query, (key, time.time() - KEPT))
    return [
        Receipt(part, lines, digest, bool(last), zlib.decompress(answer)) for part, lines, digest, last, answer in rows
    ]


def write_receipt(connection: sqlite3.Connection, key: str, receipt: Receipt) -> None:
    """Write a receipt, and remove expired ones, within the transaction of a connection."""
    now = time.time()
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute(f"DELETE FROM {TABLE} WHERE written <= ?", (now - KEPT,))
    connection.execute(
        f"INSERT INTO {TABLE} VALUES (?, ?, ?, ?, ?, ?, ?)",
        (key, receipt.part, receipt.lines, receipt.digest, receipt.last, zlib.compress(receipt.answer), now),
    )


def remove_receipts(connection: sqlite3.Connection, ids: Iterable[str]) -> bool:
    """Remove all receipts of requests whose answer names one of some ids, within the transaction of a connection.

    Parameters
    ----------
    connection
        A connection within a transaction.
    ids
        The ids. Another tenant's receipt that names an equal id is removed as well: its request is then answered as a
        new one.

    Returns
    -------
    bool
        Whether any was removed.
    """
    if connection.execute(_EXISTS, (TABLE,)).fetchone() is None:
        return False
    # As JSON has them, in ASCII or not; within another id they do no harm.
    forms = {json.dumps(id, ensure_ascii=ascii)[1:-1].encode() for id in ids for ascii in (True, False)}
    keys = {
        key
        for key, answer in connection.execute(f"SELECT key, answer FROM {TABLE}")
        if any(form in text for text in (zlib.decompress(answer),) for form in forms)
    }
    connection.executemany(f"DELETE FROM {TABLE} WHERE key = ?", [(key,) for key in keys])
    return bool(keys)
