"""Trim the vocabulary of XLM-R base with mlret and with vocabtrimmer 0.0.2, in turn, on the same model and text.

    python scripts/bench/trim.py --tokenizer tokenizer.json.gz --corpus 'text/*.jsonl.gz' \
        --peer-python OTHER/bin/python --json trim.json

The model has the shape of XLM-R base (278 million parameters) and random weights; its tokenizer is the real one.
vocabtrimmer cannot be imported with today's transformers, so it needs an environment of its own (`pip install
vocabtrimmer==0.0.2 transformers==4.57.6 torch sentencepiece datasets pandas`). Each side runs in a fresh process and
loads, counts, trims and saves. Both treat the text as one language, since vocabtrimmer supports only one. Memory is the
process's peak minus its memory after the imports, relative to the size of the model (1.0). mlret also verifies its
result, which the peer does not; the second ratio excludes that time. The third ratio, of processor seconds, is also
reliable on a busy machine.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mlret.cli.common import text_files
from mlret.data.monolingual import read_monolingual

SPECIALS = {
    "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>",
    "pad_token": "<pad>", "mask_token": "<mask>", "model_max_length": 512, "tokenizer_class": "PreTrainedTokenizerFast",
}  # fmt: skip
PEER = Path(__file__).parent / "peers" / "vocabtrimmer_trim.py"


def main(
    tokenizer: Annotated[Path, typer.Option(help="XLM-R's tokenizer.json, optionally gzipped.")],
    corpus: Annotated[list[str], typer.Option(help="Text, as for mlret trim; repeatable.")],
    peer_python: Annotated[Path, typer.Option(help="The Python of an environment with vocabtrimmer.")],
    size: Annotated[int, typer.Option(help="Tokens to keep.")] = 60_000,
    sentences: Annotated[int, typer.Option(help="Maximum number of sentences.")] = 400_000,
    rounds: Annotated[int, typer.Option(help="Runs of each side.")] = 3,
    output: Annotated[Path | None, typer.Option("--json", help="Keep the figures in this file.")] = None,
) -> None:
    """Print the times and memory of both sides, and the ratios."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model_bytes = make_model(folder / "model", tokenizer)
        count = make_corpus(folder / "corpus", corpus, sentences)
        print(f"{count:,} sentences; model {model_bytes / 1e6:,.0f} MB; {rounds} rounds")
        runs: dict[str, list[dict[str, Any]]] = {"mlret": [], "vocabtrimmer": []}
        for number in range(rounds):
            for side, command in (
                ("mlret", [sys.executable, __file__, "--child"]),
                ("vocabtrimmer", [str(peer_python), str(PEER)]),
            ):
                target = folder / f"{side}-{number}"
                result = folder / "result.json"
                arguments = [folder / "model", folder / "corpus", target, size, result]
                subprocess.run([*command, *map(str, arguments)], check=True, capture_output=True)
                runs[side].append(json.loads(result.read_text()))
                print(side, runs[side][-1])
    best = {side: min(some, key=lambda run: run["seconds"]) for side, some in runs.items()}
    ours, peer = best["mlret"], best["vocabtrimmer"]
    summary = {
        "sentences": count,
        "size": size,
        "model_bytes": model_bytes,
        "runs": runs,
        "speed_ratio": peer["seconds"] / ours["seconds"],
        "cpu_ratio": peer["cpu_seconds"] / ours["cpu_seconds"],
        "speed_ratio_without_proof": peer["seconds"] / (ours["seconds"] - ours["proof_seconds"]),
        "memory_in_models": {side: run["extra_bytes"] / model_bytes for side, run in best.items()},
    }
    for side, run in best.items():
        print(f"{side:14} {run['seconds']:7.1f} s, peak memory {run['extra_bytes'] / model_bytes:.2f} models")
    print(f"mlret is {summary['speed_ratio']:.1f} times as fast ({summary['speed_ratio_without_proof']:.1f} unproven)")
    print(f"it takes one {summary['cpu_ratio']:.1f}th of the processor's time")
    if output is not None:
        output.write_text(json.dumps(summary, indent=1) + "\n")


def make_model(folder: Path, tokenizer: Path) -> int:
    """Make XLM-R base with random weights, in a form that both versions of transformers read; return its bytes."""
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    config = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1)
    model = XLMRobertaForMaskedLM(config)
    model.save_pretrained(folder)
    raw = tokenizer.read_bytes()
    (folder / "tokenizer.json").write_bytes(gzip.decompress(raw) if tokenizer.suffix == ".gz" else raw)
    (folder / "tokenizer_config.json").write_text(json.dumps(SPECIALS))
    return sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())


def make_corpus(folder: Path, patterns: list[str], most: int) -> int:
    """Write one JSONL file with one sentence in each line; return the number of sentences."""
    folder.mkdir()
    count = 0
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for path in text_files(patterns, option="--corpus"):
            for document in read_monolingual(path, language="en"):
                for sentence in document.sentences[: most - count]:
                    file.write(json.dumps({"text": sentence}, ensure_ascii=False) + "\n")
                    count += 1
    return count


def child() -> None:
    """Trim with mlret in a process of its own."""
    model, corpus, output, size, result = sys.argv[2:7]
    from mlret.vocabulary import proof, target_model, trim
    from mlret.vocabulary.saving import save_trimmed

    spent = {"proof": 0.0}
    for home, name in (
        (proof.Examples, "__init__"),
        (proof.Examples, "figures"),
        (proof.Examples, "largest_difference"),
    ):
        _timed(home, name, spent)
    before = peak()
    start, cpu = time.perf_counter(), time.process_time()
    texts = (json.loads(line)["text"] for line in (Path(corpus) / "train.jsonl").open(encoding="utf-8"))
    trimmed, report = trim.trim_vocabulary(model, languages=["en"], corpus=texts, size=int(size))
    save_trimmed(trimmed, report, output)
    seconds = time.perf_counter() - start
    found = {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "proof_seconds": spent["proof"],
        "extra_bytes": peak() - before,
        "parameters": report.after.parameters,
        "tokens": report.after.tokens,
        "largest_difference": report.largest_difference,
    }
    assert isinstance(trimmed, target_model.PreTrainedModel)
    Path(result).write_text(json.dumps(found))


def peak() -> int:
    """Return the peak memory use of this process in bytes; getrusage would return that of the parent."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def _timed(home: Any, name: str, spent: dict[str, float]) -> None:
    function = getattr(home, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            spent["proof"] += time.perf_counter() - start

    setattr(home, name, wrapped)


if __name__ == "__main__":
    child() if sys.argv[1:2] == ["--child"] else typer.run(main)
