"""Receipts: the answers to requests with an idempotency key, committed together with what the requests stored.

A client that lost the connection, or whose server was killed, cannot know whether its documents were stored. It sends
the same request with the same key again. A receipt is in the database of the index and written in the transaction that
stores the documents, so that one exists exactly if the other does, whatever happened in between.

A request that arrives in several parts leaves one receipt for each part. A repeated request is compared with them part
by part, is answered from them, and resumes where they end.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
import zlib
from dataclasses import dataclass

from mlret.index.storage.records import Records
from mlret.serve.problems import Problem

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


class Digest:
    """Hash of the parts of a request that have been read.

    Parameters
    ----------
    parameters
        What else determines the effect of the request, such as what is done with documents that are stored already.
    """

    def __init__(self, parameters: str) -> None:
        self._hash = hashlib.sha256(parameters.encode() + b"\0")

    def add(self, line: bytes) -> None:
        """Add a line of the body."""
        self._hash.update(b"%d:" % len(line))
        self._hash.update(line)

    @property
    def value(self) -> bytes:
        """The hash of everything until here."""
        return self._hash.digest()


def receipt_key(principal: str, key: str) -> str:
    """Return the key under which a client's receipts are stored: keys of different clients never meet.

    Parameters
    ----------
    principal
        The id of the client's token.
    key
        The idempotency key that the client sent.
    """
    return hashlib.sha256(f"{principal}\0{key}".encode()).hexdigest()


def receipts_of(records: Records, key: str) -> list[Receipt]:
    """Return the receipts of a request, in the order of its parts; those that have expired do not count."""
    if not records.read("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (TABLE,)):
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


def other_body() -> Problem:
    """Return the problem of a key that was used with another request before."""
    return Problem(
        "invalid",
        "this Idempotency-Key was used for another request",
        field="Idempotency-Key",
        place="header",
        fix="Use a new key for each request, and the same key only to repeat the very same request.",
    )


def in_use() -> Problem:
    """Return the problem of a key whose first request is not answered yet."""
    return Problem(
        "conflict",
        "a request with this Idempotency-Key is still being worked on",
        field="Idempotency-Key",
        place="header",
        fix="Wait for its answer, or send this request again in a few seconds.",
        retry_after=2,
    )
