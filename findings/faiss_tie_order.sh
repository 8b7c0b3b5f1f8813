#!/usr/bin/env bash
# FAISS: with inner product the first two hits depend on how many hits one asks for, where scores tie.
#
# Version:  faiss-cpu 1.15.1.
# Expected: an exact search is a ranking, and the top 2 of k = 4 are the top 2 of k = 2. IndexFlatL2 behaves so: ties
#           come in the order in which vectors were added.
# Seen:     IndexFlatIP keeps the first k of the ties, as IndexFlatL2 does, and then lists these in descending order.
#           So a longer list begins with other documents: k = 2 gives 7, 1; k = 3 gives 7, 2, 1; k = 4 gives 7, 3, 2,
#           1.
# Hurts:    paging (a page repeats hits of the one before, and others are never shown), recall@2 computed from a run
#           of 100, and comparisons of an IP with an L2 index of unit vectors. Equal vectors are common in
#           multilingual collections: boilerplate, copies of one page, and texts of which a small vocabulary knows no
#           word.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6

"$folder/v/bin/python" - <<'PYTHON'
import faiss
import numpy as np

passages = np.zeros((10, 4), dtype="float32")
passages[:, 0] = 0.5
passages[7, 0] = 1.0
query = np.array([[1.0, 0.0, 0.0, 0.0]], dtype="float32")


def lists(index):
    index.add(passages)
    return [index.search(query, k)[1][0].tolist() for k in (1, 2, 3, 4)]


product, distance = lists(faiss.IndexFlatIP(4)), lists(faiss.IndexFlatL2(4))
print("inner product, k = 1 to 4:", product)
print("L2 distance,   k = 1 to 4:", distance)
assert distance == [[7], [7, 0], [7, 0, 1], [7, 0, 1, 2]], "the control has changed"
if product != [[7], [7, 1], [7, 2, 1], [7, 3, 2, 1]]:
    raise SystemExit("CHANGED: ties of the inner product come in another order")
PYTHON
