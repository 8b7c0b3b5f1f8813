#!/usr/bin/env bash
# LlamaIndex: maximal marginal relevance forgets all results but the last one.
#
# Version:  llama-index-core 0.14.25.
# Expected: get_top_k_mmr_embeddings discounts the candidates "by their similarity to previous results" (its
#           documentation), as the method is defined (Carbonell and Goldstein 1998): by the highest similarity to any
#           document that was chosen.
# Seen:     it discounts by the similarity to the document that was chosen last. A near-duplicate of the first result
#           (cosine 0.999) is therefore chosen third, right after one document between them, before a document that
#           is new.
# Hurts:    the mode mmr of SimpleVectorStore and of stores that call this function: duplicates come back after every
#           other result.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check llama-index-core==0.14.25 numpy

"$folder/v/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings


def unit(*values):
    return (np.array(values) / np.linalg.norm(values)).tolist()


query = unit(1, 0.3, 0.2)
documents = {"a": unit(1, 0, 0.05), "copy of a": unit(1, 0.02, 0.03), "b": unit(0.4, 1, 0), "new": unit(0.3, 0.2, 1)}
vectors, names = list(documents.values()), list(documents)


def defined(threshold):
    chosen, rest = [], list(range(len(vectors)))
    similar = np.array(vectors) @ np.array(vectors).T
    while rest:
        def value(place):
            nearest = max((similar[place, one] for one in chosen), default=0.0)
            return threshold * np.dot(query, vectors[place]) - (1 - threshold) * nearest
        best = max(rest, key=value)
        chosen.append(best)
        rest.remove(best)
    return [names[place] for place in chosen]


_, places = get_top_k_mmr_embeddings(query, vectors, mmr_threshold=0.5)
found = [names[place] for place in places]
print("as defined:   ", defined(0.5))
print("LlamaIndex:   ", found)
assert defined(0.5) == ["copy of a", "b", "new", "a"], "the control has changed"
if found != ["copy of a", "b", "a", "new"]:
    raise SystemExit("CHANGED: more than the last result is discounted")
PYTHON
