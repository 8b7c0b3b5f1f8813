"""Read sentences that exist in several languages: FLORES, NTREX, Bibles, or files of your own."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlret.data.files import read_lines
from mlret.data.languages import normalise_language
from mlret.errors import InputError
from mlret.wording import counted

_LONG_COLUMNS = ("lang", "line", "text")
# Matches the language code in names such as newstest2019-ref.swa.txt, swh_Latn.devtest and sw.txt.
_CODE = re.compile(r"(?:^|\.)([a-z]{2,3}(?:[-_][A-Za-z]{3,8})*)(?=\.|$)")


@dataclass(frozen=True)
class ParallelTexts:
    """The same sentences in several languages.

    Attributes
    ----------
    texts
        Label (the data's own code) -> ``n`` texts; line ``i`` of each language translates line ``i`` of the others.
    languages
        Label -> mlret's language code.
    """

    texts: dict[str, tuple[str, ...]]
    languages: dict[str, str]

    @property
    def all_texts(self) -> list[str]:
        """The texts of all languages, one language after the other."""
        return [text for texts in self.texts.values() for text in texts]

    def __len__(self) -> int:
        return len(next(iter(self.texts.values())))


def read_parallel(
    path: str | Path, *, languages: Sequence[str] | None = None, lines: tuple[int, int] | None = None
) -> ParallelTexts:
    """Read parallel sentences.

    Parameters
    ----------
    path
        A folder with a file for each language, one sentence per line (``swh_Latn.devtest`` of FLORES,
        ``newstest2019-ref.swa.txt`` of NTREX, ``sw.txt``); or a TSV file, optionally gzipped, whose header is ``lang``,
        ``line``, ``text`` or names a language for each column. In the former, equal numbers in ``line`` mark
        translations of each other, and the rows may be in any order.
    languages
        Languages to read, by the data's own codes or by mlret's; all by default.
    lines
        First and last line to read, counted from 1, both included; all by default.

    Raises
    ------
    InputError
        If nothing is found, fewer than two languages are left, a language does not exist, the languages differ in their
        lines, a line is there twice, or ``lines`` is out of range.
    """
    path = Path(path)
    numbers: dict[str, set[int]] = {}
    if path.is_dir():
        found = _read_folder(path)
    elif path.is_file():
        found, numbers = _read_table(path)
    else:
        raise InputError(f"{path}: no such file or folder; give parallel sentences, a file for each language")
    codes = {label: code for label in found if (code := _language(label)) is not None}
    chosen = list(codes) if languages is None else [_find(label, codes, path) for label in languages]
    if len(chosen) < 2:
        raise InputError(
            f"{path}: {len(chosen)} language; parallel sentences need two, of {', '.join(found) or 'none'}"
        )
    counts = {label: len(found[label]) for label in chosen}
    if len(set(counts.values())) > 1:
        shortest, longest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        raise InputError(
            f"{path}: {longest} has {counted(counts[longest], 'line')}, {shortest} has {counts[shortest]}: line i of "
            "each must translate line i of the others; fetch the data again, or choose other languages"
        )
    for label in chosen if numbers else ():
        if odd := sorted(numbers[label] - numbers[chosen[0]]):
            raise InputError(f"{path}: {label} has a line {odd[0]}, but {chosen[0]} has not; number the lines alike")
    first, last = lines or (1, len(found[chosen[0]]))
    if not 1 <= first <= last <= len(found[chosen[0]]):
        raise InputError(f"{path}: lines {first} to {last} of {len(found[chosen[0]])}; give a first and a last line")
    return ParallelTexts(
        {label: tuple(found[label][first - 1 : last]) for label in chosen}, {label: codes[label] for label in chosen}
    )


def _read_folder(folder: Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.removesuffix(".gz")
        if not path.is_file() or not (codes := _CODE.findall(name.rsplit(".", 1)[0] if "." in name else name)):
            continue
        label = next((code for code in codes if _language(code) is not None), None)
        if label is None:
            continue
        if label in texts:
            raise InputError(f"{path}: a second file of {label}; keep one file a language in {folder}")
        texts[label] = _aligned_lines(path)
    if not texts:
        raise InputError(f"{folder}: holds no file that is named by its language, such as sw.txt or swh_Latn.devtest")
    return texts


def _aligned_lines(path: Path) -> list[str]:
    texts: list[str] = []
    for number, line in read_lines(path):
        # The languages are aligned by line number, so blank lines must not be skipped.
        if number != len(texts) + 1:
            raise InputError(f"{path}:{len(texts) + 1}: blank line; fill it in, or drop it in every language")
        texts.append(line)
    return texts


def _read_table(path: Path) -> tuple[dict[str, list[str]], dict[str, set[int]]]:
    """Return the texts of each language in order, and the line numbers of each if the table states them."""
    lines = read_lines(path)
    number, header = next(lines, (1, ""))
    columns = header.split("\t")
    texts: dict[str, list[str]] = {}
    long = tuple(columns) == _LONG_COLUMNS
    numbered: dict[str, dict[int, str]] = {}
    if not long:
        if len(columns) < 2 or not all(_language(column) for column in columns):
            raise InputError(
                f"{path}:{number}: the header names neither a language a column nor {'<TAB>'.join(_LONG_COLUMNS)}"
            )
        texts = {column: [] for column in columns}
    for number, line in lines:
        cells = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE))
        if len(cells) != len(columns):
            raise InputError(
                f"{path}:{number}: {counted(len(cells), 'column')} where the header has {len(columns)}; fix the line"
            )
        if long:
            of_language = numbered.setdefault(cells[0], {})
            if not (cells[1].isascii() and cells[1].isdecimal()):
                raise InputError(f"{path}:{number}: the line {cells[1]!r} is not a whole number; number the lines")
            if int(cells[1]) in of_language:
                raise InputError(f"{path}:{number}: line {cells[1]} of {cells[0]} is there twice; keep one of them")
            of_language[int(cells[1])] = cells[2]
        else:
            for column, cell in zip(columns, cells, strict=True):
                texts[column].append(cell)
    if not long:
        return texts, {}
    texts = {label: [lines[line] for line in sorted(lines)] for label, lines in numbered.items()}
    return texts, {label: set(lines) for label, lines in numbered.items()}


def _language(label: str) -> str | None:
    try:
        return normalise_language(label.replace("_", "-"))
    except InputError:
        return None


def _find(wanted: str, codes: dict[str, str], path: Path) -> str:
    if wanted in codes:
        return wanted
    code = normalise_language(wanted)
    for label, language in codes.items():
        if language == code:
            return label
    raise InputError(f"{path}: has no language {wanted!r}; there are {', '.join(codes)}")
