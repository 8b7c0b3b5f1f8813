"""Unicode's rules for the ends of sentences (UAX #29, "Sentence Boundaries"), as a regular expression.

They are those that ICU applies, whose data take 40 MB; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

import regex

# The names of the rules are those of the standard. SB5: marks and format characters count as part of what they follow.
_MARKS = r"[\p{SB=Extend}\p{SB=Format}]*+"
# SB6: 3.5 and 3.14; SB7: U.S and a.B
_NUMBER = r"(?!\p{SB=Numeric})"
_INITIALS = rf"(?!(?<=[\p{{SB=Upper}}\p{{SB=Lower}}]{_MARKS}\p{{SB=ATerm}}{_MARKS})\p{{SB=Upper}})"
# SB9, SB10: closing marks and spaces belong to the sentence before.
_CLOSED = rf"(?:\p{{SB=Close}}{_MARKS})*+(?:\p{{SB=Sp}}{_MARKS})*+"
# SB8a: a comma, a dash or another end follows.
_CONTINUED = r"(?!\p{SB=SContinue}|\p{SB=STerm}|\p{SB=ATerm})"


def _ends(final: str) -> regex.Pattern[str]:
    # SB8: the next letter is in lower case, as after an abbreviation.
    others = rf"[^\p{{SB=OLetter}}\p{{SB=Upper}}\p{{SB=Lower}}\p{{SB=Sep}}\p{{SB=CR}}\p{{SB=LF}}{final}\p{{SB=ATerm}}]"
    goes_on = rf"(?!{others}*+\p{{SB=Lower}})"
    return regex.compile(
        rf"(?:[{final}]{_MARKS}{_CLOSED}|\p{{SB=ATerm}}{_MARKS}{_NUMBER}{_INITIALS}{_CLOSED}{goes_on}){_CONTINUED}"
    )


_ENDS = _ends(r"\p{SB=STerm}")
# The Greek question mark looks like a semicolon, and is typed as one.
_GREEK_ENDS = _ends(r"\p{SB=STerm};\u037e")


def cut_at_ends(line: str, language: str) -> Iterator[str]:
    """Yield the sentences of a line, with the white space after each, by Unicode's rules alone.

    Parameters
    ----------
    line
        A text without line breaks.
    language
        The language code; Greek has a question mark of its own.
    """
    start = 0
    for match in (_GREEK_ENDS if language == "el" else _ENDS).finditer(line):
        yield line[start : match.end()]
        start = match.end()
    if start < len(line):
        yield line[start:]
