#!/usr/bin/env bash
# ranx: after min-max normalisation a system's only hit is worth nothing in the fusion.
#
# Version:  ranx 0.3.21.
# Expected: fuse() normalises by "min-max" by default, which maps the scores of each run and query to 0..1, the best
#           to 1. Where a run has one hit (an exact name or product code that one passage holds), the documentation's
#           formula (score - min) / (max - min) is 0 / 0; a reader expects 1, for it is the best hit, or 0.5, but more
#           than for a document that this system did not find at all.
# Seen:     the only hit gets 0.0, exactly what documents get that the system did not return, so the system has no
#           vote. The passage that the lexical system alone found ends last, level with the worst hit of the dense
#           one.
# Hurts:    hybrid search, just on the queries for which lexical search is kept beside dense search: rare words.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check ranx==0.3.21

"$folder/v/bin/python" -W ignore - <<'PYTHON'
from ranx import Run, fuse

dense = Run({"q": {"near": 0.81, "far": 0.80, "farther": 0.79}})
one_hit = Run({"q": {"exact": 27.3}})
two_hits = Run({"q": {"exact": 27.3, "far": 0.4}})
alone = dict(fuse([dense, one_hit], norm="min-max", method="sum").run["q"])
accompanied = dict(fuse([dense, two_hits], norm="min-max", method="sum").run["q"])
print("lexical run with one hit: ", alone)
print("and with a second, weak: ", accompanied)
assert accompanied["exact"] == 1.0, "the control has changed"
if alone["exact"] != 0.0 or alone["near"] != 1.0:
    raise SystemExit(f"CHANGED: the only hit used to be worth 0.0, and is now worth {alone['exact']}")
PYTHON
