#!/usr/bin/env bash
# dateparser reads months of Thai, Punjabi, Marathi and Gujarati as other months, for it strips their vowel signs
# first.
#
# Version:  dateparser 1.5.0.
# Expected: the documentation promises dates "in more than 200 language locales", and all names used here are CLDR's
#           own, which dateparser's data holds: Thai มี.ค. is March, Punjabi ਜੂਨ June, Marathi मे and Gujarati મે May.
# Seen:     the default NORMALIZE=True takes combining marks off before the words are looked up, as one takes accents
#           off Latin letters. In these scripts the marks are vowels: มี.ค. becomes ม.ค., which is January; ਜੂਨ
#           becomes ਜਨ, January too; मे becomes म, short for months, and "15 मे 2019" a day 15 months before today.
#           With NORMALIZE=False all four are right. No warning; the wrong date looks as good as a right one.
# Hurts:    memories and time filters of retrieval: what is dated March is searched for in January.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check dateparser==1.5.0

"$folder/v/bin/python" -W ignore - <<'PYTHON'
from datetime import datetime

import dateparser

DATES = [
    ("th", "15 มี.ค. 2019", (2019, 3, 15), (2019, 1, 15)),
    ("pa", "15 ਜੂਨ 2019", (2019, 6, 15), (2019, 1, 15)),
    ("mr", "15 मे 2019", (2019, 5, 15), None),
    ("gu", "15 મે 2019", (2019, 5, 15), None),
]
fixed = []
for language, text, right, recorded in DATES:
    read = {}
    for normalise in (True, False):
        settings = {"NORMALIZE": normalise, "RELATIVE_BASE": datetime(2024, 3, 15)}
        found = dateparser.parse(text, languages=[language], settings=settings)
        read[normalise] = (found.year, found.month, found.day)
    print(f"{language}: {text} is {right}; by default {read[True]}, with NORMALIZE=False {read[False]}")
    assert read[False] == right, "the control has changed"
    if read[True] == right or (recorded and read[True] != recorded):
        fixed.append(language)
if fixed:
    raise SystemExit(f"CHANGED: read otherwise than recorded: {', '.join(fixed)}")
PYTHON
