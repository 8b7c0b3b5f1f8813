#!/usr/bin/env bash
# langcodes gives Latin as the likely script of Arabic varieties that it has no data for.
#
# Version:  langcodes 3.5.1.
# Expected: "acm" (Mesopotamian Arabic), "acq", "ajp" (other Arabic varieties), "azb" (South Azerbaijani) and "pbt"
#           (Southern Pashto) are written in the Arabic script, and FLORES-200 and Belebele label them so: acm_Arab,
#           azb_Arab, pbt_Arab. Where the likely-subtags data has no entry for a language, UTS #35 ("Likely Subtags",
#           step 3) says "if there is no match, signal an error and stop"; a reader expects that, or the tag
#           unchanged.
# Seen:     Language.maximize() falls back to the entry of "und", English, and answers acm-Latn-US. So "acm" and
#           "acm_Arab" are 54 apart instead of 0, and closest_match("acm", ["en", "ar"]) finds nothing, while "arz"
#           (Egyptian Arabic, which has an entry) behaves.
# Hurts:    whoever fills in scripts, picks a tokenizer, a sentence splitter or a font by script, or joins data sets
#           whose codes have a script with ones whose codes have none: one language becomes two, and a filter finds
#           half of it.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check langcodes==3.5.1

"$folder/v/bin/python" - <<'PYTHON'
import langcodes

for code in ("arz", "acm", "acq", "ajp", "azb", "pbt"):
    full = langcodes.Language.get(code).maximize().to_tag()
    apart = langcodes.tag_distance(code, f"{code}-Arab")
    print(f"{code}: likely {full}; distance of {code} and {code}-Arab: {apart}")
    if code == "arz":
        assert full == "arz-Arab-EG" and apart == 0, "the control has changed"
        continue
    if full != f"{code}-Latn-US" or apart != 54:
        raise SystemExit(f"CHANGED: {code} was given the likely script Latn, and is now {full}")

found = [langcodes.closest_match(code, ["en", "ar"])[0] for code in ("acm", "acm-Arab")]
print("closest of en and ar to acm:", found[0], "- and to acm-Arab:", found[1])
if found != ["und", "ar"]:
    raise SystemExit("CHANGED: acm used to match nothing, and acm-Arab to match ar")
PYTHON
