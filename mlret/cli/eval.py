"""`mlret eval`: evaluate encoders and runs on standard benchmarks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlret.cli.common import language_codes, print_tables
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.eval.recipe import Recipe

app = typer.Typer(
    no_args_is_help=True,
    help="Measure encoders and saved runs on the field's benchmarks.",
    epilog="Each benchmark is read in its own layout; eval/README.md says where to get it and which traps it has.",
)

_BITEXT, _RETRIEVAL, _RESULTS = "Sentences", "Retrieval", "Recipes and results"
_Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", help="Encoder: a folder or a hub id; by default the bundled one. Repeat it for more."
    ),
]
_Languages = Annotated[
    list[str] | None,
    typer.Option("--languages", "-l", help="Only these, e.g. sw,de,zh; repeat it or separate by commas."),
]
_Floors = Annotated[bool, typer.Option(help="Also score what knows nothing of meaning: chance, spelling, BM25.")]
_Batch = Annotated[int, typer.Option(min=1, help="Texts in one forward pass.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
_Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for JSON, tables (Markdown, LaTeX, CSV), runs, scores and pictures."),
]
_Plots = Annotated[bool, typer.Option("--plots/--no-plots", help="Draw pictures into the output folder.")]
_Runs = Annotated[
    list[Path] | None,
    typer.Option("--run", "-r", help="A TREC run, or a folder with one a language. Alone, no encoder is loaded."),
]
_Index = Annotated[
    Path | None,
    typer.Option("--index", help="Keep the indexes in this folder: a large corpus is then encoded once, and resumes."),
]
_Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--index-recipe",
        help="Compare this kind of index, too: a recipe of `mlret recipes list`, e.g. graph. Repeat it.",
    ),
]
_Lines = Annotated[str | None, typer.Option("--lines", help="First and last line to take, from 1, e.g. 1625-1997.")]


@app.command(rich_help_panel=_BITEXT)
def tatoeba(
    data: Annotated[Path, typer.Option("--data", help="Folder with tatoeba.v1.tsv.gz, or LASER's data/tatoeba/v1.")],
    models: _Models = None,
    languages: _Languages = None,
    xtreme_only: Annotated[bool, typer.Option("--xtreme-only", help="Only the 36 languages of XTREME.")] = False,
    margin: Annotated[bool, typer.Option("--margin", help="Also match by ratio margin.")] = False,
    joined: Annotated[
        bool,
        typer.Option("--joined", help="Also between languages other than English, joined on their English."),
    ] = False,
    floors: _Floors = True,
    batch_size: _Batch = 256,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Find translations in 112 languages, in both directions, by cosine and CSLS, raw and calibrated."""
    _evaluate(
        {
            "benchmark": "tatoeba",
            "data": data,
            "models": models,
            "languages": languages,
            "xtreme_only": xtreme_only,
            "matchings": ["cosine", "csls", "margin"] if margin else None,
            "joined": joined,
            "floors": floors,
            "batch_size": batch_size,
        },
        output,
        plots=plots,
        as_json=json_,
    )


