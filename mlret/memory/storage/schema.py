"""The tables of a memory in the database of its index, and the columns that the checksums of their rows cover."""

from __future__ import annotations

from collections.abc import Mapping

from mlret.memory.times import FOREVER, UNTIMED

# Times are microseconds since 1970 in UTC. A version is identified by the row of its text in the index. An open end is
# stored as FOREVER, which takes eight bytes like any other end: a row that outgrew its page would leave a copy behind,
# which erasing would have to find. `hash` is equal for texts that differ only in form; `grams` are the n-grams of the
# text (mlret.memory.storage.lexical_scores). `text_crc` is the checksum of both, `crc` that of the columns that search
# reads of every row, `use_crc` that of the columns that are read when a record is found. Missing rows cannot fail a
# checksum, so rows are counted: links and journal entries for each record, versions and parts for each scope.
TABLES = """
CREATE TABLE memory_scopes (
    scope INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    agent TEXT NOT NULL,
    run TEXT NOT NULL,
    crc INTEGER NOT NULL,
    UNIQUE (tenant, user, agent, run)
);
-- Of a scope: the number of the last operation that touched a record of it, how many versions it holds, and how many
-- parts they have.
CREATE TABLE memory_totals (
    scope INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    versions INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE memory_journal (
    entry INTEGER PRIMARY KEY AUTOINCREMENT,
    operation INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    at INTEGER NOT NULL,
    verb TEXT NOT NULL,
    scope INTEGER NOT NULL,
    asked INTEGER NOT NULL,
    record INTEGER NOT NULL,
    changes TEXT,
    note TEXT NOT NULL,
    crc INTEGER NOT NULL
);
CREATE INDEX memory_journal_record ON memory_journal (record);
CREATE INDEX memory_journal_feedback ON memory_journal (entry) WHERE verb = 'feedback';
CREATE TABLE memory_versions (
    row INTEGER PRIMARY KEY,
    record INTEGER NOT NULL,
    id TEXT NOT NULL,
    entry INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    session TEXT,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    level TEXT NOT NULL,
    language TEXT,
    scripts TEXT NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER,
    event_from INTEGER,
    event_to INTEGER,
    expires_at INTEGER,
    length INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    text_crc INTEGER NOT NULL,
    hash BLOB NOT NULL,
    grams BLOB NOT NULL
);
CREATE INDEX memory_versions_scope ON memory_versions (scope);
-- Windows of a long text, by the row of the whole and of each.
CREATE TABLE memory_parts (
    whole INTEGER NOT NULL,
    row INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (whole, row)
) WITHOUT ROWID;
CREATE TABLE memory_records (
    record INTEGER PRIMARY KEY,
    row INTEGER NOT NULL,
    state TEXT NOT NULL,
    crc INTEGER NOT NULL,
    strength REAL NOT NULL,
    accesses INTEGER NOT NULL,
    accessed_at INTEGER,
    merged_into INTEGER,
    links INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    use_crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE memory_links (
    record INTEGER NOT NULL,
    type TEXT NOT NULL,
    target INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (record, type, target)
) WITHOUT ROWID;
CREATE INDEX memory_links_target ON memory_links (target);
-- Rows that are erased, but may be in a vector file or in the write-ahead log still.
CREATE TABLE memory_erasing (row INTEGER PRIMARY KEY, crc INTEGER NOT NULL);
-- What was fitted on the encoder in use: JSON by name.
CREATE TABLE memory_settings (name TEXT PRIMARY KEY, content TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
"""
# The version of these tables (mlret.index.storage.migration), and the script that creates them in a new database.
VERSION = 3
SCHEMA = f"{TABLES}INSERT INTO counters VALUES ('memory', {VERSION});"
# The columns that the checksum `crc` of a row covers, in order. The hash and the n-grams of a text have a checksum of
# their own, and the entry that created a version is verified by the row that it names.
COVERED: Mapping[str, tuple[str, ...]] = {
    "memory_scopes": ("scope", "tenant", "user", "agent", "run"),
    "memory_totals": ("scope", "last", "versions", "parts"),
    "memory_versions": (
        *("row", "record", "id", "scope", "session", "seq", "kind", "level", "language", "scripts"),
        *("valid_from", "valid_to", "event_from", "event_to", "expires_at", "length"),
    ),
    "memory_parts": ("whole", "row"),
    "memory_records": ("record", "row", "state"),
    "memory_links": ("record", "type", "target"),
    "memory_erasing": ("row",),
    "memory_settings": ("name", "content"),
}
# The columns that `use_crc` covers.
USE = ("record", "strength", "accesses", "accessed_at", "merged_into", "links", "entries")
# The number that stands for NULL in a column.
NULLS: Mapping[str, int] = {
    "valid_to": FOREVER,
    "event_from": UNTIMED,
    "event_to": UNTIMED,
    "expires_at": FOREVER,
    "accessed_at": UNTIMED,
    "merged_into": 0,
}
# All columns of a version, in the order of the table.
VERSION_COLUMNS = (
    *("row", "record", "id", "entry", "scope", "session", "seq", "kind", "level", "language", "scripts"),
    *("valid_from", "valid_to", "event_from", "event_to", "expires_at", "length", "crc", "text_crc", "hash", "grams"),
)
