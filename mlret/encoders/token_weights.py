"""Learned weights of the vocabulary's tokens in the mean over a text's tokens, one number per token."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Module
from torch import Tensor, nn


class TokenWeights(Module):
    """Weight token embeddings before mean pooling.

    sentence-transformers' ``WordWeights`` is for given weights, such as inverse document frequencies: it does not load
    trained weights again.

    Parameters
    ----------
    vocab_size
        Number of tokens in the vocabulary. Every weight starts at 1.
    """

    config_keys: list[str] = ["vocab_size"]

    def __init__(self, vocab_size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vocab_size = vocab_size
        self.token_weights = nn.Parameter(torch.ones(vocab_size, 1))

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Multiply ``features["token_embeddings"]``, ``(n, t, d)``, by the weights and add their sums, ``(n,)``."""
        mask: Tensor = features["attention_mask"].unsqueeze(-1)
        weights = self.token_weights[features["input_ids"]] * mask
        embeddings = features["token_embeddings"] * weights.to(features["token_embeddings"].dtype)
        return features | {"token_embeddings": embeddings, "token_weights_sum": weights.sum(dim=(1, 2))}

    def cut_vocabulary(self, kept: Tensor) -> None:
        """Keep only the weights of the tokens ``kept``: ``(n,)`` int64, the old id of each new token."""
        weights = self.token_weights.data[kept.to(self.token_weights.device)]
        self.token_weights = nn.Parameter(weights, requires_grad=self.token_weights.requires_grad)
        self.vocab_size = len(kept)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the weights (safetensors) and the configuration (JSON) to the folder ``output_path``."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> TokenWeights:  # type: ignore[override]
        """Load what :meth:`save` wrote, from a folder or the hub.

        Parameters
        ----------
        model_name_or_path
            A folder or hub id.
        subfolder
            Folder of the module within it.
        **kwargs
            ``token``, ``cache_folder``, ``revision`` and ``local_files_only`` of sentence-transformers.

        Returns
        -------
        TokenWeights
            The loaded module.
        """
        known = {k: kwargs[k] for k in ("token", "cache_folder", "revision", "local_files_only") if k in kwargs}
        module = cls(**cls.load_config(model_name_or_path, subfolder=subfolder, **known))
        cls.load_torch_weights(model_name_or_path, subfolder=subfolder, model=module, **known)
        return module
