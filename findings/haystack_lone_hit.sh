#!/usr/bin/env bash
# Haystack: distribution-based rank fusion leaves a lone hit its raw score, beside scores that were squeezed into
# 0..1.
#
# Version:  haystack-ai 3.4.1.
# Expected: DocumentJoiner(join_mode="distribution_based_rank_fusion") "merges and assigns scores based on scores
#           distribution in each retriever" (its documentation), so that a BM25 score of 12 and a cosine of 0.8 become
#           comparable.
# Seen:     a list of one document, or of equal scores, is not rescaled. A weak lone BM25 hit of 1.3 comes out as 1.3
#           and goes above every hit of the other retriever, whose best is 0.74 by then; with a second BM25 hit it is
#           0.67. A lone cosine, on the other hand, stays a cosine. The ranking depends on the unit of the score
#           again.
# Hurts:    hybrid search on rare words, for which the lexical retriever often has just one hit.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check haystack-ai==3.4.1

HAYSTACK_TELEMETRY_ENABLED=False "$folder/v/bin/python" -W ignore - <<'PYTHON'
from haystack import Document
from haystack.components.joiners import DocumentJoiner


def fuse(*lists):
    documents = [[Document(id=name, content=name, score=score) for name, score in hits.items()] for hits in lists]
    joined = DocumentJoiner(join_mode="distribution_based_rank_fusion").run(documents)["documents"]
    return {document.id: round(document.score, 2) for document in joined}


dense = {"near": 0.82, "second": 0.70, "third": 0.69}
alone, accompanied = fuse(dense, {"word": 1.3}), fuse(dense, {"word": 1.3, "other": 0.4})
print("BM25 with one hit: ", alone)
print("BM25 with two hits:", accompanied)
assert accompanied["near"] > accompanied["word"] and max(accompanied.values()) < 1, "the control has changed"
if alone["word"] != 1.3 or next(iter(alone)) != "word":
    raise SystemExit("CHANGED: the lone hit no longer keeps its raw score")
PYTHON
