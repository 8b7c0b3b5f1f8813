#!/usr/bin/env bash
# py3langid is sure, at a probability of 0.9 to 1, of a neighbour's code for languages that it does not know.
#
# Version:  py3langid 0.4.0.
# Expected: with norm_probs=True the score is a probability, and the README says of min_confidence that
#           "low-confidence predictions are returned as und". A reader expects text of a language that is none of the
#           139 labels to score low and to be returned as "und" at a threshold as high as 0.9.
# Seen:     where a language shares its script with few labels, the neighbour takes it all: Tibetan is dz (Dzongkha)
#           at 1.00, Tigrinya am (Amharic) at 1.00, Central Kurdish sdh (Southern Kurdish) at 1.00, Yiddish hbo
#           (Biblical Hebrew) at 0.97, Sindhi ps (Pashto) at 0.90. The text of unknown scripts (Dhivehi) does abstain,
#           so the threshold itself works.
# Hurts:    language routing and filtering of multilingual corpora: Tibetan passages land in the Dzongkha index,
#           Yiddish in Biblical Hebrew, and no threshold on the confidence tells.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check py3langid==0.4.0

"$folder/v/bin/python" - <<'PYTHON'
from py3langid.langid import MODEL_FILE, LanguageIdentifier

TEXTS = {
    "bo": ("བོད་ཀྱི་སྐད་ཡིག་ནི་བོད་པའི་མི་རིགས་ཀྱི་སྐད་ཡིག་ཡིན།", "dz"),
    "ti": ("ትግርኛ ኣብ ኤርትራን ትግራይን ዝዝረብ ቋንቋ እዩ።", "am"),
    "ckb": ("زمانی کوردی یەکێکە لە زمانە ئێرانییەکان و لە کوردستان قسەی پێ دەکرێت", "sdh"),
    "yi": ("ייִדיש איז אַ שפּראַך פֿון די אשכּנזישע ייִדן.", "hbo"),
    "sd": ("سنڌي ٻولي سنڌ جي ماڻهن جي ٻولي آهي ۽ پاڪستان ۾ ڳالهائي وڃي ٿي", "ps"),
}
identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=0.9)
changed = []
for language, (text, neighbour) in TEXTS.items():
    assert language not in identifier.labels, f"{language} is a label now: CHANGED"
    found, confidence = identifier.classify(text)
    print(f"{language}: given {found} at {confidence:.3f}")
    if found != neighbour:
        changed.append(language)
control = identifier.classify("ދިވެހިބަހަކީ ދިވެހިރާއްޖޭގެ ރަސްމީ ބަހެވެ.")
print("dv (its script is nobody's):", control)
assert control[0] == "und", "the control has changed"
if changed:
    raise SystemExit(f"CHANGED: no longer given a neighbour's code above 0.9: {', '.join(changed)}")
PYTHON
