"""Determine the language of a benchmark's file or folder from the name that its authors gave it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mlret.data.languages import normalise_language
from mlret.errors import InputError

# Mr.TyDi and mMARCO name languages in English; MIRACL, XQuAD and MLQA use codes.
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
    """Return the normalised language code in the folder names of an archive of Mr.TyDi or MIRACL.

    The innermost folder counts if several name a language; ``None`` if none does.
    """
    return _first(reversed(_FOLDER.findall(str(path.absolute()))))


def language_of_file(path: Path) -> str | None:
    """Return the normalised language code in the name of a benchmark's file or folder, or ``None``.

    The file names of mMARCO (``german_collection.tsv``), XQuAD (``xquad.el.json``) and TyDi GoldP
    (``tydiqa-goldp-dev-swahili.json``) are recognised, and otherwise the folders of :func:`language_of_path`.
    """
    # Other file names do not count: "my_collection.tsv" is not in Burmese, nor "dev" in the language with that code.
    names = [name for name in _MMARCO.findall(path.name) if name in _ENGLISH_NAMES]
    if path.name.startswith(_TYDI):
        codes = {*_ENGLISH_NAMES, *_ENGLISH_NAMES.values()}
        names += [part for part in re.split(r"[._-]", path.name) if part in codes]
    return _first([*names, *_XQUAD.findall(path.name)]) or language_of_path(path)


def languages_of_mlqa(path: Path) -> tuple[str, str] | None:
    """Return the languages of questions and of paragraphs in the name of a file of MLQA, or ``None``.

    For example, ``dev-context-de-question-es.json`` has questions in Spanish and paragraphs in German.
    """
    found = _MLQA.search(path.name)
    return None if found is None else (normalise_language(found[2]), normalise_language(found[1]))


def english_name(name: str) -> str | None:
    """Return the code of a language that TyDi calls by its English name; ``None`` if the name is unknown."""
    return _ENGLISH_NAMES.get(name)


def _first(names: Iterable[str]) -> str | None:
    for name in names:
        try:
            return normalise_language(_ENGLISH_NAMES.get(name, name))
        except InputError:  # a user's own file or folder name
            continue
    return None
