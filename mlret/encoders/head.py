"""Save and load a multi-vector head: the part that turns a backbone's tokens into vectors, without the backbone.

A multi-vector encoder that was trained with a frozen backbone differs from the encoder it was made from only by a
projection. Stored separately the projection is small, and two encoders share one backbone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlret.data.durable import write_text_atomically
from mlret.errors import CorruptInput, InputError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

_SETTINGS, _WEIGHTS = "head.json", "head.safetensors"


def save_head(model: MultiVectorEncoder, backbone: SentenceTransformer, folder: Path, settings: dict[str, Any]) -> None:
    """Save the projection of an encoder that shares its transformer with another.

    Parameters
    ----------
    model
        An encoder that :func:`mlret.encoders.late_interaction.multi_vector_encoder` made with ``settings`` from
        ``backbone``, and that was trained with its transformer frozen.
    backbone
        The encoder that it was made from.
    folder
        Folder to which ``head.json`` and ``head.safetensors`` are written.
    settings
        The arguments of ``multi_vector_encoder`` that it was made with.

    Raises
    ------
    InputError
        If the two transformers differ, since the projection is useless without its own transformer.
    """
    import torch
    from safetensors.torch import save_file

    from mlret.encoders.late_interaction import multi_vector_encoder

    again = multi_vector_encoder(backbone, **settings)
    mine: Any = model[0]
    theirs: Any = again[0]
    own, other = mine.model.state_dict(), theirs.model.state_dict()
    if own.keys() != other.keys() or any(not torch.equal(value, other[name]) for name, value in own.items()):
        raise InputError("the encoder's transformer is not the backbone's: train the head with freeze: backbone")
    folder.mkdir(parents=True, exist_ok=True)
    projection: Any = model[1]
    save_file({"projection": projection.linear.weight.detach().half().contiguous()}, folder / _WEIGHTS)
    write_text_atomically(folder / _SETTINGS, json.dumps(settings, indent=2) + "\n")


def load_head(folder: Path, backbone: SentenceTransformer) -> MultiVectorEncoder:
    """Load a head that :func:`save_head` wrote and combine it with its backbone.

    Parameters
    ----------
    folder
        The folder of the head.
    backbone
        The encoder that the head was made from.

    Returns
    -------
    sentence_transformers.MultiVectorEncoder
        The encoder.

    Raises
    ------
    InputError
        If the head is missing, damaged, or made for a backbone of another width.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from mlret.encoders.late_interaction import multi_vector_encoder

    try:
        settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        weight = load_file(folder / _WEIGHTS)["projection"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CorruptInput(f"{folder} has no head ({error}): reinstall mlret, or give another encoder") from error
    model = multi_vector_encoder(backbone, **settings)
    projection: Any = model[1]
    if projection.linear.weight.shape != weight.shape:
        raise InputError(f"{folder} is the head of another backbone: {tuple(weight.shape)}")
    projection.linear.weight.data.copy_(weight)
    return model
