#!/usr/bin/env bash
# LangGraph's SQLite store embeds whole items, whatever fields its index is configured with.
#
# Version:  langgraph-checkpoint-sqlite 3.1.2 (with langgraph 1.2.24 and sqlite-vec 0.1.9).
# Expected: SqliteStore(..., index={"dims": ..., "embed": ..., "fields": ["text"]}) embeds the field "text" of an item,
#           as the documentation of IndexConfig says and the example in the class's own documentation shows, and as
#           LangGraph's store in memory does.
# Seen:     "fields" is ignored, without an error: the whole item is embedded as one JSON text. Only the key
#           "text_fields", which is documented nowhere, or index=["text"] in every put() has the expected effect. The
#           same is reported as issue 8808 of langchain-ai/langgraph, which was open on 3 September 2026.
# Hurts:    agents' memories: vectors are those of ids, times and other metadata, too, so that similarities are about
#           the wrong text, and fields that were meant to stay here are sent to the service that embeds.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
# pysqlite3 is an SQLite that loads extensions, which that of some builds of Python does not.
"$folder/v/bin/pip" install --quiet --disable-pip-version-check langgraph-checkpoint-sqlite==3.1.2 langgraph==1.2.24 \
  sqlite-vec==0.1.9 pysqlite3-binary==0.5.4.post2

"$folder/v/bin/python" -W ignore - <<'PYTHON'
import sys

import pysqlite3

sys.modules["sqlite3"] = pysqlite3
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

ITEM = {"text": "I am allergic to peanuts.", "account": "4711"}


def embedded(make, put=None, **fields):
    """Return the texts that a store embeds of an item."""
    seen = []

    def embed(texts):
        seen.extend(texts)
        return [[1.0, 0.0]] * len(texts)

    index = {"dims": 2, "embed": embed, **fields}
    with make(index) as store:
        if hasattr(store, "setup"):
            store.setup()
        store.put(("memories",), "nuts", ITEM, index=put)
    return seen


class InMemory(InMemoryStore):
    def __init__(self, index):
        super().__init__(index=index)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def in_sqlite(index):
    return SqliteStore.from_conn_string(":memory:", index=index)


whole, here, there, undocumented, each = (
    embedded(in_sqlite),
    embedded(in_sqlite, fields=["text"]),
    embedded(InMemory, fields=["text"]),
    embedded(in_sqlite, text_fields=["text"]),
    embedded(in_sqlite, put=["text"]),
)
print("SqliteStore, no fields:             ", whole)
print("SqliteStore, fields=['text']:       ", here)
print("InMemoryStore, fields=['text']:     ", there)
print("SqliteStore, text_fields=['text']:  ", undocumented)
print("SqliteStore, put(index=['text']):   ", each)
assert there == undocumented == each == [ITEM["text"]], "the control has changed"
if here == [ITEM["text"]] or here != whole:
    raise SystemExit("CHANGED: the fields of the index are used")
PYTHON
