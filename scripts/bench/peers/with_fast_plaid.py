"""Measure fast-plaid on a CPU: python with_fast_plaid.py DATA OUTPUT THREADS"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from common import K, Search, measure

BITS = 4
SETTINGS: list[dict[str, Any]] = [
    {"n_ivf_probe": 8, "n_full_scores": 4096},  # its default settings
    {"n_ivf_probe": 2, "n_full_scores": 512},
    {"n_ivf_probe": 4, "n_full_scores": 1024},
    {"n_ivf_probe": 16, "n_full_scores": 8192},
]


def create(folder: Path, documents: list[torch.Tensor]) -> None:
    """Build an index."""
    from fast_plaid import search

    halves = [document.half() for document in documents]
    search.FastPlaid(index=str(folder), device="cpu").create(documents_embeddings=halves, nbits=BITS, seed=42)


def opened(folder: Path) -> Search:
    """Open an index."""
    from fast_plaid import search

    index = search.FastPlaid(index=str(folder), device="cpu")

    def run(queries: torch.Tensor, options: dict[str, Any]) -> list[list[int]]:
        found = index.search(queries_embeddings=queries, top_k=K, show_progress=False, **options)
        return [[int(document) for document, _ in hits] for hits in found]

    return run


if __name__ == "__main__":
    measure(f"fast-plaid {version('fast-plaid')}", create, opened, SETTINGS)
