"""Run an evaluation: read the benchmark, load the encoders, score them and build the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mlret.data.retrieval import read_run
from mlret.errors import InputError, require
from mlret.eval.recipe import (
    AlignmentRecipe,
    BeirRecipe,
    BitextRecipe,
    MemoryRecipe,
    MiraclRecipe,
    MmarcoRecipe,
    MrTydiRecipe,
    Recipe,
    TatoebaRecipe,
    XorRetrieveRecipe,
    XquadRRecipe,
    make_recipe,
)
from mlret.eval.report import Report
from mlret.index.settings import read_index_recipe
from mlret.recipes import find_recipe

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.collection import Collection
    from mlret.eval.retrieval import Protocol
    from mlret.eval.systems import RetrievalSystem
    from mlret.index.settings import IndexRecipe

_Trec = MrTydiRecipe | MiraclRecipe | MmarcoRecipe | BeirRecipe


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
        ``"bitext"``, ``"alignment"`` or ``"memory"``.
    data
        Path of the benchmark's folder, in the benchmark's own layout. ``"ir_datasets"`` downloads Mr.TyDi, MIRACL,
        mMARCO or BEIR by name instead.
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


def run_recipe(recipe: Recipe, *, encoders: Sequence[AnyEncoder] = (), show_progress: bool = False) -> Report:
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
    if isinstance(recipe, _Trec):
        return _trec(recipe, encoders, show_progress)
    run = cast(Callable[..., Report], _RUNNERS[type(recipe)])
    return run(recipe, encoders, show_progress)


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
        require("matplotlib", extra="eval", feature="drawing pictures (or choose --no-plots)")


def _tatoeba(recipe: TatoebaRecipe, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    from mlret.eval.benchmarks.tatoeba_data import XTREME_36, read_tatoeba
    from mlret.eval.benchmarks.tatoeba_joined import evaluate_joined, join_on_english

    if recipe.xtreme_only and recipe.languages:
        raise InputError("languages and xtreme_only exclude each other: give one of them")
    pairs = read_tatoeba(recipe.data, languages=list(XTREME_36) if recipe.xtreme_only else recipe.languages)
    if recipe.joined:
        join_on_english(pairs)

    # Importing torch takes about a second, so it happens only after the input has been validated.
    from mlret.eval.benchmarks.tatoeba import all_texts, evaluate_tatoeba
    from mlret.eval.benchmarks.tatoeba_report import tatoeba_report

    results, joined = [], []
    for scorer in _scorers(recipe, encoders, list(all_texts(pairs)), show_progress):
        matchings = list(dict.fromkeys(["cosine", *recipe.matchings])) if scorer.fingerprint else ["cosine"]
        results.append(evaluate_tatoeba(scorer, pairs, matchings=matchings))  # type: ignore[arg-type]
        if recipe.joined:
            joined.append(evaluate_joined(scorer, pairs))
    return tatoeba_report(recipe.data.name, results, joined)


def _xquad_r(recipe: XquadRRecipe, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    from mlret.eval.benchmarks.xquad_r_data import read_xquad_r

    found = read_xquad_r(recipe.data, languages=recipe.languages)

    from mlret.eval.benchmarks.xquad_r import evaluate_xquad_r, texts_of

    runs = {path.name.split(".")[0]: read_run(path) for path in recipe.runs}
    scorers = []
    if not runs or recipe.models or encoders:
        questions = [text for asked in found.questions.values() for text in asked.values()]
        scorers = _scorers(recipe, encoders, [*questions, *texts_of(found, recipe.unit)[0]], show_progress)
    _check_names([*(scorer.name for scorer in scorers), *runs])
    return evaluate_xquad_r(
        scorers, found, name=recipe.data.name, unit=recipe.unit, runs=runs, run_depth=recipe.run_depth
    )


def _bitext(recipe: BitextRecipe, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    from mlret.eval.benchmarks.parallel_text import read_parallel

    parallel = read_parallel(recipe.data, languages=recipe.languages, lines=recipe.lines)

    from mlret.eval.benchmarks.bitext import evaluate_bitext

    texts = [text for side in parallel.texts.values() for text in side]
    scorers = _scorers(recipe, encoders, texts, show_progress)
    return evaluate_bitext(scorers, parallel, data=recipe.data.name, show_progress=show_progress)


def _alignment(recipe: AlignmentRecipe, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    from mlret.eval.benchmarks.parallel_text import read_parallel

    parallel = read_parallel(recipe.data, languages=recipe.languages, lines=recipe.lines)
    if len(recipe.models) + len(encoders) > 1:
        raise InputError("alignment looks into one model at a time: give one")

    from mlret.eval.benchmarks.alignment import evaluate_alignment
    from mlret.eval.scorers import bitext_scorers

    encoder = _loaded(recipe, encoders)[0]
    texts = [text for side in parallel.texts.values() for text in side]
    scorers = bitext_scorers([encoder], texts, floors=recipe.floors, show_progress=show_progress)
    return evaluate_alignment(encoder, scorers, parallel, data=recipe.data.name, pivot=recipe.pivot)


def _memory(recipe: MemoryRecipe, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    from mlret.eval.benchmarks.parallel_text import read_parallel
    from mlret.eval.benchmarks.xquad_r_data import read_xquad_r
    from mlret.eval.memory.evaluation import evaluate_memory, read_document_ids

    path = recipe.data / recipe.parallel
    parallel = read_parallel(path, languages=recipe.languages, lines=recipe.lines)
    documents = read_document_ids(recipe.data / recipe.documents, len(parallel), recipe.lines)
    answers = None
    if recipe.answers is not None:
        answers = read_xquad_r(recipe.data / recipe.answers, languages=recipe.answer_languages)
    if len(recipe.models) + len(encoders) > 1:
        raise InputError("memory looks into one encoder at a time: give one")
    encoder = _loaded(recipe, encoders)[0]
    return evaluate_memory(encoder, parallel, documents, answers, data=path.parent.name, show_progress=show_progress)


def _xor_retrieve(recipe: XorRetrieveRecipe, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    from mlret.eval.benchmarks.xor_retrieve import (
        evaluate_xor_retrieve,
        passages,
        questions_file,
        read_predictions,
        read_questions,
        word_tokenizer,
    )

    questions = read_questions(questions_file(recipe.data, recipe.split), recipe.languages)
    predictions = {path.stem: read_predictions(path) for path in recipe.predictions}
    word_tokenizer()
    if predictions and not (recipe.models or encoders or recipe.passages):
        return evaluate_xor_retrieve(questions, [], predictions, None, data=recipe.data.name)
    from mlret.eval.collection import first_present

    path = recipe.passages or first_present([recipe.data / "psgs_w100.tsv"], "the passages")
    systems = _encoders(_loaded(recipe, encoders), recipe.index, [None], show_progress) + _floors(recipe.floors)
    return evaluate_xor_retrieve(questions, systems, predictions, passages(path), data=recipe.data.name)


def _trec(recipe: _Trec, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    from mlret.eval.retrieval import evaluate_collections
    from mlret.eval.systems import SavedRuns

    saved = [SavedRuns(path) for path in recipe.runs]
    only_saved = bool(saved) and not recipe.models and not encoders
    protocol, collections = _read_trec(recipe, with_corpus=not only_saved)
    systems: list[RetrievalSystem] = [*saved]
    if not only_saved:
        loaded = _loaded(recipe, encoders)
        kinds = [None, *(read_index_recipe(find_recipe(name, "index")) for name in recipe.index_recipes)]
        systems = _encoders(loaded, recipe.index, kinds, show_progress) + systems + _floors(recipe.floors)
    _check_names([system.name for system in systems])
    return evaluate_collections(protocol, collections, systems, data=recipe.data.name)


def _read_trec(recipe: _Trec, *, with_corpus: bool) -> tuple[Protocol, list[Collection]]:
    from mlret.eval.benchmarks import beir, miracl, mmarco, mrtydi

    if isinstance(recipe, BeirRecipe):
        read = beir.read_beir(
            str(recipe.data),
            datasets=recipe.datasets,
            language=recipe.language,
            split=recipe.split,
            with_corpus=with_corpus,
        )
        return beir.PROTOCOL, read
    data, languages = str(recipe.data), recipe.languages
    if isinstance(recipe, MmarcoRecipe):
        return mmarco.PROTOCOL, mmarco.read_mmarco(data, languages=languages, with_corpus=with_corpus)
    if isinstance(recipe, MiraclRecipe):
        found = miracl.read_miracl(data, languages=languages, split=recipe.split, with_corpus=with_corpus)
        return miracl.PROTOCOL, found
    found = mrtydi.read_mrtydi(data, languages=languages, split=recipe.split, with_corpus=with_corpus)
    return mrtydi.protocol_of(data), found


def _encoders(
    encoders: Sequence[AnyEncoder], folder: Path | None, kinds: Sequence[IndexRecipe | None], show_progress: bool
) -> list[RetrievalSystem]:
    from mlret.eval.systems import IndexSystem

    return [IndexSystem(encoder, folder, kind, show_progress=show_progress) for encoder in encoders for kind in kinds]


def _floors(wanted: bool) -> list[RetrievalSystem]:
    from mlret.eval.systems import Bm25System, RandomSystem

    return [Bm25System(), RandomSystem()] if wanted else []


def _scorers(recipe: Recipe, encoders: Sequence[AnyEncoder], texts: list[str], show_progress: bool) -> Any:
    from mlret.eval.scorers import bitext_scorers

    loaded = _loaded(recipe, encoders)
    return bitext_scorers(
        loaded, texts, floors=recipe.floors, batch_size=recipe.batch_size, show_progress=show_progress
    )


def _loaded(recipe: Recipe, encoders: Sequence[AnyEncoder]) -> list[AnyEncoder]:
    from mlret.encoders.multi_vector import load_any_encoder

    names = recipe.models or ([] if encoders else [None])
    loaded = [*encoders, *(load_any_encoder(name, precision=recipe.precision) for name in names)]
    _check_names([encoder.name for encoder in loaded])
    return loaded


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two systems are called {name!r}: rename one, so that the tables can distinguish them")


_RUNNERS = {
    TatoebaRecipe: _tatoeba,
    XquadRRecipe: _xquad_r,
    BitextRecipe: _bitext,
    AlignmentRecipe: _alignment,
    MemoryRecipe: _memory,
    XorRetrieveRecipe: _xor_retrieve,
}
