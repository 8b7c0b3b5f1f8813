#!/usr/bin/env bash
# FAISS: "PCA64,Flat" with inner product changes the ranking although no dimension is dropped.
#
# Version:  faiss-cpu 1.15.1.
# Expected: a PCA to all 64 of 64 dimensions is a change of basis, which leaves inner products alone, as "RR64" (a
#           random rotation) does. The index factory takes METRIC_INNER_PRODUCT with PCA without a warning. (Also
#           reported by others as issue 2636 of facebookresearch/faiss.)
# Seen:     PCAMatrix subtracts the mean from queries and passages. That moves L2 distances not at all, but inner
#           products by a term of each passage, so the ranking is another: of the exact top 10 about 0.4 is left on
#           vectors whose mean cosine is 0.76, while RR64 keeps all of it.
# Hurts:    compressed indexes of anisotropic encoders; those of the multilingual E5 family lie as close together.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6

"$folder/v/bin/python" - <<'PYTHON'
import faiss
import numpy as np

faiss.omp_set_num_threads(1)
generator = np.random.default_rng(0)
passages = generator.standard_normal((5000, 64)) * np.linspace(1.5, 0.5, 64) + 2 * generator.standard_normal(64)
passages = (passages / np.linalg.norm(passages, axis=1, keepdims=True)).astype("float32")
queries = passages[:100] + 0.04 * generator.standard_normal((100, 64)).astype("float32")


def hits(recipe, metric):
    index = faiss.index_factory(64, recipe, metric)
    index.train(passages)
    index.add(passages)
    return index.search(queries, 10)[1]


def kept(recipe, metric):
    pairs = zip(hits(recipe, metric), hits("Flat", metric))
    return float(np.mean([len(set(found) & set(exact)) / 10 for found, exact in pairs]))


print("mean cosine of the passages:", round(float((passages[:500] @ passages[:500].T).mean()), 2))
recall = {recipe: kept(recipe, faiss.METRIC_INNER_PRODUCT) for recipe in ("RR64,Flat", "PCA64,Flat")}
recall["PCA64,Flat by L2"] = kept("PCA64,Flat", faiss.METRIC_L2)
for recipe, share in recall.items():
    print(f"{recipe}: {share:.3f} of the exact top 10")
assert min(recall["RR64,Flat"], recall["PCA64,Flat by L2"]) > 0.99, "a control has changed"
if recall["PCA64,Flat"] > 0.6:
    raise SystemExit("CHANGED: PCA keeps the ranking by inner product")
PYTHON
