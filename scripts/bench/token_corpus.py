"""Make tokens of real passages and questions for `multivector.py --data`, by the bundled encoder's second head.

    python scripts/bench/token_corpus.py OUT --text DIR --questions dev.topics.tsv.gz [--passages 50000]

Passages are consecutive sentences of about 300 characters from documents in the order of the files, taken evenly from
all files. Questions are padded with zeros to the longest, which changes no score.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

import mlret

_CHARACTERS = 300
_AT_ONCE = 2_048
_SENTENCES = re.compile(r"(?<=[.!?。！？।])\s*")


def passages(folder: Path, count: int) -> list[str]:
    """Yield passages from all files in turn."""
    files = sorted(folder.rglob("*.jsonl.gz"))
    if not files:
        raise SystemExit(f"no *.jsonl.gz under {folder}")
    mixed = (text for some in zip_longest(*map(_of_file, files)) for text in some if text)
    found = list(islice(dict.fromkeys(mixed), count))
    print(f"{len(found):,} passages of {len(files)} files")
    return found


def _of_file(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            sentences = document.get("sents") or _SENTENCES.split(document.get("text", ""))
            held = ""
            for sentence in sentences:
                held = f"{held} {sentence}".strip()
                if len(held) >= _CHARACTERS:
                    yield held[: 3 * _CHARACTERS]
                    held = ""


def main(
    out: Path,
    text: Annotated[Path, typer.Option(help="A folder of JSONL files, gzipped, with `text` or `sents`.")],
    questions: Annotated[Path, typer.Option(help="A gzipped TSV with a column `question`.")],
    count: Annotated[int, typer.Option("--passages", min=100)] = 50_000,
    asked: Annotated[int, typer.Option("--queries", min=10)] = 200,
) -> None:
    """Write emb.npy, doclens.npy and queries.npy."""
    out.mkdir(parents=True, exist_ok=True)
    model = mlret.load_token_encoder()
    with gzip.open(questions, "rt", encoding="utf-8") as lines:
        every = [row["question"] for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    chosen = np.random.default_rng(0).choice(len(every), asked, replace=False)
    queries = model.encode_query([every[place] for place in chosen])
    padded = np.zeros((asked, max(map(len, queries)), model.dims), dtype=np.float32)
    for place, query in enumerate(queries):
        padded[place, : len(query)] = query
    np.save(out / "queries.npy", padded)
    texts, tokens = passages(text, count), []
    for start in track(range(0, len(texts), _AT_ONCE), "encoding", console=Console(stderr=True)):
        tokens += [one.astype(np.float16) for one in model.encode_document(texts[start : start + _AT_ONCE])]
    np.save(out / "emb.npy", np.concatenate(tokens))
    np.save(out / "doclens.npy", np.array([len(one) for one in tokens], dtype=np.int32))
    print(f"{sum(map(len, tokens)):,} tokens")


if __name__ == "__main__":
    typer.run(main)
