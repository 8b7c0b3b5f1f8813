"""`mlret train`: train an encoder from raw text."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlret.recipes import find_recipe


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe that `mlret recipes list` names, or a YAML file.")],
    data: Annotated[Path, typer.Option("--data", help="The folder that the recipe's file patterns start from.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run's folder; by default runs/RECIPE.")
    ] = None,
) -> None:
    """Train an encoder from raw text by a recipe.

    The run's folder keeps the tokenizer, a checkpoint of the stage under way and the encoder after each stage;
    OUTPUT/model is the result, a sentence-transformers folder. Stopped at any point, the same command goes on.
    """
    from mlret.training.recipe import read_recipe
    from mlret.training.run import train as run

    settings = read_recipe(find_recipe(recipe, "training"))
    console = Console(stderr=True)
    output = output or Path("runs") / settings.name
    try:
        model = run(settings, data, output, say=console.print)
    except KeyboardInterrupt:
        again = shlex.join(["mlret", "train", recipe, "--data", str(data), "--output", str(output)])
        console.print(f"stopped; the last checkpoint is kept. Go on with: {again}", markup=False, soft_wrap=True)
        raise
    print(f"encoder: {model}")
    print(f"try it:  mlret eval tatoeba --model {model} --data <folder with tatoeba.v1.tsv.gz>")
