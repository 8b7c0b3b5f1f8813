"""The memory as a benchmark: what it finds across languages, what it merges, and what each ranking feature does.

The measurements are in :mod:`mlret.eval.memory`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mlret.errors import InputError
from mlret.eval.benchmarks.parallel_text import read_parallel
from mlret.eval.benchmarks.registry import LINES, UNSET, Benchmark, Lines, Option, Settings, register
from mlret.eval.benchmarks.xquad_r_data import read_xquad_r
from mlret.eval.loading import load_encoders
from mlret.eval.report import Picture, source_of
from mlret.reporting import plots

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


def pictures(results: Mapping[str, Any]) -> list[Picture]:
    """Return the plot of lookup by pair of languages from the content of ``report.json``."""
    system = f"{next(iter(results['systems']))}, fused"
    groups = results["figures"][system]
    labels = [group[: len(group) // 2] for group in groups if group == "-".join([group[: len(group) // 2]] * 2)]
    values = [[groups[f"{a}-{b}"]["recall@1"] if a != b else None for b in labels] for a in labels]
    title = f"Records found first by queries in another language (recall@1)\n{system}"
    draw = partial(
        plots.heat_map,
        title,
        labels,
        labels,
        values,
        row_label="query",
        column_label="records",
        source=source_of(results),
    )
    return [Picture("lookup", draw)]


MEMORY = register(
    Benchmark(
        MemorySettings,
        "Measure what a memory finds across languages, what it merges, and the effect of each ranking feature.",
        evaluate,
        options=("data", "models", "languages", "lines", "answers"),
        pictures=pictures,
    )
)
