"""Attribute texts without a stated language to one of the requested languages.

A caller who passes texts and languages means that the texts are in these languages. The detector decides in which, and
a text is excluded only if it is clearly in none of them. On fragments of the bundled sample in Latin letters (English,
French, German, Spanish, Swahili), the detector names a wrong language for one in five fragments of 15 characters and
for hardly any of 60. Short texts are therefore never excluded for the detector's guess alone, and longer ones only if
the probability of every requested language is close to zero.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlret.data.detection import language_probabilities
from mlret.data.scripts import script_of, scripts_of_language

# The language code of texts whose language is neither known nor requested (BCP 47: undetermined).
UNDETERMINED = "und"
# Texts with fewer letters than this are never excluded because of the detector's guess.
_SHORT = 25
# A text is in none of the requested languages if the likeliest has a lower probability than this. Misdetected fragments
# of 25 characters had a probability of 0.04 or more for their own language.
_LEAST_PROBABILITY = 0.005


class Attribution:
    """Attributes texts to one of several languages.

    Parameters
    ----------
    wanted
        The requested languages, in mlret's form; at least one.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = list(wanted)
        self._scripts = {code: scripts_of_language(code) for code in wanted}

    def language(self, text: str) -> tuple[str | None, str]:
        """Return the language to count a text under, and the detected language.

        Returns
        -------
        str or None
            One of the requested languages; ``None`` if the text is clearly in none of them.
        str
            The detected language in mlret's form; ``"und"`` if detection is not needed or the text has no letters.
        """
        if len(self._wanted) == 1:
            return self._wanted[0], UNDETERMINED
        letters = [character for character in text if character.isalpha()]
        if not letters:  # Digits and symbols belong to every language.
            return self._wanted[0], UNDETERMINED
        found = language_probabilities(text)
        detected = max(found, key=lambda code: found[code])
        if (own := self._same(detected)) is not None:
            return own, detected
        written = [code for code in self._wanted if self._writes(code, letters)]
        if not written:
            return None, detected
        # The detector takes texts in a language that it does not know for another language, whatever their length.
        if unknown := [code for code in written if self._probability(found, code) is None]:
            return unknown[0], detected
        likeliest = max(written, key=lambda code: self._probability(found, code) or 0)
        if len(letters) < _SHORT or (self._probability(found, likeliest) or 0) >= _LEAST_PROBABILITY:
            return likeliest, detected
        return None, detected

    def _same(self, detected: str) -> str | None:
        """Return the requested language that equals the detected one, ignoring script subtags such as ``zh-Hant``."""
        if detected in self._scripts:
            return detected
        return next((code for code in self._wanted if _base(code) == _base(detected)), None)

    def _writes(self, code: str, letters: Sequence[str]) -> bool:
        """Return whether at least half of the letters fit the language's scripts; true if it has no known script."""
        scripts = self._scripts[code]
        if not scripts:
            return True
        belonging = sum((script := script_of(letter)) is None or script in scripts for letter in letters)
        return 2 * belonging >= len(letters)

    @staticmethod
    def _probability(found: dict[str, float], code: str) -> float | None:
        return found.get(code, found.get(_base(code)))


def _base(code: str) -> str:
    return code.partition("-")[0]
