"""Join bags of words over one vocabulary into one encoder, and calibrate it.

    python scripts/join_words.py MODEL MODEL … --run RUN -o JOINED [--dims 384]

Each MODEL is the folder of a bag of words. RUN is a run whose text has sentences in all languages: they determine the
axes that are kept and the calibration, which has the settings of the run's recipe.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from mlret.encoders.loading import load_encoder
from mlret.training.backbones.backbone import assembled
from mlret.training.backbones.joining import join_words
from mlret.training.calibrate import fit_calibration
from mlret.training.recipe import NewBackbone, Recipe
from mlret.training.run import save_atomically
from mlret.training.text.training_text import TextStatistics, TrainingText


def join(
    models: Annotated[list[Path], typer.Argument(help="Folders of bags of words, with equal weights.")],
    run: Annotated[Path, typer.Option(help="A run's folder, for its parallel text.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder of the joined encoder.")],
    dims: Annotated[int, typer.Option(help="Dimensions of its vectors.")] = 384,
    layers: Annotated[int, typer.Option(help="Number of its layers, which start as the identity.")] = 2,
    sentences: Annotated[int, typer.Option(help="Number used to find the axes.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of the drawn sentences.")] = 42,
) -> None:
    """Join bags of words over one vocabulary into one encoder."""
    recipe = Recipe.model_validate_json((run / "recipe.json").read_text(encoding="utf-8"))
    counts = json.loads((run / "text" / "statistics.json").read_text(encoding="utf-8"))["statistics"]
    text = TrainingText(run / "text", TextStatistics.from_dict(counts))
    found = sorted({pair.target for pair in text.pairs if pair.group == "sentences"})
    texts = [found[row] for row in np.random.default_rng(seed).permutation(len(found))[:sentences]]
    backbone = NewBackbone(layers=layers, hidden=dims, heads=6, feed_forward=2 * dims, max_length=128, dropout=0.0)
    encoders = [load_encoder(path, device="cpu") for path in models]
    output.parent.mkdir(parents=True, exist_ok=True)
    work = output.with_name(output.name + ".backbone")
    model = join_words(encoders, [1 / len(encoders)] * len(encoders), texts, backbone=backbone, folder=work, seed=seed)
    calibration = fit_calibration(assembled([*model.children()][:-1], model), text, recipe.calibration, seed=seed)
    save_atomically(assembled([*model.children(), *([] if calibration is None else [calibration])], model), output)
    print(f"wrote {output}: {dims} dims of {sum(encoder.dims for encoder in encoders)}")


if __name__ == "__main__":
    typer.run(join)
