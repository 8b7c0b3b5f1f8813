#!/usr/bin/env bash
# tokenizers: UnicodeScripts cuts Arabic words at every vowel mark, and Persian and Sinhala words at their joiners.
#
# Version:  tokenizers 0.23.3.
# Expected: the pre-tokenizer "splits on characters that belong to different language family" (its documentation). UAX
#           #24 says that characters of the scripts Inherited and Common take the script of their neighbours, and
#           marks and joiners in the middle of a word belong to it; Hindi and Hebrew words with their marks do stay in
#           one piece.
# Seen:     Arabic vowel marks (U+064B to U+0655, whose script is Inherited, for Syriac uses them too) are split off
#           one by one: one word of 12 characters becomes 9 pieces. The same happens at U+200C in Persian and at
#           U+200D in the first word of Sri Lanka's name. A Unigram or BPE model trained behind it can never learn
#           these words.
# Hurts:    multilingual tokenizers that use it to keep scripts apart.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3

"$folder/v/bin/python" - <<'PYTHON'
from tokenizers import pre_tokenizers

splitter = pre_tokenizers.UnicodeScripts()
WORDS = [
    ("Hindi", "हिन्दी", 1),
    ("Hebrew", "עִבְרִית", 1),
    ("Arabic without marks", "العربية", 1),
    ("Arabic", "العَرَبِيَّة", 9),
    ("Persian", "تلفن\u200cها", 3),
    ("Sinhala", "ශ්\u200dරී", 3),
]
changed = []
for language, word, recorded in WORDS:
    pieces = [piece for piece, _ in splitter.pre_tokenize_str(word)]
    print(f"{language}: {word} -> {pieces}")
    if len(pieces) != recorded:
        changed.append(f"{language} ({len(pieces)} pieces)")
if changed:
    raise SystemExit(f"CHANGED: {', '.join(changed)}")
PYTHON
