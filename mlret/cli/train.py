"""`mlret train`: train an encoder by a recipe, or add one more language to it."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from mlret.cli.options import RayAddress, SettingsOptions, takes_settings
from mlret.recipes import find_recipe
from mlret.training.adaptation.settings import AdaptationSettings
from mlret.training.adapter_settings import AdapterSettings


class _RecipeUnlessAVerb(TyperGroup):
    """Command group in which ``mlret train NAME`` trains the recipe NAME, unless NAME is a subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # The `recipe` command is inserted first, because options may precede the recipe's name.
        if args and args[0] not in (*self.commands, *self.get_help_option_names(ctx)):
            args = ["recipe", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_RecipeUnlessAVerb, no_args_is_help=True)


@app.command("recipe")
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
    ray: RayAddress = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="With --ray: processes that train together, one per GPU.")
    ] = 1,
) -> None:
    """Train an encoder by a recipe.

    The run's folder keeps the tokenizer, a checkpoint of the current stage and the encoder after each stage;
    OUTPUT/model is the result, a sentence-transformers folder. A run that was stopped at any point resumes when the
    same command is given again. Collapse and leakage are reported as warnings with their cause. If TensorBoard is
    installed, `tensorboard --logdir OUTPUT` draws the curves. On several GPUs: torchrun --nproc-per-node N -m mlret
    train RECIPE --data FOLDER; or mlret train RECIPE --data FOLDER --ray auto --workers N.
    """
    from mlret.training.recipe import read_recipe
    from mlret.training.run import train as run

    settings = read_recipe(find_recipe(recipe, "training"), overrides or [])
    console = Console(stderr=True)
    output = output or Path("runs") / settings.name
    try:
        if ray is None:
            say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
            model = run(settings, data, output, say=say)
        else:
            from mlret.cluster.training import train_on_ray

            model = train_on_ray(settings, data, output, address=ray, workers=workers)
    except KeyboardInterrupt:
        changes = [part for override in overrides or [] for part in ("--set", override)]
        changes += [] if ray is None else ["--ray", ray, "--workers", str(workers)]
        again = shlex.join(["mlret", "train", recipe, "--data", str(data), "--output", str(output), *changes])
        console.print(f"stopped; the last checkpoint is kept. Resume with: {again}", markup=False, soft_wrap=True)
        raise
    print(f"encoder: {model}")
    print(f"try it:  mlret eval tatoeba --model {model} --data <folder with tatoeba.v1.tsv.gz>")


@app.command("adapter")
@takes_settings(settings=SettingsOptions(AdapterSettings, omit=("bfloat16",)))
def adapter(
    language: Annotated[str, typer.Option("--language", "-l", help="The language to add.")],
    text: Annotated[
        list[str],
        typer.Option(
            "--text",
            help="Running text in it: .jsonl, .txt (one sentence per line), both also .gz, or .parquet; a pattern in "
            "quotes is expanded here. Repeatable.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run's folder; OUTPUT/model is the result.")],
    model: Annotated[str, typer.Option("--model", "-m", help="An encoder with language adapters: a folder or hub id.")],
    *,
    settings: AdapterSettings,
    held_out: Annotated[
        list[str] | None, typer.Option("--held-out", help="Files whose sentences are not trained on. Repeatable.")
    ] = None,
) -> None:
    """Add one more language to an encoder, using only running text in that language.

    A fresh adapter in every layer learns to predict masked words; all other weights stay bit-identical, and so do the
    vectors of every other language. A run that was stopped at any point resumes when the same command is given again.

        mlret train adapter -l rw --text 'kinyarwanda/*.jsonl.gz' -m my-colbert-xm --start sw -o with-rw
    """
    from mlret.cli.common import text_files
    from mlret.training.adapter import train_adapter

    console = Console(stderr=True)
    try:
        trained = train_adapter(
            model,
            language,
            text_files(text, option="--text"),
            output,
            settings,
            held_out=text_files(held_out, option="--held-out") if held_out else [],
            say=partial(console.print, markup=False, highlight=False, soft_wrap=True),
        )
    except KeyboardInterrupt:
        console.print("stopped; the last checkpoint is kept. Resume with the same command", markup=False)
        raise
    print(f"encoder: {trained}")


@app.command("ccp-adapt")
@takes_settings(settings=SettingsOptions(AdaptationSettings))
def ccp_adapt(
    language: Annotated[str, typer.Option("--language", "-l", help="The language of the text.")],
    text: Annotated[
        list[str],
        typer.Option(
            "--text",
            help="Ordered sentences in it: .jsonl (one document per line), .txt (one sentence per line, a blank line "
            "between documents), both also .gz, or .parquet; a pattern in quotes is expanded here. Repeatable.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run's folder; OUTPUT/model is the result.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="An encoder: a folder or hub id; by default the bundled one.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="TSV of sentences and their translations, to measure with; never trained on."),
    ] = None,
    *,
    settings: AdaptationSettings,
) -> None:
    """Adapt an encoder to a language from its raw text alone, by contrastive context prediction.

    Needs a few hundred sentences in the order in which they were written. Only the adapter of the language is trained,
    so the vectors of all other languages stay the same bit for bit. A tenth of the documents is held out. The encoder
    is written only if it is better than before, in bitext accuracy if --pairs are given and otherwise in context
    accuracy. A run that was stopped at any point resumes when the same command is given again. On the bundled encoder
    this has gained nothing in the languages that were measured, apart from spelling a script that it lacks: see
    eval/results/ccp-adaptation. A few hundred translations gain more.

        mlret train ccp-adapt -l to --text 'tongan/*.txt' --pairs tongan-english.tsv -o with-to
    """
    from mlret.cli.common import text_files
    from mlret.training.adaptation.adapt import adapt_to_language

    console = Console(stderr=True)
    try:
        report = adapt_to_language(
            model,
            language,
            text_files(text, option="--text"),
            output,
            settings,
            pairs=pairs,
            say=partial(console.print, markup=False, highlight=False, soft_wrap=True),
        )
    except KeyboardInterrupt:
        console.print("stopped; the last checkpoint is kept. Resume with the same command", markup=False)
        raise
    for line in report.lines():
        print(line)
    if report.helped:
        print(f"encoder: {output / 'model'}")
    else:
        print("it did not help: no encoder was written, keep the one that you have")
