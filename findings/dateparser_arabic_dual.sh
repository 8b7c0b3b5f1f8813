#!/usr/bin/env bash
# dateparser reads the Arabic "in two days" as two days ago, and "in three days" right.
#
# Version:  dateparser 1.5.0.
# Expected: خلال يومين is CLDR's form for "in 2 days", خلال ساعتين for "in 2 hours" and خلال ساعة واحدة for "in 1
#           hour"; they lie ahead, as خلال 3 أيام ("in 3 days") does.
# Seen:     all three are read as the past, as the dual without خلال is. Only with a number in digits is the direction
#           kept.
# Hurts:    Arabic agents and memories: a reminder for the day after tomorrow is filed under the day before yesterday.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check dateparser==1.5.0

"$folder/v/bin/python" -W ignore - <<'PYTHON'
from datetime import datetime, timedelta

import dateparser

now = datetime(2024, 3, 15, 12)
READ = [
    ("خلال 3 أيام", timedelta(days=3), timedelta(days=3)),
    ("خلال يومين", timedelta(days=2), timedelta(days=-2)),
    ("خلال ساعتين", timedelta(hours=2), timedelta(hours=-2)),
    ("خلال ساعة واحدة", timedelta(hours=1), timedelta(hours=-1)),
]
changed = []
for text, meant, recorded in READ:
    found = dateparser.parse(text, languages=["ar"], settings={"RELATIVE_BASE": now})
    apart = None if found is None else found - now
    print(f"{text}: meant {meant.total_seconds() / 3600:+.0f} hours, read {apart.total_seconds() / 3600:+.0f} hours")
    if apart != recorded:
        changed.append(text)
if changed:
    raise SystemExit(f"CHANGED: {', '.join(changed)}")
PYTHON
