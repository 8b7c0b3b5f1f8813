#!/usr/bin/env bash
# tokenizers: WordPiece turns a Thai sentence of more than 100 characters into one unknown token.
#
# Version:  tokenizers 0.23.3.
# Expected: WordPiece splits what is no piece into shorter pieces, down to letters; [UNK] is for letters that the
#           vocabulary lacks. The limit max_input_chars_per_word=100 is documented as "the maximum number of
#           characters to authorize in a single word", which no word of any language reaches.
# Seen:     Thai, Lao, Khmer and Burmese put no spaces between words, and BERT's pre-tokenizer, which sets Chinese
#           characters apart, leaves these in one "word". 98 letters give 98 pieces; 105 letters, all in the
#           vocabulary, give [UNK]. All longer sentences have the same single token, so the same vector.
# Hurts:    encoders with a WordPiece tokenizer on these languages (multilingual BERT, LaBSE and what descends from
#           them): long unspaced passages cannot be told apart. Raising max_input_chars_per_word cures it.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3

"$folder/v/bin/python" - <<'PYTHON'
from tokenizers import Tokenizer, models, pre_tokenizers

word = "ภาษาไทย"
pieces = ["[UNK]", *sorted(set(word)), *(f"##{letter}" for letter in sorted(set(word)))]
vocabulary = {piece: number for number, piece in enumerate(pieces)}


def tokens(text, **settings):
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", **settings))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer.encode(text).tokens


short, long, cured = tokens(word * 14), tokens(word * 15), tokens(word * 15, max_input_chars_per_word=10_000)
print(f"98 letters: {len(short)} tokens; 105 letters: {long}; 105 letters with the limit raised: {len(cured)} tokens")
assert len(short) == 98 and len(cured) == 105 and "[UNK]" not in short + cured, "the control has changed"
if long != ["[UNK]"]:
    raise SystemExit("CHANGED: the longer text is no longer one unknown token")
PYTHON
