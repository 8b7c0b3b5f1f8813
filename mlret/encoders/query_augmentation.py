"""Pad queries with mask tokens to the next multiple of a length, as in JaColBERTv2.5 (arXiv 2407.20750).

sentence-transformers pads queries to one length: longer ones are truncated (``"fixed"``) or get no masks (``"min"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.base.modules import Transformer
from torch import Tensor


class DynamicQueryTransformer(Transformer):
    """A transformer that can pad queries to the next multiple of a length.

    Parameters
    ----------
    model_name_or_path
        A folder or hub id.
    query_multiple
        Queries get mask tokens up to the next multiple of this number of tokens, markers included, but never beyond the
        model's maximum length. This requires ``query_expansion`` with the strategy ``"min"`` and the same length. With
        ``None``, sentence-transformers pads queries.
    **options
        Options of sentence-transformers' ``Transformer``.
    """

    config_keys: list[str] = [*Transformer.config_keys, "query_multiple"]
    _DEFAULT_CONFIG_VALUES: dict[str, Any] = {**Transformer._DEFAULT_CONFIG_VALUES, "query_multiple": None}
    query_multiple: int | None = None

    def __init__(self, model_name_or_path: str, *, query_multiple: int | None = None, **options: Any) -> None:
        super().__init__(model_name_or_path, **options)
        self.query_multiple = query_multiple

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, processing_kwargs: Any = None, **options: Any
    ) -> dict[str, Any]:
        """Tokenise texts and pad queries. The parameters are those of sentence-transformers' ``Transformer``."""
        features: dict[str, Any] = super().preprocess(inputs, prompt, processing_kwargs, **options)
        if self.query_multiple is not None and "query_expansion_positions" in features:
            self._fill_up(features, self.query_multiple)
        return features

    def _fill_up(self, features: dict[str, Any], multiple: int) -> None:
        """Append mask tokens to each query up to its own multiple; ``(n, t)`` tensors become ``(n, longest)``."""
        tokenizer: Any = self.tokenizer
        expansion: Any = self.query_expansion
        real: Tensor = features["attention_mask"].bool() & ~features["query_expansion_positions"]
        longest = self.query_length or tokenizer.model_max_length
        widths = (-(-real.sum(dim=1) // multiple) * multiple).clamp(max=longest)
        missing = int(widths.max()) - real.shape[1]
        if missing > 0:
            for key in ("input_ids", "attention_mask", "token_type_ids"):
                if key in features:
                    features[key] = torch.nn.functional.pad(features[key], (0, missing))
            real = torch.nn.functional.pad(real, (0, missing))
        filled = ~real & (torch.arange(real.shape[1]) < widths[:, None])
        mask_id = tokenizer.convert_tokens_to_ids(expansion["token"] or tokenizer.mask_token)
        ids = features["input_ids"].masked_fill(filled, mask_id)
        features["input_ids"] = ids.masked_fill(~real & ~filled, tokenizer.pad_token_id)
        attended = real | filled if expansion["attend"] else real
        features["attention_mask"] = attended.to(features["attention_mask"].dtype)
        features["query_expansion_positions"] = filled
