"""Write mlret/memory/text/number_words.json: the words for 1 to 99 and 2nd to 31st in each language, by Unicode's CLDR.

    python scripts/number_words.py

ICU spells the numbers, in every gender and case that CLDR has rules for; it is installed by the extra `dev`. The file
is read by :mod:`mlret.memory.text.number_words`, so that users do not need ICU.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from icu4py.messageformat import MessageFormat

from mlret.data.languages import normalise_language

OUTPUT = Path(__file__).parent.parent / "mlret" / "memory" / "text" / "number_words.json"
# Languages that separate words by spaces and for which CLDR has spelling rules. Languages whose number words mostly
# mean something else (Vietnamese `năm` is five and year), or come with a particle (Irish), are excluded.
LANGUAGES = (  # noqa: SIM905
    "af am ar az be bg ca cs cy da de el en eo es et fa fi fr he hi hr hu hy id is it ka kk lb lt lv mk ms mt nb nl pl "
    "pt ro ru sk sl sq sr sv sw ta tr uk"
).split()
_GENDERS = ("masculine", "feminine", "neuter", "plural")
_CASES = ("genitive", "dative", "accusative", "ablative", "instrumental", "prepositional", "locative", "construct")
RULES = [
    "numbering",
    "cardinal",
    *(f"cardinal-{gender}" for gender in (*_GENDERS, "reale", "animate")),
    *(f"cardinal-{case}" for case in _CASES),
    *(f"cardinal-{gender}-{case}" for gender in _GENDERS for case in _CASES),
]


ORDINALS = ["ordinal", *(f"ordinal-{gender}" for gender in _GENDERS)]
LAST_ORDINAL = 31
_TELLING = (1, 2, 3, 5, 21, 22)


def spelled(language: str) -> dict[str, int]:
    """Return every spelling of the numbers in a language -> the number."""
    forms: dict[str, int] = {}
    for rules, numbers in ((RULES, range(1, 100)), (ORDINALS, range(2, LAST_ORDINAL + 1))):
        # A rule that CLDR lacks gives the default spelling. One that does so for these numbers does so for all.
        known = [rule for rule in rules if any(_form(language, rule, n) != _form(language, "", n) for n in _TELLING)]
        for number in numbers:
            for rule in known if rules is ORDINALS else ["", *known]:
                forms.setdefault(_form(language, rule, number), number)
    return forms


def _form(language: str, rule: str, number: int) -> str:
    style = f"spellout,%spellout-{rule}" if rule else "spellout"
    form = MessageFormat(f"{{n,{style}}}", language).format({"n": number})
    # Remove soft hyphens and zero-width spaces, which mark where a long word may be broken.
    plain = "".join(c for c in form if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFC", plain).casefold().replace("-", " ").split())


def main() -> None:
    """Write the file, with one language in each line."""
    lines = []
    for language in LANGUAGES:
        forms = json.dumps(spelled(language), ensure_ascii=False, separators=(",", ":"))
        lines.append(f"{json.dumps(normalise_language(language))}: {forms}")
    OUTPUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"wrote {OUTPUT}: {len(lines)} languages, {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
