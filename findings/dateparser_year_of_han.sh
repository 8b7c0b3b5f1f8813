#!/usr/bin/env bash
# dateparser reads the year in Chinese, Japanese and Korean, 2010年 and 2010년, as the year 14: 2010 years ago.
#
# Version:  dateparser 1.5.0.
# Expected: 年 and 년 after a number of four digits write the year, as in 2010年5月, which dateparser reads right; "2010"
#           in English is the year 2010 with the day and month of today, as its documentation says of incomplete
#           dates.
# Seen:     with nothing after it the character is taken for the unit of a relative date, and relative dates without a
#           word for their direction count back: seen from 2024, 2010年 is in the year 14 and 1999年 in the year 25.
# Hurts:    whoever reads the times that queries name: a search for what happened in "2010年" looks at a time of which
#           no record tells.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check dateparser==1.5.0

"$folder/v/bin/python" -W ignore - <<'PYTHON'
from datetime import datetime

import dateparser

SETTINGS = {"RELATIVE_BASE": datetime(2024, 3, 15)}
READ = [
    ("en", "2010", 2010),
    ("zh", "2010年5月", 2010),
    ("zh", "2010年", 14),
    ("ja", "2010年", 14),
    ("ja", "1999年", 25),
    ("ko", "2010년", 14),
]
changed = []
for language, text, recorded in READ:
    year = dateparser.parse(text, languages=[language], settings=SETTINGS).year
    print(f"{language}: {text} is read as the year {year}")
    if year != recorded:
        changed.append(f"{language} {text}")
if changed:
    raise SystemExit(f"CHANGED: {', '.join(changed)}")
PYTHON
