#!/usr/bin/env bash
# sentencex does not know the Khmer full stop: a Khmer text is one sentence.
#
# Version:  sentencex 1.0.32.
# Expected: the package "supports about 300 languages" (its description), and Unicode gives the Khmer khan, U+17D4,
#           and bariyoosan, U+17D5, the property Sentence_Terminal, as the danda of Hindi and the Burmese section
#           mark.
# Seen:     it splits at 155 of the 172 characters of that property and not at these two, the rest is historic,
#           vertical or newly encoded. With language "km" two sentences come back as one.
# Hurts:    chunking for retrieval: a Khmer document is one chunk, of which encoders see the first 512 tokens.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check sentencex==1.0.32

"$folder/v/bin/python" - <<'PYTHON'
import sentencex

TEXTS = [
    ("hi", "यह पहला वाक्य है। यह दूसरा वाक्य है।", 2),
    ("my", "ဒါက ပထမ ဖြစ်သည်။ ဒါက ဒုတိယ ဖြစ်သည်။", 2),
    ("km", "ខ្ញុំទៅផ្សារ។ ខ្ញុំទិញបាយ។", 1),
    ("km", "ខ្ញុំទៅផ្សារ៕ ខ្ញុំទិញបាយ៕", 1),
]
changed = []
for language, text, recorded in TEXTS:
    sentences = list(sentencex.segment(language, text))
    print(f"{language}: {len(sentences)} of 2 sentences: {sentences}")
    if len(sentences) != recorded:
        changed.append(language)
if changed:
    raise SystemExit(f"CHANGED: {', '.join(changed)}")
PYTHON
