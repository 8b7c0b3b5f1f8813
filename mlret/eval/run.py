"""Run an evaluation of encoders or saved runs on a benchmark of the registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlret.errors import InputError, require
from mlret.eval.recipe import make_recipe
from mlret.eval.registry import Settings, benchmarks
from mlret.eval.report import Report

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder


def evaluate(
    benchmark: str,
    data: str | Path,
    *,
    models: Sequence[Any] = (),
    show_progress: bool = False,
    **options: Any,
) -> Report:
    """Evaluate encoders or saved runs on a benchmark.

    Parameters
    ----------
    benchmark
        ``"tatoeba"``, ``"mrtydi"``, ``"miracl"``, ``"mmarco"``, ``"beir"``, ``"xor-retrieve"``, ``"xquad-r"``,
        ``"bitext"``, ``"alignment"``, ``"memory"``, ``"memory-situations"``, ``"longmemeval"``, ``"locomo"``,
        ``"beam"``, ``"memoryagentbench"``, or a benchmark that another package registered.
    data
        Path of the benchmark's folder, in the benchmark's own layout. ``"ir_datasets"`` downloads Mr.TyDi, MIRACL,
        mMARCO or BEIR by name instead; ``"bundled"`` is what comes with mlret for ``"memory-situations"``.
    models
        Encoders, or their folders or hub ids. By default the bundled encoder is evaluated, or none if saved runs are
        given.
    show_progress
        Show progress bars.
    **options
        The other keys of the benchmark's recipe, such as ``languages``, ``floors``, ``split`` and ``runs``.

    Returns
    -------
    Report
        ``.figure("mrr@100")`` returns one score, ``.markdown()`` the tables, and ``.write(folder)`` writes everything.

    Raises
    ------
    InputError
        If an option is unknown, or the data is missing or malformed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import mlret
    >>> from mlret.data.sample import load_parallel_sentences
    >>> from mlret.eval import evaluate
    >>> Path("parallel").mkdir()
    >>> for language in ("en", "sw"):
    ...     with open(f"parallel/{language}.txt", "w", encoding="utf-8") as file:
    ...         for sentence in load_parallel_sentences().texts[language][:20]:
    ...             print(sentence, file=file)
    >>> report = evaluate("bitext", "parallel", models=[mlret.load_encoder()], floors=False)
    >>> report.figure("accuracy") > 0.8
    True
    """
    loaded = [model for model in models if hasattr(model, "encode_query")]
    names = [model if model is None else str(model) for model in models if not hasattr(model, "encode_query")]
    recipe = make_recipe({"benchmark": benchmark, "data": Path(data), "models": names, **options})
    return run_recipe(recipe, encoders=loaded, show_progress=show_progress)


def run_recipe(recipe: Settings, *, encoders: Sequence[AnyEncoder] = (), show_progress: bool = False) -> Report:
    """Run the evaluation that a recipe describes, using the recipe's paths unchanged.

    Parameters
    ----------
    recipe
        The benchmark, its data and the options.
    encoders
        Encoders that are already loaded. They are evaluated before those that the recipe names.
    show_progress
        Show progress bars.

    Returns
    -------
    Report
        The results.

    Raises
    ------
    InputError
        If the benchmark, an encoder, a run or a language does not exist.
    """
    report: Report = benchmarks()[recipe.benchmark_name()].evaluate(recipe, encoders, show_progress)
    return report


def check_output(folder: Path, *, pictures: bool) -> None:
    """Check, before a long evaluation, that its results can be written afterwards.

    Parameters
    ----------
    folder
        The folder that the results will be written to. It need not exist, but its parent must.
    pictures
        Whether plots will be drawn.

    Raises
    ------
    InputError
        If ``folder`` is a file, or its parent folder does not exist.
    MissingExtraError
        If plots are wanted and matplotlib is not installed.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the results")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"{folder}: the folder {folder.parent} does not exist; make it first (mkdir -p)")
    if pictures:
        require("matplotlib", extra="eval", feature="drawing pictures (or choose `pictures=False`)")
