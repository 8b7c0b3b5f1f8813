"""BM25, the lexical baseline: bm25s over words, stemmed in the languages that Snowball supports.

BM25's scores depend on the analyzer (on MIRACL, one paper reports 31.9 and another 38.8), so reports describe ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from mlret.data.languages import normalise_language

# Anserini's defaults; most published baselines use Anserini's BM25.
K1, B = 0.9, 0.4
NAME = "BM25"
DESCRIPTION = (
    f"{NAME}: bm25s, Lucene's formula, k1 {K1}, b {B}; NFKC and case folding, words stemmed by Snowball where it knows "
    "the language, pairs of characters in Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese."
)

# mlret's language code -> Snowball stemmer.
_SNOWBALL = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "cs": "czech", "da": "danish", "nl": "dutch",
    "en": "english", "eo": "esperanto", "et": "estonian", "fi": "finnish", "fr": "french", "de": "german",
    "el": "greek", "hi": "hindi", "hu": "hungarian", "id": "indonesian", "ga": "irish", "it": "italian",
    "lt": "lithuanian", "ne": "nepali", "no": "norwegian", "nn": "norwegian", "fa": "persian",
    "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "st": "sesotho",
    "es": "spanish", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
# Scripts that put no space between words (Thai, Lao, Myanmar, Khmer, kana, Han), and Hangul, whose words carry endings.
_PAIRED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)


class Analyzer:
    """Tokenizer for text in any language.

    Texts are NFKC-normalised and case-folded. Runs of letters, digits and marks are words, stemmed in the languages
    that Snowball supports. In Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese, overlapping pairs of characters
    are used as words, as in Lucene's CJK analyzer. No stop words are removed, because inverse document frequency
    already gives them little weight.
    """

    def __call__(self, text: str, language: str | None) -> list[str]:
        """Return the words of a text.

        Parameters
        ----------
        text
            The text.
        language
            mlret's code of its language; if ``None`` (unknown), nothing is stemmed.
        """
        words: list[str] = []
        spaced: list[str] = []
        for run in _runs().finditer(unicodedata.normalize("NFKC", text).casefold()):
            if run["paired"] is None:
                spaced.append(run[0])
            elif len(run[0]) == 1:
                words.append(run[0])
            else:
                words += map("".join, zip(run[0], run[0][1:], strict=False))
        stemmer = _stemmer(language)
        # A stemmer may reduce a word to the empty string.
        return words + (list(filter(None, stemmer.stemWords(spaced))) if stemmer else spaced)


class Bm25:
    """BM25 over a collection, with Lucene's formula.

    Parameters
    ----------
    texts
        The documents.
    languages
        mlret's language code of each document; ``None`` if it is unknown.
    """

    def __init__(self, texts: Sequence[str], languages: Sequence[str | None]) -> None:
        import bm25s
        from scipy.sparse import csc_matrix

        self.analyzer = Analyzer()
        tokens = [self.analyzer(text, code) for text, code in zip(texts, languages, strict=True)]
        self._vocabulary: dict[str, int] = {}
        self._weights: Any = csc_matrix((len(tokens), 0), dtype=np.float32)
        if any(tokens):
            model = bm25s.BM25(k1=K1, b=B, method="lucene")
            model.index(tokens, show_progress=False)
            # bm25s adds the empty word to its vocabulary, but without a column of scores.
            self._vocabulary = {word: number for word, number in model.vocab_dict.items() if word}
            parts = (model.scores["data"], model.scores["indices"], model.scores["indptr"])
            self._weights = csc_matrix(parts, shape=(len(tokens), len(model.scores["indptr"]) - 1))

    def scores(self, queries: Sequence[str], languages: Sequence[str | None]) -> Any:
        """Score all ``n`` documents for ``m`` queries.

        Parameters
        ----------
        queries
            ``m`` texts.
        languages
            mlret's language code of each query; ``None`` if it is unknown.

        Returns
        -------
        scipy.sparse.csr_matrix
            ``(m, n)`` float32; 0 for a document that shares no word with the query.
        """
        from scipy.sparse import csr_matrix

        ids = [
            [self._vocabulary[word] for word in self.analyzer(text, code) if word in self._vocabulary]
            for text, code in zip(queries, languages, strict=True)
        ]
        bounds = np.cumsum([0, *map(len, ids)])
        columns = np.fromiter((number for row in ids for number in row), dtype=np.int64, count=int(bounds[-1]))
        counts = csr_matrix(
            (np.ones(len(columns), dtype=np.float32), columns, bounds), shape=(len(ids), self._weights.shape[1])
        )
        return (counts @ self._weights.T).tocsr()


def _snowball(language: str | None) -> str | None:
    if language is None:
        return None
    return _SNOWBALL.get(language) or _SNOWBALL.get(normalise_language(language).split("-")[0])


@cache
def _runs() -> re.Pattern[str]:
    # Combining marks are not matched by \w, and without them words of most Indic scripts would be split.
    marks = "".join(filter(lambda c: unicodedata.category(c)[0] == "M", map(chr, range(0x20000))))
    return re.compile(rf"(?P<paired>[{_PAIRED}]+)|(?:(?![{_PAIRED}])[\w\u200c\u200d{re.escape(marks)}])+")


@cache
def _stemmer(language: str | None) -> Any:
    import Stemmer

    snowball = _snowball(language)
    return Stemmer.Stemmer(snowball) if snowball else None
