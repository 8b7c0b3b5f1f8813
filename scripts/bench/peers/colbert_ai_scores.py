"""Make and score checkpoints with colbert-ai: python colbert_ai_scores.py JOBS.json

The jobs: {"make": [{"backbone", "folder", "attend"}], "score": [{"folder", "output"}], "queries", "documents", "dims",
"query_length", "document_length"}; scores go to .npy files, queries by documents.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers


def fit_for_transformers_5() -> None:
    """Patch colbert-ai 0.2.22 so that it loads a checkpoint under transformers 5, for which it was not written."""
    import colbert.modeling.base_colbert as base
    import colbert.modeling.hf_colbert as hf

    plain = hf.class_factory

    def factory(name: str) -> Any:
        kind = plain(name)
        # It calls init_weights instead of post_init, and has a list where a set is expected.
        kind.all_tied_weights_keys = {}
        kind._keys_to_ignore_on_load_unexpected = {"cls"}
        return kind

    base.class_factory = factory


def main() -> None:
    """Run the jobs."""
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if int(transformers.__version__.split(".")[0]) >= 5:
        fit_for_transformers_5()
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint
    from colbert.modeling.colbert import ColBERT, colbert_score

    # Its C++ MaxSim is for packed documents and takes half a minute to compile; colbert_score computes the same sum.
    ColBERT.loaded_extensions = True
    for job in jobs["make"]:
        torch.manual_seed(0)
        config = ColBERTConfig(
            dim=jobs["dims"],
            query_maxlen=jobs["query_length"],
            doc_maxlen=jobs["document_length"],
            attend_to_mask_tokens=job["attend"],
            checkpoint=job["backbone"],
        )
        Checkpoint(job["backbone"], colbert_config=config, verbose=0).save(job["folder"])
    for job in jobs["score"]:
        checkpoint = Checkpoint(job["folder"], colbert_config=ColBERTConfig(checkpoint=job["folder"]), verbose=0)
        queries = checkpoint.queryFromText(jobs["queries"])
        documents = checkpoint.docFromText(jobs["documents"], keep_dims=False)
        padded = torch.nn.utils.rnn.pad_sequence(documents, batch_first=True)
        lengths = torch.tensor([len(document) for document in documents])
        mask = (torch.arange(padded.shape[1]) < lengths[:, None])[:, :, None]
        scores = [colbert_score(query[None], padded, mask, config=checkpoint.colbert_config) for query in queries]
        np.save(job["output"], torch.stack(scores).numpy())


if __name__ == "__main__":
    main()
