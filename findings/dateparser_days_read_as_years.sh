#!/usr/bin/env bash
# dateparser reads a day of a month as a year, as a time of day, or as another month, in Swedish, Japanese, Korean,
# Chinese, German and Czech.
#
# Version:  dateparser 1.5.0.
# Expected: dates in the formats of Unicode's CLDR for a language are read as that day, or not at all: the language is
#           given, and a date without a year is that of this or the last one.
# Seen:     "14 juli" (sv) is July 2014; "10月5日" (ja), "10/5" (zh) and "10. 5." (ko) are in October or May 2010;
#           "5.10." (de) and "5. 10." (cs) are ten past five of today. "mar, 19 may" (es, Tuesday 19 May) is right, and
#           serves as the control.
# Hurts:    search and question answering over time: a question about 14 July is answered with what was twelve years ago.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check dateparser==1.5.0

"$folder/v/bin/python" - <<'PYTHON'
import warnings
from datetime import datetime

from dateparser.date import DateDataParser

warnings.simplefilter("ignore")
NOW = datetime(2026, 5, 20, 12)
# Language, text, the right day of the last year that has reached it, and what is read: date, period.
CASES = [
    ("sv", "14 juli", (2025, 7, 14), "2014-07-20 00:00 month"),
    ("ja", "10月5日", (2025, 10, 5), "2010-05-20 00:00 month"),
    ("ko", "10. 5.", (2025, 10, 5), "2010-05-20 00:00 month"),
    ("zh", "10/5", (2025, 10, 5), "2010-05-20 00:00 month"),
    ("de", "5.10.", (2025, 10, 5), "2026-05-20 05:10 time"),
    ("cs", "5. 10.", (2025, 10, 5), "2026-05-20 05:10 time"),
]
changed = []
settings = {"RELATIVE_BASE": NOW, "PREFER_DATES_FROM": "past", "RETURN_TIME_AS_PERIOD": True}
for language, text, right, seen in CASES:
    found = DateDataParser(languages=[language], settings=settings).get_date_data(text)
    got = f"{found.date_obj:%Y-%m-%d %H:%M} {found.period}" if found.date_obj else "nothing"
    print(f"{language}: {text!r} is {got}, and should be {right}")
    if got != seen:
        changed.append(text)
control = DateDataParser(languages=["es"], settings=settings).get_date_data("mar, 19 may")
assert control.date_obj and control.date_obj.date() == datetime(2026, 5, 19).date(), "the control has changed"
if changed:
    raise SystemExit(f"CHANGED: {', '.join(changed)}")
PYTHON
