"""Write a trimmed model to a folder, with its tokenizer, SentencePiece model, report and model card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlret.data.durable import write_folder_atomically
from mlret.vocabulary.report import TrimReport
from mlret.vocabulary.sentencepiece_model import cut_sentencepiece
from mlret.vocabulary.target_model import open_subject

REPORT_FOLDER = "trim"


def save_trimmed(
    model: Any,
    report: TrimReport,
    folder: str | Path,
    *,
    measure: Callable[[Path], None] | None = None,
) -> None:
    """Write the result of :func:`mlret.vocabulary.trim_vocabulary` atomically: the folder is complete or absent.

    The folder holds the model and its tokenizer in the formats of their own libraries; the ``.model`` file of slow
    tokenizers, if the original has one, cut to the same tokens (pieces, in SentencePiece's terms); ``trim/`` with the
    report; and a model card to which a paragraph is added.

    Parameters
    ----------
    model, report
        The trimmed model and its report.
    folder
        The folder to write, which must be new or empty.
    measure
        Function called with the folder before the report is written, to add further figures to the report.

    Raises
    ------
    InputError
        If the original's ``.model`` cannot be read.
    """
    subject, _ = open_subject(model, report.tokenizer)
    kept = subject.backend.get_vocab(with_added_tokens=True)
    pieces = {path.name: cut_sentencepiece(path.read_bytes(), kept, str(path)) for path in report.sentencepiece}

    def write(beside: Path) -> None:
        subject.save(beside)
        for name, content in pieces.items():
            (beside / name).write_bytes(content)
        if measure is not None:
            measure(beside)
        report.write(beside / REPORT_FOLDER)
        with (beside / "README.md").open("a", encoding="utf-8") as card:
            card.write(("\n\n" if card.tell() else f"# {Path(folder).name}\n\n") + report.card())

    write_folder_atomically(Path(folder), write)
