"""Report the effects of a trimming as JSON, as tables and in the model card."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlret.data.durable import write_text_atomically
from mlret.data.languages import language_name
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent
from mlret.vocabulary.attribution import UNDETERMINED
from mlret.vocabulary.proof import LanguageFigures
from mlret.vocabulary.surgery import Ids

_FIGURES = "Coverage is the share of a language's tokens that are kept; fertility, tokens a word (of white space)."


@dataclass(frozen=True)
class Size:
    """Size of a model.

    Attributes
    ----------
    tokens
        Number of tokens in its tokenizer.
    parameters
        Number of parameters; shared ones count once.
    bytes
        Memory of the parameters in bytes.
    resident_bytes
        Resident memory in bytes of a process that has loaded the model and run it once; ``None`` if not measured.
    fingerprint
        Fingerprint of an encoder, by which an index built with another encoder is refused; ``None`` for other models.
    """

    tokens: int
    parameters: int
    bytes: int
    resident_bytes: int | None = None
    fingerprint: str | None = None


@dataclass
class TrimReport:
    """Report of a trimming.

    Attributes
    ----------
    model
        Name of the trimmed model.
    languages
        Languages that were kept.
    selection
        ``{"size": 60000}``, ``{"min_count": 2}``, ``{"coverage": 0.999}`` or ``{"scripts": true}``.
    before, after
        Size of the model before and after trimming.
    always_kept
        Number of tokens kept regardless of the counts.
    figures
        Figures by language; empty if there was no text.
    compared
        Number of covered texts that were run through both models.
    largest_difference
        Largest absolute difference between their vectors: 0 if nothing else changed; ``None`` if no text was compared.
    dtype
        Data type of the weights.
    left_out
        Number of texts excluded because they are in no requested language, by their language.
    retrieval
        Benchmark and metric before and after, if a benchmark was requested.
    old_ids
        ``(n,)`` int64: the old id of each new id.
    tokenizer
        The trimmed tokenizer.
    sentencepiece
        Paths of the SentencePiece models that the original has for slow tokenizers.

    Examples
    --------
    The examples of this class use the report of the example of :func:`mlret.vocabulary.trim_vocabulary`.

    >>> report.selection
    {'size': 8000}
    >>> [(row.language, row.coverage) for row in report.figures]
    [('en', 1.0), ('sw', 1.0)]
    """

    model: str
    languages: list[str]
    selection: dict[str, float | bool]
    before: Size
    after: Size
    always_kept: int
    figures: list[LanguageFigures]
    compared: int
    largest_difference: float | None
    dtype: str
    left_out: dict[str, int] = field(default_factory=dict)
    retrieval: list[dict[str, Any]] = field(default_factory=list)
    old_ids: Ids = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    tokenizer: Any = field(default=None, repr=False)
    sentencepiece: list[Path] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the report without the ids and the tokenizer, as values that JSON can represent.

        Returns
        -------
        dict
            The attributes by name; sizes and figures as dicts.

        Examples
        --------
        >>> report.to_dict()["after"]["tokens"]
        8000
        """
        shown = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("old_ids", "tokenizer", "sentencepiece", "before", "after", "figures")
        }
        return shown | {
            "before": dataclasses.asdict(self.before),
            "after": dataclasses.asdict(self.after),
            "figures": [dataclasses.asdict(row) for row in self.figures],
        }

    def tables(self) -> list[ResultTable]:
        """Return the tables of the model before and after trimming, and of the figures by language.

        Returns
        -------
        list of ResultTable
            The table of sizes; if text was counted, also that of the figures by language.

        Examples
        --------
        >>> [len(table.headings) for table in report.tables()]
        [4, 8]
        """
        rows = [
            [label, show(self.before), show(self.after), ratio(self.before, self.after)]
            for label, show, ratio in (
                ("tokens", _count("tokens"), _ratio("tokens")),
                ("parameters", _count("parameters"), _ratio("parameters")),
                ("weights, MB", _megabytes("bytes"), _ratio("bytes")),
                ("memory of a process, MB", _megabytes("resident_bytes"), _ratio("resident_bytes")),
            )
            if show(self.before) and show(self.after)
        ]
        rows += [
            [
                f"{row['benchmark']}, {row['metric']}",
                percent(row["before"]),
                percent(row["after"]),
                f"{100 * (row['after'] - row['before']):+.1f}",
            ]
            for row in self.retrieval
        ]
        tables = [ResultTable(f"{self.model}, trimmed", ["", "before", "after", "left"], [rows], self.verdict())]
        if self.figures:
            headings = ["language", "coverage", "unknown before", "unknown after"]
            headings += ["fertility before", "fertility after", "texts changed", "texts"]
            cells = [
                [
                    f"{name_of(row.language)} ({row.language})",
                    _fine(row.coverage),
                    _fine(row.unknown_before),
                    _fine(row.unknown_after),
                    f"{row.fertility_before:.2f}",
                    f"{row.fertility_after:.2f}",
                    percent(row.changed),
                    f"{row.texts:,}" + ("" if row.held_out else "*"),
                ]
                for row in self.figures
            ]
            caption = _FIGURES + ("" if all(row.held_out for row in self.figures) else " * counted, not held out.")
            if self.left_out:
                counts = ", ".join(f"{number:,} {code}" for code, number in self.left_out.items())
                caption += f" Excluded, because in no requested language: {counts}."
            tables.append(ResultTable("By language, in per cent, on held-out text", headings, [cells], caption))
        return tables

    def verdict(self) -> str:
        """Return a sentence that states whether covered texts get the same vectors.

        Returns
        -------
        str
            One sentence.

        Examples
        --------
        >>> report.verdict().endswith("covered texts have the same vectors, bit for bit (float32).")
        True
        """
        if self.largest_difference is None:
            return "There was no text to compare vectors on."
        if self.largest_difference == 0:
            return f"{self.compared} covered texts have the same vectors, bit for bit ({self.dtype})."
        return f"The vectors of {self.compared} covered texts differ by up to {self.largest_difference:.1e}."

    def card(self) -> str:
        """Return a paragraph for the model card.

        Returns
        -------
        str
            Markdown: a heading, the paragraph and the table of sizes.

        Examples
        --------
        >>> report.card().splitlines()[0]
        '## Vocabulary trimming'
        """
        names = ", ".join(name_of(code) for code in self.languages)
        ((kind, value),) = self.selection.items()
        how = {
            "size": f"the {value:,} most frequent tokens",
            "min_count": f"tokens that occur at least {value} times",
            "coverage": f"the tokens that make up {100 * value:g} % of each language's text",
            "scripts": "the tokens that their scripts can write",
        }[kind]
        return (
            "## Vocabulary trimming\n\n"
            f"The vocabulary was trimmed with [mlret](https://pypi.org/project/mlret/) to {names}: {how}, "
            "and the tokens that are always kept. Text in other languages is split into more and smaller tokens, or is "
            "unknown. Vectors must not be mixed with those of the untrimmed model.\n\n"
            f"{self.tables()[0].markdown()}"
        )

    def write(self, folder: Path) -> None:
        """Write ``trim.json``, ``trim.md``, tables as CSV, the old ids and, if matplotlib is installed, a figure.

        Parameters
        ----------
        folder
            The folder to write to, created if it does not exist.

        Raises
        ------
        InputError
            If a file cannot be written.

        Examples
        --------
        >>> from pathlib import Path
        >>> report.write(Path("trimming"))
        >>> (Path("trimming") / "trim.json").is_file()
        True
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / "trim.json", json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n")
        write_text_atomically(folder / "trim.md", "\n".join(table.markdown() for table in self.tables()))
        for name, table in zip(("size", "languages"), self.tables(), strict=False):
            write_text_atomically(folder / f"{name}.csv", table.csv())
        np.save(folder / "old_ids.npy", self.old_ids)
        if self.figures and plots.available():
            before = {row.language: row.fertility_before for row in self.figures}
            after = {row.language: row.fertility_after for row in self.figures}
            plots.paired_bars("Tokens a word, before and after", before, after, folder / "fertility.png")


def name_of(code: str) -> str:
    """Return the English name of a language, or a phrase for texts counted regardless of language."""
    return "any language" if code == UNDETERMINED else language_name(code)


def _count(name: str) -> Any:
    return lambda size: f"{getattr(size, name):,}"


def _megabytes(name: str) -> Any:
    return lambda size: None if getattr(size, name) is None else f"{getattr(size, name) / 1e6:,.1f}"


def _ratio(name: str) -> Any:
    return lambda before, after: f"{100 * getattr(after, name) / getattr(before, name):.1f} %"


def _fine(share: float) -> str:
    """Format a share in per cent with an extra digit, because differences near 0 % and 100 % matter."""
    return f"{100 * share:.2f}"
