"""What benchmarks that rank documents have in common (Mr.TyDi, MIRACL, mMARCO, BEIR): settings and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import Field

from mlret.eval.collection import Collection
from mlret.eval.loading import baseline_systems, check_names, index_systems, load_encoders
from mlret.eval.registry import Benchmark, Option, Runs, Settings
from mlret.eval.retrieval import Protocol, evaluate_collections, retrieval_pictures

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.report import Report
    from mlret.eval.systems import RetrievalSystem

OPTIONS = ("data", "models", "runs", "languages", "split", "index", "index_recipes", "floors")


class TrecSettings(Settings):
    """The settings of a benchmark that ranks documents."""

    runs: Runs = Field([], description="A TREC run, or a folder with one a language. Alone, no encoder is loaded.")
    index: Path | None = Field(
        None, description="Keep the indexes in this folder: a large corpus is then encoded once, and resumes."
    )
    index_recipes: Annotated[list[str], Option(("--index-recipe",))] = Field(
        [],
        description="Compare this kind of index, too: a recipe of `mlret recipes list`, e.g. graph. Repeat it.",
    )


TrecSettingsT = TypeVar("TrecSettingsT", bound=TrecSettings)


def trec_benchmark(
    settings: type[TrecSettingsT],
    summary: str,
    protocol: Protocol,
    read: Callable[[TrecSettingsT, bool], list[Collection]],
    *,
    options: tuple[str, ...] = OPTIONS,
    protocol_of: Callable[[TrecSettingsT], Protocol] | None = None,
) -> Benchmark[TrecSettingsT]:
    """Return a benchmark that ranks the documents of collections.

    Parameters
    ----------
    settings
        The model of its settings.
    summary
        One sentence for the command line that says what is measured.
    protocol
        How to score.
    read
        Reads the collections. Its second argument says whether the documents are needed, which they are not if only
        saved runs are scored.
    options
        Names of the settings that are options on the command line.
    protocol_of
        Returns the protocol for given settings, if it depends on them.
    """

    def evaluate(given: TrecSettingsT, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
        from mlret.eval.systems import SavedRuns
        from mlret.index.settings import read_index_recipe
        from mlret.recipes import find_recipe

        saved = [SavedRuns(path) for path in given.runs]
        only_saved = bool(saved) and not given.models and not encoders
        how = protocol_of(given) if protocol_of else protocol
        collections = read(given, not only_saved)
        systems: list[RetrievalSystem] = [*saved]
        if not only_saved:
            loaded = load_encoders(given, encoders)
            kinds = [None, *(read_index_recipe(find_recipe(name, "index")) for name in given.index_recipes)]
            systems = [
                *index_systems(loaded, given.index, kinds, show_progress),
                *saved,
                *baseline_systems(given.floors),
            ]
        check_names([system.name for system in systems])
        return evaluate_collections(how, collections, systems, data=given.data.name)

    return Benchmark(settings, summary, evaluate, options, pictures=partial(retrieval_pictures, protocol))
