#!/usr/bin/env bash
# ir-measures: RR@10 can be higher than RR, for the two break ties in opposite directions.
#
# Version:  ir-measures 0.4.3 (with pytrec-eval-terrier 0.5.11).
# Expected: RR@10 is RR with the ranks beyond 10 left out, so RR@10 <= RR for every run; the documentation of RR gives
#           "cutoff: ranking cutoff threshold" and no other difference.
# Seen:     RR is computed by trec_eval, which orders equal scores by descending document id; RR@10 by the provider
#           "msmarco", which orders them by ascending id. With two documents of equal score RR is 0.5 where RR@10 is
#           1.0, and the other way round. trec_eval also compares scores in single precision, so 1 + 1e-9 and 1 are a
#           tie to RR and none to RR@10.
# Hurts:    tables that show MRR@10 beside other trec_eval measures of one run: reranked lists, quantised scores,
#           static encoders and translated duplicates have many ties, and the two columns judge different orders.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check ir-measures==0.4.3 pytrec-eval-terrier==0.5.11

"$folder/v/bin/python" - <<'PYTHON'
import ir_measures
from ir_measures import RR, Qrel, ScoredDoc


def both(relevant, scores):
    run = [ScoredDoc("q", document, score) for document, score in scores.items()]
    found = ir_measures.calc_aggregate([RR, RR @ 10], [Qrel("q", relevant, 1, "0")], run)
    return found[RR], found[RR @ 10]


CASES = [
    ("no tie, a is best", both("a", {"a": 2.0, "z": 1.0}), (1.0, 1.0)),
    ("tie, a is relevant", both("a", {"a": 1.0, "z": 1.0}), (0.5, 1.0)),
    ("tie, z is relevant", both("z", {"a": 1.0, "z": 1.0}), (1.0, 0.5)),
    ("a is better by 1e-9", both("a", {"a": 1.0 + 1e-9, "z": 1.0}), (0.5, 1.0)),
]
for name, found, _ in CASES:
    print(f"{name}: RR = {found[0]}, RR@10 = {found[1]}")
if any(found != recorded for _, found, recorded in CASES):
    raise SystemExit("CHANGED: RR and RR@10 no longer break ties in opposite directions")
PYTHON
