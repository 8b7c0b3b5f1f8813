"""What a trimming did: for JSON, for people, for the model card."""

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
    """How large a model is.

    Attributes
    ----------
    tokens
        In its tokenizer.
    parameters
        Numbers; those that are shared count once.
    bytes
        That these take in memory.
    resident_bytes
        Of a process that has loaded the model and run it once; ``None`` where it was not measured.
    fingerprint
        Of an encoder: an index of another is refused.
    """

    tokens: int
    parameters: int
    bytes: int
    resident_bytes: int | None = None
    fingerprint: str | None = None


@dataclass
class TrimReport:
    """A trimming.

    Attributes
    ----------
    model
        What was trimmed.
    languages
        For which.
    selection
        ``{"size": 60000}``, ``{"min_count": 2}``, ``{"coverage": 0.999}`` or ``{"scripts": true}``.
    before, after
        The model's size.
    always_kept
        Tokens kept whatever the counts.
    figures
        By language; empty without text.
    compared
        Covered texts that went through both models.
    largest_difference
        Between their vectors: 0 where nothing else changed. ``None`` without text.
    dtype
        Of the weights.
    left_out
        Texts that were not counted, since they are in no language asked for: their language -> how many.
    retrieval
        Benchmark and metric before and after, where one was asked for.
    old_ids
        ``(n,)`` int64: the old id of each new one.
    tokenizer
        The trimmed tokenizer.
    sentencepiece
        The SentencePiece models that the original has for slow tokenizers.
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
        """Everything but the ids and the tokenizer, as JSON takes it."""
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
        """The model before and after; every language."""
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
                caption += f" Left out, in no language asked for: {counts}."
            tables.append(ResultTable("By language, in per cent, on held-out text", headings, [cells], caption))
        return tables

    def verdict(self) -> str:
        """Whether covered texts get the same vectors, in a sentence."""
        if self.largest_difference is None:
            return "No text was at hand to compare vectors on."
        if self.largest_difference == 0:
            return f"{self.compared} covered texts have the same vectors, bit for bit ({self.dtype})."
        return f"The vectors of {self.compared} covered texts differ by up to {self.largest_difference:.1e}."

    def card(self) -> str:
        """A paragraph for the model card."""
        names = ", ".join(name_of(code) for code in self.languages)
        ((kind, value),) = self.selection.items()
        how = {
            "size": f"the {value:,} tokens that come most",
            "min_count": f"tokens that come {value} times or more",
            "coverage": f"the tokens that make up {100 * value:g} % of each language's text",
            "scripts": "the tokens that their scripts can write",
        }[kind]
        return (
            "## Vocabulary trimming\n\n"
            f"The vocabulary was trimmed with [mlret](https://pypi.org/project/mlret/) to {names}: {how}, and what is "
            "always kept. Text in other languages is cut into more and smaller pieces, or is unknown. Vectors must not "
            "be mixed with those of the untrimmed model.\n\n"
            f"{self.tables()[0].markdown()}"
        )

    def write(self, folder: Path) -> None:
        """Write ``trim.json``, ``trim.md``, tables as CSV, the old ids and, with matplotlib, a picture.

        Parameters
        ----------
        folder
            Made where it is not there.
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
    """A language's English name; that of texts that were counted whatever their language."""
    return "any language" if code == UNDETERMINED else language_name(code)


def _count(name: str) -> Any:
    return lambda size: f"{getattr(size, name):,}"


def _megabytes(name: str) -> Any:
    return lambda size: None if getattr(size, name) is None else f"{getattr(size, name) / 1e6:,.1f}"


def _ratio(name: str) -> Any:
    return lambda before, after: f"{100 * getattr(after, name) / getattr(before, name):.1f} %"


def _fine(share: float) -> str:
    """In per cent, with a digit more than elsewhere: what matters lies near none and near all."""
    return f"{100 * share:.2f}"
