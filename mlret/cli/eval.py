"""`mlret eval`: measure an encoder on the field's benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.eval.recipe import TatoebaRecipe

app = typer.Typer(no_args_is_help=True, help="Measure an encoder on the field's benchmarks.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")]
_Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the results to this JSON file.")]
_Markdown = Annotated[Path | None, typer.Option("--markdown", help="Write the table to this Markdown file.")]


@app.command()
def tatoeba(
    data: Annotated[Path, typer.Option("--data", help="Folder with tatoeba.v1.tsv.gz, or LASER's data/tatoeba/v1.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Encoder: a folder or a hub id; by default the bundled one."),
    ] = None,
    languages: Annotated[
        list[str] | None,
        typer.Option("--languages", "-l", help="Only these, e.g. sw,de,cmn; repeat it or separate by commas."),
    ] = None,
    xtreme_only: Annotated[bool, typer.Option("--xtreme-only", help="Only the 36 languages of XTREME.")] = False,
    joined: Annotated[
        bool,
        typer.Option("--joined", help="Also between languages other than English, joined on their English."),
    ] = False,
    floors: Annotated[bool, typer.Option(help="Also score random vectors and character n-grams.")] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts in one forward pass.")] = 256,
    json_: _Json = False,
    output: _Output = None,
    markdown: _Markdown = None,
) -> None:
    """Find translations by nearest neighbour in 112 languages, both ways, raw and calibrated."""
    from mlret.eval.recipe import TatoebaRecipe

    if languages and xtreme_only:
        raise InputError("--languages and --xtreme-only exclude each other: give one of them")
    codes = [code.strip() for value in languages or [] for code in value.split(",") if code.strip()]
    recipe = TatoebaRecipe(
        benchmark="tatoeba",
        data=data,
        model=model,
        languages=codes or ("xtreme-36" if xtreme_only else "all"),
        joined=joined,
        floors=floors,
        batch_size=batch_size,
        output=output,
        markdown=markdown,
    )
    _run(recipe, json_)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe that `mlret recipes list` names, or a YAML file.")],
    data: Annotated[Path, typer.Option("--data", help="The folder that the recipe's data is in.")] = Path("data"),
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Another encoder than the recipe's: a folder or a hub id."),
    ] = None,
    json_: _Json = False,
    output: _Output = None,
    markdown: _Markdown = None,
) -> None:
    """Evaluate by a recipe; options given here go before the recipe's."""
    from mlret.eval.recipe import read_recipe
    from mlret.recipes import find_recipe

    settings = read_recipe(find_recipe(recipe, "eval"))
    given = {"model": model, "output": output, "markdown": markdown}
    changes = {key: value for key, value in given.items() if value is not None}
    _run(settings.model_copy(update={"data": data / settings.data, **changes}), json_)


def _run(recipe: TatoebaRecipe, json_: bool) -> None:
    from mlret.eval.recipe import as_json, run_tatoeba

    report = run_tatoeba(recipe, show_progress=sys.stderr.isatty())
    if json_:
        print(as_json(report), end="")
        return
    from rich.console import Console

    console = Console()
    # Piped into a file or a pager, the table need not fit a terminal.
    wide = Console(width=console.width if console.is_terminal else 120)
    wide.print(report.table())
    if report.joined:
        wide.print()
        wide.print(report.joined_table())
    for path in (recipe.output, recipe.markdown):
        if path is not None:
            print(f"wrote {path}")
