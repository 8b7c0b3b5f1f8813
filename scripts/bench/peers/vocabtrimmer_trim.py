"""Trim a model with vocabtrimmer 0.0.2 under transformers below 5. Arguments: model, corpus, output, size, result."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import vocabtrimmer

model, corpus, output, size = sys.argv[1:5]


def peak() -> int:
    """Return the peak memory use of this process in bytes; getrusage would return that of the parent."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


before = peak()
start, cpu = time.perf_counter(), time.process_time()
trimmer = vocabtrimmer.VocabTrimmer(model)
loaded = time.perf_counter()
trimmer.trim_vocab(
    language="en",
    path_to_save=output,
    dataset=corpus,
    dataset_column="text",
    dataset_split="train",
    target_vocab_size=int(size),
    min_frequency=1,
    cache_file_vocab=str(Path(output) / "cache" / "vocab.json"),
    cache_file_frequency=str(Path(output) / "cache" / "frequency.json"),
)
end = time.perf_counter()
found = {
    "seconds": end - start,
    "cpu_seconds": time.process_time() - cpu,
    "load_seconds": loaded - start,
    "extra_bytes": peak() - before,
    "parameters": sum(tensor.numel() for tensor in trimmer.model.parameters()),
    "tokens": len(trimmer.tokenizer.get_vocab()),
}
Path(sys.argv[5]).write_text(json.dumps(found))
