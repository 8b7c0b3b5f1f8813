"""`mlret eval`: evaluate encoders and runs on standard benchmarks.

The registry of benchmarks determines the commands: each benchmark is one, and the fields of its settings are its
options. The registry is imported only when `mlret eval` is used.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.core import TyperGroup

from mlret.cli.common import print_tables
from mlret.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.fields import FieldInfo

    from mlret.eval.registry import Benchmark, Settings


class _WithBenchmarks(TyperGroup):
    """A group of commands that also has a command for each benchmark of the registry."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the benchmarks, then those of the other commands."""
        from mlret.eval.registry import benchmarks

        return [*benchmarks(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name; ``None`` if there is none."""
        if (command := super().get_command(ctx, cmd_name)) is not None:
            return command
        from mlret.eval.registry import benchmarks

        benchmark = benchmarks().get(cmd_name)
        return None if benchmark is None else _command(benchmark)


app = typer.Typer(
    cls=_WithBenchmarks,
    no_args_is_help=True,
    epilog="Each benchmark is read in its own layout; eval/README.md says where to get it and lists pitfalls.",
)

_RESULTS = "Recipes and results"
_Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", help="Encoder: a folder or a hub id; by default the bundled one. Repeat it for more."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
_Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for JSON, tables (Markdown, LaTeX, CSV), runs, scores and pictures."),
]
_Plots = Annotated[bool, typer.Option("--plots/--no-plots", help="Draw pictures into the output folder.")]


@app.command(rich_help_panel=_RESULTS)
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe that `mlret recipes list` names, or a YAML file.")],
    data: Annotated[Path, typer.Option("--data", help="The folder that the recipe's data is in.")] = Path("data"),
    models: _Models = None,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="Encode in auto, float32 or bfloat16; see `mlret encode --help`."),
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
        list[str] | None, typer.Argument(help="Recipes; by default all in eval/ that have expected figures.")
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


@app.command(rich_help_panel=_RESULTS)
def redraw(folders: Annotated[list[Path], typer.Argument(help="Folders that --output wrote.")]) -> None:
    """Draw the pictures of stored results again, e.g. in the style of a newer version."""
    from mlret.eval.redraw import redraw as draw

    for folder in folders:
        for picture in draw(folder):
            print(f"wrote {picture}")


def _command(benchmark: Benchmark[Any]) -> Any:
    """Build the command of a benchmark."""
    own = {name: _parameter(name, benchmark.settings.model_fields[name]) for name in benchmark.options}
    shared = {"json_": (_Json, False), "output": (_Output, None), "plots": (_Plots, True)}

    def command(json_: bool, output: Path | None, plots: bool, **given: Any) -> None:
        from mlret.eval.recipe import make_recipe

        settings = {name: read(given[name]) for name, (_, _, read) in own.items()}
        named = {name: value for name, value in settings.items() if value is not UNSET}
        recipe = make_recipe({"benchmark": benchmark.name, **named})
        _show(recipe, output, plots=plots, as_json=json_)

    from mlret.eval.registry import UNSET

    annotated = {name: (annotation, default) for name, (annotation, default, _) in own.items()} | shared
    command.__annotations__ = {name: annotation for name, (annotation, _) in annotated.items()}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in annotated.items()
        ]
    )
    built = typer.Typer(add_completion=False)
    # The list of all benchmarks shows the first paragraph.
    text = f"{benchmark.summary}\n\n{benchmark.data_help}".rstrip()
    built.command(benchmark.name, help=text, rich_help_panel=benchmark.panel)(command)
    return typer.main.get_command(built)


def _parameter(name: str, field: FieldInfo) -> tuple[Any, Any, Callable[[Any], Any]]:
    """Return an option's annotation, its default, and the function that converts its value to the setting."""
    from mlret.eval.registry import UNSET, Option

    option = next((one for one in field.metadata if isinstance(one, Option)), Option())
    kind = _value_type(field.annotation) if option.value is None else option.value
    default: Any = inspect.Parameter.empty
    if not field.is_required():
        # Typer's lists are empty if an option is not given, which leaves the setting at its default.
        default = field.default if option.value is None else option.default
        default = None if isinstance(default, list) else default
    if default is None and NoneType not in get_args(kind):
        kind = kind | None
    flag = f"--{name.replace('_', '-')}"
    names = option.names or ((f"{flag}/--no-{name.replace('_', '-')}",) if default is True else (flag,))
    least = next((bound for one in field.metadata if (bound := getattr(one, "ge", None)) is not None), None)
    text = option.help or field.description
    read = option.read or (lambda value: UNSET if value is None or value == [] else value)
    return Annotated[kind, typer.Option(*names, min=least, help=text)], default, read


def _value_type(annotation: Any) -> Any:
    """Return the type of an option for a setting: one that Typer parses, without ``None``."""
    origin = get_origin(annotation)
    if origin is Literal:
        return str
    if origin in (Union, UnionType):
        return next(_value_type(one) for one in get_args(annotation) if one is not NoneType)
    if origin is list:
        return list[_value_type(get_args(annotation)[0])]  # type: ignore[misc]
    return annotation


def _show(recipe: Settings, output: Path | None, *, plots: bool, as_json: bool) -> None:
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
        print(f"wrote {counted(len(written), 'file')} into {output}")


def _label(path: Path) -> str:
    return path.name or str(path)
