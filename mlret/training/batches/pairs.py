"""Pairs of texts that belong together, and how they become batches."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from mlret.errors import InputError
from mlret.training.batches.packed import PackedDocuments, PackedTexts
from mlret.training.stages import AlignmentStage, ContextStage, LayerDistillationStage, TranslationDistillationStage
from mlret.training.text.tokenizer import with_tokens_missing
from mlret.training.text.training_text import TrainingText

# The share of tokens removed from the vocabulary for each further way to segment the texts.
_TOKENS_MISSING = 0.25


class Batchable(Protocol):
    """Groups of examples to draw from; all examples of a batch come from one group.

    Attributes
    ----------
    languages
        The language of each group.
    weights
        ``(groups,)`` float64: how often each group is drawn; sums to 1.
    rows
        For each group, ``(n,)`` int64: the row numbers of its examples.
    """

    languages: list[str]
    weights: NDArray[np.float64]
    rows: list[NDArray[np.int64]]

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Return keys ``(n, k)`` int64 for some of a group's ``rows``; a collator turns keys into a batch."""
        ...

    def lengths(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the length of the texts of each key, ``(n,)`` int64. Texts of a batch have similar lengths."""
        ...


class Pairs(Batchable, Protocol):
    """Pairs of texts, or single texts. Keys ``(n, 2)`` or ``(n, 1)`` are rows of ``texts``, with the anchor first.

    Attributes
    ----------
    texts
        The texts that the keys refer to.
    """

    texts: PackedTexts

    def lengths(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(self._token_counts[keys].max(axis=1))

    @cached_property
    def _token_counts(self) -> NDArray[np.int64]:
        return self.texts.lengths

    def document(self, anchors: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the document of each anchor: pairs of one document are not negatives of each other."""
        ...

    def languages_of(self, group: int, rows: NDArray[np.int64]) -> list[str]:
        """Return the language of each of some texts that were drawn for a group."""
        return [self.languages[group]] * len(rows)


@dataclass(frozen=True)
class HeldOutPairs:
    """Pairs from held-out documents, one per document. ``pairs`` maps a language to ``(n, 2)`` rows of ``texts``."""

    texts: PackedTexts
    pairs: dict[int, NDArray[np.int64]]


class ContextPairs(Pairs):
    """Centre sentences and their contexts: ``C(s_c) = {s_j : 0 < |j - c| <= w}`` within the document.

    The context is drawn again at each visit of a centre.

    Parameters
    ----------
    documents
        The tokenized text.
    stage
        The settings that hold the window, the sampling of languages and the number of held-out documents.
    seed
        The seed for the choice of held-out documents.
    """

    # With fewer documents, held-out accuracy is too noisy to be useful; the documents are used for training.
    fewest_held_out = 32

    def __init__(self, documents: PackedDocuments, stage: ContextStage, *, seed: int) -> None:
        self.texts = documents.sentences
        self.languages = documents.languages
        self._documents = documents
        self._window = stage.window
        counts = np.diff(documents.first)
        random = np.random.default_rng(seed)
        held_out: dict[int, NDArray[np.int64]] = {}
        self.rows = []
        for language in range(len(self.languages)):
            usable = np.flatnonzero((documents.language == language) & (counts > 1))
            # At most a tenth, so that a language with little text keeps most of it for training.
            n = min(stage.monitor_documents, len(usable) // 10)
            if n >= self.fewest_held_out:
                usable = random.permutation(usable)
                held_out[language], usable = np.sort(usable[:n]), np.sort(usable[n:])
            # A single document has no negatives.
            self.rows.append(self._sentences(usable) if len(usable) > 1 else np.empty(0, np.int64))
        self.weights = sampling_weights([len(rows) for rows in self.rows], stage.alpha)
        middles = {row: (documents.first[d] + documents.first[d + 1]) // 2 for row, d in held_out.items()}
        self.held_out = HeldOutPairs(self.texts, {row: self.draw(m, random) for row, m in middles.items()})

    def _sentences(self, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of all sentences of some documents, in order."""
        starts = self._documents.first[documents]
        counts = self._documents.first[documents + 1] - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.asarray(np.repeat(starts, counts) + within, dtype=np.int64)

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        document = self.document(rows)
        low = np.maximum(self._documents.first[document], rows - self._window)
        high = np.minimum(self._documents.first[document + 1] - 1, rows + self._window)
        context = random.integers(low, high)  # the upper end is exclusive, because the centre itself is skipped
        return np.stack([rows, context + (context >= rows)], axis=1)

    def document(self, anchors: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(np.searchsorted(self._documents.first, anchors, side="right") - 1, dtype=np.int64)


class TranslationPairs(Pairs):
    """Aligned texts. Each distinct text is stored once, and the document of a pair is its source text.

    Parameters
    ----------
    text
        The training text of a recipe.
    tokenizer
        The tokenizer whose ids are stored.
    stage
        The settings that select the groups of sources and how texts are segmented.
    cut
        A folder that caches the tokenized texts, for another stage with the same groups and for a resumed run, because
        tokenizing takes minutes.

    Attributes
    ----------
    strings
        The distinct texts. ``texts`` holds the ids of all of them, once for each way to segment them.
    """

    def __init__(
        self,
        text: TrainingText,
        tokenizer: PreTrainedTokenizerFast,
        stage: AlignmentStage | LayerDistillationStage | TranslationDistillationStage,
        cut: Path | None = None,
    ) -> None:
        rows: dict[str, int] = {}
        self._spoken: dict[int, str] = {}
        group_of: dict[tuple[str, str], int] = {}
        anchor, positive, group = [], [], []
        for pair in text.pairs:
            if pair.group in stage.groups:
                anchor.append(rows.setdefault(pair.source, len(rows)))
                positive.append(rows.setdefault(pair.target, len(rows)))
                self._spoken.setdefault(anchor[-1], pair.source_language)
                self._spoken.setdefault(positive[-1], pair.language)
                group.append(group_of.setdefault((pair.group, pair.language), len(group_of)))
        self.strings = list(rows)
        self._ways = 1 if isinstance(stage, LayerDistillationStage) else stage.segmentations
        self.texts = _cut(self.strings, tokenizer, self._ways, stage.max_length, cut)
        lengths = self.texts.lengths[: len(self.strings)]
        self._pairs = np.stack([np.asarray(anchor), np.asarray(positive)], axis=1)
        kept = np.flatnonzero((lengths[self._pairs] > 0).all(axis=1))
        groups = np.asarray(group)[kept]
        self.rows = [kept[groups == row] for row in range(len(group_of))]
        self.languages = [code for _, code in group_of]
        self.weights = group_weights(self.rows, [name for name, _ in group_of], stage.groups, stage.alpha)
        self._source_share = stage.source_share if isinstance(stage, TranslationDistillationStage) else None

    @property
    def anchors(self) -> NDArray[np.int64]:
        """``(n,)`` int64 rows of the texts that are a source, ascending."""
        return np.unique(self._pairs[:, 0])

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        pairs = self._pairs[rows]
        if self._ways > 1:
            pairs = pairs + len(self.strings) * random.integers(self._ways, size=pairs.shape)
        if self._source_share is not None:
            own = random.random(len(rows)) < self._source_share
            pairs[own, 1] = pairs[own, 0]
        return pairs

    def document(self, anchors: NDArray[np.int64]) -> NDArray[np.int64]:
        return anchors % len(self.strings)

    def languages_of(self, group: int, rows: NDArray[np.int64]) -> list[str]:
        return [self._spoken[row] for row in map(int, rows % len(self.strings))]


def _cut(
    strings: Sequence[str], tokenizer: PreTrainedTokenizerFast, ways: int, max_length: int, folder: Path | None
) -> PackedTexts:
    """Tokenize the texts, then once more for each further way to segment them, or load the result from ``folder``."""

    def made() -> PackedTexts:
        others = (with_tokens_missing(tokenizer, _TOKENS_MISSING, seed=way) for way in range(1, ways))
        return PackedTexts.joined(
            [PackedTexts.of(strings, each, max_length=max_length) for each in (tokenizer, *others)]
        )

    if folder is None:
        return made()
    asked = sha256(json.dumps([sorted(tokenizer.get_vocab()), ways, max_length, _TOKENS_MISSING]).encode())
    for string in strings:
        asked.update(string.encode() + b"\0")
    return PackedTexts.kept(folder / f"pairs-{asked.hexdigest()[:16]}.npz", made)


def sampling_weights(sizes: Sequence[int], alpha: float) -> NDArray[np.float64]:
    """Return the share of each group, in proportion to size ** alpha.

    A group of one pair has no negatives, so its share is 0.

    Parameters
    ----------
    sizes
        The number of pairs of each group.
    alpha
        The exponent.

    Returns
    -------
    numpy.ndarray
        ``(groups,)`` float64 that sums to 1.

    Raises
    ------
    InputError
        If no group has more than one pair.
    """
    counts = np.asarray(sizes, dtype=np.float64)
    share = counts**alpha * (counts > 1)
    if not share.sum():
        raise InputError("no language has two pairs to contrast: give more text, in documents of several sentences")
    return np.asarray(share / share.sum())


def group_weights(
    rows: Sequence[NDArray[np.int64]], names: Sequence[str], wanted: Mapping[str, float] | None, alpha: float
) -> NDArray[np.float64]:
    """Return how often each group is drawn: in proportion to size ** ``alpha`` among the groups with the same name.

    Parameters
    ----------
    rows
        The rows of each group.
    names
        The name of each group; several groups may share one.
    wanted
        Map each name to how often its groups together are drawn; ``None`` lets the sizes decide.
    alpha
        The exponent.

    Returns
    -------
    numpy.ndarray
        ``(groups,)`` float64 that sums to 1.

    Raises
    ------
    InputError
        If no group has two rows.
    """
    share = sampling_weights([len(some) for some in rows], alpha)
    if wanted is None:
        return share
    totals: dict[str, float] = defaultdict(float)
    for name, part in zip(names, share, strict=True):
        totals[name] += part
    weights = share * np.asarray([wanted[name] / totals[name] if totals[name] else 0 for name in names])
    return np.asarray(weights / weights.sum())


class PairDataset(Dataset[NDArray[np.int64]]):
    """A dataset that returns its keys: a key is the ``(group, anchor, positive)`` that the sampler drew."""

    def __init__(self, pairs: Batchable) -> None:
        self._size = sum(map(len, pairs.rows))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: NDArray[np.int64]) -> NDArray[np.int64]:
        return key


class PairCollator:
    """Turn keys of :class:`PairDataset` into padded batches of one or two sides, for sentence-transformers' trainer.

    The batch holds ``anchor_input_ids`` and ``positive_input_ids`` ``(b, t)`` int64, their attention masks, and
    ``label`` ``(b, 2)`` int64: the group (the language) and the document of each pair.

    Parameters
    ----------
    pairs
        The pairs that the keys refer to.
    tokenizer
        The tokenizer that provides the ids of the special tokens.
    max_length
        The maximum number of tokens of a text, including the special tokens.
    targets
        A callable that returns the labels to use instead: from anchors ``(b,)`` to ``(b, d)`` float32.
    adapter_of
        For an encoder with language adapters, a callable from a language to the number of its adapter, which is passed
        to the encoder as ``lang_ids``.
    without_anchors
        Omit the tokens of the anchors, for a loss that needs only their targets.
    """

    valid_label_columns = ("label",)

    def __init__(
        self,
        pairs: Pairs,
        tokenizer: PreTrainedTokenizerFast,
        *,
        max_length: int,
        targets: Callable[[NDArray[np.int64]], NDArray[np.float32]] | None = None,
        adapter_of: Callable[[str], int] | None = None,
        without_anchors: bool = False,
    ) -> None:
        self._pairs = pairs
        self._without_anchors = without_anchors
        self._padding = Padding(tokenizer, max_length=max_length)
        self._targets = targets
        self._adapter_of = adapter_of

    def __call__(self, keys: list[NDArray[np.int64]]) -> dict[str, torch.Tensor]:
        group, *sides = np.stack(keys).T
        if self._targets is None:
            label = np.stack([group, self._pairs.document(sides[0])], axis=1)
        else:
            label = self._targets(self._pairs.document(sides[0]))
        batch = {"label": torch.from_numpy(label)}
        for side, rows in zip(("anchor", "positive"), sides, strict=False):
            if side == "anchor" and self._without_anchors:
                continue
            for name, tensor in self._padding.features(self._pairs.texts, rows).items():
                batch[f"{side}_{name}"] = tensor
            if self._adapter_of is not None:
                numbers = [self._adapter_of(code) for code in self._pairs.languages_of(int(group[0]), rows)]
                batch[f"{side}_lang_ids"] = torch.tensor(numbers)
        return batch


class Padding:
    """Turn rows of packed texts into padded token ids between ``<s>`` and ``</s>`` (or the tokenizer's equivalents)."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, max_length: int) -> None:
        first, last = (tokenizer.cls_token_id, tokenizer.sep_token_id)
        self._start = tokenizer.bos_token_id if first is None else first
        self._end = tokenizer.eos_token_id if last is None else last
        self._pad = tokenizer.pad_token_id
        self._max_length = max_length

    def features(self, texts: PackedTexts, rows: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Return ``input_ids`` and ``attention_mask`` of the rows, both ``(n, t)`` int64, padded to the longest."""
        starts = texts.offsets[rows]
        lengths = np.minimum(texts.offsets[rows + 1] - starts, self._max_length - 2)
        columns = np.arange(int(lengths.max()))
        inside = columns < lengths[:, None]
        ids = np.full((len(rows), len(columns) + 2), self._pad, dtype=np.int64)
        ids[:, 0] = self._start
        ids[:, 1:-1][inside] = texts.ids[(starts[:, None] + columns)[inside]]
        ids[np.arange(len(rows)), lengths + 1] = self._end
        mask = (np.arange(ids.shape[1]) < (lengths + 2)[:, None]).astype(np.int64)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
