"""Read LASER's Tatoeba test set: up to 1,000 sentences in each of 112 languages, with their English translations.

Two layouts are supported: one table (``tatoeba.v1.tsv[.gz]`` with the columns ``lang``, ``id``, ``xxx``, ``eng``), and
the files of the LASER repository (``tatoeba.{xxx}-eng.{xxx}`` and ``tatoeba.{xxx}-eng.eng``, aligned by line).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlret.data.files import read_lines
from mlret.data.languages import language_name, normalise_language
from mlret.errors import InputError
from mlret.wording import counted

# The languages of the task in XTREME (arXiv 2003.11080): Tatoeba's code -> XTREME's code, as in tatoeba_preprocess of
# utils_preprocess.py in github.com/google-research/xtreme. XTREME-R's later additions (aze, lit, pol, ukr, ron) are
# excluded, as they are from the published XTREME averages.
XTREME_36 = {
    "afr": "af", "ara": "ar", "ben": "bn", "bul": "bg", "cmn": "zh", "deu": "de",
    "ell": "el", "est": "et", "eus": "eu", "fin": "fi", "fra": "fr", "heb": "he",
    "hin": "hi", "hun": "hu", "ind": "id", "ita": "it", "jav": "jv", "jpn": "ja",
    "kat": "ka", "kaz": "kk", "kor": "ko", "mal": "ml", "mar": "mr", "nld": "nl",
    "pes": "fa", "por": "pt", "rus": "ru", "spa": "es", "swh": "sw", "tam": "ta",
    "tel": "te", "tgl": "tl", "tha": "th", "tur": "tr", "urd": "ur", "vie": "vi",
}  # fmt: skip

_TABLES = ("tatoeba.v1.tsv.gz", "tatoeba.v1.tsv")
_COLUMNS = ["lang", "id", "xxx", "eng"]
_LASER_FILE = re.compile(r"tatoeba\.(?P<label>[a-z]{3})-eng\.(?P<side>[a-z]{3})(\.gz)?")
_XTREME_FILE = re.compile(r"[a-z]{2}-en\.en")


@dataclass(frozen=True)
class TatoebaPairs:
    """The sentences of one language and their English translations, in the order of the original files.

    Attributes
    ----------
    label
        The test set's own code (ISO 639-3), e.g. ``"swh"``.
    language
        mlret's language code, e.g. ``"sw"``. Two labels may share one code.
    sentences, english
        ``n`` texts each; line ``i`` of one translates line ``i`` of the other.
    """

    label: str
    language: str
    sentences: tuple[str, ...]
    english: tuple[str, ...]

    @property
    def name(self) -> str:
        """The language's English name."""
        return language_name(self.language)

    def __len__(self) -> int:
        return len(self.sentences)


def read_tatoeba(path: str | Path, *, languages: Sequence[str] | None = None) -> list[TatoebaPairs]:
    """Read the Tatoeba test set.

    Parameters
    ----------
    path
        The folder, in either layout, or the table itself.
    languages
        Languages to read, by the test set's labels (``"swh"``) or by code (``"sw"``); all by default.

    Returns
    -------
    list of TatoebaPairs
        Sorted by label.

    Raises
    ------
    InputError
        If nothing is found, a line is malformed, the sides differ in length, or a language does not exist.
    """
    path = Path(path)
    if path.is_file():
        pairs = _read_table(path)
    elif not path.is_dir():
        raise InputError(f"{path}: no such folder; give the one that holds {_TABLES[0]} or LASER's tatoeba.*-eng.*")
    else:
        tables = [path / name for name in _TABLES if (path / name).is_file()]
        pairs = _read_table(tables[0]) if tables else _read_laser(path)
    return _select(sorted(pairs, key=lambda pair: pair.label), languages, path)


def _read_table(path: Path) -> list[TatoebaPairs]:
    lines = read_lines(path)
    number, header = next(lines, (1, ""))
    if not header:
        raise InputError(f"{path}: is empty; fetch the test set again")
    if header.split("\t") != _COLUMNS:
        raise InputError(f"{path}:{number}: the header is not {'<TAB>'.join(_COLUMNS)}; fix it")
    rows: dict[str, tuple[list[str], list[str]]] = {}
    languages: dict[str, str] = {}
    seen: dict[tuple[str, str], int] = {}
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != len(_COLUMNS):
            raise InputError(
                f"{path}:{number}: {counted(len(fields), 'column')}, not {len(_COLUMNS)}; write "
                f"{'<TAB>'.join(_COLUMNS)}"
            )
        label, key, sentence, english = fields
        if not sentence.strip() or not english.strip():
            raise InputError(f"{path}:{number}: one side of the pair is empty; drop the line or fill it in")
        if first := seen.get((label, key)):
            raise InputError(f"{path}:{number}: {label} {key} is on line {first} too; drop one of them")
        seen[label, key] = number
        if label not in rows:
            languages[label] = _language(label, f"{path}:{number}")
            rows[label] = ([], [])
        rows[label][0].append(sentence)
        rows[label][1].append(english)
    if not rows:
        raise InputError(f"{path}: has a header but no pairs; fetch the test set again")
    return [TatoebaPairs(label, languages[label], tuple(own), tuple(english)) for label, (own, english) in rows.items()]


def _read_laser(folder: Path) -> list[TatoebaPairs]:
    sides: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := _LASER_FILE.fullmatch(path.name):
            sides.setdefault(match["label"], {})[match["side"]] = path
    if not sides:
        if any(_XTREME_FILE.fullmatch(path.name) for path in folder.iterdir()):
            raise InputError(
                f"{folder}: XTREME's files sort the English side, so that the pairs are lost; "
                "use LASER's data/tatoeba/v1 instead"
            )
        raise InputError(f"{folder}: holds neither {_TABLES[0]} nor LASER's tatoeba.*-eng.*; fetch them")
    pairs = []
    for label, files in sides.items():
        for side in (label, "eng"):
            if side not in files:
                present = next(iter(files.values()))
                raise InputError(f"{present}: tatoeba.{label}-eng.{side} is not in the same folder; fetch both again")
        own, english = _read_side(files[label]), _read_side(files["eng"])
        if len(own) != len(english):
            raise InputError(
                f"{files[label]}: {len(own)} lines, {files['eng'].name} has {len(english)}; fetch both again"
            )
        pairs.append(TatoebaPairs(label, _language(label, str(files[label])), own, english))
    return pairs


def _read_side(path: Path) -> tuple[str, ...]:
    texts: list[str] = []
    for number, line in read_lines(path):
        # The sides are aligned by line number, so blank lines must not be skipped.
        if number != len(texts) + 1:
            raise InputError(f"{path}:{len(texts) + 1}: blank line; fill it in or drop it on both sides")
        texts.append(line)
    if not texts:
        raise InputError(f"{path}: is empty; fetch the test set again")
    return tuple(texts)


def _language(label: str, where: str) -> str:
    try:
        return normalise_language(label)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _select(pairs: list[TatoebaPairs], languages: Sequence[str] | None, path: Path) -> list[TatoebaPairs]:
    if languages is None:
        return pairs
    chosen = set()
    for code in languages:
        matches = {pair.label for pair in pairs if pair.label == code}
        matches = matches or {pair.label for pair in pairs if pair.language == normalise_language(code)}
        if not matches:
            there = ", ".join(pair.label for pair in pairs)
            raise InputError(f"{path}: has no language {code!r}; choose from {there}")
        chosen |= matches
    return [pair for pair in pairs if pair.label in chosen]
