#!/usr/bin/env bash
# sentencepiece: the case folding of "nfkc_cf" leaves ß, the capital İ and the Greek iota subscript unfolded.
#
# Version:  sentencepiece 0.2.3.
# Expected: doc/normalization.md describes nfkc_cf as "nfkc + Unicode case folding (mostly lower casing)". Unicode's
#           full case folding gives ß and ss one form, so that STRASSE and Straße fold to "strasse", as str.casefold()
#           does.
# Seen:     the 66 letters whose folding is longer than one character are not folded so: Straße stays straße and
#           STRASSE is strasse; İstanbul keeps its capital İ. All other Latin and Greek letters are folded.
# Hurts:    case-insensitive models for German and Turkish: headings in capitals and their running text have other
#           tokens.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check sentencepiece==0.2.3

"$folder/v/bin/python" - <<'PYTHON'
import sys
import unicodedata

import sentencepiece

normaliser = sentencepiece.SentencePieceNormalizer(
    rule_name="nfkc_cf", add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False
)
RECORDED = {"ΣΟΦΟΣ": "σοφοσ", "STRASSE": "strasse", "Straße": "straße", "İstanbul": "İstanbul"}
for text in RECORDED:
    print(f"{text}: nfkc_cf gives {normaliser.normalize(text)}, Unicode's case folding {text.casefold()}")


def folded(letter):
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", letter).casefold())


latin_and_greek = [chr(code) for code in [*range(0x41, 0x250), *range(0x370, 0x400), *range(0x1E00, 0x2000)]]
letters = [letter for letter in latin_and_greek if unicodedata.category(letter)[0] == "L"]
unfolded = [letter for letter in letters if normaliser.normalize(letter) != folded(letter)]
print(f"not folded so: {len(unfolded)} of {len(letters)} Latin and Greek letters, among them {''.join(unfolded[:3])}")
if any(normaliser.normalize(text) != recorded for text, recorded in RECORDED.items()):
    sys.exit("CHANGED: these words are folded otherwise than recorded")
PYTHON
