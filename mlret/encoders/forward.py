"""Encode many texts efficiently: tokenise once, sort by length, batch by number of tokens, encode duplicates once.

sentence-transformers tokenises and pads batches of a fixed number of texts. Here each batch is filled up to a number of
tokens, so batches of short texts are large and batches of long texts small. Each batch fits the caches, and sorting
keeps padding low. Layers that are the identity are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mlret.encoders.bag_of_words import branch_versions, is_bag_of_words, token_embeddings
from mlret.encoders.calibration import Calibration
from mlret.encoders.longest_input import truncation

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.precision import Precision

# Number of texts that are tokenised and sorted together: bounds memory and keeps padding low.
_WINDOW = 16_384
# Tokens in a forward pass, padding included. On a CPU the activations should fit in the cache.
_CPU_TOKENS = 2048
_GPU_TOKENS = 65_536
# Smallest number of tokens in a batch for which bfloat16 saves more time than converting the weights at each call
# costs.
_LEAST_CPU_TOKENS_OF_BFLOAT16 = 48


class ForwardPass:
    """The forward pass of a sentence-transformers model over texts.

    Parameters
    ----------
    model
        The model, for which :meth:`suits` must be true.
    precision
        ``"float32"``, or ``"bfloat16"`` to compute matrix products in it (autocast); on a CPU only for batches with
        enough tokens. :func:`mlret.encoders.precision_speed.bfloat16_speed` reports whether it is fast on this machine.
    """

    def __init__(self, model: SentenceTransformer, precision: Precision = "float32") -> None:
        self._model = model
        self._half = precision == "bfloat16"
        # Versions of the layers' last weights, and whether the layers were the identity at these versions.
        self._words: tuple[tuple[int, ...], bool] | None = None
        if precision == "float32" and is_bag_of_words(model):
            self._words = branch_versions(model), True

    @staticmethod
    def suits(model: SentenceTransformer) -> bool:
        """Whether this class computes the same as ``model.encode``.

        This requires text input, a fast tokenizer, no default prompt, no lower-casing and no truncation of vectors.
        """
        first = next(iter(model.children()), None)
        return (
            type(first).__name__ == "Transformer"
            and not getattr(first, "do_lower_case", False)
            and getattr(first, "backend", "torch") == "torch"
            and bool(getattr(model.tokenizer, "is_fast", False))
            and not model.prompts.get(model.default_prompt_name or "")
            and model.truncate_dim is None
        )

    def __call__(self, texts: Sequence[str], *, show_progress: bool = False, **options: Any) -> NDArray[np.float32]:
        """Return the sentence embeddings of texts.

        Parameters
        ----------
        texts
            ``n`` strings.
        show_progress
            Whether to show a progress bar.
        **options
            Passed to the modules of the model.

        Returns
        -------
        numpy.ndarray
            ``(n, dims)`` float32 array.
        """
        from tqdm.auto import tqdm

        different = list(dict.fromkeys(texts))
        with tqdm(total=len(different), desc="encoding", unit="text", disable=not show_progress) as progress:
            windows = (different[start : start + _WINDOW] for start in range(0, len(different), _WINDOW))
            vectors = np.concatenate([self._window(window, progress, options) for window in windows])
        if len(different) == len(texts):
            return vectors
        place = {text: row for row, text in enumerate(different)}
        return vectors[[place[text] for text in texts]]

    def _window(self, texts: Sequence[str], progress: Any, options: dict[str, Any]) -> NDArray[np.float32]:
        tokens = self._tokens(texts)
        order = np.argsort([-len(ids) for ids in tokens], kind="stable")
        vectors: NDArray[np.float32] | None = None
        model = self._model.eval()
        with torch.inference_mode():
            for rows in _batches([len(tokens[row]) for row in order], self._budget):
                chosen = order[rows]
                features = self._padded([tokens[row] for row in chosen])
                with self._autocast(features["input_ids"].numel()):
                    found = self._forward(model, features, options)
                if vectors is None:
                    vectors = np.empty((len(texts), found.shape[1]), dtype=np.float32)
                vectors[chosen] = found
                progress.update(len(chosen))
        assert vectors is not None
        return vectors

    def _forward(
        self, model: SentenceTransformer, features: dict[str, torch.Tensor], options: dict[str, Any]
    ) -> NDArray[np.float32]:
        if options in ({}, {"calibrate": False}) and self._is_bag_of_words():
            found: dict[str, Any] = dict(features)
            found["token_embeddings"] = token_embeddings(model)(input_ids=features["input_ids"])
            for module in list(model.children())[1:]:
                if not (options and isinstance(module, Calibration)):
                    found = module(found)
            embeddings = found["sentence_embedding"]
        else:
            embeddings = model(features, **options)["sentence_embedding"]
        return np.asarray(embeddings.float().cpu().numpy())

    def _is_bag_of_words(self) -> bool:
        """Whether the layers can be skipped; checked again if training has changed them."""
        if self._words is None:
            return False
        versions = branch_versions(self._model)
        if versions != self._words[0]:
            self._words = versions, is_bag_of_words(self._model)
        return self._words[1]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        tokenizer = self._model.tokenizer
        found = tokenizer(
            list(texts),
            **truncation(self._model.max_seq_length),
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ids: list[list[int]] = found["input_ids"]
        return ids

    def _padded(self, tokens: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        width = len(tokens[0])
        ids = np.full((len(tokens), width), self._model.tokenizer.pad_token_id or 0, dtype=np.int64)
        mask = np.zeros((len(tokens), width), dtype=np.int64)
        for row, some in enumerate(tokens):
            ids[row, : len(some)] = some
            mask[row, : len(some)] = 1
        device = self._model.device
        features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if device.type == "cuda":  # pinned memory lets the copy overlap with the kernels of the previous batch
            return {key: value.pin_memory().to(device, non_blocking=True) for key, value in features.items()}
        return {key: value.to(device) for key, value in features.items()}

    @property
    def _budget(self) -> int:
        return _CPU_TOKENS if self._model.device.type == "cpu" else _GPU_TOKENS

    def _autocast(self, tokens: int) -> AbstractContextManager[Any]:
        kind = self._model.device.type
        if not self._half or (kind == "cpu" and tokens < _LEAST_CPU_TOKENS_OF_BFLOAT16):
            return nullcontext()
        return torch.autocast(kind, dtype=torch.bfloat16)


def _batches(lengths: Sequence[int], budget: int) -> Iterator[slice]:
    """Yield slices, of texts sorted by descending length, that pad to at most the budget or hold a single text."""
    start = 0
    while start < len(lengths):
        count = max(1, budget // max(1, lengths[start]))
        yield slice(start, start + count)
        start += count
