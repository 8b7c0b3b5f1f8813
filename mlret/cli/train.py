"""`mlret train`: train an encoder from raw text."""

from __future__ import annotations

import shlex
from functools import partial
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
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a value of the recipe: key.key=value, e.g. stages.ccp.steps=100."),
    ] = None,
) -> None:
    """Train an encoder from raw text by a recipe.

    The run's folder keeps the tokenizer, a checkpoint of the stage under way and the encoder after each stage;
    OUTPUT/model is the result, a sentence-transformers folder. Stopped at any point, the same command goes on.
    Collapse and leakage are warned of with their cause. Where TensorBoard is installed, `tensorboard --logdir OUTPUT`
    draws the curves. On several GPUs: torchrun --nproc-per-node N -m mlret train RECIPE --data FOLDER.
    """
    from mlret.training.recipe import read_recipe
    from mlret.training.run import train as run

    settings = read_recipe(find_recipe(recipe, "training"), overrides or [])
    console = Console(stderr=True)
    output = output or Path("runs") / settings.name
    try:
        model = run(settings, data, output, say=partial(console.print, markup=False, highlight=False, soft_wrap=True))
    except KeyboardInterrupt:
        changes = [part for override in overrides or [] for part in ("--set", override)]
        again = shlex.join(["mlret", "train", recipe, "--data", str(data), "--output", str(output), *changes])
        console.print(f"stopped; the last checkpoint is kept. Go on with: {again}", markup=False, soft_wrap=True)
        raise
    print(f"encoder: {model}")
    print(f"try it:  mlret eval tatoeba --model {model} --data <folder with tatoeba.v1.tsv.gz>")