@app.command(rich_help_panel=_BITEXT)
def bitext(
    data: Annotated[
        Path, typer.Option("--data", help="Folder with a file a language (FLORES, NTREX, sw.txt), or a TSV of columns.")
    ],
    models: _Models = None,
    languages: _Languages = None,
    lines: _Lines = None,
    floors: _Floors = True,
    batch_size: _Batch = 256,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Find translations between every two languages of parallel sentences: accuracy and xSIM."""
    settings = {"benchmark": "bitext", "data": data, "models": models, "languages": languages, "lines": _span(lines)}
    _evaluate({**settings, "floors": floors, "batch_size": batch_size}, output, plots=plots, as_json=json_)


@app.command(rich_help_panel=_BITEXT)
def alignment(
    data: Annotated[Path, typer.Option("--data", help="Parallel sentences, as for `mlret eval bitext`.")],
    models: _Models = None,
    languages: _Languages = None,
    lines: _Lines = None,
    pivot: Annotated[str, typer.Option(help="The language that all others are aligned with.")] = "en",
    floors: _Floors = True,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Measure which layers align languages (MEXA), and draw a map of sentences before and after calibration."""
    settings = {"benchmark": "alignment", "data": data, "models": models, "languages": languages, "pivot": pivot}
    _evaluate({**settings, "lines": _span(lines), "floors": floors}, output, plots=plots, as_json=json_)


@app.command(rich_help_panel=_RETRIEVAL)
def memory(
    data: Annotated[
        Path,
        typer.Option("--data", help="Folder with ntrex128/ (its table and the document of each line) and xquad_r/."),
    ],
    models: _Models = None,
    languages: _Languages = None,
    lines: _Lines = None,
    answers: Annotated[
        bool, typer.Option("--answers/--no-answers", help="Also the features that need XQuAD-R's answers.")
    ] = True,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Measure what a memory finds across languages, what it merges, and the effect of each ranking feature."""
    settings = {"benchmark": "memory", "data": data, "models": models, "languages": languages, "lines": _span(lines)}
    given = {key: value for key, value in settings.items() if value is not None}
    given["languages"] = language_codes(languages)
    from mlret.eval.recipe import make_recipe

    recipe = make_recipe({**given, **({} if answers else {"answers": None})})
    _show(recipe, output, plots=plots, as_json=json_)


@app.command("xquad-r", rich_help_panel=_RETRIEVAL)
def xquad_r(
    data: Annotated[Path, typer.Option("--data", help="Folder with xquad-r/de.json …, or the same as tables.")],
    models: _Models = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", "-r", help="A TREC run with queries de:ID. Alone, no encoder is loaded. Repeat it."),
    ] = None,
    languages: _Languages = None,
    unit: Annotated[str, typer.Option(help="What a candidate is: sentence+context, as in LAReQA, or sentence.")] = (
        "sentence+context"
    ),
    run_depth: Annotated[int, typer.Option(min=0, help="Write runs of so many candidates a question.")] = 0,
    floors: _Floors = True,
    batch_size: _Batch = 256,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Find answers in eleven languages in one pool (LAReQA): mean average precision and language bias."""
    settings = {"benchmark": "xquad-r", "data": data, "models": models, "languages": languages, "unit": unit}
    options = {"runs": runs, "run_depth": run_depth, "floors": floors, "batch_size": batch_size}
    _evaluate({**settings, **options}, output, plots=plots, as_json=json_)


@app.command(rich_help_panel=_RETRIEVAL)
def mrtydi(
    data: Annotated[
        Path, typer.Option("--data", help="Folder with mrtydi-v1.1-swahili and the like; or ir_datasets, to fetch.")
    ],
    models: _Models = None,
    runs: _Runs = None,
    languages: _Languages = None,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    index: _Index = None,
    index_recipes: _Kinds = None,
    floors: _Floors = True,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Evaluate on Mr.TyDi in eleven languages: MRR@100 and Recall@100."""
    settings = {"benchmark": "mrtydi", "data": data, "models": models, "runs": runs, "languages": languages}
    options = {"split": split, "index": index, "index_recipes": index_recipes, "floors": floors}
    _evaluate({**settings, **options}, output, plots=plots, as_json=json_)


@app.command(rich_help_panel=_RETRIEVAL)
def miracl(
    data: Annotated[
        Path,
        typer.Option("--data", help="Folder with miracl-v1.0-sw, miracl-corpus-v1.0-sw, …; or ir_datasets, to fetch."),
    ],
    models: _Models = None,
    runs: _Runs = None,
    languages: _Languages = None,
    split: Annotated[str, typer.Option(help="train or dev.")] = "dev",
    index: _Index = None,
    index_recipes: _Kinds = None,
    floors: _Floors = True,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Evaluate on MIRACL in eighteen languages: nDCG@10 and Recall@100."""
    settings = {"benchmark": "miracl", "data": data, "models": models, "runs": runs, "languages": languages}
    options = {"split": split, "index": index, "index_recipes": index_recipes, "floors": floors}
    _evaluate({**settings, **options}, output, plots=plots, as_json=json_)


@app.command(rich_help_panel=_RETRIEVAL)
def mmarco(
    data: Annotated[
        Path, typer.Option("--data", help="Folder with collections/, queries/dev/, qrels; or ir_datasets, to fetch.")
    ],
    models: _Models = None,
    runs: _Runs = None,
    languages: _Languages = None,
    index: _Index = None,
    index_recipes: _Kinds = None,
    floors: _Floors = True,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Evaluate on MS MARCO's passages in fourteen languages: MRR@10 and Recall@1000."""
    settings = {"benchmark": "mmarco", "data": data, "models": models, "runs": runs, "languages": languages}
    options = {"index": index, "index_recipes": index_recipes, "floors": floors}
    _evaluate({**settings, **options}, output, plots=plots, as_json=json_)


@app.command(rich_help_panel=_RETRIEVAL)
def beir(
    data: Annotated[
        Path, typer.Option("--data", help="A data set of BEIR, a folder of several; or ir_datasets, to fetch.")
    ],
    models: _Models = None,
    runs: _Runs = None,
    datasets: Annotated[list[str] | None, typer.Option("--datasets", help="Only these, e.g. scifact,nfcorpus.")] = None,
    language: Annotated[str | None, typer.Option(help="Of all texts, e.g. en; stems BM25's words.")] = None,
    split: Annotated[str, typer.Option(help="The name of the file in qrels/.")] = "test",
    index: _Index = None,
    index_recipes: _Kinds = None,
    floors: _Floors = True,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Evaluate on data sets in BEIR's layout: nDCG@10 and Recall@100."""
    settings = {"benchmark": "beir", "data": data, "models": models, "runs": runs, "datasets": language_codes(datasets)}
    options: dict[str, Any] = {"language": language, "split": split, "floors": floors}
    options |= {"index": index, "index_recipes": index_recipes}
    _evaluate({**settings, **options}, output, plots=plots, as_json=json_)


@app.command("xor-retrieve", rich_help_panel=_RETRIEVAL)
def xor_retrieve(
    data: Annotated[Path, typer.Option("--data", help="Folder with xor_dev_retrieve_eng_span_v1_1.jsonl.")],
    models: _Models = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option("--predictions", help="Saved predictions as the official script takes them: a JSON file."),
    ] = None,
    passages: Annotated[
        Path | None, typer.Option("--passages", help="DPR's psgs_w100.tsv; by default the one in --data.")
    ] = None,
    languages: _Languages = None,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "dev",
    index: _Index = None,
    floors: _Floors = True,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Find English passages for questions in seven languages (XOR-TyDi): R@2kt and R@5kt."""
    settings = {"benchmark": "xor-retrieve", "data": data, "models": models, "languages": languages, "split": split}
    options = {"predictions": predictions, "passages": passages, "index": index, "floors": floors}
    _evaluate({**settings, **options}, output, plots=plots, as_json=json_)


@app.command(rich_help_panel=_RESULTS)
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe that `mlret recipes list` names, or a YAML file.")],
    data: Annotated[Path, typer.Option("--data", help="The folder that the recipe's data is in.")] = Path("data"),
    models: _Models = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Encode in float32, bfloat16 or int8; see `mlret encode --help`.")
    ] = None,
    json_: _Json = False,
    output: _Output = None,
    plots: _Plots = True,
) -> None:
    """Run an evaluation recipe; options given here override the recipe's."""
    from mlret.encoders.precision import check_precision
    from mlret.eval.recipe import read_recipe, under
    from mlret.recipes import find_recipe

    settings = under(read_recipe(find_recipe(recipe, "eval")), data)
    if models:
        settings = settings.model_copy(update={"models": models})
    if precision is not None:
        check_precision(precision)
        settings = settings.model_copy(update={"precision": precision})
    _show(settings, output, plots=plots, as_json=json_)


@app.command(rich_help_panel=_RESULTS)
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder that --output wrote; a TREC run with --qrels.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The same of the other system.")],
    metric: Annotated[
        str | None, typer.Option("--metric", help="Which; by default the benchmark's first, of runs ndcg@10.")
    ] = None,
    system_a: Annotated[str | None, typer.Option("--system-a", help="Which system of A; by default its first.")] = None,
    system_b: Annotated[str | None, typer.Option("--system-b", help="Which system of B; by default its first.")] = None,
    qrels: Annotated[Path | None, typer.Option("--qrels", help="Judgements, where A and B are runs.")] = None,
    resamples: Annotated[int, typer.Option(min=99, help="Of the randomisation test and of the bootstrap.")] = 9_999,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
    json_: _Json = False,
) -> None:
    """Test whether B is better than A: paired tests by language, corrected for the number of languages."""
    from mlret.eval.compare import as_dict, compare_results, comparison_table

    name, found = compare_results(
        first, second, metric=metric, systems=(system_a, system_b), qrels=qrels, resamples=resamples, seed=seed
    )
    if json_:
        print(json.dumps(as_dict(name, found), ensure_ascii=False, indent=1))
        return
    labels = (system_a or _label(first), system_b or _label(second))
    print_tables([comparison_table(name, found, labels)])


@app.command(rich_help_panel=_RESULTS)
def reproduce(
    recipes: Annotated[
        list[str] | None, typer.Argument(help="Recipes; by default all of eval/ that say what is expected.")
    ] = None,
    data: Annotated[Path, typer.Option("--data", help="The folder that the recipes' data is in.")] = Path("data"),
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; its README.md is the table of them all.")
    ] = Path("eval/results"),
    plots: _Plots = True,
    json_: _Json = False,
) -> None:
    """Run recipes, compare their scores with the expected ones, and write the table of results."""
    from mlret.eval.reproduce import checks_table, reproduce_all

    checks = reproduce_all(recipes or None, data, output, pictures=plots, show_progress=sys.stderr.isatty())
    if json_:
        print(json.dumps([check.to_dict() for check in checks], ensure_ascii=False, indent=1))
    else:
        print_tables([checks_table(checks)])
        print(f"wrote {output / 'README.md'}")
    if not all(check.holds for check in checks):
        raise typer.Exit(1)


def _evaluate(settings: dict[str, Any], output: Path | None, *, plots: bool, as_json: bool) -> None:
    from mlret.eval.recipe import make_recipe

    given = {**settings, "languages": language_codes(settings.get("languages"))}
    _show(make_recipe({k: v for k, v in given.items() if v is not None}), output, plots=plots, as_json=as_json)


def _show(recipe: Recipe, output: Path | None, *, plots: bool, as_json: bool) -> None:
    from mlret.eval.run import check_output, run_recipe

    if output is not None:
        check_output(output, pictures=plots)
    report = run_recipe(recipe, show_progress=sys.stderr.isatty())
    written = report.write(output, pictures=plots) if output is not None else []
    if as_json:
        print(report.json(), end="")
        return
    print_tables(report.tables)
    for note in report.notes:
        print(f"note: {note}")
    if output is not None:
        print(f"wrote {len(written)} files into {output}")


def _span(lines: str | None) -> tuple[int, int] | None:
    if lines is None:
        return None
    first, dash, last = lines.partition("-")
    if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
        raise InputError(f"--lines {lines!r}: give a first and a last line, e.g. 1625-1997")
    return int(first), int(last)


def _label(path: Path) -> str:
    return path.name or str(path)
