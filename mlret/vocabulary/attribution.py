"""Which of the languages asked for is a text in, that does not say its own?

A caller who hands over texts and languages means the texts to be in these languages. The detector's guess decides
which; it leaves a text out only where the text is clearly in none of them. Of fragments of the bundled sample in Latin
letters (English, French, German, Spanish, Swahili) it names another language in one of five of 15 characters, and in
hardly any of 60: so short texts are never left out, and a longer one only where its probability of being in any of the
languages is next to none.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlret.data.detection import language_probabilities
from mlret.data.scripts import script_of, scripts_of_language

# The language of texts of which it is neither known nor asked (BCP 47: undetermined).
UNDETERMINED = "und"
# Letters below which no guess says that a text is in another language.
_SHORT = 25
# Of the likeliest language asked for; below it a text is in none of them. Fragments of 25 characters that the detector
# took for another language had 0.04 or more in their own.
_LEAST_PROBABILITY = 0.005


class Attribution:
    """Finds the language of texts among some languages.

    Parameters
    ----------
    wanted
        The languages asked for, in mlret's form; at least one.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = list(wanted)
        self._scripts = {code: scripts_of_language(code) for code in wanted}

    def language(self, text: str) -> tuple[str | None, str]:
        """The language to count a text under, and the one that was detected.

        Returns
        -------
        str or None
            One of those asked for; ``None`` where the text is clearly in none of them.
        str
            In mlret's form; ``"und"`` where there is no telling.
        """
        if len(self._wanted) == 1:
            return self._wanted[0], UNDETERMINED
        letters = [character for character in text if character.isalpha()]
        if not letters:  # digits and symbols belong to every language
            return self._wanted[0], UNDETERMINED
        found = language_probabilities(text)
        detected = max(found, key=lambda code: found[code])
        if (own := self._same(detected)) is not None:
            return own, detected
        written = [code for code in self._wanted if self._writes(code, letters)]
        if not written:
            return None, detected
        # Texts in a language that the detector does not know are taken for another one, whatever their length.
        if unknown := [code for code in written if self._probability(found, code) is None]:
            return unknown[0], detected
        likeliest = max(written, key=lambda code: self._probability(found, code) or 0)
        if len(letters) < _SHORT or (self._probability(found, likeliest) or 0) >= _LEAST_PROBABILITY:
            return likeliest, detected
        return None, detected

    def _same(self, detected: str) -> str | None:
        """The language asked for that a detected one is: itself, or the same in a script (``zh-Hant``)."""
        if detected in self._scripts:
            return detected
        return next((code for code in self._wanted if _base(code) == _base(detected)), None)

    def _writes(self, code: str, letters: Sequence[str]) -> bool:
        """Whether most letters are of a script that the language is written in; of a language without one, any."""
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
