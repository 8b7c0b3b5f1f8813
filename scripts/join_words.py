"""Join two bags of words over one vocabulary into one encoder.

    python scripts/join_words.py ONE OTHER --run RUN -o JOINED [--dims 384]

ONE and OTHER are folders of models, RUN is the run whose text has sentences of all languages, to find the axes that are
worth keeping.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from mlret.encoders.encoder import load_encoder
from mlret.training.joining import join_words
from mlret.training.recipe import NewBackbone
from mlret.training.run import save_whole
from mlret.training.text_store import PairStore


def join(
    one: Annotated[Path, typer.Argument(help="A bag of words.")],
    other: Annotated[Path, typer.Argument(help="Another.")],
    run: Annotated[Path, typer.Option(help="A run's folder, for its parallel text.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the joined encoder goes.")],
    dims: Annotated[int, typer.Option(help="Of its vectors.")] = 384,
    layers: Annotated[int, typer.Option(help="Of its transformer, the identity until they are trained.")] = 2,
    share: Annotated[float, typer.Option(help="How much the first counts in a cosine.")] = 0.5,
    sentences: Annotated[int, typer.Option(help="To find the axes.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Of the sentences.")] = 42,
) -> None:
    """Join two bags of words over one vocabulary into one encoder."""
    found = sorted({pair.target for pair in PairStore(run / "text" / "pairs.arrow") if pair.group == "sentences"})
    texts = [found[row] for row in np.random.default_rng(seed).permutation(len(found))[:sentences]]
    backbone = NewBackbone(layers=layers, hidden=dims, heads=6, feed_forward=2 * dims, max_length=128, dropout=0.0)
    encoders = [load_encoder(path, device="cpu") for path in (one, other)]
    output.parent.mkdir(parents=True, exist_ok=True)
    work = output.with_name(output.name + ".backbone")
    model = join_words(encoders, [share, 1 - share], texts, backbone=backbone, folder=work, seed=seed)
    save_whole(model, output)
    print(f"wrote {output}: {dims} dims of {sum(encoder.dims for encoder in encoders)}")


if __name__ == "__main__":
    typer.run(join)
