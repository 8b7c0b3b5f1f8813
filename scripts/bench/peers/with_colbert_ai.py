"""Measure colbert-ai (PLAID) on a CPU: python with_colbert_ai.py DATA OUTPUT THREADS

It encodes texts itself. Here the model is a tiny checkpoint, and the encoder is replaced by one that looks up the
tokens of a passage by its number. Its extensions are compiled at the first search.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from common import K, Search, measure
from transformers import BertConfig, BertModel, BertTokenizerFast

BITS = 4
DIMS = 128
SETTINGS: list[dict[str, Any]] = [
    {"ncells": 1, "centroid_score_threshold": 0.5, "ndocs": 256},  # its default settings for ten hits
    {"ncells": 2, "centroid_score_threshold": 0.45, "ndocs": 1024},
    {"ncells": 4, "centroid_score_threshold": 0.4, "ndocs": 4096},
    {"ncells": 8, "centroid_score_threshold": 0.0, "ndocs": 4096},
]


def checkpoint(folder: Path) -> str:
    """Write a tiny checkpoint in its format."""
    from colbert.infra import ColBERTConfig
    from colbert.modeling.hf_colbert import class_factory

    plain = folder / "bert-base-uncased"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"[unused{n}]" for n in range(4)), *"0123456789"]
    plain.mkdir(parents=True)
    (plain / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(plain / "vocab.txt")).save_pretrained(plain)
    config = BertConfig(len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(plain)
    tiny = class_factory(str(plain)).from_pretrained(str(plain), colbert_config=ColBERTConfig(dim=DIMS))
    tiny.save_pretrained(folder / "tiny")
    BertTokenizerFast(str(plain / "vocab.txt")).save_pretrained(folder / "tiny")
    ColBERTConfig(dim=DIMS).save_for_checkpoint(str(folder / "tiny"))
    return str(folder / "tiny")


def create(folder: Path, documents: list[torch.Tensor]) -> None:
    """Build an index."""
    import colbert.indexing.collection_encoder as encoding
    from colbert import Indexer
    from colbert.infra import ColBERTConfig, Run, RunConfig

    def encode(_: Any, passages: list[str]) -> tuple[torch.Tensor | None, list[int] | None]:
        if not passages:
            return None, None
        some = [documents[int(passage)] for passage in passages]
        return torch.cat(some), [len(one) for one in some]

    encoding.CollectionEncoder.encode_passages = encode
    root = str(folder.parent / "root")
    # Without this, the parent waits forever after an error in its child process.
    with Run().context(RunConfig(nranks=1, experiment="bench", root=root, avoid_fork_if_possible=True)):
        config = ColBERTConfig(nbits=BITS, dim=DIMS, doc_maxlen=180, root=root, avoid_fork_if_possible=True)
        collection = [str(place) for place in range(len(documents))]
        indexer = Indexer(checkpoint=checkpoint(folder.parent), config=config)
        Path(indexer.index(name="bench", collection=collection, overwrite=True)).rename(folder)


def opened(folder: Path) -> Search:
    """Open an index."""
    from colbert.infra import ColBERTConfig
    from colbert.modeling.colbert import ColBERT
    from colbert.search.index_storage import IndexScorer

    ColBERT.try_load_torch_extensions(False)
    scorer = IndexScorer(str(folder), use_gpu=False)

    def run(queries: torch.Tensor, options: dict[str, Any]) -> list[list[int]]:
        config = ColBERTConfig.from_existing(ColBERTConfig.load_from_index(str(folder)), ColBERTConfig(**options))
        return [scorer.rank(config, query[None])[0][:K] for query in queries]

    return run


if __name__ == "__main__":
    measure("colbert-ai 0.2.22", create, opened, SETTINGS)
