"""Encode with mlret and with what users would pick instead, on the same weights and texts.

    python scripts/bench/peers/make.py peers/ fastembed sentence_transformers_onnx model2vec
    python scripts/bench/encode_peers.py peers/ [--data DIR] [--passages 100] [--queries 40] [--rounds 3] [--threads 1]
        [--json FILE]

Every way runs in a process of its own, all at once, and each encodes in its turn, so that whatever else the machine
does hits all alike. Times are processor time: of one query, of passages with the fastest size of batches, and from the
start of the process to the first vector. Cosines are those to float32 in torch. The weights are those of the bundled
encoder, without a calibration, which the others do not have; model2vec takes only the embeddings of tokens, so that
its vectors are others, and its speed is the ceiling.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from encode import sampled_texts
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mlret.doctor import examine
from mlret.encoders.calibration import Calibration
from mlret.encoders.light.network import adds_products_in_32_bits
from mlret.encoders.loading import BUNDLED, load_in_torch
from mlret.encoders.onnx_export import export_onnx

_BASE = "mlret, torch"
_HERE = Path(__file__).parent / "peers"


def made_models(folder: Path) -> tuple[dict[str, Path], int]:
    """Return the bundled encoder's weights in each form, by its name, and the number of tokens' dimensions."""
    encoder = load_in_torch(None, device="cpu")
    model = encoder.model
    if isinstance(model[-1], Calibration):
        model.pop(len(model) - 1)
    found = {"packed": BUNDLED, **{name: folder / name for name in ("torch", "32 bits", "4 bits")}}
    if not found["torch"].exists():
        model.save(str(found["torch"]), create_model_card=False)
    for bits in (32, 4):
        if not found[f"{bits} bits"].exists():
            export_onnx(found["torch"], found[f"{bits} bits"], bits=bits)
    return found, encoder.dims


def ways(peers: Path, models: dict[str, Path]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return each way as its Python, its script and what its job says."""
    ours = (sys.executable, "with_mlret.py")
    found = {
        _BASE: (*ours, {"model": str(models["torch"]), "kind": "torch"}),
        "mlret, light": (*ours, {"model": str(models["packed"]), "kind": "light"}),
        "mlret, export": (*ours, {"model": str(models["32 bits"]), "kind": "light"}),
        "mlret, export of 4 bits": (*ours, {"model": str(models["4 bits"]), "kind": "light"}),
    }
    given = {"fastembed": "32 bits", "sentence_transformers_onnx": "32 bits", "model2vec": "torch"}
    for peer, name in given.items():
        python = peers / peer / "bin" / "python"
        if python.is_file():
            found[peer.replace("_", "-")] = (str(python), f"with_{peer}.py", {"model": str(models[name])})
            if peer == "fastembed":
                found["fastembed, 4 bits"] = (str(python), f"with_{peer}.py", {"model": str(models["4 bits"])})
    return found


class Way:
    """One way to encode, in a process of its own."""

    def __init__(self, python: str, script: str, job: dict[str, Any], path: Path) -> None:
        path.write_text(json.dumps(job), encoding="utf-8")
        environment = os.environ | {"OMP_NUM_THREADS": str(job["threads"]), "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [python, str(_HERE / script), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.vectors = Path(job["vectors"])
        self.start = self._read()

    def turn(self) -> dict[str, Any]:
        """Encode everything once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise SystemExit(f"{self._process.args} ended with {self._process.wait()}")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main(
    peers: Annotated[Path, typer.Argument(help="Folder that `peers/make.py` wrote.")],
    data: Annotated[list[Path] | None, typer.Option(help="Files of documents; repeatable.")] = None,
    passages: Annotated[int, typer.Option(min=4)] = 100,
    queries: Annotated[int, typer.Option(min=4)] = 40,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    models: Annotated[Path | None, typer.Option(help="Keep the models here, and take those that are.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Time encoding, side by side."""
    texts, asked = sampled_texts(data, passages, queries)
    with tempfile.TemporaryDirectory(prefix="mlret-encode-") as temporary:
        folder = Path(temporary)
        found, dims = made_models(models or folder / "models")
        common = {"queries": asked, "passages": texts, "threads": threads, "dims": dims}
        started: dict[str, Way] = {}
        for name, (python, script, job) in track(ways(peers, found).items(), "starting", console=Console(stderr=True)):
            number = len(started)
            vectors = {"vectors": str(folder / f"{number}.npy")}
            started[name] = Way(python, script, common | job | vectors, folder / f"{number}.json")
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in started}
        for _ in track(range(rounds), "encoding", console=Console(stderr=True)):
            for name, way in started.items():
                turns[name].append(way.turn())
        tokenizer = load_in_torch(found["torch"], device="cpu").model.tokenizer
        tokens = sum(len(ids) for ids in tokenizer(texts, truncation=True).input_ids)
        reference = np.load(started[_BASE].vectors)
        figures = {}
        for name, way in started.items():
            way.close()
            figures[name] = {
                "query_ms": 1000 * statistics.median(second for turn in turns[name] for second in turn["queries"]),
                "tokens_per_second": tokens / statistics.median(turn["passages"] for turn in turns[name]),
                "batch": turns[name][-1]["batch"],
                "least_cosine": float((np.load(way.vectors) * reference).sum(axis=1).min()),
                "start_s": way.start["start_s"],
                "start_mib": way.start["start_mib"],
                "peak_mib": turns[name][-1]["peak_mib"],
            }
    table = Table(
        title=f"{len(texts)} passages of {tokens // len(texts)} tokens, processor time, {threads} threads, "
        f"8-bit products added in {32 if adds_products_in_32_bits() else 16} bits"
    )
    for column in ("", "query: ms", "ratio", "passages: tokens/s", "ratio", "batch", "least cosine", "start s", "MiB"):
        table.add_column(column, justify="right" if column else "left")
    base = figures[_BASE]
    ratios: dict[str, float] = {}
    for name, one in figures.items():
        ratios[f"speedup_query_{name}"] = base["query_ms"] / one["query_ms"]
        ratios[f"speedup_passages_{name}"] = one["tokens_per_second"] / base["tokens_per_second"]
        cells = [f"{one['query_ms']:.2f}", f"{ratios[f'speedup_query_{name}']:.2f}", f"{one['tokens_per_second']:,.0f}"]
        cells += [f"{ratios[f'speedup_passages_{name}']:.2f}", str(one["batch"] or "own"), f"{one['least_cosine']:.5f}"]
        table.add_row(name, *cells, f"{one['start_s']:.2f}", f"{one['start_mib']:.0f}")
    Console(width=130).print(table)
    if json_file is not None:
        machine = examine()
        content = {"ratios": ratios, "figures": figures, "machine": machine.machine, "versions": machine.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
