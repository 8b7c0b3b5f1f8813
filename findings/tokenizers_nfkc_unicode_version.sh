#!/usr/bin/env bash
# tokenizers: its NFKC is that of an old Unicode, so that Japan's present era sign is not decomposed.
#
# Version:  tokenizers 0.23.3.
# Expected: normalizers.NFKC() gives what the Unicode standard gives: the era signs of Japan become two characters each,
#           among them that of Reiwa (U+32FF), the era since May 2019, in Unicode since 12.1.
# Seen:     those of the earlier eras are decomposed, that of Reiwa is not, nor are 71 other characters that Unicode 14
#           (Python 3.11) decomposes. The tables seem to be those of Unicode 9, of 2016.
# Hurts:    dates in Japanese text since 2019: "㋿8年" and "令和8年" have different tokens, and to vocabularies made from
#           earlier text the sign is unknown. Whoever compares ids with those of another implementation of NFKC finds
#           them different, and differently so with every version of Python.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3

"$folder/v/bin/python" - <<'PYTHON'
import sys
import unicodedata

from tokenizers import normalizers

nfkc = normalizers.NFKC()
ERAS = [("Heisei", "\u337b", True), ("Showa", "\u337c", True), ("Reiwa", "\u32ff", False)]
changed = []
for name, sign, same in ERAS:
    found, standard = nfkc.normalize_str(f"{sign}8年"), unicodedata.normalize("NFKC", f"{sign}8年")
    print(f"{name}: {ascii(sign)} gives {found}, NFKC is {standard}")
    if (found == standard) != same:
        changed.append(name)
characters = (chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number < 0xE000)
others = sum(nfkc.normalize_str(one) != unicodedata.normalize("NFKC", one) for one in characters)
print(f"characters whose form differs from that of Unicode {unicodedata.unidata_version}: {others}")
if changed:
    raise SystemExit(f"CHANGED: {', '.join(changed)}")
PYTHON
