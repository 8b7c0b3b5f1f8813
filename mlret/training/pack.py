"""Training text as arrays: token ids packed end to end, and pairs of rows to compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from mlret.training.recipe import AlignmentStage, ContextStage
from mlret.training.text import TrainingText


@dataclass(frozen=True)
class PackedTexts:
    """Token ids of many texts, without special tokens.

    Attributes
    ----------
    ids
        ``(total,)`` int32, all texts end to end.
    offsets
        ``(n + 1,)`` int64: text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(n,)`` int64 tokens of each text."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, *, max_length: int) -> PackedTexts:
        """Tokenize texts, cut at ``max_length`` tokens with the two special ones counted in."""
        backend = tokenizer.backend_tokenizer
        chunks: list[NDArray[np.int32]] = []
        lengths: list[int] = []
        for start in range(0, len(texts), 8192):
            # A token has at least one byte: what lies far behind the cut need not be tokenized.
            batch = [text[: 16 * max_length] for text in texts[start : start + 8192]]
            for encoding in backend.encode_batch_fast(batch, add_special_tokens=False):
                row = np.asarray(encoding.ids[: max_length - 2], dtype=np.int32)
                chunks.append(row)
                lengths.append(len(row))
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(np.concatenate(chunks) if chunks else np.empty(0, np.int32), offsets)


@dataclass(frozen=True)
class TextPairs:
    """Pairs of rows of a :class:`PackedTexts` that belong together.

    Attributes
    ----------
    anchor, positive
        ``(n,)`` int64 rows.
    document
        ``(n,)`` int64: pairs of one document are not each other's negatives.
    group
        ``(n,)`` int64: the batches are drawn from one group at a time.
    languages
        The language of each group.
    weights
        How often each group is drawn; sums to 1.
    """

    anchor: NDArray[np.int64]
    positive: NDArray[np.int64]
    document: NDArray[np.int64]
    group: NDArray[np.int64]
    languages: list[str]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.anchor)


def pack_documents(
    text: TrainingText, tokenizer: PreTrainedTokenizerFast, stage: ContextStage, *, seed: int
) -> tuple[PackedTexts, TextPairs]:
    """Centre sentences and their contexts: ``C(s_c) = {s_j : 0 < |j - c| <= w}`` within the document.

    Each pass over the text draws one context a centre; there are as many passes as the stage needs.
    """
    sentences = [s for document in text.documents for s in document.sentences]
    texts = PackedTexts.of(sentences, tokenizer, max_length=stage.max_length)
    lengths = np.asarray([len(document.sentences) for document in text.documents])
    codes = sorted({document.language for document in text.documents})
    language_of = {code: row for row, code in enumerate(codes)}
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    last = first + np.repeat(lengths, lengths) - 1
    document = np.repeat(np.arange(len(lengths)), lengths)
    language = np.repeat(np.asarray([language_of[d.language] for d in text.documents]), lengths)
    centre = np.flatnonzero((last > first) & (texts.lengths > 0))
    weights = _weights(np.bincount(language[centre], minlength=len(codes)), stage.alpha, np.ones(len(codes)))

    random = np.random.default_rng(seed)
    passes = max(1, min(8, -(-stage.steps * stage.batch_size // max(1, len(centre)))))
    anchors, positives = [], []
    for _ in range(passes):
        low = np.maximum(first[centre], centre - stage.window)
        high = np.minimum(last[centre], centre + stage.window)
        context = random.integers(low, high)  # high is left out: the centre itself takes no place
        context += context >= centre
        kept = texts.lengths[context] > 0
        anchors.append(centre[kept])
        positives.append(context[kept])
    anchor, positive = np.concatenate(anchors), np.concatenate(positives)
    return texts, TextPairs(anchor, positive, document[anchor], language[anchor], codes, weights)


def pack_pairs(
    text: TrainingText, tokenizer: PreTrainedTokenizerFast, stage: AlignmentStage
) -> tuple[PackedTexts, TextPairs]:
    """Aligned texts; every different text is stored once, and a pair's document is its source text."""
    rows: dict[str, int] = {}
    group_of: dict[tuple[str, str], int] = {}
    anchor, positive, group = [], [], []
    for pair in text.pairs:
        if pair.group in stage.groups:
            anchor.append(rows.setdefault(pair.source, len(rows)))
            positive.append(rows.setdefault(pair.target, len(rows)))
            group.append(group_of.setdefault((pair.group, pair.language), len(group_of)))
    texts = PackedTexts.of(list(rows), tokenizer, max_length=stage.max_length)
    lengths = texts.lengths
    kept = (lengths[anchor] > 0) & (lengths[positive] > 0)
    arrays = [np.asarray(column, dtype=np.int64)[kept] for column in (anchor, positive, group)]
    sizes = np.bincount(arrays[2], minlength=len(group_of))
    share = _weights(sizes, stage.alpha, np.ones(len(group_of)))
    totals: dict[str, float] = defaultdict(float)
    for (name, _), row in group_of.items():
        totals[name] += share[row]
    scale = np.asarray([stage.groups[name] / totals[name] for name, _ in group_of])
    weights = share * scale
    return texts, TextPairs(
        arrays[0], arrays[1], arrays[0], arrays[2], [code for _, code in group_of], weights / weights.sum()
    )


def _weights(sizes: NDArray[np.int64], alpha: float, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.asarray(sizes, dtype=np.float64) ** alpha * scale * (sizes > 1)
    return np.asarray(share / share.sum())


class PairCollator:
    """Rows of :class:`TextPairs` to padded batches, as sentence-transformers' trainer expects them.

    The batch holds ``anchor_input_ids`` and ``positive_input_ids`` ``(b, t)`` int64, their attention masks, and
    ``label`` ``(b, 2)`` int64: the pair's group (its language) and its document.
    """

    valid_label_columns = ("label",)

    def __init__(self, texts: PackedTexts, pairs: TextPairs, tokenizer: PreTrainedTokenizerFast) -> None:
        self._texts = texts
        self._pairs = pairs
        vocabulary = tokenizer.get_vocab()
        self._start, self._end, self._pad = (vocabulary[token] for token in ("<s>", "</s>", "<pad>"))

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        rows = np.asarray([example["row"] for example in examples])
        batch = self._side("anchor", self._pairs.anchor[rows]) | self._side("positive", self._pairs.positive[rows])
        batch["label"] = torch.from_numpy(np.stack([self._pairs.group[rows], self._pairs.document[rows]], axis=1))
        return batch

    def _side(self, name: str, rows: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        starts = self._texts.offsets[rows]
        lengths = self._texts.offsets[rows + 1] - starts
        columns = np.arange(int(lengths.max()))
        inside = columns < lengths[:, None]
        ids = np.full((len(rows), len(columns) + 2), self._pad, dtype=np.int64)
        ids[:, 0] = self._start
        ids[:, 1:-1][inside] = self._texts.ids[(starts[:, None] + columns)[inside]]
        ids[np.arange(len(rows)), lengths + 1] = self._end
        mask = np.arange(ids.shape[1]) < (lengths + 2)[:, None]
        return {
            f"{name}_input_ids": torch.from_numpy(ids),
            f"{name}_attention_mask": torch.from_numpy(mask.astype(np.int64)),
        }
