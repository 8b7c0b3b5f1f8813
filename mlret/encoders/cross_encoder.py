"""Cross-encoders, which read query and passage together and give one score: loading, and scores of pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.loading import from_hub
from mlret.errors import InputError, first_line, missing_extra

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


def is_cross_encoder(path: Path) -> bool:
    """Return whether a folder holds a cross-encoder of sentence-transformers or of transformers."""
    try:
        config = path / "config_sentence_transformers.json"
        if config.is_file():
            return bool(json.loads(config.read_text(encoding="utf-8")).get("model_type") == "CrossEncoder")
        architectures = json.loads((path / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
    except (OSError, ValueError):
        return False
    return str(architectures[0]).endswith("ForSequenceClassification")


def load_cross_encoder(name: str | Path, device: str | None = None) -> CrossEncoder:
    """Load a cross-encoder with sentence-transformers.

    Parameters
    ----------
    name
        Its folder or its id on the hub.
    device
        ``"cpu"``, ``"cuda"``, …; by default sentence-transformers chooses.

    Raises
    ------
    InputError
        If it cannot be loaded.
    """
    try:
        from sentence_transformers import CrossEncoder
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error
    try:
        if Path(name).is_dir():
            model: CrossEncoder = CrossEncoder(str(name), device=device, local_files_only=True)
        else:
            model = from_hub(name, lambda: CrossEncoder(str(name), device=device))
        return model
    except (OSError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise InputError(f"{name} cannot be loaded as a cross-encoder: {reason}") from error


def checked_cross_encoder(model: CrossEncoder, name: str) -> CrossEncoder:
    """Return a cross-encoder that gives one score, limited to the length that its positions allow.

    Raises
    ------
    InputError
        If it has several labels.
    """
    from mlret.encoders.longest_input import keep_within_positions

    if model.num_labels != 1:
        raise InputError(f"{name} has {model.num_labels} labels, not one score; choose a reranker")
    keep_within_positions(model)
    return model


def logits(model: CrossEncoder, pairs: Sequence[tuple[str, str]], *, batch_size: int = 32) -> NDArray[np.float64]:
    """Return the scores of pairs of query and passage.

    Parameters
    ----------
    model
        The cross-encoder.
    pairs
        ``n`` queries and passages.
    batch_size
        Number of pairs in a forward pass.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64, unbounded: the final sigmoid of rerankers would compress the scores of good passages near 1.
    """
    import torch

    found = model.predict(
        list(pairs), batch_size=batch_size, activation_fn=torch.nn.Identity(), show_progress_bar=False
    )
    return np.asarray(found, dtype=np.float64)
