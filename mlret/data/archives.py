"""The language of a benchmark's file or folder, by the names that their authors gave them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mlret.data.languages import normalise_language
from mlret.errors import InputError

# Mr.TyDi and mMARCO name languages in English, MIRACL, XQuAD and MLQA by code.
_ENGLISH_NAMES = {
    "arabic": "ar", "bengali": "bn", "chinese": "zh", "dutch": "nl", "english": "en", "finnish": "fi", "french": "fr",
    "german": "de", "hindi": "hi", "indonesian": "id", "italian": "it", "japanese": "ja", "korean": "ko",
    "portuguese": "pt", "russian": "ru", "spanish": "es", "swahili": "sw", "telugu": "te", "thai": "th",
    "vietnamese": "vi",
}  # fmt: skip
_FOLDER = re.compile(r"(?:mrtydi|miracl|miracl-corpus)-v[\d.]+-([a-z]+)")
_MLQA = re.compile(r"context-([a-z]{2})-question-([a-z]{2})\b")
_MMARCO = re.compile(r"([a-z]+)_(?:collection|queries)\b")
_XQUAD = re.compile(r"xquad[.-]([a-z]{2})\b")
_TYDI = "tydiqa"


def language_of_path(path: Path) -> str | None:
    """The language that the folder of an archive of Mr.TyDi or MIRACL has in its name, the innermost if there are
    several; ``None`` where there is none."""
    return _first(reversed(_FOLDER.findall(str(path.absolute()))))


def language_of_file(path: Path) -> str | None:
    """The same, or the language in the file names of mMARCO (``german_collection.tsv``), XQuAD (``xquad.el.json``) and
    TyDi GoldP (``tydiqa-goldp-dev-swahili.json``)."""
    # The names of these archives alone: "my_collection.tsv" is not in Burmese, nor "dev" the language of that code.
    names = [name for name in _MMARCO.findall(path.name) if name in _ENGLISH_NAMES]
    if path.name.startswith(_TYDI):
        codes = {*_ENGLISH_NAMES, *_ENGLISH_NAMES.values()}
        names += [part for part in re.split(r"[._-]", path.name) if part in codes]
    return _first([*names, *_XQUAD.findall(path.name)]) or language_of_path(path)


def languages_of_mlqa(path: Path) -> tuple[str, str] | None:
    """The languages of questions and of paragraphs that the name of a file of MLQA has
    (``dev-context-de-question-es.json``)."""
    found = _MLQA.search(path.name)
    return None if found is None else (normalise_language(found[2]), normalise_language(found[1]))


def english_name(name: str) -> str | None:
    """The code of a language that TyDi calls by its English name."""
    return _ENGLISH_NAMES.get(name)


def _first(names: Iterable[str]) -> str | None:
    for name in names:
        try:
            return normalise_language(_ENGLISH_NAMES.get(name, name))
        except InputError:  # a name of one's own
            continue
    return None
