"""Make and score checkpoints with PyLate: python pylate_scores.py JOBS.json (see colbert_ai_scores.py)"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from pylate import models, scores


def main() -> None:
    """Run the jobs."""
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for job in jobs["make"]:
        torch.manual_seed(0)
        model = models.ColBERT(
            job["backbone"],
            embedding_size=jobs["dims"],
            query_length=jobs["query_length"],
            document_length=jobs["document_length"],
            attend_to_expansion_tokens=job["attend"],
            device="cpu",
        )
        model.save(job["folder"], create_model_card=False)
    for job in jobs["score"]:
        model = models.ColBERT(job["folder"], device="cpu")
        queries = model.encode(jobs["queries"], is_query=True, show_progress_bar=False)
        documents = model.encode(jobs["documents"], is_query=False, show_progress_bar=False)
        found = np.empty((len(queries), len(documents)), dtype=np.float32)
        for row, query in enumerate(queries):
            for column, document in enumerate(documents):
                # Scored one by one: in a batch, documents are padded with zeros, which may be the maximum.
                pair = (torch.from_numpy(np.asarray(one))[None] for one in (query, document))
                found[row, column] = float(scores.colbert_scores(*pair))
        np.save(job["output"], found)


if __name__ == "__main__":
    main()
