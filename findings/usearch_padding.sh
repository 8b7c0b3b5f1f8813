#!/usr/bin/env bash
# USearch: where fewer than k hits exist, a batch search fills the keys up with 0, which is the key of a document.
#
# Version:  usearch 2.26.6.
# Expected: a place without a hit has a key that no document can have, as -1 in FAISS; for one query the same search
#           returns just the hits that there are.
# Seen:     for one query the keys have three entries; for two queries the keys are a matrix of k columns, the rest
#           filled with 0 and distances of NaN. Where keys are row numbers 0 is the first document; here, where keys
#           are 10 to 12, it is no document at all. Only the separate counts tell.
# Hurts:    whoever reads matches.keys of a batch, as one does with FAISS: small collections, shards and tenants with
#           few records get document 0 as a hit, and recall@k counts it as found.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check usearch==2.26.6 numpy==2.4.6

"$folder/v/bin/python" - <<'PYTHON'
import numpy as np
from usearch.index import Index

vectors = np.eye(4, dtype="float32")[:3]
index = Index(ndim=4, metric="cos", dtype="f32")
index.add(np.array([10, 11, 12]), vectors)
one, many = index.search(vectors[0], 6), index.search(vectors[:2], 6)
print("keys in the index: 10, 11, 12")
print("one query:  keys", one.keys.tolist())
print("two queries: keys", many.keys.tolist(), "distances", many.distances.tolist(), "counts", many.counts.tolist())
assert len(one.keys) == 3 and many.counts.tolist() == [3, 3], "the control has changed"
if not (many.keys[:, 3:] == 0).all() or not np.isnan(many.distances[:, 3:]).all():
    raise SystemExit("CHANGED: places without a hit are no longer filled with key 0 and NaN")
PYTHON
