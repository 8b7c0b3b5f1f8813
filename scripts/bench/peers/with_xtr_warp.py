"""Measure xtr-warp-rs on a CPU: python with_xtr_warp.py DATA OUTPUT THREADS"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from common import K, Search, measure

BITS = 4
SETTINGS: list[dict[str, Any]] = [{}, {"nprobe": 8}, {"nprobe": 16}, {"nprobe": 32}]


def create(folder: Path, documents: list[torch.Tensor]) -> None:
    """Build an index."""
    from xtr_warp import XTRWarp

    XTRWarp(index=str(folder)).create(embeddings_source=documents, device="cpu", nbits=BITS)


def opened(folder: Path) -> Search:
    """Open an index."""
    from xtr_warp import XTRWarp

    index = XTRWarp(index=str(folder))
    index.load(device="cpu", dtype=torch.float32)

    def run(queries: torch.Tensor, options: dict[str, Any]) -> list[list[int]]:
        found = index.search(queries_embeddings=queries, top_k=K, **options)
        return [[int(document) for document, _ in hits] for hits in found]

    return run


if __name__ == "__main__":
    measure(f"xtr-warp-rs {version('xtr-warp-rs')}", create, opened, SETTINGS)
