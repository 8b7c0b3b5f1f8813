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
from torch import nn

from mlret.encoders.bag_of_words import branch_versions, is_bag_of_words, token_embeddings
from mlret.encoders.calibration import Calibration
from mlret.encoders.longest_input import truncation
from mlret.encoders.precision_speed import speed_of
from mlret.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from mlret.encoders.precision import Precision

# Number of texts that are tokenised and sorted together: bounds memory and keeps padding low.
_WINDOW = 16_384
# Tokens in a forward pass, padding included. On a CPU the activations should fit in the cache.
_CPU_TOKENS = 2048
_GPU_TOKENS = 65_536
_TINY = 1e-12
# The sum of this many products of two integers up to 127 is less than 2**24, up to which float32 is exact.
_EXACT_IN = 1024
# Smallest number of tokens in a batch for which bfloat16 saves more time than converting the weights at each call
# costs.
_LEAST_CPU_TOKENS_OF_BFLOAT16 = 48
# Parts of the names of layers that write into the residual stream, in the supported models.
_RESIDUAL = ("output.dense", "o_proj", "out_proj", "down_proj", "out_lin", "ffn.lin2", "fc2", ".Wo", ".wo")


class ForwardPass:
    """The forward pass of a sentence-transformers model over texts.

    Parameters
    ----------
    model
        The model, for which :meth:`suits` must be true.
    precision
        ``"float32"`` or one of the reduced precisions. ``"bfloat16"`` computes matrix products in bfloat16 (autocast);
        on a CPU only for batches with enough tokens. ``"int8"`` is for CPUs only: most linear layers are computed in
        int8, with their inputs quantised on the fly, and the rest in bfloat16 if that is fast; ``model`` is then
        changed in place. :func:`mlret.encoders.precision_speed.speed_of` reports which precisions are fast on this
        machine.

    Raises
    ------
    InputError
        If int8 is requested on a device other than a CPU.
    """

    def __init__(self, model: SentenceTransformer, precision: Precision = "float32") -> None:
        self._model = model
        self._half = precision == "bfloat16" or (precision == "int8" and speed_of("bfloat16").fast)
        # Versions of the layers' last weights, and whether the layers were the identity at these versions.
        self._words: tuple[tuple[int, ...], bool] | None = None
        if precision == "float32" and is_bag_of_words(model):
            self._words = branch_versions(model), True
        if precision == "int8":
            use_int8(model)

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


class Int8Linear(nn.Module):
    """A linear layer in int8, with one scale per row of the weights and one per token of the input.

    The inputs are quantised on the fly.

    Parameters
    ----------
    linear
        The layer to replace, with weights ``(out, in)``.
    in_hardware
        Whether to multiply with the processor's int8 instruction. Otherwise float32 numbers that hold the same integers
        are multiplied: the sums are exact, so the outputs are identical bit for bit, in the time that float32 takes.
    """

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear, *, in_hardware: bool = True) -> None:
        super().__init__()
        self._in_hardware = in_hardware
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp_min(_TINY) / 127
        integers = torch.round(weight / scale[:, None]).t().contiguous()
        self.register_buffer("weight", integers.to(torch.int8) if in_hardware else integers)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply the layer to inputs of shape ``(..., in)`` and return float32 outputs of shape ``(..., out)``."""
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        scale = rows.abs().amax(dim=1, keepdim=True).clamp_min(_TINY) / 127
        outputs = self._product(torch.round(rows / scale)) * (scale * self.scale)
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs.reshape(*inputs.shape[:-1], -1)

    def _product(self, integers: torch.Tensor) -> torch.Tensor:
        """Multiply ``(n, in)`` integers, stored as float32, from -127 to 127 by the weights; returns ``(n, out)``."""
        if self._in_hardware:
            return torch._int_mm(integers.to(torch.int8), self.weight)
        with torch.autocast("cpu", enabled=False):  # bfloat16 would round the sums
            parts = [
                integers[:, start : start + _EXACT_IN] @ self.weight[start : start + _EXACT_IN]
                for start in range(0, self.weight.shape[0], _EXACT_IN)
            ]
        # The sum of several parts may exceed what float32 represents exactly, so it is rounded once, as an int32 sum
        # is.
        return parts[0] if len(parts) == 1 else torch.stack(parts).double().sum(dim=0).float()


def use_int8(model: SentenceTransformer) -> None:
    """Replace the linear layers of a model by int8 layers, in place.

    On a processor without an int8 instruction their weights are float32 numbers that hold the same integers.

    Layers that write into the residual stream are not replaced: their inputs have a few very large values, and a scale
    for these would round away the rest.

    Raises
    ------
    InputError
        If the model is not on a CPU.
    """
    if model.device.type != "cpu":
        raise InputError(
            f"int8 runs on a CPU, the model is on {model.device}: load it with device='cpu', or in bfloat16"
        )
    in_hardware = speed_of("int8").fast
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and not any(part in name for part in _RESIDUAL):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Int8Linear(module, in_hardware=in_hardware))


def _batches(lengths: Sequence[int], budget: int) -> Iterator[slice]:
    """Yield slices, of texts sorted by descending length, that pad to at most the budget or hold a single text."""
    start = 0
    while start < len(lengths):
        count = max(1, budget // max(1, lengths[start]))
        yield slice(start, start + count)
        start += count
