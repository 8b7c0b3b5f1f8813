#!/usr/bin/env bash
# model2vec: text is cut long before max_length tokens where its tokens are longer than the vocabulary's median.
#
# Version:  model2vec 0.10.0.
# Expected: encode() documents max_length as "the maximum length of the sentences. Any tokens beyond this length will
#           be truncated", and the default as 512 "in tokens". A text of 101 tokens is whole.
# Seen:     before the tokenizer runs, the text is cut to max_length times the median length of the vocabulary's
#           tokens, in characters. With a median of 3 that is 1,536 characters: of 101 long German words the last 31
#           do not count, and a text has the same vector with and without the word searched for. max_length=None gives
#           the right vector.
# Hurts:    static encoders with multilingual vocabularies, whose median is short (CJK and short pieces), on languages
#           of long words (German, Finnish, Tamil, Malayalam): the end of their passages cannot be found, with no
#           warning.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check model2vec==0.10.0 numpy==2.4.6

"$folder/v/bin/python" - <<'PYTHON'
import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer, models, pre_tokenizers

words = ["[UNK]", "[PAD]", "needle", "Internationalisierung", *(f"t{number}" for number in range(10, 40))]
tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
vectors = np.random.default_rng(0).standard_normal((len(words), 8)).astype("float32")
model = StaticModel(vectors, tokenizer)

text = "Internationalisierung " * 100
print("tokens:", len(tokenizer.encode(text + "needle").ids), "of at most", model.max_length)
seen = {}
for name, settings in (("by default", {}), ("max_length=None", {"max_length": None})):
    seen[name] = not np.allclose(model.encode(text + "needle", **settings), model.encode(text, **settings))
    print(f"{name}: does the last word change the vector? {seen[name]}")
assert seen["max_length=None"], "the control has changed"
if seen["by default"]:
    raise SystemExit("CHANGED: the last of 101 tokens counts at max_length=512")
PYTHON
