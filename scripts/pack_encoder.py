"""Pack a trained encoder for the wheel: float16 weights, a model card, nothing else.

    python scripts/pack_encoder.py RUN [--card CARD.md] [--target mlret/encoders/bundled/mlret-mini]

RUN is the folder of `mlret train mlret-mini`. The packed encoder is compared with the trained one before it replaces
what stands at the target.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from safetensors.torch import load_file, save_file

from mlret.encoders.encoder import BUNDLED, load_encoder
from mlret.errors import MlretError

_LARGEST_BYTES = 25_000_000
_TEXTS = ["Where is the cat?", "Wo ist die Katze?", "猫はどこですか。", "पेड़ के नीचे", "paka yuko wapi"]


def pack(
    run: Annotated[Path, typer.Argument(help="The folder of a finished training run.")],
    card: Annotated[Path, typer.Option(help="The model card.")] = BUNDLED / "README.md",
    target: Annotated[Path, typer.Option(help="Where the packed encoder goes.")] = BUNDLED,
) -> None:
    """Pack a trained encoder for the wheel."""
    trained = load_encoder(run / "model", device="cpu")
    beside = target.with_name(target.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(run / "model", beside)
    for path in beside.rglob("model.safetensors"):
        halved = {
            key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in load_file(path).items()
        }
        save_file(halved, path, metadata={"format": "pt"})
    # The processor computes in float32: without this, transformers would keep the halves.
    config_file = beside / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8")) | {"dtype": "float32"}
    config_file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer_file = beside / "tokenizer.json"
    tokenizer = json.loads(tokenizer_file.read_text(encoding="utf-8"))
    # Written one number a line, as transformers does it, the vocabulary takes more than twice the room.
    tokenizer_file.write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    shutil.copyfile(card, beside / "README.md")

    packed = load_encoder(beside, device="cpu")
    difference = float(np.abs(packed.encode(_TEXTS) - trained.encode(_TEXTS)).max())
    size = sum(file.stat().st_size for file in beside.rglob("*") if file.is_file())
    print(f"{size / 1e6:.1f} MB; largest difference of a vector's component: {difference:.1e}")
    if difference > 1e-2 or size > _LARGEST_BYTES:
        raise MlretError(f"not packed: the limits are {_LARGEST_BYTES / 1e6:.0f} MB and a difference of 1e-2")
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    print(f"packed into {target}, fingerprint {load_encoder(target, device='cpu').fingerprint}")


if __name__ == "__main__":
    typer.run(pack)
