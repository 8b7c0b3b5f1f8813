"""Fingerprints of encoders: a hash of everything that determines their vectors."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel


def fingerprint_of(model: BaseModel, dims: int) -> str:
    """Return the fingerprint, 16 hexadecimal digits, of everything that determines a model's vectors.

    Parameters
    ----------
    model
        Any sentence-transformers model.
    dims
        Number of dimensions of its vectors.
    """
    from mlret.encoders.longest_input import stated_longest_input

    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    tokenizer = json.loads(model.tokenizer.backend_tokenizer.to_str())
    # Truncation and padding depend on the text that was encoded last.
    tokenizer.pop("truncation"), tokenizer.pop("padding")
    digest.update(json.dumps(tokenizer, sort_keys=True).encode())
    for module in model.children():
        config: dict[str, Any] = getattr(module, "get_config_dict", dict)()
        digest.update(json.dumps([type(module).__qualname__, config], sort_keys=True, default=str).encode())
    digest.update(json.dumps([model.prompts, stated_longest_input(model), dims]).encode())
    return digest.hexdigest()[:16]
