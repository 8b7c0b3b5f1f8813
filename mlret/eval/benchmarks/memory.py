"""The memory as a benchmark: what it finds across languages, what it merges, and what each ranking feature does.

The measurements are in :mod:`mlret.eval.memory`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mlret.errors import InputError
from mlret.eval.loading import load_encoders
from mlret.eval.readers.parallel_text import read_parallel
from mlret.eval.readers.xquad_r_data import read_xquad_r
from mlret.eval.registry import LINES, MEMORIES, UNSET, Benchmark, Lines, Option, Settings, register
from mlret.eval.report import Picture

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.report import Report


class MemorySettings(Settings):
    """Settings of `mlret eval memory`."""

    benchmark: Literal["memory"] = "memory"
    data: Path = Field(description="Folder with ntrex128/ (its table and the document of each line) and xquad_r/.")
    parallel: Path = Field(Path("ntrex128/ntrex128.long.tsv.gz"), description="Parallel sentences, within the data.")
    documents: Path = Field(Path("ntrex128/doc_ids.txt.gz"), description="The document of each line, within the data.")
    lines: Lines = LINES
    answers: Annotated[
        Path | None,
        Option(
            value=bool,
            default=True,
            help="Also the features that need XQuAD-R's answers.",
            read=lambda wanted: UNSET if wanted else None,
        ),
    ] = Field(Path("xquad_r"), description="XQuAD-R, within the data; null leaves it out.")
    answer_languages: list[str] = Field(["en", "ru", "ar", "zh"], description="Languages of XQuAD-R.")


def evaluate(settings: MemorySettings, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    """Read the data, load the encoder and evaluate a memory that uses it."""
    from mlret.eval.memory.evaluation import evaluate_memory, read_document_ids

    path = settings.data / settings.parallel
    parallel = read_parallel(path, languages=settings.languages, lines=settings.lines)
    documents = read_document_ids(settings.data / settings.documents, len(parallel), settings.lines)
    answers = None
    if settings.answers is not None:
        answers = read_xquad_r(settings.data / settings.answers, languages=settings.answer_languages)
    if len(settings.models) + len(encoders) > 1:
        raise InputError("memory looks into one encoder at a time: give one")
    (encoder,) = load_encoders(settings, encoders)
    return evaluate_memory(encoder, parallel, documents, answers, data=path.parent.name, show_progress=show_progress)


def _pictures(results: Mapping[str, Any]) -> list[Picture]:
    from mlret.eval.memory.pictures import memory_pictures

    return memory_pictures(results)


MEMORY = register(
    Benchmark(
        MemorySettings,
        "Measure what a memory finds across languages, what it merges, and the effect of each ranking feature.",
        evaluate,
        options=("data", "models", "languages", "lines", "answers"),
        panel=MEMORIES,
        pictures=_pictures,
    )
)
