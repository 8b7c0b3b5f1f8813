#!/usr/bin/env bash
# ir-measures: nDCG with exponential gain and ERR lose query ids that are not plain numbers; some lose them silently.
#
# Version:  ir-measures 0.4.3. (These measures come from gdeval, a Perl script; Perl is needed, as for all their
#           users.)
# Expected: query ids are strings (Qrel.query_id: str), as for every other measure of the library; a query that ranks
#           its two documents the same way scores the same, whatever its id is.
# Seen:     "12" scores 0.7967. "en-12" and "ar-12", as one writes the same topic in several languages, are both cut
#           to "12" and judged as one: the real ids get 0.0, a query "12" that nobody asked for appears, and the mean
#           is 0.2532 instead of 0.7967, without a word. "q1" and the hexadecimal ids of SQuAD's kind end in
#           CalledProcessError, a Perl format error.
# Hurts:    multilingual test collections, whose query ids begin with a language, and all with ids that are not
#           numbers.
set -euo pipefail
command -v perl >/dev/null || { echo "Perl is not installed; nothing can be seen"; exit 2; }
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check ir-measures==0.4.3

"$folder/v/bin/python" - 2>/dev/null <<'PYTHON'
import subprocess
import sys

import ir_measures
from ir_measures import Qrel, ScoredDoc, nDCG

measure = nDCG(dcg="exp-log2") @ 10
sys.stderr = sys.stdout  # What Perl prints of the id q1 is thrown away; what is said here is not.


def score(*queries):
    qrels = [Qrel(q, document, grade, "0") for q in queries for document, grade in (("d1", 2), ("d2", 1))]
    run = [ScoredDoc(q, document, value) for q in queries for document, value in (("d2", 2.0), ("d1", 1.0))]
    try:
        by_query = {m.query_id: round(m.value, 4) for m in ir_measures.iter_calc([measure], qrels, run)}
        return by_query, round(ir_measures.calc_aggregate([measure], qrels, run)[measure], 4)
    except subprocess.CalledProcessError as error:
        return type(error).__name__, None


plain, prefixed, lettered = score("12", "13"), score("en-12", "ar-12"), score("q1")
print("ids 12, 13:       ", *plain)
print("ids en-12, ar-12: ", *prefixed)
print("id q1:            ", *lettered)
assert plain == ({"12": 0.7967, "13": 0.7967}, 0.7967), "the control has changed"
if prefixed[0] == {"en-12": 0.7967, "ar-12": 0.7967} and lettered[0] == {"q1": 0.7967}:
    raise SystemExit("CHANGED: ids that are not numbers are kept")
if prefixed[0].get("en-12") != 0.0 or prefixed[0].get("ar-12") != 0.0 or "12" not in prefixed[0]:
    raise SystemExit("CHANGED: ids with a prefix no longer score 0 beside a stray id")
if lettered[0] != "CalledProcessError":
    raise SystemExit("CHANGED: the id q1 no longer ends in CalledProcessError")
PYTHON
