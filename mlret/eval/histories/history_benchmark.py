"""What the benchmarks of long histories have in common: their settings, and the steps from a file to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import Field

from mlret.errors import InputError
from mlret.eval.loading import check_names, load_encoders
from mlret.eval.registry import MEMORIES, Benchmark, Names, Settings

if TYPE_CHECKING:
    from mlret.encoders.encoder import Encoder
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.histories.history_report import HistoryProtocol
    from mlret.eval.readers.history import History, ReadingNotes
    from mlret.eval.report import Report

OPTIONS = ("data", "granularity", "systems", "models", "language", "sample", "seed", "resume")
DEFAULT_SYSTEMS = ["memory", "hybrid", "dense", "bm25"]


class HistorySettings(Settings):
    """The settings of a benchmark of long histories."""

    systems: Names = Field(
        None,
        description="What to compare, the one under evaluation first: memory (Memory.search with its defaults), hybrid "
        "(its two channels fused), dense (cosine), lexical (BM25 over character n-grams), bm25 (over words), random, "
        "mem0 (its raw search, if it is installed); by default memory,hybrid,dense,bm25.",
    )
    language: str | None = Field("en", description="Language of all texts; empty to let each system detect it.")
    sample: int | None = Field(None, ge=1, description="Only this many histories, drawn at random.")
    seed: int = Field(0, ge=0, description="Seed of the sample and of the random ranking.")
    resume: Path | None = Field(
        None,
        description="Keep the rankings in this folder: a run that was interrupted continues, and none is repeated.",
    )


HistorySettingsT = TypeVar("HistorySettingsT", bound=HistorySettings)
Read = Callable[[HistorySettingsT, "ReadingNotes"], "Iterator[History]"]


def history_benchmark(
    settings: type[HistorySettingsT],
    summary: str,
    data_help: str,
    protocol_of: Callable[[HistorySettingsT], HistoryProtocol],
    read: Read[HistorySettingsT],
    *,
    options: tuple[str, ...] = OPTIONS,
) -> Benchmark[HistorySettingsT]:
    """Return a benchmark that ranks the documents of histories.

    Parameters
    ----------
    settings
        The model of its settings.
    summary
        One sentence for the command line that says what is measured.
    data_help
        Where the data is available and in which form it is read.
    protocol_of
        Returns how to score, for given settings.
    read
        Streams the histories, and notes what it leaves out.
    options
        Names of the settings that are options on the command line.
    """

    def evaluate(given: HistorySettingsT, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
        return _evaluate(given, encoders, show_progress, protocol_of(given), partial(read, given))

    def pictures(results: Any) -> Any:
        from mlret.eval.histories.history_report import history_pictures

        metric = next(iter(next(iter(next(iter(results["figures"].values())).values()))))
        return history_pictures(metric, results)

    return Benchmark(settings, summary, evaluate, options, panel=MEMORIES, pictures=pictures, data_help=data_help)


def _evaluate(
    given: HistorySettings,
    encoders: Sequence[AnyEncoder],
    show_progress: bool,
    protocol: HistoryProtocol,
    read: Callable[[ReadingNotes], Iterator[History]],
) -> Report:
    from mlret.data.languages import normalise_language
    from mlret.eval.histories.history_report import evaluate_histories
    from mlret.eval.histories.ranker_names import WITH_ENCODER, make_rankers
    from mlret.eval.readers.history import ReadingNotes

    systems = _systems(given)
    language = normalise_language(given.language) if given.language else None
    # The whole file is read once before anything is encoded, so that an error in it costs no time.
    notes, total = ReadingNotes(), 0
    for history in read(notes):
        total += bool(history.questions)
    chosen = _chosen(total, given)
    loaded = _one_vector(load_encoders(given, encoders)) if set(systems) & set(WITH_ENCODER) else []
    openers = make_rankers(systems, loaded, given.seed)

    def histories() -> Iterator[History]:
        asked = (history for history in read(ReadingNotes()) if history.questions)
        return (history for number, history in enumerate(asked) if chosen is None or number in chosen)

    lines = notes.lines()
    if chosen is not None:
        lines.insert(0, f"a sample of {len(chosen):,} of {total:,} histories, with seed {given.seed}")
    return evaluate_histories(
        protocol,
        histories,
        openers,
        language=language,
        data=given.data.name,
        total=total if chosen is None else len(chosen),
        resume=given.resume,
        notes=lines,
        show_progress=show_progress,
    )


def _systems(given: HistorySettings) -> list[str]:
    from mlret.eval.histories.ranker_names import SYSTEMS

    systems = given.systems or DEFAULT_SYSTEMS
    if unknown := [name for name in systems if name not in SYSTEMS]:
        raise InputError(f"no system is called {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    check_names(systems)
    if "mem0" in systems:
        from mlret.eval.histories.mem0_ranker import check_mem0

        check_mem0()
    return systems


def _chosen(total: int, given: HistorySettings) -> set[int] | None:
    """Return the numbers of the histories in the sample; ``None`` for all."""
    if given.sample is None or given.sample >= total:
        return None
    random = np.random.default_rng(given.seed)
    return {int(one) for one in random.choice(total, given.sample, replace=False)}


def _one_vector(encoders: Sequence[AnyEncoder]) -> list[Encoder]:
    from mlret.encoders.encoder import Encoder

    found: list[Encoder] = []
    for encoder in encoders:
        if not isinstance(encoder, Encoder):
            raise InputError(f"{encoder.name} gives a vector for each token; this evaluation needs one per text")
        found.append(encoder)
    return found
