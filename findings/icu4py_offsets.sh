#!/usr/bin/env bash
# icu4py: the offsets of segments() are of UTF-16, not of the Python string, so slices slip after one rare character.
#
# Version:  icu4py 1.2.0.
# Expected: segments() is typed "-> Iterator[tuple[int, int]]" beside the property "text -> str", and its pairs serve
#           to slice that text: text[start:end] is what iterating over the same breaker yields.
# Seen:     so it is until the first character beyond U+FFFF: a rare Han character (𠮷 of 𠮷野家), Adlam, an emoji. It
#           counts as two, and every later slice begins and ends one character too late. Iterating yields the right
#           text.
# Hurts:    chunkers that keep offsets for highlighting and citation; the passage that is cited is not the one found.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check icu4py==1.2.0

"$folder/v/bin/python" - <<'PYTHON'
from icu4py.breakers import SentenceBreaker

for text, agree in (("吉野家に行く。牛丼を食べる。", True), ("𠮷野家に行く。牛丼を食べる。", False)):
    sentences = [str(sentence) for sentence in SentenceBreaker(text, "ja")]
    slices = [text[start:end] for start, end in SentenceBreaker(text, "ja").segments()]
    print("iterated:", sentences, "sliced:", slices)
    assert "".join(sentences) == text, "the control has changed"
    if (slices == sentences) != agree:
        raise SystemExit("CHANGED: the slices used to agree just for text without a character beyond U+FFFF")
PYTHON
