"""Trim only the output head of a drafter, for speculative decoding.

The method is VocabTrim (2025, arXiv:2506.22694). A small model that drafts tokens for a large one spends much of its
time on an output head as wide as the large model's vocabulary. The head keeps the rows of the most frequent tokens, and
an id map maps its rows to the vocabulary that both models share. The large model accepts only what it would have
generated itself, so its output does not change; only fewer drafts may be accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from logging import ERROR
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from mlret.encoders.loading import from_hub
from mlret.encoders.tokenizing import unbounded
from mlret.errors import CorruptInput, InputError, NotFound, first_line
from mlret.vocabulary.counting import Histogram, splits_at_white_space
from mlret.vocabulary.weights import refuse_quantised, special_ids, vocabulary_rows

HEAD = "draft_head.safetensors"
_BATCH = 1_000


class DraftHead(nn.Module):
    """An output head over some tokens that places their logits at their ids in the whole vocabulary.

    Parameters
    ----------
    weight
        ``(n, d)``: the rows of the kept tokens.
    bias
        ``(n,)`` bias of the kept tokens, or ``None``.
    target_ids
        ``(n,)`` int64: the id, in the vocabulary of drafter and target, of each row.
    rows
        Number of ids in that vocabulary. The logits of excluded tokens are minus infinity.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, target_ids: Tensor, rows: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.target_ids: Tensor
        self.register_buffer("target_ids", target_ids, persistent=False)
        self.rows = rows

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``(…, rows)`` logits for ``(…, d)`` hidden states."""
        some = nn.functional.linear(hidden, self.weight, self.bias)
        logits = some.new_full((*some.shape[:-1], self.rows), float("-inf"))
        return logits.index_copy(-1, self.target_ids, some)


def trim_head(
    model: PreTrainedModel,
    *,
    size: int,
    corpus: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    show_progress: bool = False,
) -> PreTrainedModel:
    """Trim the output head of a causal language model to the ``size`` most frequent tokens, in place.

    Parameters
    ----------
    model
        The drafter. Its input embeddings are not trimmed.
    size
        Number of rows of the trimmed head.
    corpus
        Text to count tokens on. Text that the target model generates for representative prompts is best, followed by
        text that the drafter generates and by raw text (section 4 of the paper).
    tokenizer
        The tokenizer that drafter and target share.
    show_progress
        Show a progress bar.

    Returns
    -------
    PreTrainedModel
        The same model with a :class:`DraftHead`: pass it as ``assistant_model`` to ``generate``.

    Raises
    ------
    InputError
        If the model has no output head over its vocabulary, is quantised, or ``size`` is too small for the special
        tokens.

    Examples
    --------
    >>> from transformers import AutoModelForCausalLM, AutoTokenizer
    >>> from mlret.vocabulary import trim_head
    >>> drafter = AutoModelForCausalLM.from_pretrained("my-drafter")
    >>> tokenizer = AutoTokenizer.from_pretrained("my-drafter")
    >>> drafter = trim_head(drafter, size=50, corpus=["The train is late.", "Treni imechelewa."], tokenizer=tokenizer)
    >>> drafter.get_output_embeddings().weight.shape[0]
    50
    """
    rows = vocabulary_rows(model)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(head, nn.Linear) or head.out_features != rows:
        raise InputError(f"{type(model).__name__} has no output head over its vocabulary: give a causal language model")
    always = sorted({*tokenizer.all_special_ids, *special_ids(model)} & set(range(rows)))
    if not len(always) <= size <= rows:
        raise InputError(f"a head of {size:,} tokens: give from {len(always):,} (the special ones) to {rows:,}")
    with unbounded(tokenizer.backend_tokenizer) as backend, tqdm(desc="counting", disable=not show_progress) as bar:
        texts, histogram = iter(corpus), Histogram(backend, rows, by_words=splits_at_white_space(backend))
        while batch := list(islice(texts, _BATCH)):
            histogram.add(batch)
            bar.update(len(batch))
        counts = histogram.counts()
    if not counts.any():
        raise InputError("the corpus is empty: give texts to count tokens on")
    ranked = np.argsort(-counts, kind="stable")
    chosen = np.concatenate([always, ranked[~np.isin(ranked, always)]])[:size].astype(np.int64)
    ids = torch.from_numpy(np.sort(chosen)).to(head.weight.device)
    bias = None if head.bias is None else head.bias.data[ids]
    _set_head(model, DraftHead(head.weight.data[ids], bias, ids, rows))
    return model


def open_drafter(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model whose head is to be trimmed, and its tokenizer.

    Parameters
    ----------
    name
        A folder or a hub id.

    Returns
    -------
    model, tokenizer
        The model and its tokenizer.

    Raises
    ------
    InputError
        If it cannot be loaded as a causal language model, or is quantised.
    """

    def load() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        try:
            refuse_quantised(transformers.AutoConfig.from_pretrained(name))
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(name, output_loading_info=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        except (ValueError, KeyError, ImportError) as error:
            raise CorruptInput(f"{name} cannot be loaded: {first_line(error)}") from error
        model, info = loaded
        if missing := sorted(info["missing_keys"]):
            raise InputError(f"{name} is not a causal language model: it has no {missing[0]}")
        return model, tokenizer

    return load() if Path(name).is_dir() else from_hub(name, load)


def save_drafter(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write a drafter that :func:`load_drafter` reads: the model, and its head with the id map beside it.

    ``draft_head.safetensors`` holds ``weight``, ``(n, d)``, optionally ``bias``, and ``target_ids``, ``(n,)`` int64.
    The whole head is not written: transformers alone would load the folder with a random one, unless it is tied.
    """
    head = _draft_head(model)
    folder = Path(folder)
    prefix = next(name for name, module in model.named_modules() if module is head) + "."
    body = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(prefix)}
    model.save_pretrained(folder, state_dict=body)
    tokenizer.save_pretrained(folder)
    tensors = {"weight": head.weight.data, "target_ids": head.target_ids}
    if head.bias is not None:
        tensors["bias"] = head.bias.data
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / HEAD)


def load_drafter(folder: str | Path, **options: Any) -> PreTrainedModel:
    """Load a drafter written by :func:`save_drafter`.

    Parameters
    ----------
    folder
        The folder of the drafter.
    **options
        Keyword arguments for ``AutoModelForCausalLM.from_pretrained``.

    Returns
    -------
    PreTrainedModel
        The model with its trimmed head: pass it as ``assistant_model`` to ``generate``.

    Raises
    ------
    InputError
        If the folder holds no trimmed head.

    Examples
    --------
    >>> from mlret.vocabulary import load_drafter
    >>> drafter = load_drafter("my-trimmed-drafter")  # as `mlret trim --head` wrote it
    >>> drafter.get_output_embeddings().weight.shape[0]
    50
    """
    folder = Path(folder)
    if not (folder / HEAD).is_file():
        raise NotFound(f"{folder} has no {HEAD}: it is not a drafter that `mlret trim --head` wrote")
    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)  # Suppress the warning that the head is missing; it is read below.
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, **options)
    finally:
        logging.set_verbosity(verbosity)
    tensors = {name: tensor.to(model.device) for name, tensor in load_file(folder / HEAD).items()}
    bias = tensors["bias"].to(model.dtype) if "bias" in tensors else None
    head = DraftHead(tensors["weight"].to(model.dtype), bias, tensors["target_ids"], vocabulary_rows(model))
    _set_head(model, head)
    return model


def _set_head(model: PreTrainedModel, head: DraftHead) -> None:
    old = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    name = next(name for name, module in model.named_modules() if module is old)
    model.set_submodule(name, head)


def _draft_head(model: PreTrainedModel) -> DraftHead:
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(head, DraftHead):
        raise InputError(f"the head of {type(model).__name__} is not trimmed: call trim_head first")
    return head
