"""Make an environment for each peer: python scripts/bench/peers/make.py FOLDER [NAME ...]"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PEERS = {
    "fast_plaid": ["torch==2.11.0", "fast-plaid==1.7.0.2110"],
    # Its newest release does not work with transformers 5; ninja compiles its extensions at the first search.
    "colbert_ai": ["torch==2.13.0", "transformers==4.57.6", "colbert-ai==0.2.22", "faiss-cpu", "ninja", "setuptools"],
    # The newest version that is compatible with this torch.
    "pylate": ["torch==2.13.0", "pylate==1.2.0"],
    "mem0": ["mem0ai==2.2.1", "qdrant-client==1.20.0", "numpy"],
    "langgraph": ["langgraph==1.2.24", "langgraph-checkpoint-sqlite==3.1.2", "numpy"],
    "fastembed": ["fastembed==0.9.1", "onnxruntime==1.32.0"],
    # The newest release of its ONNX backend does not work with transformers 5.
    "sentence_transformers_onnx": [
        "torch==2.13.0",
        "transformers==4.57.6",
        "optimum-onnx[onnxruntime]==0.1.0",
        "sentence-transformers==5.7.0",
        "onnxruntime==1.32.0",
    ],
    "model2vec": ["model2vec==0.10.0"],
    "lancedb": ["lancedb==0.40.0", "numpy"],
    "chromadb": ["chromadb==1.5.9", "numpy"],
    "usearch": ["usearch==2.26.6", "numpy"],
    # apsw brings an SQLite that loads extensions, which the sqlite3 of many Python builds does not.
    "sqlite_vec": ["sqlite-vec==0.1.9", "apsw==3.54.1.0", "numpy"],
    "qdrant": ["qdrant-client==1.20.0", "numpy"],
    "qdrant_edge": ["qdrant-edge-py==0.9.0", "numpy"],
    "xtr_warp": ["torch==2.11.0", "xtr-warp-rs==2.1.0.2110"],
}


def main() -> None:
    """Make the environments that are named, or all."""
    folder, *names = sys.argv[1:] or [""]
    if not folder or any(name not in PEERS for name in names):
        raise SystemExit(f"usage: make.py FOLDER [{' | '.join(PEERS)} ...]")
    for name in names or PEERS:
        home = Path(folder) / name
        print(f"{home}: {' '.join(PEERS[name])}")
        venv.create(home, with_pip=True)
        subprocess.check_call([home / "bin" / "python", "-m", "pip", "install", "--quiet", *PEERS[name]])


if __name__ == "__main__":
    main()
