"""Pack a trained encoder for the wheel: weights in few bits, a second head over the same backbone, and a model card.

    python scripts/pack_encoder.py ENCODER [--head RUN] [--layers 4] [--embeddings 2] [--card CARD.md] [--target FOLDER]

ENCODER is the folder of a model. --head is the folder of the run that trained a vector for each token with a frozen
backbone (see training/mlret-mini/README.md). The packed encoder is compared with the trained one before it replaces
what is in the target folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer

from mlret.encoders.head import load_head, save_head
from mlret.encoders.loading import BUNDLED, load_encoder, load_in_torch
from mlret.encoders.multi_vector import load_token_encoder
from mlret.encoders.packing import pack_folder
from mlret.encoders.quantised import Bits, quantise_folder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError, MlretError
from mlret.training.recipe import Recipe

_LARGEST_BYTES = 45_000_000
# The minimum cosine of the vectors of the packed and the trained encoder.
_LEAST_COSINE = 0.98
_TEXTS = ["Where is the cat?", "Wo ist die Katze?", "猫はどこですか。", "पेड़ के नीचे", "paka yuko wapi"]


def pack(
    encoder: Annotated[Path, typer.Argument(help="The encoder's folder.")],
    head: Annotated[Path | None, typer.Option(help="Run of the head with a vector for each token.")] = None,
    layers: Annotated[int, typer.Option(help="Bits for each weight of the layers: 8, 4 or 2.")] = 4,
    embeddings: Annotated[int, typer.Option(help="Bits for each value of the embeddings: 8, 4 or 2.")] = 2,
    card: Annotated[Path, typer.Option(help="The model card.")] = BUNDLED / "README.md",
    target: Annotated[Path, typer.Option(help="The folder of the packed encoder.")] = BUNDLED,
) -> None:
    """Pack a trained encoder for the wheel."""
    trained = load_in_torch(encoder, device="cpu")
    beside = target.with_name(target.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(encoder, beside)
    if {layers, embeddings} - {8, 4, 2}:
        raise InputError(f"{layers} and {embeddings} bits: there are 8, 4 and 2")
    quantise_folder(beside, layers=cast(Bits, layers), embeddings=cast(Bits, embeddings))
    _shorten(beside / "tokenizer.json")
    shutil.copyfile(card, beside / "README.md")

    packed = load_in_torch(beside, device="cpu")
    cosines = (packed.encode(_TEXTS) * trained.encode(_TEXTS)).sum(axis=1)
    if head is not None:
        recipe = Recipe.model_validate_json((head / "recipe.json").read_text(encoding="utf-8"))
        if recipe.multi_vector is None:
            raise MlretError(f"{head} trained no encoder with a vector for each token")
        tokens = load_token_encoder(head / "model", device="cpu")
        settings = recipe.multi_vector.model_dump() | {"seed": recipe.seed}
        save_head(tokens.model, trained.model, beside / "multi-vector", settings)
        again = load_head(beside / "multi-vector", packed.model)
        for wanted, found in zip(
            tokens.encode_document(_TEXTS), TokenEncoder(again).encode_document(_TEXTS), strict=True
        ):
            cosines = np.append(cosines, (wanted * found).sum(axis=1).mean())
    pack_folder(beside)
    size = sum(file.stat().st_size for file in beside.rglob("*") if file.is_file())
    print(f"{size / 1e6:.1f} MB; cosine of packed and trained vectors: {cosines.min():.4f} at the least")
    if cosines.min() < _LEAST_COSINE or size > _LARGEST_BYTES:
        raise MlretError(f"not packed: the limits are {_LARGEST_BYTES / 1e6:.0f} MB and a cosine of {_LEAST_COSINE}")
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    print(f"packed into {target}, fingerprint {load_encoder(target, device='cpu').fingerprint}")


def _shorten(path: Path) -> None:
    """Write a tokenizer in less than half the space that transformers uses, which puts each number on its own line."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    if tokenizer["model"]["type"] == "Unigram":
        # Uses the fewest digits that give the same float32.
        shortened = [[token, float(str(np.float32(score)))] for token, score in tokenizer["model"]["vocab"]]
        tokenizer["model"]["vocab"] = shortened
    path.write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    typer.run(pack)
